package lambent;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Member;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.util.Base64;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;

/** The properties of the function's own classes, and those as JSON text. How JSON becomes them: {@link Binder}. */
final class Beans {
    /** One property: how it is read or written, and of which type. */
    static final class Property {
        final Member member;
        final Type type;

        Property(Member member, Type type) {
            this.member = member;
            this.type = type;
        }

        Object get(Object bean) throws ReflectiveOperationException {
            return member instanceof Field ? ((Field) member).get(bean) : ((Method) member).invoke(bean);
        }

        void set(Object bean, Object value) throws ReflectiveOperationException {
            if (member instanceof Field) {
                ((Field) member).set(bean, value);
            } else {
                ((Method) member).invoke(bean, value);
            }
        }
    }

    private static final Map<Class<?>, Map<String, Property>> READABLE = new HashMap<>();
    private static final Map<Class<?>, Map<String, Property>> WRITABLE = new HashMap<>();

    private Beans() {
    }

    /** Records have no public API before Java 16, which this is compiled without. */
    static boolean isRecord(Class<?> type) {
        return type.getSuperclass() != null && type.getSuperclass().getName().equals("java.lang.Record");
    }

    /** What is written of an object: its getters, the components of a record, public fields; as declared. */
    static synchronized Map<String, Property> readable(Class<?> type) {
        Map<String, Property> known = READABLE.get(type);
        if (known != null) {
            return known;
        }
        Map<String, Property> found = new TreeMap<>();
        for (Field field : type.getFields()) {
            if (!Modifier.isStatic(field.getModifiers())) {
                found.put(field.getName(), new Property(field, field.getGenericType()));
            }
        }
        for (Method method : type.getMethods()) {
            String name = method.getName();
            if (method.getParameterCount() != 0 || Modifier.isStatic(method.getModifiers())
                    || method.getDeclaringClass() == Object.class || method.getReturnType() == void.class) {
                continue;
            }
            String property = null;
            if (isRecord(type)) {
                property = isField(type, name) ? name : null;
            } else if (name.startsWith("get") && name.length() > 3) {
                property = decapitalize(name.substring(3));
            } else if (name.startsWith("is") && name.length() > 2 && method.getReturnType() == boolean.class) {
                property = decapitalize(name.substring(2));
            }
            if (property != null && !method.isBridge()) {
                found.put(property, new Property(accessible(method), method.getGenericReturnType()));
            }
        }
        Map<String, Property> out = new LinkedHashMap<>();
        for (Class<?> one = type; one != null && one != Object.class; one = one.getSuperclass()) {
            for (Field field : one.getDeclaredFields()) {
                Property property = found.remove(field.getName());
                if (property != null) {
                    out.put(field.getName(), property);
                }
            }
        }
        out.putAll(found);
        READABLE.put(type, out);
        return out;
    }

    /** What is set of an object: its setters, and public fields. */
    static synchronized Map<String, Property> writable(Class<?> type) {
        Map<String, Property> known = WRITABLE.get(type);
        if (known != null) {
            return known;
        }
        Map<String, Property> out = new HashMap<>();
        for (Field field : type.getFields()) {
            if (!Modifier.isStatic(field.getModifiers()) && !Modifier.isFinal(field.getModifiers())) {
                out.put(field.getName(), new Property(field, field.getGenericType()));
            }
        }
        for (Method method : type.getMethods()) {
            String name = method.getName();
            if (name.startsWith("set") && name.length() > 3 && method.getParameterCount() == 1
                    && !Modifier.isStatic(method.getModifiers()) && !method.isBridge()) {
                Type wanted = method.getGenericParameterTypes()[0];
                out.put(decapitalize(name.substring(3)), new Property(accessible(method), wanted));
            }
        }
        WRITABLE.put(type, out);
        return out;
    }

    private static Method accessible(Method method) {
        method.setAccessible(true); // public methods of classes that are not
        return method;
    }

    private static boolean isField(Class<?> type, String name) {
        for (Field field : type.getDeclaredFields()) {
            if (field.getName().equals(name) && !Modifier.isStatic(field.getModifiers())) {
                return true;
            }
        }
        return false;
    }

    /** As java.beans.Introspector, whose module a headless Java may lack: "FooBar" is "fooBar", "URL" stays "URL". */
    private static String decapitalize(String name) {
        if (name.length() > 1 && Character.isUpperCase(name.charAt(0)) && Character.isUpperCase(name.charAt(1))) {
            return name;
        }
        return Character.toLowerCase(name.charAt(0)) + name.substring(1);
    }

    /** A new instance by the constructor without parameters. */
    static Object create(Class<?> type) throws ReflectiveOperationException {
        Constructor<?> constructor = type.getDeclaredConstructor();
        constructor.setAccessible(true);
        try {
            return constructor.newInstance();
        } catch (InvocationTargetException error) {
            throw error.getCause() instanceof Exception ? new ReflectiveOperationException(error.getCause()) : error;
        }
    }

    /** Objects as JSON text. */
    static final class Writer extends Json.Writer {
        private int depth;

        @Override
        void value(Object value) {
            if (++depth > Json.MAX_DEPTH) {
                throw new IllegalArgumentException("more than " + Json.MAX_DEPTH + " levels: an object that holds itself?");
            }
            if (value == null || value instanceof Map || value instanceof Iterable || value instanceof Number
                    || value instanceof Boolean || value instanceof CharSequence || value instanceof Character) {
                super.value(value);
            } else if (value instanceof byte[]) {
                string(Base64.getEncoder().encodeToString((byte[]) value));
            } else if (value.getClass().isArray()) {
                array(value);
            } else if (value instanceof Enum) {
                string(((Enum<?>) value).name());
            } else if (value instanceof Date) {
                out.append(((Date) value).getTime());
            } else if (value instanceof Optional) {
                value(((Optional<?>) value).orElse(null));
            } else if (value instanceof Class || value.getClass().getName().startsWith("java.")) {
                string(value.toString());
            } else {
                bean(value);
            }
            depth--;
        }

        private void array(Object array) {
            int length = Array.getLength(array);
            out.append('[');
            for (int i = 0; i < length; i++) {
                if (i > 0) {
                    out.append(',');
                }
                value(Array.get(array, i));
            }
            out.append(']');
        }

        private static Object member(Object bean, String name, Property property) {
            try {
                return property.get(bean);
            } catch (InvocationTargetException error) {
                throw new IllegalArgumentException(
                        "property " + name + " of " + bean.getClass().getName() + " cannot be read", error.getCause());
            } catch (ReflectiveOperationException error) {
                throw new IllegalArgumentException(error);
            }
        }

        private void bean(Object bean) {
            char before = '{';
            for (Map.Entry<String, Property> entry : readable(bean.getClass()).entrySet()) {
                Object member = member(bean, entry.getKey(), entry.getValue());
                if (member != null) { // as in maps
                    out.append(before);
                    before = ',';
                    string(entry.getKey());
                    out.append(':');
                    value(member);
                }
            }
            out.append(before == '{' ? "{}" : "}");
        }
    }
}
