using System;
using System.Collections.Generic;
using Amazon.Lambda.Core;

/// <summary>The function of tests/support/families.py, in C#.</summary>
public class App
{
    private int calls;

    public object Handle(Dictionary<string, object> input, ILambdaContext context)
    {
        calls++;
        switch ((string)input["do"])
        {
            case "echo":
                return input.ContainsKey("value") ? input["value"] : null;
            case "context":
                return new Dictionary<string, object>
                {
                    ["requestId"] = context.AwsRequestId,
                    ["arn"] = context.InvokedFunctionArn,
                    ["name"] = context.FunctionName,
                    ["version"] = context.FunctionVersion,
                    ["memory"] = context.MemoryLimitInMB.ToString(),
                    ["logGroup"] = context.LogGroupName,
                    ["logStream"] = context.LogStreamName,
                    ["remaining"] = (int)context.RemainingTime.TotalMilliseconds,
                    ["client"] = context.ClientContext.Custom,
                };
            case "log":
                context.Logger.LogLine("a line of log");
                Console.Write("a printed line\n");
                return null;
            case "count":
                return calls;
            case "fail":
                throw new InvalidOperationException("it failed \u00e9");
            case "unserialisable":
                return double.NaN;
            case "trace":
                return Environment.GetEnvironmentVariable("_X_AMZN_TRACE_ID");
            case "large":
                return new string('x', (int)(long)input["size"]);
            case "exit":
                Environment.Exit((int)(long)input["status"]);
                return null;
        }
        return null;
    }
}

/// <summary>Its constructor throws.</summary>
public class Broken
{
    public Broken()
    {
        throw new InvalidOperationException("it cannot start \u00e9");
    }

    public object Handle(object input)
    {
        return input;
    }
}
