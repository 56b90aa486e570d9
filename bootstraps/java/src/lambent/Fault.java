package lambent;

import java.io.PrintWriter;
import java.io.StringWriter;
import java.util.Arrays;
import java.util.Collections;
import java.util.IdentityHashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.stream.Collectors;

/** What went wrong before or instead of the function's code: its text, and the type that callers read. */
final class Fault extends RuntimeException {
    private static final long serialVersionUID = 1;

    final String type;
    final String trace;
    /** Whether it is a failure of Init, and not of each invocation. */
    final boolean fatal;

    Fault(String message, Throwable cause, boolean fatal) {
        super(message, null, false, false);
        type = cause == null ? null : cause.getClass().getName();
        trace = cause == null ? null : trace(cause);
        this.fatal = fatal;
    }

    static Fault of(String message) {
        return new Fault(message, null, false);
    }

    static String message(Throwable error) {
        return error.getLocalizedMessage() == null ? error.getClass().getName() : error.getLocalizedMessage();
    }

    /** The error body of whatever was thrown. */
    static Map<String, Object> body(Throwable error) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("errorMessage", message(error));
        if (error instanceof Fault) {
            if (((Fault) error).type != null) {
                out.put("errorType", ((Fault) error).type);
            }
        } else {
            out.put("errorType", error.getClass().getName());
            out.put("stackTrace", Arrays.stream(error.getStackTrace()).map(Object::toString).collect(Collectors.toList()));
        }
        return out;
    }

    /** X-Ray's form of it, in ASCII. */
    static String cause(Throwable error) {
        StackTraceElement[] trace = error.getStackTrace();
        List<Map<String, Object>> stack = Arrays.stream(trace).limit(100).map(one -> {
            Map<String, Object> element = new LinkedHashMap<>();
            element.put("label", one.getMethodName());
            element.put("path", file(one));
            element.put("line", one.getLineNumber());
            return element;
        }).collect(Collectors.toList());
        Map<String, Object> exception = new LinkedHashMap<>();
        exception.put("message", error.getMessage());
        exception.put("type", error.getClass().getName());
        exception.put("stack", stack);
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("working_directory", System.getProperty("user.dir"));
        out.put("exceptions", Collections.singletonList(exception));
        out.put("paths", Arrays.stream(trace).map(Fault::file).collect(Collectors.toSet()));
        return Json.ascii(Json.write(out));
    }

    private static String file(StackTraceElement one) {
        String name = one.getClassName();
        return one.getFileName() != null ? one.getFileName() : name.substring(name.lastIndexOf('.') + 1) + ".java";
    }

    /** What is logged of it. */
    static String report(Throwable error) {
        if (error instanceof Fault) {
            Fault fault = (Fault) error;
            return fault.type == null ? fault.getMessage() + "\n"
                    : fault.getMessage() + ": " + fault.type + "\n" + fault.trace + "\n";
        }
        return message(error) + ": " + error.getClass().getName() + "\n" + trace(error) + "\n";
    }

    static String trace(Throwable error) {
        StringWriter out = new StringWriter();
        filtered(error).printStackTrace(new PrintWriter(out));
        return out.toString();
    }

    /** The same, its stack traces and those of its causes without this runtime's frames and what they called through. */
    static <T extends Throwable> T filtered(T error) {
        filter(error, Collections.newSetFromMap(new IdentityHashMap<>()));
        return error;
    }

    private static void filter(Throwable error, Set<Throwable> seen) {
        if (error == null || !seen.add(error)) {
            return;
        }
        StackTraceElement[] trace = error.getStackTrace();
        for (int i = 0; i < trace.length; i++) {
            if (trace[i].getClassName().startsWith("lambent.")) {
                while (i > 0 && between(trace[i - 1].getClassName())) {
                    i--;
                }
                error.setStackTrace(Arrays.copyOf(trace, i));
                break;
            }
        }
        filter(error.getCause(), seen);
        for (Throwable one : error.getSuppressed()) {
            filter(one, seen);
        }
    }

    private static boolean between(String name) {
        return name.startsWith("jdk.internal.reflect.") || name.startsWith("java.lang.reflect.")
                || name.startsWith("java.lang.invoke.");
    }
}
