package lambent.adapters;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import com.amazonaws.services.lambda.runtime.RequestStreamHandler;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Field;
import java.lang.reflect.Type;
import java.util.Iterator;
import java.util.ServiceLoader;
import lambent.Aws;
import lambent.Invocation;
import lambent.Logs;

/** AWS's interfaces, as the function has them. Defined beside its classes: see lambent.FunctionLoader. */
public final class AwsAdapters extends Aws {
    private Logger logger;

    @Override
    public Object context(Invocation invocation) {
        return new InvocationContext(invocation, logger);
    }

    @Override
    public void installLogger(Logs logs) throws Exception {
        logger = new Logger(logs);
        Class<?> runtime;
        try {
            runtime = Class.forName("com.amazonaws.services.lambda.runtime.LambdaRuntime", true, getClass().getClassLoader());
        } catch (ClassNotFoundException absent) {
            return;
        }
        Field field = runtime.getDeclaredField("logger");
        field.setAccessible(true);
        field.set(null, logger);
    }

    @Override
    public Object handle(Object handler, Object event, Object context) {
        return ((RequestHandler) handler).handleRequest(event, (Context) context);
    }

    @Override
    public void stream(Object handler, InputStream in, OutputStream out, Object context) throws Exception {
        ((RequestStreamHandler) handler).handleRequest(in, out, (Context) context);
    }

    @Override
    public Serializer serializer(ClassLoader loader) {
        Class<?> wanted;
        try {
            wanted = Class.forName("com.amazonaws.services.lambda.runtime.CustomPojoSerializer", false, loader);
        } catch (ClassNotFoundException old) {
            return null;
        }
        Iterator<?> found = ServiceLoader.load(wanted, loader).iterator();
        if (!found.hasNext()) {
            return null;
        }
        CustomPojoSerializer own = (CustomPojoSerializer) found.next();
        if (found.hasNext()) {
            throw new IllegalStateException(
                    "Too many serializers provided inside the META-INF/services folder, only one is allowed");
        }
        return new Serializer() {
            @Override
            public Object read(byte[] event, Type type) {
                return own.fromJson(new ByteArrayInputStream(event), type);
            }

            @Override
            public byte[] write(Object result, Type type) {
                ByteArrayOutputStream out = new ByteArrayOutputStream();
                own.toJson(result, out, type);
                return out.toByteArray();
            }
        };
    }
}
