package lambent;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Constructor;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Type;
import java.lang.reflect.TypeVariable;
import java.util.Arrays;
import java.util.Comparator;
import java.util.Map;

/** Finds what a handler's name stands for, by reflection, and calls it. The rules and words are those of AWS's client. */
abstract class Handler {
    /** The result of one invocation is in `buffer[0..size]`. */
    static final class Output extends java.io.ByteArrayOutputStream {
        byte[] buffer() {
            return buf;
        }
    }

    abstract void call(Invocation invocation, Output out) throws Throwable;

    private static final byte[] NULL = {'n', 'u', 'l', 'l'};

    /** Loads `name` ("package.Class" or "package.Class::method"). Throws a fatal {@link Fault} for a failure of Init. */
    static Handler find(String name, FunctionLoader loader, Aws aws) {
        int colons = name.lastIndexOf("::");
        String className = colons < 0 ? name : name.substring(0, colons);
        String method = colons < 0 ? null : name.substring(colons + 2);
        if (className.isEmpty() || "".equals(method)) {
            return failing(Fault.of("Invalid handler: `" + name + "'"));
        }
        Class<?> type;
        try {
            type = Class.forName(className, true, loader);
        } catch (ClassNotFoundException error) {
            return failing(new Fault("Class not found: " + className, error, false));
        } catch (NoClassDefFoundError error) {
            return failing(loading(className, error));
        } catch (Throwable error) {
            throw loading(className, error);
        }
        try {
            return method == null ? ofInterface(type, loader, aws) : ofMethod(type, method, loader, aws);
        } catch (Fault fault) {
            if (fault.fatal) {
                throw fault;
            }
            return failing(fault);
        } catch (Throwable error) {
            return failing(new Fault(Fault.message(error), error, false));
        }
    }

    private static Fault loading(String className, Throwable error) {
        String why = error.getMessage() == null ? "" : ": " + error.getMessage();
        return new Fault("Error loading class " + className + why, error, true);
    }

    /** What is wrong with the handler's name is told to each caller. */
    private static Handler failing(Fault fault) {
        return new Handler() {
            @Override
            void call(Invocation invocation, Output out) {
                throw fault;
            }
        };
    }

    private static Handler ofInterface(Class<?> type, FunctionLoader loader, Aws aws) throws Exception {
        Class<?> streams = aws == null ? null : Class.forName(Aws.PACKAGE + "RequestStreamHandler", false, loader);
        Class<?> objects = aws == null ? null : Class.forName(Aws.PACKAGE + "RequestHandler", false, loader);
        if (aws != null && streams.isAssignableFrom(type)) {
            Object handler = instance(type);
            return new Handler() {
                @Override
                void call(Invocation invocation, Output out) throws Exception {
                    aws.stream(handler, new ByteArrayInputStream(invocation.event()), out, aws.context(invocation));
                }
            };
        }
        if (aws == null || !objects.isAssignableFrom(type)) {
            throw Fault.of("Class does not implement an appropriate handler interface: " + type.getName());
        }
        Type[] types = Binder.parameters(type, objects, Map.of());
        if (types == null) {
            throw Fault.of("Class " + type.getName() + " does not implement RequestHandler with concrete type parameters");
        }
        for (Type one : types) {
            if (one instanceof TypeVariable && ((TypeVariable<?>) one).getBounds()[0] == Object.class) {
                throw Fault.of("Class " + type.getName() + " does not implement RequestHandler with concrete type "
                        + "parameters: parameter " + one + " has no upper bound.");
            }
        }
        Codec codec = new Codec(types[0], types[1], aws.serializer(loader));
        Object handler = instance(type);
        return new Handler() {
            @Override
            void call(Invocation invocation, Output out) throws Exception {
                Object event = codec.read(invocation.event());
                codec.write(aws.handle(handler, event, aws.context(invocation)), out);
            }
        };
    }

    private static Handler ofMethod(Class<?> type, String name, FunctionLoader loader, Aws aws) throws Exception {
        Method[] candidates = Arrays.stream(type.getMethods()).filter(one -> one.getName().equals(name))
                .sorted(Comparator.comparing(Method::isBridge).thenComparing(one -> -weight(one.getParameterTypes())))
                .toArray(Method[]::new);
        for (Method method : candidates) {
            Class<?>[] given = method.getParameterTypes();
            boolean context = given.length > 0 && isContext(given[given.length - 1]);
            int rest = given.length - (context ? 1 : 0);
            boolean in = rest > 0 && given[0] == InputStream.class;
            boolean out = rest > 0 && given[rest - 1] == OutputStream.class && (rest == 1 || in && rest == 2);
            if (in && (rest == 1 || out) || out) {
                return streamMethod(type, method, in, out, context, aws);
            }
            if (rest == 0 || rest == 1 && !isContext(given[0])) {
                Type event = rest == 0 ? null : method.getGenericParameterTypes()[0];
                return plainMethod(type, method, event, context, loader, aws);
            }
            System.err.println("Ignoring an overload of method " + name + ": its parameters are none that a handler may have");
        }
        throw Fault.of("No public method named " + name + " with appropriate method signature found on class "
                + type.getName());
    }

    /** Longer signatures come first, and a Context counts as two. */
    private static int weight(Class<?>[] given) {
        return given.length + (given.length > 0 && isContext(given[given.length - 1]) ? 1 : 0);
    }

    private static boolean isContext(Class<?> type) {
        return type.getName().equals(Aws.PACKAGE + "Context");
    }

    private static Handler plainMethod(
            Class<?> type, Method method, Type event, boolean context, FunctionLoader loader, Aws aws) throws Exception {
        Codec codec = new Codec(event, method.getGenericReturnType(), aws == null ? null : aws.serializer(loader));
        Object target = Modifier.isStatic(method.getModifiers()) ? null : instance(type);
        method.setAccessible(true);
        return new Handler() {
            @Override
            void call(Invocation invocation, Output out) throws Throwable {
                Object[] arguments = new Object[method.getParameterCount()];
                if (event != null) {
                    arguments[0] = codec.read(invocation.event());
                }
                if (context) {
                    arguments[arguments.length - 1] = aws.context(invocation);
                }
                codec.write(invoke(method, target, arguments), out);
            }
        };
    }

    private static Handler streamMethod(
            Class<?> type, Method method, boolean in, boolean out, boolean context, Aws aws) throws Exception {
        if (method.getReturnType() != void.class) {
            System.err.println("Will ignore return type " + method.getReturnType() + " on byte stream handler");
        }
        Object target = Modifier.isStatic(method.getModifiers()) ? null : instance(type);
        method.setAccessible(true);
        return new Handler() {
            @Override
            void call(Invocation invocation, Output result) throws Throwable {
                Object[] arguments = new Object[method.getParameterCount()];
                int next = 0;
                if (in) {
                    arguments[next++] = new ByteArrayInputStream(invocation.event());
                }
                if (out) {
                    arguments[next++] = result;
                }
                if (context) {
                    arguments[next] = aws.context(invocation);
                }
                invoke(method, target, arguments);
                if (!out) {
                    result.write(NULL);
                }
            }
        };
    }

    private static Object invoke(Method method, Object target, Object[] arguments) throws Throwable {
        try {
            return method.invoke(target, arguments);
        } catch (InvocationTargetException error) {
            throw error.getCause() == null ? error : error.getCause();
        }
    }

    /** A new handler; what its constructor throws is a failure of Init. */
    private static Object instance(Class<?> type) throws Exception {
        Constructor<?> constructor;
        try {
            constructor = type.getConstructor();
        } catch (NoSuchMethodException error) {
            boolean inner = type.getEnclosingClass() != null && !Modifier.isStatic(type.getModifiers());
            throw new Exception("Class " + type.getName() + (inner
                    ? " cannot be instantiated because it is a non-static inner class"
                    : " has no public zero-argument constructor"), inner ? null : error);
        }
        try {
            return constructor.newInstance();
        } catch (InvocationTargetException error) {
            Throwable cause = error.getCause() == null ? error : error.getCause();
            throw new Fault(Fault.message(cause), cause, true);
        }
    }

    /** Events and results of one handler as JSON. */
    private static final class Codec {
        private final Type in;
        private final Type out;
        private final boolean nothing;
        private final Aws.Serializer own;

        Codec(Type in, Type out, Aws.Serializer own) {
            this.in = in;
            this.out = out;
            this.own = own;
            nothing = out == void.class || out == Void.class;
        }

        Object read(byte[] event) {
            try {
                return own != null ? own.read(event, in) : Binder.bind(Json.parse(event), in);
            } catch (Throwable error) {
                throw new RuntimeException("An error occurred during JSON parsing", error);
            }
        }

        void write(Object result, Output to) throws IOException {
            if (nothing) {
                to.write(NULL);
                return;
            }
            try {
                if (own != null) {
                    to.write(own.write(result, out));
                } else {
                    Beans.Writer writer = new Beans.Writer();
                    writer.value(result);
                    to.write(writer.bytes());
                }
            } catch (Throwable error) {
                throw new RuntimeException("An error occurred during JSON serialization of response", error);
            }
        }
    }
}
