package com.amazonaws.services.lambda.runtime;

/** Declared only to compile against: at run time it is the one in the function's own aws-lambda-java-core. */
public interface RequestHandler {
    Object handleRequest(Object input, Context context);
}
