package lambent;

import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/** One keep-alive connection to the Runtime API; one request at a time. */
final class Connection {
    private static final String ROOT = "/2018-06-01/runtime/";
    /** Bodies up to this size, in bytes, travel in one write with their head. */
    private static final int SMALL = 65_536;

    /** What the Runtime API answered; header names in lower case. */
    static final class Answer {
        final int status;
        final Map<String, String> headers;
        final byte[] body;

        Answer(int status, Map<String, String> headers, byte[] body) {
            this.status = status;
            this.headers = headers;
            this.body = body;
        }

        String text() {
            return new String(body, StandardCharsets.UTF_8);
        }
    }

    private final String host;
    private final int port;
    private final String common;
    private final byte[] poll;
    private final byte[] buffer = new byte[SMALL];
    private int start;
    private int end;
    private Socket socket;
    private InputStream input;
    private boolean begun;

    Connection(String address) {
        int colon = address.lastIndexOf(':');
        host = address.substring(0, colon);
        port = Integer.parseInt(address.substring(colon + 1));
        common = "Host: " + address + "\r\nUser-Agent: aws-lambda-java/lambent-"
                + System.getProperty("java.version") + "\r\n";
        poll = head("GET " + ROOT + "invocation/next HTTP/1.1\r\n" + common + "\r\n");
    }

    /** Waits for the next invocation. */
    Answer next() throws IOException {
        return exchange(poll, new byte[0], 0);
    }

    /** POST; `headers` are whole lines. */
    Answer post(String where, byte[] body, int size, String headers) throws IOException {
        return exchange(head("POST " + ROOT + where + " HTTP/1.1\r\n" + common + headers + "Content-Length: " + size
                + "\r\n\r\n"), body, size);
    }

    private static byte[] head(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    private Answer exchange(byte[] head, byte[] body, int size) throws IOException {
        while (true) {
            boolean fresh = socket == null;
            begun = false;
            try {
                if (fresh) {
                    socket = new Socket();
                    socket.setTcpNoDelay(true);
                    socket.connect(new InetSocketAddress(host, port));
                    input = socket.getInputStream();
                    start = end = 0;
                }
                if (size <= SMALL) {
                    byte[] both = new byte[head.length + size];
                    System.arraycopy(head, 0, both, 0, head.length);
                    System.arraycopy(body, 0, both, head.length, size);
                    socket.getOutputStream().write(both);
                } else {
                    socket.getOutputStream().write(head);
                    socket.getOutputStream().write(body, 0, size);
                }
                return receive();
            } catch (IOException error) {
                socket = null;
                if (fresh || begun) {
                    throw error;
                } // else an idle connection was closed at the moment it was used: once more on a new one
            }
        }
    }

    private Answer receive() throws IOException {
        int status;
        Map<String, String> headers = new HashMap<>();
        do { // 100 Continue: the real one follows
            status = Integer.parseInt(line().substring(9, 12));
            begun = true;
            headers.clear();
            for (String line = line(); !line.isEmpty(); line = line()) {
                int colon = line.indexOf(':');
                headers.put(line.substring(0, colon).toLowerCase(), line.substring(colon + 1).trim());
            }
        } while (status < 200);
        byte[] body = headers.getOrDefault("transfer-encoding", "").contains("chunked") ? chunks()
                : take(Integer.parseInt(headers.getOrDefault("content-length", "0")));
        if ("close".equalsIgnoreCase(headers.get("connection"))) {
            socket.close();
            socket = null;
        }
        return new Answer(status, headers, body);
    }

    private void fill() throws IOException {
        int got = input.read(buffer, 0, buffer.length);
        if (got < 0) {
            throw new EOFException("the Runtime API closed the connection");
        }
        start = 0;
        end = got;
    }

    private String line() throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream(128);
        while (true) {
            if (start == end) {
                fill();
            }
            int from = start;
            while (start < end && buffer[start] != '\n') {
                start++;
            }
            out.write(buffer, from, start - from);
            if (start < end) {
                start++;
                String text = new String(out.toByteArray(), StandardCharsets.UTF_8);
                return text.endsWith("\r") ? text.substring(0, text.length() - 1) : text;
            }
        }
    }

    private byte[] take(int size) throws IOException {
        byte[] out = new byte[size];
        int have = Math.min(size, end - start);
        System.arraycopy(buffer, start, out, 0, have);
        start += have;
        if (have < size && input.readNBytes(out, have, size - have) < size - have) {
            throw new EOFException("the Runtime API closed the connection");
        }
        return out;
    }

    private byte[] chunks() throws IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        while (true) {
            int size = Integer.parseInt(line().split(";")[0].trim(), 16);
            if (size == 0) {
                break;
            }
            out.write(take(size));
            line();
        }
        while (!line().isEmpty()) {
            continue; // trailers
        }
        return out.toByteArray();
    }
}
