package com.amazonaws.services.lambda.runtime.logging;

/** Declared only to compile against: at run time it is the one in the function's own aws-lambda-java-core. */
public enum LogLevel { UNDEFINED, TRACE, DEBUG, INFO, WARN, ERROR, FATAL }
