namespace Lambent
{
    using System;
    using System.IO;
    using System.Reflection;

    /// <summary>
    /// Lambent's .NET runtime: polls the Runtime API, calls the handler, posts what it returned.
    ///
    /// It behaves as AWS's own (Amazon.Lambda.RuntimeSupport) does: handlers, error bodies, context, logs. It uses the core
    /// library alone: on Mono that one is compiled ahead of time, and to load another costs more than all the rest.
    /// </summary>
    internal static class Bootstrap
    {
        /// <summary>The caller has been told that the result was too large, or came too late; this runtime goes on.</summary>
        private const int TooLarge = 413, TooLate = 410;
        /// <summary>Bytes; a longer cause does not travel in a header.</summary>
        private const int MaxCause = 65536;

        private static Connection connection;
        private static Log log;
        private static bool serving;

        private static int Main(string[] arguments)
        {
            string name = arguments.Length > 0 ? arguments[0] : Variables.Get("_HANDLER") ?? "";
            try
            {
                log = new Log();
                connection = new Connection(Variables.Get("AWS_LAMBDA_RUNTIME_API") ?? "");
                return Start(name);
            }
            catch (IOException error)
            {
                log.Plain("bootstrap: the Runtime API is gone: " + error.Message);
                return 1;
            }
        }

        private static int Start(string name)
        {
            try
            {
                FunctionLoader.Begin(Variables.Get("LAMBDA_TASK_ROOT") ?? Directory.GetCurrentDirectory(), log);
                if (name.IndexOf("::", StringComparison.Ordinal) < 0 && FunctionLoader.Executable(name) is Assembly program)
                {
                    return Execute(program);
                }
                return Serve(Handler.Find(name));
            }
            catch (Exception error) when (!serving)
            {
                return Fail(error);
            }
        }

        /// <summary>A program that brings its own loop, or calls <see cref="Function.Run"/>.</summary>
        private static int Execute(Assembly program)
        {
            MethodInfo main = program.EntryPoint;
            object[] arguments = main.GetParameters().Length == 0 ? null : new object[] { new string[0] };
            try
            {
                return main.Invoke(null, arguments) as int? ?? 0;
            }
            catch (TargetInvocationException error) when (error.InnerException is IOException && serving)
            {
                throw error.InnerException;
            }
            catch (TargetInvocationException error) when (error.InnerException != null)
            {
                return Fail(error.InnerException);
            }
        }

        /// <summary>Tells that the function cannot start; the exit code.</summary>
        private static int Fail(Exception error)
        {
            if (error is TargetInvocationException && error.InnerException != null)
            {
                error = error.InnerException; // a constructor of the function's
            }
            log.Error(error);
            if (!serving)
            {
                connection.Post("init/error", Fault.Body(error), Headers(error, null));
            }
            return 1;
        }

        /// <summary>Serves invocations; the exit code.</summary>
        internal static int Serve(Handler handler)
        {
            serving = true;
            var output = new JsonBuffer();
            while (true)
            {
                Answer answer = connection.Next();
                if (answer.Status != 200)
                {
                    log.Plain("bootstrap: the Runtime API gave no invocation: " + answer.Status + " " + answer.Text());
                    return 1;
                }
                output.Clear();
                if (!Answered(new Invocation(answer), handler, output))
                {
                    return 1;
                }
                if (output.Capacity > 1 << 20)
                {
                    output = new JsonBuffer(); // a big result does not stay in memory until the next one
                }
            }
        }

        private static bool Answered(Invocation invocation, Handler handler, JsonBuffer output)
        {
            Environment.SetEnvironmentVariable("_X_AMZN_TRACE_ID", invocation.Header("trace-id"));
            log.Begin(invocation);
            Exception failure = handler.Call(invocation, new LambdaContext(invocation, log), output);
            string attempt = invocation.Header("invocation-id");
            string echo = attempt == null ? "" : "Lambda-Runtime-Invocation-Id: " + attempt + "\r\n";
            Answer answer;
            if (failure == null)
            {
                answer = connection.Post("invocation/" + invocation.Id + "/response", output, echo);
            }
            else
            {
                log.Error(failure);
                answer = connection.Post("invocation/" + invocation.Id + "/error", Fault.Body(failure), Headers(failure, echo));
            }
            if (answer.Status < 300 || answer.Status == TooLarge || answer.Status == TooLate)
            {
                return true;
            }
            log.Plain("bootstrap: the Runtime API refused the result of " + invocation.Id + ": " + answer.Status + " "
                + answer.Text());
            return false;
        }

        private static string Headers(Exception error, string echo)
        {
            string headers = "Lambda-Runtime-Function-Error-Type: " + Fault.HeaderType(error) + "\r\n";
            string cause = echo == null ? null : Fault.Cause(error);
            return cause == null || cause.Length >= MaxCause ? headers + echo
                : headers + "Lambda-Runtime-Function-XRay-Error-Cause: " + cause + "\r\n" + echo;
        }
    }

    /// <summary>The environment's variables, as they were at the start.</summary>
    internal static class Variables
    {
        /// <summary>A variable's value; null when it is not there or empty.</summary>
        internal static string Get(string name)
        {
            string value = Environment.GetEnvironmentVariable(name);
            return string.IsNullOrEmpty(value) ? null : value;
        }
    }

    /// <summary>For programs: a function whose package has a `Main` of its own calls this.</summary>
    public static class Function
    {
        /// <summary>
        /// Serves invocations with `handler` for as long as the environment lives; the exit code of the process.
        /// The delegate may have any signature that a handler's method may have.
        /// </summary>
        public static int Run(Delegate handler)
        {
            return Bootstrap.Serve(Handler.Of(handler.Method, handler.Target));
        }
    }
}
