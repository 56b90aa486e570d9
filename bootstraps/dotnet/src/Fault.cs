namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Diagnostics;
    using System.IO;
    using System.Reflection;
    using System.Text;

    /// <summary>
    /// Exceptions as AWS's .NET runtime reports them: errorType, errorMessage, stackTrace, `cause` for what is inside, `causes` for
    /// several. Stack traces are without this runtime's frames and those that it called through.
    /// </summary>
    internal static class Fault
    {
        /// <summary>Bytes; a body above it is replaced.</summary>
        private const int MaxBody = 256 * 1024;
        private const int MaxDepth = 32;
        private const string Truncated = "Exception exceeded maximum payload size of 256KB.";

        /// <summary>The error body of whatever was thrown.</summary>
        internal static JsonBuffer Body(Exception error)
        {
            JsonBuffer body = JsonBuffer.Of(Members(error, 0));
            return body.Length <= MaxBody ? body : JsonBuffer.Of(new Dictionary<string, object> { ["errorMessage"] = Truncated });
        }

        /// <summary>
        /// The type, for a header, of the form that the platform takes: AWS's runtime sends the bare name, which the platform
        /// replaces by Runtime.Unknown.
        /// </summary>
        internal static string HeaderType(Exception error)
        {
            string name = error.GetType().Name;
            foreach (char one in name)
            {
                if ((one < 'A' || one > 'Z') && (one < 'a' || one > 'z'))
                {
                    return "Function.Unknown";
                }
            }
            return "Function." + char.ToUpperInvariant(name[0]) + name.Substring(1);
        }

        /// <summary>X-Ray's form of it, in ASCII.</summary>
        internal static string Cause(Exception error)
        {
            var stack = new List<object>();
            var paths = new List<object>();
            foreach (StackFrame frame in Frames(error))
            {
                var element = new Dictionary<string, object>();
                string path = frame.GetFileName();
                if (path != null)
                {
                    element["path"] = path;
                    if (!paths.Contains(path))
                    {
                        paths.Add(path);
                    }
                }
                MethodBase method = frame.GetMethod();
                element["label"] = method.DeclaringType == null ? method.Name : method.DeclaringType.Name + "." + method.Name;
                if (path != null)
                {
                    element["line"] = frame.GetFileLineNumber();
                }
                stack.Add(element);
            }
            var exception = new Dictionary<string, object>
            {
                ["type"] = error.GetType().Name,
                ["message"] = error.Message,
                ["stack"] = stack,
            };
            return Ascii(JsonBuffer.Of(new Dictionary<string, object>
            {
                ["working_directory"] = Directory.GetCurrentDirectory(),
                ["exceptions"] = new List<object> { exception },
                ["paths"] = paths,
            }).ToString());
        }

        private static Dictionary<string, object> Members(Exception error, int depth)
        {
            var members = new Dictionary<string, object> { ["errorType"] = error.GetType().Name, ["errorMessage"] = error.Message };
            List<string> lines = Lines(error.StackTrace);
            if (lines.Count > 0)
            {
                members["stackTrace"] = lines;
            }
            if (depth == MaxDepth)
            {
                return members;
            }
            if (error.InnerException != null)
            {
                members["cause"] = Members(error.InnerException, depth + 1);
            }
            if (error is AggregateException several)
            {
                var causes = new List<object>();
                foreach (Exception one in several.InnerExceptions)
                {
                    causes.Add(Members(one, depth + 1));
                }
                members["causes"] = causes;
            }
            return members;
        }

        /// <summary>What is logged of it: as ToString has it, without this runtime's frames.</summary>
        internal static string Told(Exception error)
        {
            var told = new List<string>();
            foreach (string line in error.ToString().Split('\n'))
            {
                if (Ours(line.Trim()))
                {
                    continue;
                }
                if (!line.TrimStart().StartsWith("at ", StringComparison.Ordinal))
                {
                    Unwind(told); // the end of an inner one's
                }
                told.Add(line.TrimEnd());
            }
            Unwind(told);
            return string.Join("\n", told.ToArray());
        }

        /// <summary>The lines of a stack trace up to the one that is this runtime's.</summary>
        private static List<string> Lines(string trace)
        {
            var lines = new List<string>();
            foreach (string raw in (trace ?? "").Split('\n'))
            {
                string line = raw.Trim();
                if (Ours(line))
                {
                    break;
                }
                if (line.Length > 0)
                {
                    lines.Add(line);
                }
            }
            Unwind(lines);
            return lines;
        }

        /// <summary>Whether a line is of a class of this runtime.</summary>
        private static bool Ours(string line)
        {
            const string Start = "at Lambent.";
            if (!line.StartsWith(Start, StringComparison.Ordinal))
            {
                return false;
            }
            int end = line.IndexOfAny(new[] { '.', '+', ' ', '(' }, Start.Length);
            return end > 0 && typeof(Fault).Assembly.GetType(line.Substring(3, end - 3)) != null;
        }

        /// <summary>Removes the last lines that are of the reflection that the handler was called through.</summary>
        private static void Unwind(List<string> lines)
        {
            while (lines.Count > 0 && Between(lines[lines.Count - 1].Trim()))
            {
                lines.RemoveAt(lines.Count - 1);
            }
        }

        private static bool Between(string line)
        {
            return line.StartsWith("at System.Reflection.", StringComparison.Ordinal) || line.StartsWith("at (wrapper", StringComparison.Ordinal)
                || line.StartsWith("at System.RuntimeMethodHandle.", StringComparison.Ordinal)
                || line.StartsWith("at InvokeStub_", StringComparison.Ordinal);
        }

        private static List<StackFrame> Frames(Exception error)
        {
            var frames = new List<StackFrame>();
            foreach (StackFrame frame in new StackTrace(error, true).GetFrames() ?? new StackFrame[0])
            {
                Type type = frame.GetMethod()?.DeclaringType;
                if (type != null && type.Assembly == typeof(Fault).Assembly)
                {
                    break;
                }
                if (type != null && type.Namespace != "System.Reflection")
                {
                    frames.Add(frame);
                }
            }
            return frames;
        }

        private static string Ascii(string text)
        {
            var plain = new StringBuilder(text.Length);
            foreach (char one in text)
            {
                if (one >= ' ' && one < 127)
                {
                    plain.Append(one);
                }
                else
                {
                    plain.Append("\\u").Append(((int)one).ToString("x4"));
                }
            }
            return plain.ToString();
        }
    }
}
