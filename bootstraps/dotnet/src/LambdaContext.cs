namespace Lambent
{
    using System;
    using System.Collections.Generic;
    using System.Globalization;

    /// <summary>
    /// What a handler is told of its invocation: the members of AWS's `ILambdaContext`, by their names.
    /// A handler's parameter may be this class, or an interface named `ILambdaContext` (see <see cref="Adapter"/>).
    /// </summary>
    public sealed class LambdaContext
    {
        private readonly Invocation invocation;
        private LambdaClientContext client;
        private LambdaIdentity identity;

        internal LambdaContext(Invocation invocation, Log log)
        {
            this.invocation = invocation;
            Logger = new LambdaLog(log);
        }

        /// <summary>The request id.</summary>
        public string AwsRequestId => invocation.Id;

        /// <summary>The function as it was called: its ARN, with what it was qualified by.</summary>
        public string InvokedFunctionArn => invocation.Header("invoked-function-arn");

        /// <summary>The trace id, null when the invocation is not traced.</summary>
        public string TraceId => invocation.Header("trace-id");

        /// <summary>The tenant, null when there is none.</summary>
        public string TenantId => invocation.Header("aws-tenant-id");

        /// <summary>The function's name.</summary>
        public string FunctionName => Environment.GetEnvironmentVariable("AWS_LAMBDA_FUNCTION_NAME");

        /// <summary>Its version, `$LATEST` for what is not published.</summary>
        public string FunctionVersion => Environment.GetEnvironmentVariable("AWS_LAMBDA_FUNCTION_VERSION");

        /// <summary>Where its log goes.</summary>
        public string LogGroupName => Environment.GetEnvironmentVariable("AWS_LAMBDA_LOG_GROUP_NAME");

        /// <summary>And within that, this environment's.</summary>
        public string LogStreamName => Environment.GetEnvironmentVariable("AWS_LAMBDA_LOG_STREAM_NAME");

        /// <summary>MB.</summary>
        public int MemoryLimitInMB
        {
            get
            {
                int.TryParse(Environment.GetEnvironmentVariable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"), out int size);
                return size;
            }
        }

        /// <summary>The time that is left; negative when it is over.</summary>
        public TimeSpan RemainingTime => invocation.Deadline - DateTime.UtcNow;

        /// <summary>The function's logger.</summary>
        public LambdaLog Logger { get; }

        /// <summary>What a mobile client told of itself; its members are null when there was none.</summary>
        public LambdaClientContext ClientContext
            => client ?? (client = new LambdaClientContext(invocation.Members("client-context")));

        /// <summary>Who called, by Cognito; its members are null when there was none.</summary>
        public LambdaIdentity Identity => identity ?? (identity = new LambdaIdentity(invocation.Members("cognito-identity")));
    }

    /// <summary>AWS's `IClientContext`.</summary>
    public sealed class LambdaClientContext
    {
        internal LambdaClientContext(Dictionary<string, object> told)
        {
            Environment = Texts(told, "env");
            Custom = Texts(told, "custom");
            Client = told != null && told.TryGetValue("client", out object client) && client is Dictionary<string, object> members
                ? new LambdaClientApplication(members) : null;
        }

        /// <summary>`env`.</summary>
        public IDictionary<string, string> Environment { get; }

        /// <summary>`client`.</summary>
        public LambdaClientApplication Client { get; }

        /// <summary>`custom`; what is no text in it is JSON.</summary>
        public IDictionary<string, string> Custom { get; }

        private static IDictionary<string, string> Texts(Dictionary<string, object> told, string name)
        {
            if (told == null || !told.TryGetValue(name, out object value) || !(value is Dictionary<string, object> members))
            {
                return null;
            }
            var texts = new Dictionary<string, string>();
            foreach (KeyValuePair<string, object> one in members)
            {
                texts[one.Key] = one.Value == null ? "" : one.Value as string ?? JsonBuffer.Of(one.Value).ToString();
            }
            return texts;
        }
    }

    /// <summary>AWS's `IClientApplication`.</summary>
    public sealed class LambdaClientApplication
    {
        private readonly Dictionary<string, object> told;

        internal LambdaClientApplication(Dictionary<string, object> told)
        {
            this.told = told;
        }

        /// <summary>`app_package_name`.</summary>
        public string AppPackageName => Text("app_package_name");

        /// <summary>`app_title`.</summary>
        public string AppTitle => Text("app_title");

        /// <summary>`app_version_code`.</summary>
        public string AppVersionCode => Text("app_version_code");

        /// <summary>`app_version_name`.</summary>
        public string AppVersionName => Text("app_version_name");

        /// <summary>`installation_id`.</summary>
        public string InstallationId => Text("installation_id");

        private string Text(string name)
        {
            told.TryGetValue(name, out object value);
            return value == null ? null : Convert.ToString(value, CultureInfo.InvariantCulture);
        }
    }

    /// <summary>AWS's `ICognitoIdentity`.</summary>
    public sealed class LambdaIdentity
    {
        internal LambdaIdentity(Dictionary<string, object> told)
        {
            object value = null;
            IdentityId = told != null && told.TryGetValue("cognitoIdentityId", out value) ? value as string : null;
            IdentityPoolId = told != null && told.TryGetValue("cognitoIdentityPoolId", out value) ? value as string : null;
        }

        /// <summary>`cognitoIdentityId`.</summary>
        public string IdentityId { get; }

        /// <summary>`cognitoIdentityPoolId`.</summary>
        public string IdentityPoolId { get; }
    }

    /// <summary>AWS's `ILambdaLogger`. Levels: Trace, Debug, Information, Warning, Error, Critical.</summary>
    public sealed class LambdaLog
    {
        private readonly Log log;

        internal LambdaLog(Log log)
        {
            this.log = log;
        }

        /// <summary>Writes it as it is, without a newline.</summary>
        public void Log(string message) => log.Raw(message);

        /// <summary>A record of level Information.</summary>
        public void LogLine(string message) => log.Write("Information", null, message);

        /// <summary>A record.</summary>
        public void Log(string level, string message) => log.Write(level, null, message);

        /// <summary>A record whose message is a template: `{name}` is replaced, and a member of JSON records.</summary>
        public void Log(string level, string message, params object[] args) => log.Write(level, null, message, args);

        /// <summary>The same, with an exception.</summary>
        public void Log(string level, Exception exception, string message, params object[] args)
            => log.Write(level, exception, message, args);

        /// <summary>A record of its level.</summary>
        public void LogTrace(string message) => log.Write("Trace", null, message);

        /// <summary>A record of its level.</summary>
        public void LogDebug(string message) => log.Write("Debug", null, message);

        /// <summary>A record of its level.</summary>
        public void LogInformation(string message) => log.Write("Information", null, message);

        /// <summary>A record of its level.</summary>
        public void LogWarning(string message) => log.Write("Warning", null, message);

        /// <summary>A record of its level.</summary>
        public void LogError(string message) => log.Write("Error", null, message);

        /// <summary>A record of its level.</summary>
        public void LogCritical(string message) => log.Write("Critical", null, message);

        /// <summary>A record of its level.</summary>
        public void LogTrace(string message, params object[] args) => log.Write("Trace", null, message, args);

        /// <summary>A record of its level.</summary>
        public void LogDebug(string message, params object[] args) => log.Write("Debug", null, message, args);

        /// <summary>A record of its level.</summary>
        public void LogInformation(string message, params object[] args) => log.Write("Information", null, message, args);

        /// <summary>A record of its level.</summary>
        public void LogWarning(string message, params object[] args) => log.Write("Warning", null, message, args);

        /// <summary>A record of its level.</summary>
        public void LogError(string message, params object[] args) => log.Write("Error", null, message, args);

        /// <summary>A record of its level.</summary>
        public void LogCritical(string message, params object[] args) => log.Write("Critical", null, message, args);
    }
}
