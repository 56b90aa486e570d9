package lambent;

import java.util.Map;

/** One invocation, as the Runtime API gave it. */
public final class Invocation {
    private static final Map<String, String> ENVIRONMENT = System.getenv();

    private final Connection.Answer answer;

    Invocation(Connection.Answer answer) {
        this.answer = answer;
    }

    /** A variable of the environment. */
    public static String variable(String name) {
        return ENVIRONMENT.get(name);
    }

    /** A header without its prefix `lambda-runtime-`, null when it is not there. */
    public String header(String name) {
        return answer.headers.get("lambda-runtime-" + name);
    }

    /** The request id. */
    public String id() {
        return header("aws-request-id");
    }

    /** The event as it came. */
    public byte[] event() {
        return answer.body;
    }

    /** Milliseconds until it times out, never below 0. */
    public int remaining() {
        String deadline = header("deadline-ms");
        long left = (deadline == null ? 0 : Long.parseLong(deadline)) - System.currentTimeMillis();
        return (int) Math.max(left, 0);
    }

    /** A header's JSON object; null when there is none. Throws IllegalArgumentException when it is no JSON. */
    @SuppressWarnings("unchecked")
    public Map<String, Object> object(String header) {
        String text = header(header);
        Object value = text == null || text.isEmpty() ? null
                : Json.parse(text.getBytes(java.nio.charset.StandardCharsets.UTF_8));
        return value instanceof Map ? (Map<String, Object>) value : null;
    }
}
