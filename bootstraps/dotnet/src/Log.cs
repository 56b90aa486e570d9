namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Globalization;
    using System.IO;
    using System.Text;

    /// <summary>
    /// The function's log, as AWS's runtime writes it: text with time, request id and level, or JSON records; also of what is
    /// printed a line at a time (Console.WriteLine). What is printed in pieces (Console.Write) is left as it is.
    /// </summary>
    internal sealed class Log
    {
        private static readonly string[] Levels = { "Trace", "Debug", "Information", "Warning", "Error", "Critical" };
        private static readonly string[] Labels = { "trce", "dbug", "info", "warn", "fail", "crit" };
        private const int Information = 2;

        private readonly bool json;
        private readonly bool prefixed;
        private readonly int least;
        private readonly Stream stream;
        private readonly bool framed;
        private volatile Invocation invocation;

        /// <summary>Takes over standard output and standard error of the process.</summary>
        internal Log()
        {
            string format = Variables.Get("AWS_LAMBDA_HANDLER_LOG_FORMAT") ?? Variables.Get("AWS_LAMBDA_LOG_FORMAT") ?? "";
            json = string.Equals(format, "json", StringComparison.OrdinalIgnoreCase);
            prefixed = !string.Equals(format, "unformatted", StringComparison.OrdinalIgnoreCase);
            string level = Variables.Get("AWS_LAMBDA_HANDLER_LOG_LEVEL") ?? Variables.Get("AWS_LAMBDA_LOG_LEVEL") ?? "";
            int number = Level(Equals(level, "fatal") ? "critical" : Equals(level, "warn") ? "warning" : level);
            least = number < 0 ? Information : number;
            stream = Frames(Variables.Get("_LAMBDA_TELEMETRY_LOG_FD"));
            framed = stream != null;
            stream = stream ?? Console.OpenStandardOutput();
            Console.SetOut(new LogWriter(this, "Information"));
            Console.SetError(new LogWriter(this, "Error"));
        }

        /// <summary>Records are of this invocation from now on.</summary>
        internal void Begin(Invocation next)
        {
            invocation = next;
        }

        /// <summary>
        /// A record. A level of another name than those of <see cref="LambdaLog"/> is never too low; null is Information.
        /// </summary>
        internal void Write(string level, Exception error, string message, params object[] arguments)
        {
            int number = level == null ? Information : Level(level);
            if (number >= 0 && number < least)
            {
                return;
            }
            number = Math.Max(number, 0);
            Template template = arguments == null || arguments.Length == 0 ? null : Template.Of(message ?? "");
            string text = template == null ? message ?? "" : template.Apply(arguments);
            Raw((json ? Record(Levels[number], text, template, arguments, error) : Line(Labels[number], text, error)) + "\n");
        }

        /// <summary>What the runtime itself has to say of an error.</summary>
        internal void Error(Exception error)
        {
            Write("Error", error, null);
        }

        /// <summary>What the runtime has to say before it ends, as it is.</summary>
        internal void Plain(string text)
        {
            Raw(text + "\n");
        }

        /// <summary>Text as it is.</summary>
        internal void Raw(string text)
        {
            if (string.IsNullOrEmpty(text))
            {
                return;
            }
            int head = framed ? 16 : 0;
            var data = new byte[head + Encoding.UTF8.GetByteCount(text)];
            Encoding.UTF8.GetBytes(text, 0, text.Length, data, head);
            if (framed)
            {
                long time = (DateTime.UtcNow.Ticks - 621355968000000000) / 10; // microseconds of the epoch
                Number(data, 0, 4, json ? 0xa55a0002 : 0xa55a0003);
                Number(data, 4, 4, data.Length - head);
                Number(data, 8, 8, time);
            }
            lock (stream)
            {
                stream.Write(data, 0, data.Length);
                stream.Flush();
            }
        }

        private static bool Equals(string one, string other)
        {
            return string.Equals(one, other, StringComparison.OrdinalIgnoreCase);
        }

        private static int Level(string name)
        {
            return Array.FindIndex(Levels, one => Equals(one, name));
        }

        private static void Number(byte[] data, int at, int size, long value)
        {
            for (int i = 0; i < size; i++)
            {
                data[at + i] = (byte)(value >> 8 * (size - 1 - i));
            }
        }

        /// <summary>The platform's own pipe, a descriptor that was inherited; null when there is none.</summary>
        private static Stream Frames(string number)
        {
            try
            {
                return number == null ? null
                    : new FileStream("/proc/self/fd/" + int.Parse(number), FileMode.Open, FileAccess.Write, FileShare.ReadWrite, 1);
            }
            catch (Exception error) when (error is FormatException || error is IOException || error is UnauthorizedAccessException
                || error is ArgumentException)
            {
                return null;
            }
        }

        private string Line(string label, string text, Exception error)
        {
            if (error != null)
            {
                text = (text.Length == 0 ? "" : text + "\n") + Fault.Told(error);
            }
            return prefixed ? Time() + "\t" + invocation?.Id + "\t" + label + "\t" + text : text;
        }

        private string Record(string level, string text, Template template, object[] arguments, Exception error)
        {
            var record = new Dictionary<string, object> { ["timestamp"] = Time(), ["level"] = level };
            Invocation current = invocation;
            if (current != null)
            {
                Put(record, "requestId", current.Id);
                Put(record, "tenantId", current.Header("aws-tenant-id"));
                Put(record, "traceId", current.Header("trace-id"));
            }
            record["message"] = text;
            template?.Attributes(arguments, record);
            if (error != null)
            {
                record["errorType"] = error.GetType().FullName;
                record["errorMessage"] = error.Message;
                record["stackTrace"] = Array.ConvertAll(Fault.Told(error).Split('\n'), line => line.Trim());
            }
            return JsonBuffer.Of(record).ToString();
        }

        private static void Put(Dictionary<string, object> record, string name, string value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                record[name] = value;
            }
        }

        private static string Time()
        {
            return DateTime.UtcNow.ToString(Template.Date, CultureInfo.InvariantCulture);
        }
    }

    /// <summary>
    /// What a function prints: a whole line (`WriteLine`) is a record, pieces (`Write`) go out as they are. All that the base
    /// class has ends in these methods.
    /// </summary>
    internal sealed class LogWriter : TextWriter
    {
        private readonly Log log;
        private readonly string level;

        internal LogWriter(Log log, string level)
            : base(CultureInfo.InvariantCulture)
        {
            this.log = log;
            this.level = level;
        }

        public override Encoding Encoding => Encoding.UTF8;

        public override void Write(char value) => log.Raw(value.ToString());

        public override void Write(string value) => log.Raw(value);

        public override void Write(char[] buffer, int index, int count) => log.Raw(new string(buffer, index, count));

        public override void WriteLine() => Line("");

        public override void WriteLine(string value) => Line(value);

        public override void WriteLine(object value) => Line(Convert.ToString(value, CultureInfo.InvariantCulture));

        public override void WriteLine(char value) => Line(value.ToString());

        public override void WriteLine(bool value) => Line(value ? "True" : "False");

        public override void WriteLine(char[] buffer) => Line(buffer == null ? "" : new string(buffer));

        public override void WriteLine(char[] buffer, int index, int count) => Line(new string(buffer, index, count));

        public override void WriteLine(int value) => Line(value.ToString(CultureInfo.InvariantCulture));

        public override void WriteLine(uint value) => Line(value.ToString(CultureInfo.InvariantCulture));

        public override void WriteLine(long value) => Line(value.ToString(CultureInfo.InvariantCulture));

        public override void WriteLine(ulong value) => Line(value.ToString(CultureInfo.InvariantCulture));

        public override void WriteLine(float value) => Line(value.ToString(CultureInfo.InvariantCulture));

        public override void WriteLine(double value) => Line(value.ToString(CultureInfo.InvariantCulture));

        public override void WriteLine(decimal value) => Line(value.ToString(CultureInfo.InvariantCulture));

        public override void WriteLine(string format, object arg0) => Line(string.Format(format, arg0));

        public override void WriteLine(string format, object arg0, object arg1) => Line(string.Format(format, arg0, arg1));

        public override void WriteLine(string format, object arg0, object arg1, object arg2) => Line(string.Format(format, arg0, arg1, arg2));

        public override void WriteLine(string format, params object[] arg) => Line(string.Format(format, arg));

        public override System.Threading.Tasks.Task WriteLineAsync(string value)
        {
            Line(value);
            return System.Threading.Tasks.Task.FromResult(0);
        }

        private void Line(string text) => log.Write(level, null, text);
    }
}
