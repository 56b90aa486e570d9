import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The function of tests/support/families.py, in Java. */
public class App implements RequestHandler<Map<String, Object>, Object> {
    private int calls;

    @Override
    public Object handleRequest(Map<String, Object> event, Context context) {
        calls++;
        switch ((String) event.get("do")) {
            case "echo":
                return event.get("value");
            case "context":
                Map<String, Object> told = new LinkedHashMap<>();
                told.put("requestId", context.getAwsRequestId());
                told.put("arn", context.getInvokedFunctionArn());
                told.put("name", context.getFunctionName());
                told.put("version", context.getFunctionVersion());
                told.put("memory", String.valueOf(context.getMemoryLimitInMB()));
                told.put("logGroup", context.getLogGroupName());
                told.put("logStream", context.getLogStreamName());
                told.put("remaining", context.getRemainingTimeInMillis());
                told.put("client", context.getClientContext() == null ? null : context.getClientContext().getCustom());
                return told;
            case "log":
                context.getLogger().log("a line of log\n");
                System.out.println("a printed line");
                return null;
            case "count":
                return calls;
            case "fail":
                throw new IllegalStateException("it failed \u00e9");
            case "unserialisable":
                List<Object> circle = new ArrayList<>();
                circle.add(circle);
                return circle;
            case "trace":
                return System.getProperty("com.amazonaws.xray.traceHeader");
            case "large":
                return "x".repeat(((Number) event.get("size")).intValue());
            case "exit":
                System.exit(((Number) event.get("status")).intValue());
        }
        return null;
    }

    /** Its class cannot be initialised. */
    public static class Broken implements RequestHandler<Object, Object> {
        static final int LENGTH = System.getProperty("there.is.no.such.property").length();

        @Override
        public Object handleRequest(Object event, Context context) {
            return LENGTH;
        }
    }
}
