using System;
using System.Collections.Generic;

/// <summary>The function that `lambent conform` tells what to do (docs/conform.md). Handler: Conform::Conform::Handle.</summary>
public class Conform
{
    private int calls;

    public interface ILambdaContext
    {
        string AwsRequestId { get; }

        string InvokedFunctionArn { get; }

        TimeSpan RemainingTime { get; }

        IClientContext ClientContext { get; }
    }

    public interface IClientContext
    {
        IDictionary<string, string> Custom { get; }
    }

    public object Handle(Dictionary<string, object> input, ILambdaContext context)
    {
        switch ((string)input["do"])
        {
            case "verbs":
                return new[] { "echo", "fail", "unserialisable", "size", "count", "context", "exit" };
            case "echo":
                return input["value"];
            case "fail":
                throw new InvalidOperationException((string)input["message"]);
            case "unserialisable":
                return double.NaN;
            case "size":
                return new string('x', (int)(long)input["bytes"]);
            case "count":
                calls++;
                return calls;
            case "exit":
                Environment.Exit((int)(long)input["code"]);
                return null;
            default:
                return new Dictionary<string, object>
                {
                    ["requestId"] = context.AwsRequestId,
                    ["arn"] = context.InvokedFunctionArn,
                    ["remainingMs"] = (int)context.RemainingTime.TotalMilliseconds,
                    ["traceId"] = Environment.GetEnvironmentVariable("_X_AMZN_TRACE_ID"),
                    ["clientContext"] = context.ClientContext.Custom,
                };
        }
    }
}
