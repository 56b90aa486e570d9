namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Reflection;

    /// <summary>A property that is written and read.</summary>
    internal sealed class Member
    {
        internal readonly string Name;
        internal readonly Type Type;
        private readonly PropertyInfo property;

        internal Member(string name, PropertyInfo property)
        {
            Name = name;
            Type = property.PropertyType;
            this.property = property;
        }

        /// <summary>Whether it can be set.</summary>
        internal bool Settable => property.GetSetMethod() != null;

        /// <summary>Its value. Throws what the property throws.</summary>
        internal object Get(object of)
        {
            try
            {
                return property.GetValue(of, null);
            }
            catch (TargetInvocationException error) when (error.InnerException != null)
            {
                throw new JsonException("The property '" + Name + "' of " + of.GetType().FullName + " failed: "
                    + error.InnerException.Message, error.InnerException);
            }
        }

        /// <summary>Sets it.</summary>
        internal void Set(object of, object value) => property.SetValue(of, value, null);
    }

    /// <summary>
    /// What of a class is in JSON: its public properties, by the names that System.Text.Json, data contracts or Newtonsoft's
    /// attributes give them, else their own. The attributes are known by name, so that no assembly is needed for them.
    /// </summary>
    internal sealed class Shape
    {
        private static readonly Dictionary<Type, Shape> Known = new Dictionary<Type, Shape>();

        /// <summary>Those that can be read, in their order.</summary>
        internal readonly List<Member> Members = new List<Member>();
        /// <summary>All, by name without regard to case.</summary>
        internal readonly Dictionary<string, Member> ByName = new Dictionary<string, Member>(StringComparer.OrdinalIgnoreCase);
        /// <summary>What makes one: without parameters, else the only public one, whose parameters are named as members.</summary>
        internal readonly ConstructorInfo Constructor;

        private Shape(Type type)
        {
            foreach (PropertyInfo property in type.GetProperties(BindingFlags.Instance | BindingFlags.Public))
            {
                if (property.GetIndexParameters().Length > 0 || property.PropertyType.IsPointer)
                {
                    continue;
                }
                string name = Name(property);
                if (name == null)
                {
                    continue;
                }
                var member = new Member(name, property);
                if (property.GetGetMethod() != null)
                {
                    Members.Add(member);
                }
                if (!ByName.ContainsKey(name))
                {
                    ByName.Add(name, member);
                }
            }
            Constructor = type.GetConstructor(Type.EmptyTypes);
            ConstructorInfo[] all = type.GetConstructors();
            if (Constructor == null && all.Length == 1)
            {
                Constructor = all[0];
            }
        }

        /// <summary>That of a class or struct.</summary>
        internal static Shape Of(Type type)
        {
            lock (Known)
            {
                if (!Known.TryGetValue(type, out Shape shape))
                {
                    Known[type] = shape = new Shape(type);
                }
                return shape;
            }
        }

        /// <summary>The name in JSON, null when it is not to be there.</summary>
        private static string Name(PropertyInfo property)
        {
            string name = property.Name;
            foreach (object attribute in property.GetCustomAttributes(true))
            {
                Type type = attribute.GetType();
                switch (type.Name)
                {
                    case "JsonIgnoreAttribute":
                        if ((type.GetProperty("Condition")?.GetValue(attribute, null)?.ToString() ?? "Always") == "Always")
                        {
                            return null;
                        }
                        break;
                    case "IgnoreDataMemberAttribute":
                        return null;
                    case "JsonPropertyNameAttribute":
                    case "DataMemberAttribute":
                        name = type.GetProperty("Name")?.GetValue(attribute, null) as string ?? name;
                        break;
                    case "JsonPropertyAttribute":
                        name = type.GetProperty("PropertyName")?.GetValue(attribute, null) as string ?? name;
                        break;
                }
            }
            return name;
        }
    }
}
