namespace Lambent
{
    using System;
    using System.IO;
    using System.Reflection;

    /// <summary>An event or a result that is none of JSON; AWS's serializers throw one of this name.</summary>
    internal sealed class JsonSerializerException : Exception
    {
        internal JsonSerializerException(string message, Exception cause)
            : base(message, cause)
        {
        }
    }

    /// <summary>
    /// Turns events and results into objects and back: by the function's own serializer, where its assembly or method has a
    /// `LambdaSerializer` attribute, else by this runtime's codec, which does as AWS's DefaultLambdaJsonSerializer.
    /// </summary>
    internal abstract class Serializer
    {
        private const string Attribute = "Amazon.Lambda.Core.LambdaSerializerAttribute";
        private const string Interface = "Amazon.Lambda.Core.ILambdaSerializer";

        /// <summary>The event as an object of a type. Throws what the serializer throws.</summary>
        internal abstract object Read(byte[] body, Type type);

        /// <summary>A result as bytes. Throws what the serializer throws.</summary>
        internal abstract void Write(object value, Type declared, JsonBuffer to);

        /// <summary>That of a method. Throws LambdaValidationException when the attribute names what is no serializer.</summary>
        internal static Serializer Of(MethodInfo method)
        {
            object attribute = Named(method.GetCustomAttributes(false)) ?? Named(method.Module.Assembly.GetCustomAttributes(false));
            if (attribute == null)
            {
                return new Default();
            }
            var type = attribute.GetType().GetProperty("SerializerType")?.GetValue(attribute, null) as Type;
            if (type == null)
            {
                throw new LambdaValidationException("The 'SerializerType' property on attribute class '" + Attribute + "' is not set.");
            }
            if (type.GetConstructor(Type.EmptyTypes) == null)
            {
                throw new LambdaValidationException("The indicated serializer '" + type.FullName
                    + "' does not define a public zero-parameter constructor.");
            }
            Type shape = type.GetInterface(Interface);
            if (shape == null)
            {
                throw new LambdaValidationException("The '" + type.FullName
                    + "' class is invalid: it does not implement the 'ILambdaSerializer' interface.");
            }
            return new Own(Activator.CreateInstance(type), shape);
        }

        private static object Named(object[] attributes)
        {
            foreach (object one in attributes)
            {
                if (one.GetType().FullName == Attribute)
                {
                    return one;
                }
            }
            return null;
        }

        private sealed class Default : Serializer
        {
            internal override object Read(byte[] body, Type type)
            {
                try
                {
                    return Binder.Bind(Json.Parse(body), type);
                }
                catch (JsonException error)
                {
                    throw new JsonSerializerException("Error converting the Lambda event JSON payload to type " + type.FullName
                        + ": " + error.Message, error);
                }
            }

            internal override void Write(object value, Type declared, JsonBuffer to)
            {
                try
                {
                    to.Value(value);
                }
                catch (JsonException error)
                {
                    throw new JsonSerializerException("Error converting the response object of type " + declared.FullName
                        + " from the Lambda function to JSON: " + error.Message, error);
                }
            }
        }

        private sealed class Own : Serializer
        {
            private readonly object serializer;
            private readonly MethodInfo read;
            private readonly MethodInfo write;

            internal Own(object serializer, Type shape)
            {
                this.serializer = serializer;
                read = shape.GetMethod("Deserialize");
                write = shape.GetMethod("Serialize");
            }

            internal override object Read(byte[] body, Type type)
            {
                return read.MakeGenericMethod(type).Invoke(serializer, new object[] { new MemoryStream(body) });
            }

            internal override void Write(object value, Type declared, JsonBuffer to)
            {
                write.MakeGenericMethod(declared).Invoke(serializer, new[] { value, new BufferStream(to) });
            }
        }
    }

    /// <summary>A stream into a buffer, for those who write to streams only.</summary>
    internal sealed class BufferStream : Stream
    {
        private readonly JsonBuffer buffer;

        internal BufferStream(JsonBuffer buffer)
        {
            this.buffer = buffer;
        }

        public override bool CanRead => false;

        public override bool CanSeek => false;

        public override bool CanWrite => true;

        public override long Length => buffer.Length;

        public override long Position
        {
            get => buffer.Length;
            set => throw new NotSupportedException();
        }

        public override void Write(byte[] data, int offset, int count) => buffer.Raw(data, offset, count);

        public override void Flush()
        {
        }

        public override int Read(byte[] data, int offset, int count) => throw new NotSupportedException();

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();
    }
}
