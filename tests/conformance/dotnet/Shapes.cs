using System;
using System.Collections.Generic;
using System.IO;
using System.Text;
using System.Threading.Tasks;
using Amazon.Lambda.Core;

namespace Functions
{
    public enum Colour
    {
        Red,
        Blue,
    }

    /// <summary>As System.Text.Json's, which Mono does not have: attributes are known by their names.</summary>
    [AttributeUsage(AttributeTargets.Property)]
    public sealed class JsonPropertyNameAttribute : Attribute
    {
        public JsonPropertyNameAttribute(string name)
        {
            Name = name;
        }

        public string Name { get; }
    }

    [AttributeUsage(AttributeTargets.Property)]
    public sealed class JsonIgnoreAttribute : Attribute
    {
    }

    /// <summary>Without setters: made by its constructor.</summary>
    public sealed class Point
    {
        public Point(int x, int y)
        {
            X = x;
            Y = y;
        }

        public int X { get; }

        public int Y { get; }
    }

    public class Thing
    {
        public string Name { get; set; }

        public int Count { get; set; }

        public double Ratio { get; set; }

        public ulong Big { get; set; }

        public Colour Colour { get; set; }

        public int? Maybe { get; set; }

        public DateTime At { get; set; }

        public DateTimeOffset When { get; set; }

        public Guid Id { get; set; }

        public byte[] Raw { get; set; }

        public List<byte> Data { get; set; }

        public IReadOnlyList<Thing> Items { get; set; }

        public IDictionary<int, bool[]> Map { get; set; }

        [JsonPropertyName("renamed-here")]
        public string Other { get; set; }

        [JsonIgnore]
        public string Secret { get; set; }

        public Uri Link { get; set; }

        public Point Point { get; set; }

        public TimeSpan Span { get; set; }

        public object Any { get; set; }
    }

    /// <summary>Text in capitals, without JSON.</summary>
    public sealed class Shouting : ILambdaSerializer
    {
        public T Deserialize<T>(Stream requestStream)
        {
            string text = new StreamReader(requestStream).ReadToEnd();
            if (text == "bad")
            {
                throw new FormatException("no such event");
            }
            return (T)(object)text.ToUpperInvariant();
        }

        public void Serialize<T>(T response, Stream responseStream)
        {
            byte[] data = Encoding.UTF8.GetBytes("<" + response + ">");
            responseStream.Write(data, 0, data.Length);
        }
    }

    public abstract class Base
    {
        public string Inherited(int input)
        {
            return "inherited " + input;
        }
    }

    public class Shapes : Base
    {
        public void Nothing()
        {
        }

        public string NothingButContext(ILambdaContext context)
        {
            return context.AwsRequestId;
        }

        public static string StaticText(string input)
        {
            return "<" + input + ">";
        }

        public Stream StreamToStream(Stream input)
        {
            return new MemoryStream(Encoding.UTF8.GetBytes(new StreamReader(input).ReadToEnd().ToUpperInvariant()));
        }

        public MemoryStream TextToStream(string input, ILambdaContext context)
        {
            return new MemoryStream(Encoding.UTF8.GetBytes(input));
        }

        public long StreamToText(Stream input)
        {
            return input.Length;
        }

        public Task<int> InTask(int input)
        {
            return Task.FromResult(input * 2);
        }

        public async Task<int> InTaskThatYields(int input, ILambdaContext context)
        {
            await Task.Delay(1);
            return input * 2;
        }

        public async Task TaskWithoutResult(int input)
        {
            await Task.Yield();
        }

        private string Private(int input)
        {
            return "private " + input;
        }

        public string ObjectAsContext(int input, dynamic context)
        {
            return ((Lambent.LambdaContext)context).AwsRequestId;
        }

        public string Overloaded(int input)
        {
            return "number " + input;
        }

        public string Overloaded(string input)
        {
            return "text " + input;
        }

        public string Three(int one, int two, int three)
        {
            return null;
        }

        public string Two(int one, int two)
        {
            return null;
        }

        public string Generic<T>(T input)
        {
            return null;
        }

        public async void AsyncVoid()
        {
            await Task.Yield();
        }

        public Thing Thing(Thing input)
        {
            return input;
        }

        public string Nested(string what)
        {
            switch (what)
            {
                case "several":
                    throw new AggregateException("all", new FormatException("one"), new FormatException("two"));
                case "long":
                    throw new FormatException(new string('x', 300000));
            }
            try
            {
                throw new KeyNotFoundException(what);
            }
            catch (KeyNotFoundException error)
            {
                throw new InvalidOperationException("outer", error);
            }
        }

        public async Task<string> FailsLater(string what)
        {
            await Task.Yield();
            if (what == "cancel")
            {
                throw new TaskCanceledException();
            }
            throw new FormatException("later");
        }

        [LambdaSerializer(typeof(Shouting))]
        public string Shouted(string input)
        {
            return input;
        }

        public object Context(object input, ILambdaContext context)
        {
            string unknown = null;
            try
            {
                context.Logger.NobodyHasThis(1);
            }
            catch (Exception error)
            {
                unknown = error.GetType().Name;
            }
            IClientApplication client = context.ClientContext.Client;
            return new Dictionary<string, object>
            {
                ["client"] = client == null ? null : new[] { client.AppTitle, client.InstallationId, client.AppPackageName },
                ["custom"] = context.ClientContext.Custom,
                ["env"] = context.ClientContext.Environment,
                ["identity"] = new[] { context.Identity.IdentityId, context.Identity.IdentityPoolId },
                ["memory"] = context.MemoryLimitInMB,
                ["name"] = context.FunctionName,
                ["id"] = context.AwsRequestId,
                ["unknown"] = unknown,
            };
        }

        public void Logs(object input, ILambdaContext context)
        {
            Console.WriteLine("printed");
            Console.Error.WriteLine("to stderr");
            context.Logger.LogWarning("from {name} of {count}", "you", 3);
            LambdaLogger.Log("static");
            Console.WriteLine();
            Console.WriteLine("{0} {1}", "a", 1);
            context.Logger.Log("as it is\n");
            context.Logger.Log("Debug", "not wanted");
            context.Logger.Log("Critical", new FormatException("inside"), "it broke");
        }

        public void LogsWithPlainContext(object input, Lambent.LambdaContext context)
        {
            Console.WriteLine("printed");
            Console.Error.WriteLine("to stderr");
            context.Logger.LogWarning("from {name} of {count}", "you", 3);
            LambdaLogger.Log("static");
            Console.WriteLine();
            Console.WriteLine("{0} {1}", "a", 1);
            context.Logger.Log("as it is\n");
            context.Logger.LogDebug("not wanted");
            context.Logger.Log("Critical", new FormatException("inside"), "it broke");
        }
    }

    public class Hidden
    {
        private interface ILambdaContext
        {
            string AwsRequestId { get; }
        }

        private string Handle(ILambdaContext context)
        {
            return context.AwsRequestId;
        }
    }
}
