namespace Lambent
{
    using System;
    using System.Collections;
    using System.Collections.Generic;
    using System.Globalization;
    using System.IO;
    using System.Reflection;

    /// <summary>Plain values, as <see cref="Json"/> reads them, to objects of the types that a function declares.</summary>
    internal static class Binder
    {
        internal const string DictionaryName = "System.Collections.Generic.IDictionary`2";
        /// <summary>Numbers of seconds above this are milliseconds, as AWS's serializer has it: the year 5000.</summary>
        private const double Year5000 = 157753180800;

        private static readonly DateTime Epoch = new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc);

        /// <summary>`value` as a `type`. Throws JsonException.</summary>
        internal static object Bind(object value, Type type)
        {
            Type inner = Nullable.GetUnderlyingType(type);
            if (value == null)
            {
                if (type.IsValueType && inner == null)
                {
                    throw Wrong(null, type);
                }
                return null;
            }
            type = inner ?? type;
            if (type == typeof(object) || type.IsInstanceOfType(value) && (type.IsPrimitive || type == typeof(string) || type == typeof(decimal)))
            {
                return value;
            }
            try
            {
                if (value is string text)
                {
                    return FromText(text, type);
                }
                if (value is Dictionary<string, object> members)
                {
                    return FromMembers(members, type);
                }
                if (value is List<object> items)
                {
                    return FromItems(items, type);
                }
                if (value is bool)
                {
                    throw Wrong(value, type);
                }
                return FromNumber(value, type);
            }
            catch (Exception error) when (error is FormatException || error is OverflowException || error is InvalidCastException
                || error is ArgumentException)
            {
                throw Wrong(value, type, error);
            }
            catch (TargetInvocationException error)
            {
                throw Wrong(value, type, error.InnerException ?? error);
            }
        }

        private static object FromText(string text, Type type)
        {
            CultureInfo culture = CultureInfo.InvariantCulture;
            if (type == typeof(char) && text.Length == 1)
            {
                return text[0];
            }
            if (type.IsEnum)
            {
                return Enum.Parse(type, text, true);
            }
            if (type == typeof(DateTime))
            {
                return DateTime.Parse(text, culture, DateTimeStyles.RoundtripKind);
            }
            if (type == typeof(DateTimeOffset))
            {
                return DateTimeOffset.Parse(text, culture, DateTimeStyles.AssumeUniversal);
            }
            if (type == typeof(TimeSpan))
            {
                return TimeSpan.Parse(text, culture);
            }
            if (type == typeof(Guid))
            {
                return new Guid(text);
            }
            if (type == typeof(Version))
            {
                return new Version(text);
            }
            if (type == typeof(byte[]))
            {
                return Convert.FromBase64String(text);
            }
            if (type == typeof(MemoryStream) || type == typeof(Stream))
            {
                return new MemoryStream(Convert.FromBase64String(text));
            }
            if (type.FullName == "System.Uri")
            {
                Type kind = type.Assembly.GetType("System.UriKind");
                return Activator.CreateInstance(type, text, Enum.ToObject(kind, 0));
            }
            if (type.FullName == "System.DateOnly" || type.FullName == "System.TimeOnly")
            {
                return type.GetMethod("Parse", new[] { typeof(string), typeof(IFormatProvider) }).Invoke(null, new object[] { text, culture });
            }
            throw Wrong(text, type);
        }

        private static object FromNumber(object number, Type type)
        {
            if (type.IsEnum && number is long)
            {
                return Enum.ToObject(type, number);
            }
            if (type == typeof(DateTime))
            {
                double since = Convert.ToDouble(number, CultureInfo.InvariantCulture);
                return since > Year5000 ? Epoch.AddMilliseconds(since) : Epoch.AddSeconds(since);
            }
            if (!type.IsPrimitive && type != typeof(decimal) || type == typeof(bool) || type == typeof(char))
            {
                throw Wrong(number, type);
            }
            object converted = Convert.ChangeType(number, type, CultureInfo.InvariantCulture);
            if (number is double real && type != typeof(float) && type != typeof(decimal)
                && Convert.ToDouble(converted, CultureInfo.InvariantCulture) != real)
            {
                throw Wrong(number, type); // 1.5 is no whole number
            }
            return converted;
        }

        private static object FromItems(List<object> items, Type type)
        {
            if (type.IsArray && type.GetArrayRank() == 1)
            {
                Type element = type.GetElementType();
                var array = Array.CreateInstance(element, items.Count);
                for (int i = 0; i < items.Count; i++)
                {
                    array.SetValue(Bind(items[i], element), i);
                }
                return array;
            }
            if (type.IsInstanceOfType(items)) // IEnumerable, IList
            {
                return items;
            }
            Type one = Argument(type, "System.Collections.Generic.IEnumerable`1", 0);
            if (one == null)
            {
                throw Wrong(items, type);
            }
            Type list = typeof(List<>).MakeGenericType(one);
            if (type.IsAssignableFrom(list))
            {
                var made = (IList)Activator.CreateInstance(list);
                foreach (object item in items)
                {
                    made.Add(Bind(item, one));
                }
                return made;
            }
            if (type.IsInterface && type.Name == "ISet`1")
            {
                type = type.Assembly.GetType("System.Collections.Generic.HashSet`1")?.MakeGenericType(one)
                    ?? Type.GetType("System.Collections.Generic.HashSet`1, System.Core", true).MakeGenericType(one);
            }
            object collection = Activator.CreateInstance(type);
            MethodInfo add = type.GetMethod("Add", new[] { one }) ?? type.GetMethod("Enqueue", new[] { one });
            if (add == null)
            {
                throw Wrong(items, type);
            }
            foreach (object item in items)
            {
                add.Invoke(collection, new[] { Bind(item, one) });
            }
            return collection;
        }

        private static object FromMembers(Dictionary<string, object> members, Type type)
        {
            if (type.IsInstanceOfType(members))
            {
                return members;
            }
            Type key = Argument(type, DictionaryName, 0) ?? Argument(type, "System.Collections.Generic.IReadOnlyDictionary`2", 0);
            if (key != null)
            {
                Type content = Argument(type, DictionaryName, 1) ?? Argument(type, "System.Collections.Generic.IReadOnlyDictionary`2", 1);
                Type plain = typeof(Dictionary<,>).MakeGenericType(key, content);
                var made = (IDictionary)Activator.CreateInstance(type.IsAssignableFrom(plain) ? plain : type);
                foreach (KeyValuePair<string, object> one in members)
                {
                    made[key == typeof(string) ? one.Key : Key(one.Key, key)] = Bind(one.Value, content);
                }
                return made;
            }
            if (type.IsPrimitive || type.IsEnum || type.IsInterface || type.IsAbstract || typeof(IEnumerable).IsAssignableFrom(type))
            {
                throw Wrong(members, type);
            }
            return FromMembers(members, type, Shape.Of(type));
        }

        private static object FromMembers(Dictionary<string, object> members, Type type, Shape shape)
        {
            ParameterInfo[] parameters = shape.Constructor?.GetParameters() ?? new ParameterInfo[0];
            if (shape.Constructor == null && !type.IsValueType)
            {
                throw new JsonException("Deserialization of types without a parameterless constructor, or a single public one, is not "
                    + "supported: " + type.FullName + ".");
            }
            var given = new object[parameters.Length];
            for (int i = 0; i < parameters.Length; i++)
            {
                Type wanted = parameters[i].ParameterType;
                given[i] = parameters[i].IsOptional ? parameters[i].DefaultValue : wanted.IsValueType ? Activator.CreateInstance(wanted) : null;
                foreach (KeyValuePair<string, object> one in members)
                {
                    if (string.Equals(one.Key, parameters[i].Name, StringComparison.OrdinalIgnoreCase))
                    {
                        given[i] = Member(one.Value, wanted, one.Key);
                    }
                }
            }
            object made = shape.Constructor == null ? Activator.CreateInstance(type) : shape.Constructor.Invoke(given);
            foreach (KeyValuePair<string, object> one in members)
            {
                if (shape.ByName.TryGetValue(one.Key, out Member member) && member.Settable)
                {
                    member.Set(made, Member(one.Value, member.Type, one.Key));
                }
            }
            return made;
        }

        private static object Member(object value, Type type, string name)
        {
            try
            {
                return Bind(value, type);
            }
            catch (JsonException error)
            {
                throw new JsonException(name + ": " + error.Message, error);
            }
        }

        private static object Key(string text, Type type)
        {
            return type.IsPrimitive ? Convert.ChangeType(text, type, CultureInfo.InvariantCulture) : Bind(text, type);
        }

        /// <summary>An argument of a generic interface that `type` is or has; null when it has not.</summary>
        internal static Type Argument(Type type, string name, int index)
        {
            if (type.IsInterface && type.IsGenericType && type.GetGenericTypeDefinition().FullName == name)
            {
                return type.GetGenericArguments()[index];
            }
            foreach (Type one in type.GetInterfaces())
            {
                if (one.IsGenericType && one.GetGenericTypeDefinition().FullName == name)
                {
                    return one.GetGenericArguments()[index];
                }
            }
            return null;
        }

        private static JsonException Wrong(object value, Type type, Exception cause = null)
        {
            string what = value == null ? "null" : value is string ? "a string" : value is bool ? "a boolean" : value is List<object> ? "an array"
                : value is Dictionary<string, object> ? "an object" : "a number";
            return new JsonException("The JSON value could not be converted to " + type.FullName + ": it is " + what
                + (cause == null ? "" : ", " + cause.Message), cause);
        }
    }
}
