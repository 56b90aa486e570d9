import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.LambdaRuntime;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/** Handlers of every form: what AWS's client and ours make of them must be the same. */
public class Kit {
    public enum Colour { RED, GREEN }

    public static class Address {
        private String street;
        private Integer number;

        public String getStreet() {
            return street;
        }

        public void setStreet(String street) {
            this.street = street;
        }

        public Integer getNumber() {
            return number;
        }

        public void setNumber(Integer number) {
            this.number = number;
        }
    }

    public static class Person {
        public String name;
        public List<String> tags;
        public Map<String, Integer> counts;
        public Colour colour;
        public Address[] addresses;
        private int age;
        private boolean active;
        private String url;
        private String secret = "kept";

        public int getAge() {
            return age;
        }

        public void setAge(int age) {
            this.age = age;
        }

        public boolean isActive() {
            return active;
        }

        public void setActive(boolean active) {
            this.active = active;
        }

        public String getURL() {
            return url;
        }

        public void setURL(String url) {
            this.url = url;
        }
    }

    public Person bean(Person person) {
        return person;
    }

    public int list(List<Integer> numbers) {
        return numbers.stream().mapToInt(Integer::intValue).sum();
    }

    public String type(Object event) {
        return event == null ? "null" : event.getClass().getSimpleName();
    }

    public String text(String text, Context context) {
        return text + "/" + context.getFunctionName();
    }

    public long number(long number) {
        return number + 1;
    }

    public Set<Colour> set(Set<Colour> colours) {
        return colours;
    }

    public static String unbound() {
        return "static";
    }

    public String contextOnly(Context context) {
        return context.getAwsRequestId() + context.getTenantId();
    }

    public void nothing(String text) {
        System.out.println("got " + text);
    }

    public String overloaded(String text) {
        return "one";
    }

    public String overloaded(String text, Context context) {
        return "two";
    }

    public String overloaded(String text, Integer other) {
        return "never";
    }

    public String tooMany(String one, String two, String three, Context context) {
        return "never";
    }

    public void bytes(InputStream in, OutputStream out) throws IOException {
        out.write('<');
        in.transferTo(out);
        out.write('>');
    }

    public void bytesIn(InputStream in) throws IOException {
        System.out.println(in.readAllBytes().length);
    }

    public void bytesOut(OutputStream out, Context context) throws IOException {
        out.write("[1]".getBytes());
    }

    public Map<String, Object> values(Object event) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("decimal", new BigDecimal("1.10"));
        out.put("large", new BigInteger("123456789012345678901234567890"));
        out.put("double", 1e300);
        out.put("nan", Double.NaN);
        out.put("float", 1.5f);
        out.put("char", 'c');
        out.put("date", new Date(1700000000000L));
        out.put("ints", new int[] {1, 2});
        out.put("bytes", new byte[] {1, 2, 3});
        out.put("enum", Colour.RED);
        out.put("none", null);
        out.put("nested", Arrays.asList(1, null, "x", List.of()));
        out.put("text", "\u00e9\u20ac\ud83d\ude00\u2028\"\\/\n\t\u0001\u007f");
        out.put("uuid", java.util.UUID.fromString("00000000-0000-0001-0000-000000000002"));
        out.put("builder", new StringBuilder("built"));
        return out;
    }

    public void fails(Object event) throws Exception {
        throw new IOException("with a cause", new IllegalArgumentException("the cause"));
    }

    public void failsSilently(Object event) {
        throw new UnsupportedOperationException();
    }

    public Object overflows(Object event) {
        return overflows(event).toString();
    }

    public String logs(Object event, Context context) {
        context.getLogger().log("through the context\n");
        context.getLogger().log("with bytes\n".getBytes());
        LambdaRuntime.getLogger().log("through the class\n");
        System.err.println("to stderr");
        return null;
    }

    public Map<String, Object> client(Object event, Context context) {
        Map<String, Object> out = new LinkedHashMap<>();
        out.put("custom", context.getClientContext().getCustom());
        out.put("environment", context.getClientContext().getEnvironment());
        out.put("title", context.getClientContext().getClient().getAppTitle());
        return out;
    }

    private Kit(int unused) {
    }

    public Kit() {
    }

    public abstract static class Base<T> implements RequestHandler<List<T>, Map<String, T>> {
        @Override
        public Map<String, T> handleRequest(List<T> input, Context context) {
            return Map.of("first", input.get(0));
        }
    }

    public static class Derived extends Base<Address> {
    }

    public static class Stream implements RequestStreamHandler {
        @Override
        public void handleRequest(InputStream in, OutputStream out, Context context) throws IOException {
            out.write(("{\"size\":" + in.readAllBytes().length + "}").getBytes());
        }
    }

    public static class Unparameterised<T> implements RequestHandler<T, String> {
        @Override
        public String handleRequest(T input, Context context) {
            return "never";
        }
    }

    public static class Throwing {
        public Throwing() {
            throw new IllegalStateException("no instance");
        }

        public String go() {
            return "never";
        }
    }

    public static class Closed {
        private Closed() {
        }

        public String go() {
            return "never";
        }
    }

    public class Inner implements RequestHandler<String, String> {
        @Override
        public String handleRequest(String input, Context context) {
            return new ArrayList<>(List.of(input)).toString();
        }
    }
}
