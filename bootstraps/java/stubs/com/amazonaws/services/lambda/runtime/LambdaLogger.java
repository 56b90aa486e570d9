package com.amazonaws.services.lambda.runtime;

/** Declared only to compile against: at run time it is the one in the function's own aws-lambda-java-core. */
public interface LambdaLogger {
    void log(String message);
    void log(byte[] message);
}
