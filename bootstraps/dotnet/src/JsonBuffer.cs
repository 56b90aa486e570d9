namespace Lambent
{
    using System;
    using System.Collections;
    using System.Collections.Generic;
    using System.Globalization;
    using System.IO;
    using System.Text;

    /// <summary>
    /// A growing buffer that JSON is written into, in UTF-8. Objects are written as AWS's DefaultLambdaJsonSerializer writes
    /// them: public properties by their names, those that are null left out.
    /// </summary>
    internal sealed class JsonBuffer
    {
        private const string Hexadecimal = "0123456789abcdef";

        private byte[] bytes = new byte[1024];
        private int length;

        /// <summary>What holds the text; only the first <see cref="Length"/> bytes are it.</summary>
        internal byte[] Bytes => bytes;

        /// <summary>Bytes.</summary>
        internal int Length => length;

        /// <summary>Bytes that it has room for.</summary>
        internal int Capacity => bytes.Length;

        /// <summary>One value. Throws JsonException.</summary>
        internal static JsonBuffer Of(object value)
        {
            var buffer = new JsonBuffer();
            buffer.Value(value);
            return buffer;
        }

        /// <summary>The text.</summary>
        public override string ToString()
        {
            return Encoding.UTF8.GetString(bytes, 0, length);
        }

        /// <summary>Empty again.</summary>
        internal void Clear()
        {
            length = 0;
        }

        /// <summary>Bytes as they are.</summary>
        internal void Raw(byte[] data, int offset, int count)
        {
            Room(count);
            Buffer.BlockCopy(data, offset, bytes, length, count);
            length += count;
        }

        /// <summary>A value. Throws JsonException when it has no form in JSON, and what its properties throw.</summary>
        internal void Value(object value)
        {
            Value(value, 0);
        }

        private void Value(object value, int depth)
        {
            if (depth > Json.MaxDepth)
            {
                throw new JsonException("A possible object cycle was detected: the object is more than " + Json.MaxDepth
                    + " levels deep.");
            }
            if (value == null)
            {
                Ascii("null");
            }
            else if (value is string text)
            {
                Text(text);
            }
            else if (value is bool yes)
            {
                Ascii(yes ? "true" : "false");
            }
            else if (value is Enum choice)
            {
                Ascii(choice.ToString("D"));
            }
            else if (value is double || value is float)
            {
                Real(Convert.ToDouble(value), ((IFormattable)value).ToString("R", CultureInfo.InvariantCulture));
            }
            else if (value is decimal || value.GetType().IsPrimitive && !(value is char || value is IntPtr || value is UIntPtr))
            {
                Ascii(((IFormattable)value).ToString(null, CultureInfo.InvariantCulture));
            }
            else if (value is IDictionary members)
            {
                Members(members.GetEnumerator(), depth);
            }
            else if (value is IEnumerable items) // byte[] too: AWS's serializer writes numbers
            {
                if (Binder.Argument(value.GetType(), Binder.DictionaryName, 0) == typeof(string))
                {
                    Members(new PairEnumerator(items.GetEnumerator()), depth);
                }
                else
                {
                    Items(items, depth);
                }
            }
            else if (Simple(value) is string simple)
            {
                Text(simple);
            }
            else
            {
                Properties(value, depth);
            }
        }

        /// <summary>The text of what is written as text, null for objects with members.</summary>
        private static string Simple(object value)
        {
            const string Precise = "yyyy-MM-ddTHH:mm:ss.FFFFFFFK";
            if (value is DateTime || value is DateTimeOffset)
            {
                return ((IFormattable)value).ToString(Precise, CultureInfo.InvariantCulture);
            }
            if (value is TimeSpan span)
            {
                return span.ToString("c", CultureInfo.InvariantCulture);
            }
            if (value is MemoryStream stream)
            {
                return Convert.ToBase64String(stream.ToArray());
            }
            if (value is char || value is Guid || value is Version)
            {
                return value.ToString();
            }
            switch (value.GetType().FullName)
            {
                case "System.Uri":
                    return (string)value.GetType().GetProperty("OriginalString").GetValue(value, null);
                case "System.DateOnly":
                    return ((IFormattable)value).ToString("yyyy-MM-dd", CultureInfo.InvariantCulture);
                case "System.TimeOnly":
                    return ((IFormattable)value).ToString("HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture);
            }
            if (value is Type || value is Delegate || value is IntPtr || value is UIntPtr || value is System.Reflection.MemberInfo)
            {
                throw new JsonException("Serialization and deserialization of '" + value.GetType().FullName
                    + "' instances is not supported.");
            }
            return null;
        }

        private void Members(IDictionaryEnumerator each, int depth)
        {
            Byte('{');
            bool first = true;
            while (each.MoveNext())
            {
                if (!first)
                {
                    Byte(',');
                }
                first = false;
                object key = each.Key;
                Text(key as string ?? (key is Enum ? key.ToString() : Simple(key)
                    ?? Convert.ToString(key, CultureInfo.InvariantCulture)));
                Byte(':');
                Value(each.Value, depth + 1);
            }
            Byte('}');
        }

        private void Items(IEnumerable items, int depth)
        {
            Byte('[');
            bool first = true;
            foreach (object one in items)
            {
                if (!first)
                {
                    Byte(',');
                }
                first = false;
                Value(one, depth + 1);
            }
            Byte(']');
        }

        private void Properties(object value, int depth)
        {
            Byte('{');
            bool first = true;
            foreach (Member member in Shape.Of(value.GetType()).Members)
            {
                object content = member.Get(value);
                if (content == null)
                {
                    continue;
                }
                if (!first)
                {
                    Byte(',');
                }
                first = false;
                Text(member.Name);
                Byte(':');
                Value(content, depth + 1);
            }
            Byte('}');
        }

        private void Real(double number, string digits)
        {
            if (double.IsNaN(number) || double.IsInfinity(number))
            {
                throw new JsonException(".NET number values such as positive and negative infinity cannot be written as valid JSON.");
            }
            Ascii(digits);
        }

        /// <summary>A string with its quotes.</summary>
        internal void Text(string text)
        {
            Byte('"');
            int i = 0;
            while (i < text.Length)
            {
                int start = i;
                while (i < text.Length && text[i] >= ' ' && text[i] != '"' && text[i] != '\\' && !char.IsSurrogate(text[i]))
                {
                    i++;
                }
                Run(text, start, i - start);
                if (i < text.Length)
                {
                    i += Escaped(text, i);
                }
            }
            Byte('"');
        }

        /// <summary>Characters that need no escape.</summary>
        private void Run(string text, int start, int count)
        {
            const int Piece = 8192;
            for (; count > 0; start += Piece, count -= Piece)
            {
                int now = Math.Min(count, Piece);
                Room(now * 3);
                length += Encoding.UTF8.GetBytes(text, start, now, bytes, length);
            }
        }

        /// <summary>What is at `i` and is not plain; how many characters that is.</summary>
        private int Escaped(string text, int i)
        {
            char one = text[i];
            if (char.IsHighSurrogate(one) && i + 1 < text.Length && char.IsLowSurrogate(text[i + 1]))
            {
                Room(4);
                length += Encoding.UTF8.GetBytes(text, i, 2, bytes, length);
                return 2;
            }
            switch (one)
            {
                case '"':
                case '\\':
                    Byte('\\');
                    Byte(one);
                    break;
                case '\n':
                    Ascii("\\n");
                    break;
                case '\r':
                    Ascii("\\r");
                    break;
                case '\t':
                    Ascii("\\t");
                    break;
                default: // a control character, or half of a pair
                    Ascii("\\u");
                    for (int shift = 12; shift >= 0; shift -= 4)
                    {
                        Byte(Hexadecimal[one >> shift & 15]);
                    }
                    break;
            }
            return 1;
        }

        private void Ascii(string text)
        {
            Room(text.Length);
            foreach (char one in text)
            {
                bytes[length++] = (byte)one;
            }
        }

        private void Byte(char one)
        {
            Room(1);
            bytes[length++] = (byte)one;
        }

        private void Room(int more)
        {
            if (length + more > bytes.Length)
            {
                Array.Resize(ref bytes, Math.Max(bytes.Length * 2, length + more));
            }
        }
    }
    /// <summary>The entries of a generic dictionary that is no plain one, such as ExpandoObject.</summary>
    internal sealed class PairEnumerator : IDictionaryEnumerator
    {
        private readonly IEnumerator pairs;

        internal PairEnumerator(IEnumerator pairs)
        {
            this.pairs = pairs;
        }

        public DictionaryEntry Entry => new DictionaryEntry(Key, Value);

        public object Key => Part("Key");

        public object Value => Part("Value");

        public object Current => Entry;

        public bool MoveNext() => pairs.MoveNext();

        public void Reset() => pairs.Reset();

        private object Part(string name) => pairs.Current.GetType().GetProperty(name).GetValue(pairs.Current, null);
    }
}
