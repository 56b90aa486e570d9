namespace Lambent
{
    using System;
    using System.IO;
    using System.Runtime.InteropServices;

    /// <summary>
    /// A TCP connection by the C library's own calls. The class library's sockets are in an assembly that Mono would have to
    /// load and compile first: 50 of the 70 milliseconds that a start would take.
    /// </summary>
    internal sealed class Socket : IDisposable
    {
        private const int Inet = 2, Stream = 1, CloseOnExec = 0x80000, Tcp = 6, NoDelay = 1, NoSignal = 0x4000, Interrupted = 4;

        [DllImport("libc", SetLastError = true)]
        private static extern int socket(int domain, int type, int protocol);

        [DllImport("libc", SetLastError = true)]
        private static extern int connect(int descriptor, byte[] address, int size);

        [DllImport("libc", SetLastError = true)]
        private static extern int setsockopt(int descriptor, int level, int option, ref int value, int size);

        [DllImport("libc", SetLastError = true)]
        private static extern IntPtr send(int descriptor, ref byte first, IntPtr size, int flags);

        [DllImport("libc", SetLastError = true)]
        private static extern IntPtr recv(int descriptor, ref byte first, IntPtr size, int flags);

        [DllImport("libc")]
        private static extern int close(int descriptor);

        private int descriptor;

        /// <summary>Connects to an IPv4 address. Throws IOException.</summary>
        internal Socket(byte[] host, int port)
        {
            descriptor = socket(Inet, Stream | CloseOnExec, 0);
            if (descriptor < 0)
            {
                throw Failed("socket");
            }
            int yes = 1;
            setsockopt(descriptor, Tcp, NoDelay, ref yes, sizeof(int));
            var address = new byte[16];
            address[BitConverter.IsLittleEndian ? 0 : 1] = Inet;
            address[2] = (byte)(port >> 8);
            address[3] = (byte)port;
            Buffer.BlockCopy(host, 0, address, 4, 4);
            if (connect(descriptor, address, address.Length) != 0)
            {
                IOException error = Failed("connect");
                Dispose();
                throw error;
            }
        }

        /// <summary>Sends all of it. Throws IOException.</summary>
        internal void Send(byte[] data, int offset, int count)
        {
            while (count > 0)
            {
                int sent = (int)send(descriptor, ref data[offset], (IntPtr)count, NoSignal);
                if (sent < 0)
                {
                    if (Marshal.GetLastWin32Error() != Interrupted)
                    {
                        throw Failed("send");
                    }
                    continue;
                }
                offset += sent;
                count -= sent;
            }
        }

        /// <summary>Waits for bytes; how many came, 0 at the end. Throws IOException.</summary>
        internal int Receive(byte[] data, int offset, int count)
        {
            while (true)
            {
                int got = (int)recv(descriptor, ref data[offset], (IntPtr)count, 0);
                if (got >= 0)
                {
                    return got;
                }
                if (Marshal.GetLastWin32Error() != Interrupted)
                {
                    throw Failed("recv");
                }
            }
        }

        /// <summary>Closes it.</summary>
        public void Dispose()
        {
            if (descriptor >= 0)
            {
                close(descriptor);
                descriptor = -1;
            }
        }

        private static IOException Failed(string call)
        {
            return new IOException(call + " failed with errno " + Marshal.GetLastWin32Error());
        }
    }
}
