package lambent;

import java.io.ByteArrayOutputStream;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** JSON text to plain values and back: Map, List, String, Integer, Long, BigInteger, Double, Boolean, null. */
final class Json {
    /** Deeper than any honest event, and not so deep that the parser's own stack would end. */
    static final int MAX_DEPTH = 1000;

    private final byte[] text;
    private int at;

    private Json(byte[] text) {
        this.text = text;
    }

    /** What the whole of `text` says, in UTF-8. */
    static Object parse(byte[] text) {
        Json parser = new Json(text);
        Object value = parser.value(0);
        parser.space();
        if (parser.at != text.length) {
            throw parser.wrong("the end was expected");
        }
        return value;
    }

    private Object value(int depth) {
        if (depth > MAX_DEPTH) {
            throw wrong("more than " + MAX_DEPTH + " levels");
        }
        space();
        switch (peek()) {
            case '{':
                return object(depth);
            case '[':
                return array(depth);
            case '"':
                return string();
            case 't':
                return word("true", Boolean.TRUE);
            case 'f':
                return word("false", Boolean.FALSE);
            case 'n':
                return word("null", null);
            default:
                return number();
        }
    }

    private Map<String, Object> object(int depth) {
        Map<String, Object> out = new LinkedHashMap<>();
        at++;
        space();
        if (peek() == '}') {
            at++;
            return out;
        }
        while (true) {
            space();
            if (peek() != '"') {
                throw wrong("a name was expected");
            }
            String name = string();
            space();
            expect(':');
            out.put(name, value(depth + 1));
            space();
            if (peek() == '}') {
                at++;
                return out;
            }
            expect(',');
        }
    }

    private List<Object> array(int depth) {
        List<Object> out = new ArrayList<>();
        at++;
        space();
        if (peek() == ']') {
            at++;
            return out;
        }
        while (true) {
            out.add(value(depth + 1));
            space();
            if (peek() == ']') {
                at++;
                return out;
            }
            expect(',');
        }
    }

    private String string() {
        int start = ++at;
        while (at < text.length && text[at] != '"' && text[at] != '\\') {
            at++;
        }
        if (at < text.length && text[at] == '"') { // by far the most: nothing is escaped
            return new String(text, start, at++ - start, StandardCharsets.UTF_8);
        }
        StringBuilder out = new StringBuilder(new String(text, start, at - start, StandardCharsets.UTF_8));
        while (peek() != '"') {
            if (text[at] == '\\') {
                at++;
                out.append(escaped());
                continue;
            }
            start = at;
            while (peek() != '"' && text[at] != '\\') {
                at++;
            }
            out.append(new String(text, start, at - start, StandardCharsets.UTF_8));
        }
        at++;
        return out.toString();
    }

    private char escaped() {
        byte which = peek();
        at++;
        switch (which) {
            case 'n':
                return '\n';
            case 't':
                return '\t';
            case 'r':
                return '\r';
            case 'b':
                return '\b';
            case 'f':
                return '\f';
            case 'u':
                int code = 0;
                for (int end = at + 4; at < end; at++) {
                    int digit = Character.digit(peek(), 16);
                    if (digit < 0) {
                        throw wrong("four hexadecimal digits were expected");
                    }
                    code = code << 4 | digit;
                }
                return (char) code;
            case '"':
            case '\\':
            case '/':
                return (char) which;
            default:
                throw wrong("no such escape");
        }
    }

    private Object number() {
        int start = at;
        boolean whole = true;
        while (at < text.length && "+-.eE0123456789".indexOf(text[at]) >= 0) {
            whole &= text[at] != '.' && text[at] != 'e' && text[at] != 'E';
            at++;
        }
        String digits = new String(text, start, at - start, StandardCharsets.ISO_8859_1);
        try {
            if (!whole) {
                return Double.valueOf(digits);
            }
            if (digits.length() < 10) {
                return Integer.valueOf(digits);
            }
            BigInteger number = new BigInteger(digits);
            return number.bitLength() < 32 ? (Object) number.intValue()
                    : number.bitLength() < 64 ? (Object) number.longValue() : number;
        } catch (NumberFormatException error) {
            at = start;
            throw wrong("a value was expected");
        }
    }

    private Object word(String word, Object value) {
        for (int i = 0; i < word.length(); i++) {
            expect(word.charAt(i));
        }
        return value;
    }

    private void space() {
        while (at < text.length && (text[at] == ' ' || text[at] == '\n' || text[at] == '\r' || text[at] == '\t')) {
            at++;
        }
    }

    private byte peek() {
        if (at >= text.length) {
            throw wrong("unexpected end");
        }
        return text[at];
    }

    private void expect(char wanted) {
        if (peek() != wanted) {
            throw wrong("'" + wanted + "' was expected");
        }
        at++;
    }

    private IllegalArgumentException wrong(String what) {
        return new IllegalArgumentException("no JSON: " + what + " at byte " + at);
    }

    /** Plain values as JSON text; anything else as what `toString` makes of it. See {@link Beans} for objects. */
    static String write(Object value) {
        Writer out = new Writer();
        out.value(value);
        return out.text();
    }

    /** Collects JSON text. */
    static class Writer {
        final StringBuilder out = new StringBuilder(256);

        String text() {
            return out.toString();
        }

        byte[] bytes() {
            return text().getBytes(StandardCharsets.UTF_8);
        }

        void value(Object value) {
            if (value instanceof Map) {
                char before = '{';
                for (Map.Entry<?, ?> entry : ((Map<?, ?>) value).entrySet()) {
                    if (entry.getValue() == null) {
                        continue; // AWS's settings of Jackson leave out members that are null
                    }
                    out.append(before);
                    string(String.valueOf(entry.getKey()));
                    out.append(':');
                    value(entry.getValue());
                    before = ',';
                }
                out.append(before == '{' ? "{}" : "}");
            } else if (value instanceof Iterable) {
                char before = '[';
                for (Object item : (Iterable<?>) value) {
                    out.append(before);
                    value(item);
                    before = ',';
                }
                out.append(before == '[' ? "[]" : "]");
            } else if (value instanceof Double || value instanceof Float) {
                double number = ((Number) value).doubleValue();
                if (Double.isNaN(number) || Double.isInfinite(number)) {
                    string(value.toString()); // as Jackson does
                } else {
                    out.append(value);
                }
            } else if (value == null || value instanceof Boolean || value instanceof Number) {
                out.append(value instanceof BigDecimal ? ((BigDecimal) value).toString() : String.valueOf(value));
            } else {
                string(value.toString());
            }
        }

        void string(String text) {
            out.append('"');
            int from = 0;
            int length = text.length();
            for (int i = 0; i < length; i++) {
                char c = text.charAt(i);
                if (c >= 0x20 && c != '"' && c != '\\') {
                    continue;
                }
                out.append(text, from, i);
                from = i + 1;
                switch (c) {
                    case '"':
                    case '\\':
                        out.append('\\').append(c);
                        break;
                    case '\n':
                        out.append("\\n");
                        break;
                    case '\r':
                        out.append("\\r");
                        break;
                    case '\t':
                        out.append("\\t");
                        break;
                    default:
                        escape(out, c);
                }
            }
            out.append(text, from, length).append('"');
        }
    }

    /** JSON text without a character beyond ASCII, for a header. */
    static String ascii(String json) {
        StringBuilder out = new StringBuilder(json.length());
        for (int i = 0; i < json.length(); i++) {
            char c = json.charAt(i);
            if (c < 0x7F) {
                out.append(c);
            } else {
                escape(out, c);
            }
        }
        return out.toString();
    }

    private static void escape(StringBuilder out, char c) {
        String digits = Integer.toHexString(c);
        out.append("\\u").append("0000", 0, 4 - digits.length()).append(digits);
    }

    /** The rest of `input`, as bytes. */
    static byte[] all(java.io.InputStream input) throws java.io.IOException {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        input.transferTo(out);
        return out.toByteArray();
    }
}
