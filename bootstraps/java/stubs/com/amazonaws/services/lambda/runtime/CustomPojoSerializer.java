package com.amazonaws.services.lambda.runtime;

/** Declared only to compile against: at run time it is the one in the function's own aws-lambda-java-core. */
public interface CustomPojoSerializer {
    Object fromJson(java.io.InputStream input, java.lang.reflect.Type type);
    void toJson(Object value, java.io.OutputStream output, java.lang.reflect.Type type);
}
