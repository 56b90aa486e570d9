package lambent;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.Paths;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The function's log: text or JSON records, through the platform's descriptor or on standard output. */
public final class Logs {
    private static final List<String> LEVELS = Arrays.asList("UNDEFINED", "TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL");

    private final boolean json = "JSON".equalsIgnoreCase(Invocation.variable("AWS_LAMBDA_LOG_FORMAT"));
    private final int least = level(Invocation.variable("AWS_LAMBDA_LOG_LEVEL"));
    private final String descriptor = Invocation.variable("_LAMBDA_TELEMETRY_LOG_FD");
    private OutputStream framed;
    private boolean opened;
    private volatile Invocation invocation;

    private static int level(String name) {
        return name == null ? 0 : Math.max(LEVELS.indexOf(name.toUpperCase()), 0);
    }

    /**
     * A stream to a descriptor that was inherited; null when there is none. Java makes streams of the first three only,
     * and the platform's is standard output once more, whose pipe is not ours to open by name.
     */
    private static OutputStream open(String number) {
        try {
            Path all = Paths.get("/proc/self/fd");
            Path target = Files.readSymbolicLink(all.resolve(number));
            return target.equals(Files.readSymbolicLink(all.resolve("1")))
                ? new FileOutputStream(FileDescriptor.out)
                : new FileOutputStream("/proc/self/fd/" + number, true);
        } catch (IOException | InvalidPathException error) {
            return null;
        }
    }

    void begin(Invocation invocation) {
        this.invocation = invocation;
    }

    /** Writes a record. `level`: 0 for undefined, then TRACE to FATAL. */
    public void log(String message, int level) {
        if (level != 0 && level < least) {
            return;
        }
        String text = String.valueOf(message);
        if (json) {
            Map<String, Object> record = new LinkedHashMap<>();
            record.put("timestamp", Instant.now().truncatedTo(ChronoUnit.MILLIS).toString());
            record.put("message", text);
            record.put("level", LEVELS.get(level));
            Invocation current = invocation;
            if (current != null) {
                record.put("AWSRequestId", current.id());
                if (current.header("aws-tenant-id") != null) {
                    record.put("tenantId", current.header("aws-tenant-id"));
                }
            }
            text = Json.write(record) + "\n";
        } else if (level != 0) {
            text = "[" + LEVELS.get(level) + "] " + text;
        }
        raw(text.getBytes(StandardCharsets.UTF_8), level);
    }

    /** Writes bytes as one record, as they are. */
    public synchronized void raw(byte[] message, int level) {
        if (level != 0 && level < least) {
            return;
        }
        byte[] data = message == null ? "null".getBytes(StandardCharsets.UTF_8) : message;
        if (descriptor != null && !opened) {
            framed = open(descriptor);
            opened = true;
        }
        try {
            if (framed != null) {
                Instant now = Instant.now();
                ByteBuffer frame = ByteBuffer.allocate(16 + data.length);
                frame.putInt(0xa55a0002 | level << 2 | (json ? 0 : 1)).putInt(data.length);
                frame.putLong(now.getEpochSecond() * 1_000_000 + now.getNano() / 1000).put(data);
                framed.write(frame.array());
                return;
            }
            System.out.write(data);
            if (data.length == 0 || data[data.length - 1] != '\n') { // without frames, a line is the record
                System.out.write('\n');
            }
        } catch (IOException error) {
            error.printStackTrace();
        }
    }

    /** What the runtime itself has to say of an error. */
    void error(String text) {
        log(text, json ? LEVELS.indexOf("ERROR") : 0);
    }

    /** Unbuffered and in UTF-8, whatever the locale. */
    static void redirect() {
        System.setOut(stream(FileDescriptor.out));
        System.setErr(stream(FileDescriptor.err));
    }

    private static java.io.PrintStream stream(FileDescriptor descriptor) {
        return new java.io.PrintStream(new FileOutputStream(descriptor), false, StandardCharsets.UTF_8);
    }
}
