namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Text;

    /// <summary>One invocation, as the Runtime API gave it.</summary>
    internal sealed class Invocation
    {
        private static readonly DateTime Epoch = new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc);

        private readonly Answer answer;

        internal Invocation(Answer answer)
        {
            this.answer = answer;
        }

        /// <summary>The request id.</summary>
        internal string Id => Header("aws-request-id") ?? "";

        /// <summary>The event as it came.</summary>
        internal byte[] Event => answer.Body;

        /// <summary>When it times out; a time long gone when nobody said.</summary>
        internal DateTime Deadline
        {
            get
            {
                long.TryParse(Header("deadline-ms"), out long milliseconds);
                return Epoch.AddMilliseconds(milliseconds);
            }
        }

        /// <summary>A header without its prefix `lambda-runtime-`, null when it is not there.</summary>
        internal string Header(string name)
        {
            answer.Headers.TryGetValue("lambda-runtime-" + name, out string value);
            return value;
        }

        /// <summary>A header's JSON object, null when there is none. Throws JsonException when it is no JSON.</summary>
        internal Dictionary<string, object> Members(string header)
        {
            string text = Header(header);
            return string.IsNullOrWhiteSpace(text) ? null : Json.Parse(Encoding.UTF8.GetBytes(text)) as Dictionary<string, object>;
        }
    }
}
