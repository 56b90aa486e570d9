using System;
using System.Collections.Generic;

/// <summary>A plain method as handler, without any package: mcs -target:library Hello.cs, handler Hello::Hello::Greet.</summary>
public class Hello
{
    private int calls;

    public class Event
    {
        public string Name { get; set; }
    }

    /// <summary>What this function uses of AWS's interface: one of that name, declared by whoever needs it, is served.</summary>
    public interface ILambdaContext
    {
        string AwsRequestId { get; }

        TimeSpan RemainingTime { get; }
    }

    public Dictionary<string, object> Greet(Event input, ILambdaContext context)
    {
        calls++;
        Console.WriteLine("call " + calls + " of " + context.AwsRequestId);
        return new Dictionary<string, object>
        {
            ["hello"] = input.Name ?? "world",
            ["calls"] = calls,
            ["ms_left"] = (int)context.RemainingTime.TotalMilliseconds,
        };
    }
}
