package lambent;

import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Type;

/**
 * What is done with the interfaces of com.amazonaws.services.lambda.runtime: those are the function's own, and this
 * runtime cannot name them. The one implementation, {@link lambent.adapters}, is defined beside the function's classes
 * when the function has them ({@link FunctionLoader}).
 */
public abstract class Aws {
    /** The package of AWS's interfaces. */
    static final String PACKAGE = "com.amazonaws.services.lambda.runtime.";

    /** A Context. */
    public abstract Object context(Invocation invocation);

    /** Makes `logs` the logger that LambdaRuntime.getLogger gives. */
    public abstract void installLogger(Logs logs) throws Exception;

    /** Calls a RequestHandler. */
    public abstract Object handle(Object handler, Object event, Object context);

    /** Calls a RequestStreamHandler. */
    public abstract void stream(Object handler, InputStream in, OutputStream out, Object context) throws Exception;

    /** The function's CustomPojoSerializer, null when it has none. */
    public abstract Serializer serializer(ClassLoader loader);

    /** How a function wants its JSON read and written. */
    public interface Serializer {
        /** An event as an object of this type. */
        Object read(byte[] event, Type type);

        /** A result as JSON. */
        byte[] write(Object result, Type type);
    }
}
