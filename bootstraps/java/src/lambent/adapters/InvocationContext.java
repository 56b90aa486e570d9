package lambent.adapters;

import com.amazonaws.services.lambda.runtime.Client;
import com.amazonaws.services.lambda.runtime.ClientContext;
import com.amazonaws.services.lambda.runtime.CognitoIdentity;
import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaLogger;
import java.util.LinkedHashMap;
import java.util.Map;
import lambent.Invocation;

/** The context of one invocation. */
public final class InvocationContext implements Context {
    private final Invocation invocation;
    private final LambdaLogger logger;
    private final Map<String, Object> client;
    private final Map<String, Object> identity;

    InvocationContext(Invocation invocation, LambdaLogger logger) {
        this.invocation = invocation;
        this.logger = logger;
        client = invocation.object("client-context");
        identity = invocation.object("cognito-identity");
    }

    @Override
    public String getAwsRequestId() {
        return invocation.id();
    }

    @Override
    public String getLogGroupName() {
        return Invocation.variable("AWS_LAMBDA_LOG_GROUP_NAME");
    }

    @Override
    public String getLogStreamName() {
        return Invocation.variable("AWS_LAMBDA_LOG_STREAM_NAME");
    }

    @Override
    public String getFunctionName() {
        return Invocation.variable("AWS_LAMBDA_FUNCTION_NAME");
    }

    @Override
    public String getFunctionVersion() {
        return Invocation.variable("AWS_LAMBDA_FUNCTION_VERSION");
    }

    @Override
    public String getInvokedFunctionArn() {
        return invocation.header("invoked-function-arn");
    }

    @Override
    public int getRemainingTimeInMillis() {
        return invocation.remaining();
    }

    @Override
    public int getMemoryLimitInMB() {
        return Integer.parseInt(Invocation.variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"));
    }

    @Override
    public LambdaLogger getLogger() {
        return logger;
    }

    public String getTenantId() {
        return invocation.header("aws-tenant-id");
    }

    public String getXrayTraceId() {
        return invocation.header("trace-id");
    }

    @Override
    public CognitoIdentity getIdentity() {
        if (identity == null) {
            return null;
        }
        return new CognitoIdentity() {
            @Override
            public String getIdentityId() {
                return text(identity, "cognitoIdentityId");
            }

            @Override
            public String getIdentityPoolId() {
                return text(identity, "cognitoIdentityPoolId");
            }
        };
    }

    @Override
    public ClientContext getClientContext() {
        if (client == null) {
            return null;
        }
        return new ClientContext() {
            @Override
            public Client getClient() {
                return client.get("client") == null ? null : new Application(member(client, "client"));
            }

            @Override
            public Map<String, String> getCustom() {
                return texts(member(client, "custom"));
            }

            @Override
            public Map<String, String> getEnvironment() {
                return texts(member(client, "env"));
            }
        };
    }

    private static String text(Map<String, Object> of, String name) {
        Object value = of.get(name);
        return value == null ? null : value.toString();
    }

    @SuppressWarnings("unchecked")
    private static Map<String, Object> member(Map<String, Object> of, String name) {
        Object value = of.get(name);
        return value instanceof Map ? (Map<String, Object>) value : null;
    }

    private static Map<String, String> texts(Map<String, Object> values) {
        if (values == null) {
            return null;
        }
        Map<String, String> out = new LinkedHashMap<>();
        values.forEach((name, value) -> out.put(name, value == null ? null : value.toString()));
        return out;
    }

    private static final class Application implements Client {
        private final Map<String, Object> about;

        Application(Map<String, Object> about) {
            this.about = about == null ? Map.of() : about;
        }

        @Override
        public String getInstallationId() {
            return text(about, "installation_id");
        }

        @Override
        public String getAppTitle() {
            return text(about, "app_title");
        }

        @Override
        public String getAppVersionName() {
            return text(about, "app_version_name");
        }

        @Override
        public String getAppVersionCode() {
            return text(about, "app_version_code");
        }

        @Override
        public String getAppPackageName() {
            return text(about, "app_package_name");
        }
    }
}
