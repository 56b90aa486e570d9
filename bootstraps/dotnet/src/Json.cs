namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Globalization;
    using System.Text;

    /// <summary>What is no JSON, or has no form in it.</summary>
    internal sealed class JsonException : Exception
    {
        internal JsonException(string message, Exception cause = null)
            : base(message, cause)
        {
        }
    }

    /// <summary>
    /// JSON text to plain values: Dictionary of string and object, List of object, string, long, decimal, double, bool, null.
    /// Its own, and not the class library's: Mono has none that reads such values, and .NET's is not in Mono.
    /// </summary>
    internal sealed class Json
    {
        /// <summary>Deeper than any honest event, and not so deep that the stack would end.</summary>
        internal const int MaxDepth = 1000;

        private readonly byte[] text;
        private int at;

        private Json(byte[] text)
        {
            this.text = text;
        }

        /// <summary>What the whole of `text` says, in UTF-8. Throws JsonException.</summary>
        internal static object Parse(byte[] text)
        {
            var parser = new Json(text);
            object value = parser.Value(0);
            parser.Space();
            if (parser.at != text.Length)
            {
                throw parser.Wrong("the end was expected");
            }
            return value;
        }

        private object Value(int depth)
        {
            if (depth > MaxDepth)
            {
                throw Wrong("more than " + MaxDepth + " levels");
            }
            Space();
            switch (Peek())
            {
                case (byte)'{':
                    return Members(depth);
                case (byte)'[':
                    return Items(depth);
                case (byte)'"':
                    return Text();
                case (byte)'t':
                    return Word("true", true);
                case (byte)'f':
                    return Word("false", false);
                case (byte)'n':
                    return Word("null", null);
                default:
                    return Number();
            }
        }

        private Dictionary<string, object> Members(int depth)
        {
            var members = new Dictionary<string, object>();
            at++;
            Space();
            if (Peek() == '}')
            {
                at++;
                return members;
            }
            while (true)
            {
                Space();
                if (Peek() != '"')
                {
                    throw Wrong("a name was expected");
                }
                string name = Text();
                Space();
                Expect(':');
                members[name] = Value(depth + 1);
                Space();
                if (Peek() == '}')
                {
                    at++;
                    return members;
                }
                Expect(',');
            }
        }

        private List<object> Items(int depth)
        {
            var items = new List<object>();
            at++;
            Space();
            if (Peek() == ']')
            {
                at++;
                return items;
            }
            while (true)
            {
                items.Add(Value(depth + 1));
                Space();
                if (Peek() == ']')
                {
                    at++;
                    return items;
                }
                Expect(',');
            }
        }

        private string Text()
        {
            int start = ++at;
            Plain();
            if (text[at] == '"') // by far the most: nothing is escaped
            {
                return Encoding.UTF8.GetString(text, start, at++ - start);
            }
            var whole = new StringBuilder();
            while (true)
            {
                whole.Append(Encoding.UTF8.GetString(text, start, at - start));
                if (text[at] == '"')
                {
                    at++;
                    return whole.ToString();
                }
                at++;
                whole.Append(Escaped());
                start = at;
                Plain();
            }
        }

        /// <summary>Goes on to the next quote or backslash.</summary>
        private void Plain()
        {
            byte[] data = text;
            int i = at;
            while (i < data.Length && data[i] != '"' && data[i] != '\\' && data[i] >= ' ')
            {
                i++;
            }
            at = i;
            if (Peek() < ' ')
            {
                throw Wrong("a control character has to be escaped");
            }
        }

        private char Escaped()
        {
            byte which = Peek();
            at++;
            switch (which)
            {
                case (byte)'n':
                    return '\n';
                case (byte)'t':
                    return '\t';
                case (byte)'r':
                    return '\r';
                case (byte)'b':
                    return '\b';
                case (byte)'f':
                    return '\f';
                case (byte)'"':
                case (byte)'\\':
                case (byte)'/':
                    return (char)which;
                case (byte)'u':
                    int code = 0;
                    for (int end = at + 4; at < end; at++)
                    {
                        code = code << 4 | Digit(Peek());
                    }
                    return (char)code;
                default:
                    at--;
                    throw Wrong("no such escape");
            }
        }

        private int Digit(byte one)
        {
            int letter = one | 0x20;
            int value = one >= '0' && one <= '9' ? one - '0' : letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
            if (value < 0)
            {
                throw Wrong("four hexadecimal digits were expected");
            }
            return value;
        }

        private object Number()
        {
            int start = at;
            bool whole = true;
            if (Peek() == '-')
            {
                at++;
            }
            if (Peek() == '0')
            {
                at++;
            }
            else
            {
                Digits();
            }
            if (at < text.Length && text[at] == '.')
            {
                whole = false;
                at++;
                Digits();
            }
            if (at < text.Length && (text[at] | 0x20) == 'e')
            {
                whole = false;
                at++;
                if (Peek() == '+' || text[at] == '-')
                {
                    at++;
                }
                Digits();
            }
            string digits = Encoding.ASCII.GetString(text, start, at - start);
            if (whole)
            {
                if (long.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long number))
                {
                    return number;
                }
                if (decimal.TryParse(digits, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out decimal large))
                {
                    return large;
                }
            }
            if (!double.TryParse(digits, NumberStyles.Float, CultureInfo.InvariantCulture, out double real) || double.IsInfinity(real))
            {
                throw Wrong("the number " + digits + " is too large");
            }
            return real;
        }

        private void Digits()
        {
            int start = at;
            while (at < text.Length && text[at] >= '0' && text[at] <= '9')
            {
                at++;
            }
            if (at == start)
            {
                throw Wrong(at == text.Length ? "it ends too early" : "a value was expected");
            }
        }

        private object Word(string word, object value)
        {
            foreach (char one in word)
            {
                Expect(one);
            }
            return value;
        }

        private void Expect(char wanted)
        {
            if (Peek() != wanted)
            {
                throw Wrong("'" + wanted + "' was expected");
            }
            at++;
        }

        private byte Peek()
        {
            if (at >= text.Length)
            {
                throw Wrong(text.Length == 0 ? "it is empty" : "it ends too early");
            }
            return text[at];
        }

        private void Space()
        {
            while (at < text.Length && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t'))
            {
                at++;
            }
        }

        private JsonException Wrong(string what)
        {
            return new JsonException("this is not valid JSON: " + what + " (byte " + at + ")");
        }
    }
}
