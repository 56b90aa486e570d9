package com.amazonaws.services.lambda.runtime;

/** Declared only to compile against: at run time it is the one in the function's own aws-lambda-java-core. */
public interface ClientContext {
    Client getClient();
    java.util.Map<String, String> getCustom();
    java.util.Map<String, String> getEnvironment();
}
