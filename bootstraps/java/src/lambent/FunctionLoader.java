package lambent;

import java.io.File;
import java.io.IOException;
import java.io.InputStream;
import java.net.MalformedURLException;
import java.net.URL;
import java.net.URLClassLoader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** The function's classes: its package's, those of the jars in lib, and of layers' jars. */
final class FunctionLoader extends URLClassLoader {
    static {
        registerAsParallelCapable();
    }

    private FunctionLoader(URL[] places) {
        super(places, FunctionLoader.class.getClassLoader());
    }

    static FunctionLoader of(String taskRoot) throws IOException {
        List<URL> places = new ArrayList<>();
        places.add(url(new File(taskRoot), "/"));
        jars(new File(taskRoot, "lib"), places);
        jars(new File("/opt/java/lib"), places);
        return new FunctionLoader(places.toArray(new URL[0]));
    }

    private static void jars(File folder, List<URL> places) throws MalformedURLException {
        String[] names = folder.list((where, name) -> name.endsWith(".jar") && name.length() > 4);
        if (names != null) {
            Arrays.sort(names);
            for (String name : names) {
                places.add(url(new File(folder, name), ""));
            }
        }
    }

    private static URL url(File file, String end) throws MalformedURLException {
        return new URL("file", null, -1, file.getPath() + end);
    }

    /** Whether the function has AWS's interfaces. */
    boolean hasAws() {
        return getResource(Aws.PACKAGE.replace('.', '/') + "Context.class") != null;
    }

    /** The adapters, beside the function's classes, so that they implement its interfaces. */
    Aws aws() throws ReflectiveOperationException {
        return (Aws) new Adapters(this).loadClass("lambent.adapters.AwsAdapters").getConstructor().newInstance();
    }

    /** Defines the classes that the jar keeps under `adapters`, where no other loader finds them. */
    private static final class Adapters extends ClassLoader {
        Adapters(ClassLoader parent) {
            super(parent);
        }

        @Override
        protected Class<?> findClass(String name) throws ClassNotFoundException {
            String path = "adapters/" + name.replace('.', '/') + ".class";
            try (InputStream in = FunctionLoader.class.getClassLoader().getResourceAsStream(path)) {
                if (in == null) {
                    throw new ClassNotFoundException(name);
                }
                byte[] code = in.readAllBytes();
                return defineClass(name, code, 0, code.length);
            } catch (IOException error) {
                throw new ClassNotFoundException(name, error);
            }
        }
    }
}
