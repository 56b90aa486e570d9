package lambent;

import java.lang.reflect.Array;
import java.lang.reflect.Constructor;
import java.lang.reflect.Field;
import java.lang.reflect.GenericArrayType;
import java.lang.reflect.Modifier;
import java.lang.reflect.ParameterizedType;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.lang.reflect.WildcardType;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.Collection;
import java.util.Date;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.SortedMap;
import java.util.SortedSet;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.UUID;

/** Plain values, as {@link Json} reads them, to the type that a handler asks for. */
final class Binder {
    private Binder() {
    }

    /** The class of a type, its parameters forgotten. */
    static Class<?> raw(Type type) {
        if (type instanceof Class) {
            return (Class<?>) type;
        }
        if (type instanceof ParameterizedType) {
            return raw(((ParameterizedType) type).getRawType());
        }
        if (type instanceof GenericArrayType) {
            return Array.newInstance(raw(((GenericArrayType) type).getGenericComponentType()), 0).getClass();
        }
        if (type instanceof WildcardType) {
            return raw(((WildcardType) type).getUpperBounds()[0]);
        }
        return raw(((TypeVariable<?>) type).getBounds()[0]);
    }

    /** What `iface` is parameterised with where `type` implements it; null when it does not, or is so without any. */
    static Type[] parameters(Type type, Class<?> iface, Map<TypeVariable<?>, Type> known) {
        Class<?> here = raw(type);
        Map<TypeVariable<?>, Type> own = new HashMap<>();
        if (type instanceof ParameterizedType) {
            Type[] given = ((ParameterizedType) type).getActualTypeArguments();
            for (int i = 0; i < given.length; i++) {
                own.put(here.getTypeParameters()[i], resolved(given[i], known));
            }
        }
        if (here == iface) {
            Type[] out = new Type[here.getTypeParameters().length];
            for (int i = 0; i < out.length; i++) {
                out[i] = own.get(here.getTypeParameters()[i]);
            }
            return own.isEmpty() ? null : out;
        }
        for (Type one : here.getGenericInterfaces()) {
            if (iface.isAssignableFrom(raw(one))) {
                Type[] found = parameters(one, iface, own);
                if (found != null) {
                    return found;
                }
            }
        }
        Type above = here.getGenericSuperclass();
        return above == null || !iface.isAssignableFrom(raw(above)) ? null : parameters(above, iface, own);
    }

    private static Type resolved(Type type, Map<TypeVariable<?>, Type> known) {
        return type instanceof TypeVariable ? known.getOrDefault(type, type) : type;
    }

    static Object bind(Object value, Type type) {
        return bind(value, type, Map.of());
    }

    private static Object bind(Object value, Type type, Map<TypeVariable<?>, Type> known) {
        type = resolved(type, known);
        Class<?> wanted = raw(type);
        if (value == null) {
            return wanted.isPrimitive() ? Array.get(Array.newInstance(wanted, 1), 0) : wanted == Optional.class ? Optional.empty() : null;
        }
        if (wanted == Object.class) {
            return value;
        }
        if (wanted == Optional.class) {
            return Optional.ofNullable(bind(value, argument(type, 0), known));
        }
        if (Map.class.isAssignableFrom(wanted)) {
            return map(expect(value, Map.class, type), wanted, type, known);
        }
        if (Collection.class.isAssignableFrom(wanted) || wanted == Iterable.class) {
            return collection(list(value), wanted, argument(type, 0), known);
        }
        if (wanted.isArray() && !(wanted == byte[].class && value instanceof String)) {
            return array(list(value), wanted, type, known);
        }
        Object scalar = scalar(value, wanted);
        if (scalar != null || wanted.isEnum()) {
            return scalar;
        }
        Map<TypeVariable<?>, Type> own = new HashMap<>(known);
        for (int i = 0; type instanceof ParameterizedType && i < wanted.getTypeParameters().length; i++) {
            own.put(wanted.getTypeParameters()[i], resolved(((ParameterizedType) type).getActualTypeArguments()[i], known));
        }
        if ("".equals(value)) {
            return null; // as AWS's settings of Jackson have it
        }
        Map<?, ?> members = expect(value, Map.class, type);
        try {
            return Beans.isRecord(wanted) ? record(members, wanted, own) : bean(members, wanted, own);
        } catch (ReflectiveOperationException error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            throw new IllegalArgumentException("no " + wanted.getName() + " can be made of the event: " + cause, cause);
        }
    }

    private static Object scalar(Object value, Class<?> wanted) {
        if (wanted.isInstance(value)) {
            return value;
        }
        if (wanted == String.class || wanted == CharSequence.class) {
            if (value instanceof Map || value instanceof List) {
                throw cannot(value, wanted);
            }
            return value.toString();
        }
        if (wanted == boolean.class || wanted == Boolean.class) {
            if (value instanceof Boolean) {
                return value;
            }
            if ("true".equals(value) || "false".equals(value)) {
                return "true".equals(value);
            }
            throw cannot(value, wanted);
        }
        if (wanted.isPrimitive() || Number.class.isAssignableFrom(wanted)) {
            return number(value, wanted);
        }
        if (wanted == Character.class && value instanceof String && ((String) value).length() == 1) {
            return ((String) value).charAt(0);
        }
        if (wanted == Date.class) {
            return value instanceof Number ? new Date(((Number) value).longValue()) : Date.from(Instant.parse(text(value, wanted)));
        }
        if (wanted == byte[].class) {
            return Base64.getDecoder().decode(text(value, wanted));
        }
        if (wanted == UUID.class) {
            return UUID.fromString(text(value, wanted));
        }
        if (wanted.isEnum()) {
            for (Object one : wanted.getEnumConstants()) {
                if (((Enum<?>) one).name().equals(value)) {
                    return one;
                }
            }
            return null; // an unknown one, as AWS's settings of Jackson have it
        }
        if (wanted.getName().startsWith("java.time.") && value instanceof String) {
            try {
                return wanted.getMethod("parse", CharSequence.class).invoke(null, value);
            } catch (ReflectiveOperationException error) {
                throw new IllegalArgumentException(cannot(value, wanted).getMessage(), error);
            }
        }
        return null;
    }

    private static Object number(Object value, Class<?> wanted) {
        if (wanted == char.class && value instanceof String && ((String) value).length() == 1) {
            return ((String) value).charAt(0);
        }
        BigDecimal number;
        try {
            number = value instanceof BigInteger ? new BigDecimal((BigInteger) value) : new BigDecimal(value.toString());
        } catch (NumberFormatException error) {
            throw cannot(value, wanted);
        }
        if (wanted == int.class || wanted == Integer.class) {
            return number.intValue();
        }
        if (wanted == long.class || wanted == Long.class) {
            return number.longValue();
        }
        if (wanted == double.class || wanted == Double.class) {
            return number.doubleValue();
        }
        if (wanted == float.class || wanted == Float.class) {
            return number.floatValue();
        }
        if (wanted == short.class || wanted == Short.class) {
            return number.shortValue();
        }
        if (wanted == byte.class || wanted == Byte.class) {
            return number.byteValue();
        }
        if (wanted == BigInteger.class) {
            return number.toBigInteger();
        }
        if (wanted == BigDecimal.class || wanted == Number.class) {
            return number;
        }
        throw cannot(value, wanted);
    }

    private static Object map(Map<?, ?> members, Class<?> wanted, Type type, Map<TypeVariable<?>, Type> known) {
        Type keys = argument(type, 0);
        Type values = argument(type, 1);
        Map<Object, Object> out = wanted.isAssignableFrom(LinkedHashMap.class) ? new LinkedHashMap<>()
                : wanted.isAssignableFrom(TreeMap.class) || SortedMap.class == wanted ? new TreeMap<>() : create(wanted);
        members.forEach((key, value) -> out.put(bind(key, keys, known), bind(value, values, known)));
        return out;
    }

    private static Object collection(List<?> items, Class<?> wanted, Type of, Map<TypeVariable<?>, Type> known) {
        Collection<Object> out = wanted.isAssignableFrom(ArrayList.class) ? new ArrayList<>()
                : wanted.isAssignableFrom(LinkedHashSet.class) ? new LinkedHashSet<>()
                : wanted.isAssignableFrom(TreeSet.class) || SortedSet.class == wanted ? new TreeSet<>() : create(wanted);
        items.forEach(item -> out.add(bind(item, of, known)));
        return out;
    }

    @SuppressWarnings("unchecked")
    private static <T> T create(Class<?> wanted) {
        try {
            return (T) Beans.create(wanted);
        } catch (ReflectiveOperationException error) {
            throw new IllegalArgumentException("no " + wanted.getName() + " can be made: " + error, error);
        }
    }

    private static Object array(List<?> items, Class<?> wanted, Type type, Map<TypeVariable<?>, Type> known) {
        Type of = type instanceof GenericArrayType ? ((GenericArrayType) type).getGenericComponentType() : wanted.getComponentType();
        Object out = Array.newInstance(wanted.getComponentType(), items.size());
        for (int i = 0; i < items.size(); i++) {
            Array.set(out, i, bind(items.get(i), of, known));
        }
        return out;
    }

    private static Object bean(Map<?, ?> members, Class<?> wanted, Map<TypeVariable<?>, Type> known)
            throws ReflectiveOperationException {
        if (wanted.isInterface() || Modifier.isAbstract(wanted.getModifiers())) {
            throw new IllegalArgumentException("no " + wanted.getName() + " can be made: it is abstract");
        }
        Object out = Beans.create(wanted);
        Map<String, Beans.Property> properties = Beans.writable(wanted);
        for (Map.Entry<?, ?> member : members.entrySet()) {
            String name = (String) member.getKey();
            Beans.Property property = properties.get(name);
            if (property == null && !name.isEmpty()) { // events of AWS's services have "Records" for setRecords
                property = properties.get(Character.toLowerCase(name.charAt(0)) + name.substring(1));
            }
            if (property != null) {
                property.set(out, bind(member.getValue(), property.type, known));
            }
        }
        return out;
    }

    private static Object record(Map<?, ?> members, Class<?> wanted, Map<TypeVariable<?>, Type> known)
            throws ReflectiveOperationException {
        List<Class<?>> types = new ArrayList<>();
        List<Object> values = new ArrayList<>();
        for (Field field : wanted.getDeclaredFields()) {
            if (!Modifier.isStatic(field.getModifiers())) {
                types.add(field.getType());
                values.add(bind(members.get(field.getName()), field.getGenericType(), known));
            }
        }
        Constructor<?> constructor = wanted.getDeclaredConstructor(types.toArray(new Class<?>[0]));
        constructor.setAccessible(true);
        return constructor.newInstance(values.toArray());
    }

    private static Type argument(Type type, int which) {
        return type instanceof ParameterizedType ? ((ParameterizedType) type).getActualTypeArguments()[which] : Object.class;
    }

    private static List<?> list(Object value) {
        return value instanceof List ? (List<?>) value : List.of(value); // a single value is accepted as a list of one
    }

    private static String text(Object value, Class<?> wanted) {
        if (value instanceof String) {
            return (String) value;
        }
        throw cannot(value, wanted);
    }

    private static <T> T expect(Object value, Class<T> kind, Type type) {
        if (kind.isInstance(value)) {
            return kind.cast(value);
        }
        throw cannot(value, raw(type));
    }

    private static IllegalArgumentException cannot(Object value, Class<?> wanted) {
        String kind = value instanceof Map ? "an object" : value instanceof List ? "an array"
                : value instanceof String ? "a string" : value instanceof Boolean ? "a boolean" : "a number";
        return new IllegalArgumentException("cannot make " + wanted.getName() + " of " + kind);
    }
}
