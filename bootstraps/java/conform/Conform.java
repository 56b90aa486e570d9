import java.util.List;
import java.util.Map;

/** The function that `lambent conform` tells what to do (docs/conform.md). A JDK's own classes are enough to compile it. */
public class Conform {
    private int calls;

    public Object handle(Map<String, Object> event) {
        switch ((String) event.get("do")) {
            case "verbs":
                return List.of("echo", "fail", "unserialisable", "size", "count", "exit");
            case "echo":
                return event.get("value");
            case "fail":
                throw new IllegalStateException((String) event.get("message"));
            case "unserialisable":
                return new Ring();
            case "size":
                return "x".repeat(((Number) event.get("bytes")).intValue());
            case "count":
                calls += 1;
                return calls;
            default:
                Runtime.getRuntime().halt(((Number) event.get("code")).intValue());
                return null;
        }
    }

    /** A bean without end. */
    public static final class Ring {
        public Ring getNext() {
            return this;
        }
    }
}
