namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Globalization;
    using System.IO;
    using System.Text;

    /// <summary>What the Runtime API answered; header names in lower case.</summary>
    internal sealed class Answer
    {
        internal readonly int Status;
        internal readonly Dictionary<string, string> Headers;
        internal readonly byte[] Body;

        internal Answer(int status, Dictionary<string, string> headers, byte[] body)
        {
            Status = status;
            Headers = headers;
            Body = body;
        }

        /// <summary>The body as text.</summary>
        internal string Text()
        {
            return Encoding.UTF8.GetString(Body);
        }
    }

    /// <summary>One keep-alive connection to the Runtime API; one request at a time.</summary>
    internal sealed class Connection
    {
        private const string Root = "/2018-06-01/runtime/";
        /// <summary>Bodies up to this size, in bytes, travel in one write with their head.</summary>
        private const int Small = 65536;
        /// <summary>Bytes of a head, and of a body: many times what the Runtime API sends, and what still fits in memory.</summary>
        private const int MaxHead = 1 << 20, MaxBody = 1 << 28;

        private readonly byte[] host;
        private readonly int port;
        private readonly string common;
        private readonly byte[] poll;
        private readonly byte[] buffer = new byte[Small];
        private int start;
        private int end;
        private int headSize;
        private Socket socket;
        private bool begun;

        internal Connection(string address)
        {
            int colon = address.LastIndexOf(':');
            if (colon < 0 || !int.TryParse(address.Substring(colon + 1), out port))
            {
                throw new IOException("AWS_LAMBDA_RUNTIME_API is '" + address + "', which is no host:port");
            }
            host = Resolve(address.Substring(0, colon));
            common = "Host: " + address + "\r\nUser-Agent: aws-lambda-dotnet/lambent-" + Environment.Version + "\r\n";
            poll = Head("GET " + Root + "invocation/next HTTP/1.1\r\n" + common + "\r\n");
        }

        /// <summary>Waits for the next invocation. Throws IOException.</summary>
        internal Answer Next()
        {
            return Exchange(poll, poll.Length, null);
        }

        /// <summary>POST of JSON; `headers` are whole lines. Throws IOException.</summary>
        internal Answer Post(string where, JsonBuffer body, string headers)
        {
            byte[] head = Head("POST " + Root + where + " HTTP/1.1\r\n" + common + "Content-Type: application/json\r\n"
                + headers + "Content-Length: " + body.Length + "\r\n\r\n");
            if (body.Length > Small)
            {
                return Exchange(head, head.Length, body);
            }
            int size = head.Length + body.Length;
            Array.Resize(ref head, size);
            Buffer.BlockCopy(body.Bytes, 0, head, size - body.Length, body.Length);
            return Exchange(head, size, null);
        }

        private static byte[] Head(string text)
        {
            return Encoding.UTF8.GetBytes(text);
        }

        private static byte[] Resolve(string name)
        {
            string[] parts = name.Split('.');
            var address = new byte[4];
            for (int i = 0; i < 4; i++)
            {
                if (parts.Length != 4 || !byte.TryParse(parts[i], out address[i]))
                {
                    if (name == "localhost")
                    {
                        return new byte[] { 127, 0, 0, 1 };
                    }
                    throw new IOException("AWS_LAMBDA_RUNTIME_API has the host '" + name + "', which is no IPv4 address");
                }
            }
            return address;
        }

        private Answer Exchange(byte[] head, int size, JsonBuffer body)
        {
            while (true)
            {
                bool fresh = socket == null;
                begun = false;
                try
                {
                    if (fresh)
                    {
                        socket = new Socket(host, port);
                        start = end = 0;
                    }
                    socket.Send(head, 0, size);
                    if (body != null)
                    {
                        socket.Send(body.Bytes, 0, body.Length);
                    }
                    return Receive();
                }
                catch (IOException)
                {
                    Close();
                    if (fresh || begun)
                    {
                        throw;
                    } // else an idle connection was closed at the moment it was used: once more on a new one
                }
            }
        }

        private void Close()
        {
            socket?.Dispose();
            socket = null;
        }

        private Answer Receive()
        {
            int status;
            headSize = 0;
            var headers = new Dictionary<string, string>();
            do // 100 Continue: the real one follows
            {
                string first = Line();
                if (first.Length < 12 || !int.TryParse(first.Substring(9, 3), out status))
                {
                    throw Wrong(first);
                }
                begun = true;
                headers.Clear();
                for (string line = Line(); line.Length > 0; line = Line())
                {
                    int colon = line.IndexOf(':');
                    if (colon > 0)
                    {
                        headers[line.Substring(0, colon).ToLowerInvariant()] = line.Substring(colon + 1).Trim();
                    }
                }
            }
            while (status < 200);
            byte[] body;
            if (headers.TryGetValue("transfer-encoding", out string coding) && coding.IndexOf("chunked", StringComparison.Ordinal) >= 0)
            {
                body = Chunks();
            }
            else
            {
                headers.TryGetValue("content-length", out string length);
                body = Take(length == null ? 0 : Size(length, NumberStyles.None, MaxBody));
            }
            if (headers.TryGetValue("connection", out string kept) && string.Equals(kept, "close", StringComparison.OrdinalIgnoreCase))
            {
                Close();
            }
            return new Answer(status, headers, body);
        }

        private void Fill()
        {
            int got = socket.Receive(buffer, 0, buffer.Length);
            if (got == 0)
            {
                throw new EndOfStreamException("it closed the connection");
            }
            start = 0;
            end = got;
        }

        private string Line()
        {
            string before = "";
            while (true)
            {
                if (start == end)
                {
                    Fill();
                }
                int at = Array.IndexOf(buffer, (byte)'\n', start, end - start);
                int stop = at < 0 ? end : at;
                headSize += stop - start;
                if (headSize > MaxHead)
                {
                    throw new IOException("it answered with more than " + MaxHead + " bytes of headers");
                }
                string text = before + Encoding.UTF8.GetString(buffer, start, stop - start);
                start = at < 0 ? end : at + 1;
                if (at >= 0)
                {
                    return text.EndsWith("\r", StringComparison.Ordinal) ? text.Substring(0, text.Length - 1) : text;
                }
                before = text;
            }
        }

        private static int Size(string digits, NumberStyles style, int most)
        {
            if (!int.TryParse(digits, style, CultureInfo.InvariantCulture, out int size) || size < 0)
            {
                throw Wrong(digits);
            }
            if (size > most)
            {
                throw new IOException("it answered with more than " + MaxBody + " bytes");
            }
            return size;
        }

        private static IOException Wrong(string line)
        {
            return new IOException("it answered what is not HTTP: " + (line.Length > 200 ? line.Substring(0, 200) + "…" : line));
        }

        private byte[] Take(int size)
        {
            var body = new byte[size];
            int have = Math.Min(size, end - start);
            Buffer.BlockCopy(buffer, start, body, 0, have);
            start += have;
            while (have < size)
            {
                int got = socket.Receive(body, have, size - have);
                if (got == 0)
                {
                    throw new EndOfStreamException("it closed the connection within a message");
                }
                have += got;
            }
            return body;
        }

        private byte[] Chunks()
        {
            var body = new MemoryStream();
            while (true)
            {
                string line = Line();
                int semicolon = line.IndexOf(';');
                string digits = (semicolon < 0 ? line : line.Substring(0, semicolon)).Trim();
                int size = Size(digits, NumberStyles.AllowHexSpecifier, MaxBody - (int)body.Length);
                if (size == 0)
                {
                    break;
                }
                byte[] chunk = Take(size);
                body.Write(chunk, 0, size);
                Line();
                headSize = 0;
            }
            while (Line().Length > 0)
            {
                // trailers
            }
            return body.ToArray();
        }
    }
}
