import java.util.Map;

/** A plain method as handler, without any jar: javac Hello.java, handler Hello::greet. */
public class Hello {
    private int calls;

    public static class Event {
        public String name;
    }

    public Map<String, Object> greet(Event event) {
        calls++;
        System.out.println("call " + calls);
        return Map.of("hello", event.name == null ? "world" : event.name, "calls", calls);
    }
}
