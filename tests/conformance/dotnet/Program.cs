using System;
using System.Collections.Generic;
using Lambent;

/// <summary>A function that is a program: it calls the loop itself, with a delegate.</summary>
public static class Program
{
    private static int calls;

    public static int Main()
    {
        string failure = Environment.GetEnvironmentVariable("FAIL");
        if (failure != null)
        {
            throw new InvalidOperationException(failure);
        }
        return Function.Run((Func<Dictionary<string, string>, LambdaContext, object>)Handle);
    }

    private static object Handle(Dictionary<string, string> input, LambdaContext context)
    {
        calls++;
        return new { Hello = input.ContainsKey("name") ? input["name"] : "world", Id = context.AwsRequestId, Calls = calls };
    }
}
