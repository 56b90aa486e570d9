package lambent;

import java.io.File;
import java.io.IOError;
import java.io.IOException;
import java.nio.charset.StandardCharsets;

/**
 * Lambent's Java runtime: polls the Runtime API, calls the handler, posts what it returned.
 *
 * It needs a JDK and nothing else. It behaves as AWS's own runtime client (aws-lambda-java-runtime-interface-client)
 * does: handlers, error bodies, context, logs, exit codes.
 */
public final class Bootstrap {
    /** The caller has been told that the result was too large; this runtime goes on. */
    private static final int TOO_LARGE = 413;
    private static final int TOO_LATE = 410;
    /** Bytes; a longer cause does not travel in a header. */
    private static final int MAX_CAUSE = 65_536;
    private static final String TRACE = "com.amazonaws.xray.traceHeader"; // where AWS's X-Ray SDK looks

    private final Connection connection = new Connection(Invocation.variable("AWS_LAMBDA_RUNTIME_API"));
    private final Logs logs = new Logs();

    private Bootstrap() {
    }

    public static void main(String[] arguments) {
        Logs.redirect();
        String name = arguments.length > 0 ? arguments[0] : String.valueOf(Invocation.variable("_HANDLER"));
        int code;
        try {
            code = new Bootstrap().run(name);
        } catch (IOException error) {
            System.err.println("bootstrap: the Runtime API is gone: " + error.getMessage());
            code = 1;
        }
        System.exit(code);
    }

    /** Serves invocations; returns the exit code. */
    private int run(String name) throws IOException {
        String root = Invocation.variable("LAMBDA_TASK_ROOT");
        Handler handler;
        try {
            FunctionLoader loader = FunctionLoader.of(root == null ? new File("").getAbsolutePath() : root);
            Thread.currentThread().setContextClassLoader(loader);
            Aws aws = loader.hasAws() ? loader.aws() : null;
            if (aws != null) {
                aws.installLogger(logs);
            }
            handler = Handler.find(name, loader, aws);
        } catch (Throwable error) {
            logs.error(Fault.report(error));
            post("init/error", Fault.body(Fault.filtered(error)), type(new Fault("", null, true)));
            return 1;
        }
        Handler.Output out = new Handler.Output();
        while (true) {
            Connection.Answer answer = connection.next();
            if (answer.status != 200) {
                System.err.println("bootstrap: the Runtime API gave no invocation: " + answer.status + " " + answer.text());
                return 1;
            }
            out.reset();
            if (!serve(new Invocation(answer), handler, out)) {
                return 1;
            }
            if (out.buffer().length > 1 << 20) {
                out = new Handler.Output(); // a big result does not stay in memory until the next one
            }
        }
    }

    private boolean serve(Invocation invocation, Handler handler, Handler.Output out) throws IOException {
        String id = invocation.id();
        String attempt = invocation.header("invocation-id");
        String echo = attempt == null ? "" : "Lambda-Runtime-Invocation-Id: " + attempt + "\r\n";
        String trace = invocation.header("trace-id");
        if (trace == null) {
            System.clearProperty(TRACE);
        } else {
            System.setProperty(TRACE, trace);
        }
        logs.begin(invocation);
        Throwable failure = null;
        try {
            handler.call(invocation, out);
            Thread.interrupted(); // the function's own business, and over
        } catch (Throwable error) {
            failure = Fault.filtered(error);
        }
        System.out.flush();
        Connection.Answer answer;
        if (failure == null) {
            answer = connection.post("invocation/" + id + "/response", out.buffer(), out.size(),
                    "Content-Type: application/json\r\n" + echo);
        } else {
            logs.error(Fault.report(failure));
            answer = post("invocation/" + id + "/error", Fault.body(failure), type(failure) + cause(failure) + echo);
        }
        if (answer.status >= 300 && answer.status != TOO_LARGE && answer.status != TOO_LATE) {
            System.err.println("bootstrap: the Runtime API refused the result of " + id + ": " + answer.status + " "
                    + answer.text());
            return false;
        }
        return !(failure instanceof VirtualMachineError || failure instanceof IOError);
    }

    private Connection.Answer post(String where, Object body, String headers) throws IOException {
        byte[] data = Json.write(body).getBytes(StandardCharsets.UTF_8);
        return connection.post(where, data, data.length, "Content-Type: application/json\r\n" + headers);
    }

    private static String type(Throwable error) {
        String kind = error instanceof Fault ? "Runtime.BadFunctionCode" : "Runtime.UserException";
        return "Lambda-Runtime-Function-Error-Type: " + kind + "\r\n";
    }

    private static String cause(Throwable error) {
        String cause = error instanceof Fault ? null : Fault.cause(error);
        return cause == null || cause.length() >= MAX_CAUSE ? ""
                : "Lambda-Runtime-Function-XRay-Error-Cause: " + cause + "\r\n";
    }
}
