namespace Lambent
{
    using System;
    using System.Collections;
    using System.Collections.Generic;
    using System.Globalization;
    using System.Text;

    /// <summary>
    /// A message with `{name}`, `{name:format}`, `{@name}` or `{0}` in it, as AWS's logger takes them: named ones are filled in the
    /// order of the arguments, numbered ones by number; `{{` is a brace. Lists and dictionaries are not written into the
    /// message, they are members of JSON records only.
    /// </summary>
    internal sealed class Template
    {
        internal const string Date = "yyyy-MM-ddTHH:mm:ss.fffZ";
        private const int MaxBytes = 16;
        private const int MaxKnown = 1024;

        private static readonly Dictionary<string, Template> Known = new Dictionary<string, Template>();

        /// <summary>Text and what follows it; the last has no name.</summary>
        private readonly List<Hole> holes = new List<Hole>();
        private readonly string rest;
        private readonly bool numbered;

        private Template(string message)
        {
            var text = new StringBuilder();
            bool all = true;
            for (int i = 0; i < message.Length; i++)
            {
                bool doubled = i + 1 < message.Length && message[i] == message[i + 1];
                int end = message[i] == '{' && !doubled ? message.IndexOf('}', i) : -1;
                if (end > i + 1)
                {
                    var hole = new Hole(text.ToString(), message.Substring(i + 1, end - i - 1));
                    holes.Add(hole);
                    all &= hole.Number >= 0;
                    text.Clear();
                    i = end;
                    continue;
                }
                text.Append(message[i]);
                i += doubled && (message[i] == '{' || message[i] == '}') ? 1 : 0;
            }
            rest = text.ToString();
            numbered = all;
        }

        /// <summary>That of a message; those of the first messages are kept.</summary>
        internal static Template Of(string message)
        {
            lock (Known)
            {
                if (!Known.TryGetValue(message, out Template template))
                {
                    template = new Template(message);
                    if (Known.Count < MaxKnown)
                    {
                        Known[message] = template;
                    }
                }
                return template;
            }
        }

        /// <summary>The message with its arguments.</summary>
        internal string Apply(object[] arguments)
        {
            var text = new StringBuilder();
            for (int i = 0; i < holes.Count; i++)
            {
                text.Append(holes[i].Before);
                object argument = Argument(i, arguments);
                text.Append(argument == null || argument is IList && !(argument is byte[]) || argument is IDictionary
                    ? holes[i].Whole : Shown(argument, holes[i].Format));
            }
            return text.Append(rest).ToString();
        }

        /// <summary>The arguments as members of a record.</summary>
        internal void Attributes(object[] arguments, Dictionary<string, object> record)
        {
            for (int i = 0; i < holes.Count; i++)
            {
                object argument = Argument(i, arguments);
                if (argument != null)
                {
                    record[holes[i].Name] = holes[i].Serialised ? Serialised(argument) : Plain(argument, holes[i].Format);
                }
            }
        }

        private object Argument(int hole, object[] arguments)
        {
            int index = numbered ? holes[hole].Number : hole;
            return index < arguments.Length ? arguments[index] : null;
        }

        private static object Serialised(object argument)
        {
            try
            {
                return Json.Parse(Encoding.UTF8.GetBytes(JsonBuffer.Of(argument).ToString()));
            }
            catch (JsonException)
            {
                return argument.ToString();
            }
        }

        private static object Plain(object argument, string format)
        {
            if (argument is IDictionary members)
            {
                var plain = new Dictionary<string, object>();
                IDictionaryEnumerator each = members.GetEnumerator();
                while (each.MoveNext())
                {
                    plain[Convert.ToString(each.Key, CultureInfo.InvariantCulture)] = each.Value == null ? null : Plain(each.Value, format);
                }
                return plain;
            }
            if (argument is IList items && !(argument is byte[]))
            {
                var plain = new List<object>();
                foreach (object one in items)
                {
                    plain.Add(one == null ? null : Plain(one, format));
                }
                return plain;
            }
            bool number = argument is bool || argument is decimal || argument.GetType().IsPrimitive && !(argument is char);
            return format == null && number ? argument : Shown(argument, format);
        }

        private static string Shown(object argument, string format)
        {
            if (argument is byte[] bytes)
            {
                string first = BitConverter.ToString(bytes, 0, Math.Min(bytes.Length, MaxBytes)).Replace("-", "");
                return bytes.Length > MaxBytes ? first + "... (" + bytes.Length + " bytes)" : first;
            }
            if (format != null)
            {
                try
                {
                    return string.Format("{0:" + format + "}", argument);
                }
                catch (FormatException)
                {
                    return argument.ToString();
                }
            }
            return argument is DateTime || argument is DateTimeOffset
                ? ((IFormattable)argument).ToString(Date, CultureInfo.InvariantCulture) : Convert.ToString(argument, CultureInfo.InvariantCulture);
        }

        private sealed class Hole
        {
            internal readonly string Before;
            internal readonly string Whole;
            internal readonly string Name;
            internal readonly string Format;
            internal readonly bool Serialised;
            /// <summary>-1 when it has a name.</summary>
            internal readonly int Number;

            internal Hole(string before, string inside)
            {
                Before = before;
                Whole = "{" + inside + "}";
                Serialised = inside[0] == '@';
                string named = Serialised ? inside.Substring(1) : inside;
                int colon = named.IndexOf(':');
                Name = (colon < 0 ? named : named.Substring(0, colon)).Trim();
                string format = colon < 0 ? "" : named.Substring(colon + 1).Trim();
                Format = format.Length == 0 ? null : format;
                Number = int.TryParse(Name, NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : -1;
            }
        }
    }
}
