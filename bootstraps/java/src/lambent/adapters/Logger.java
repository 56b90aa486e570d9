package lambent.adapters;

import com.amazonaws.services.lambda.runtime.LambdaLogger;
import com.amazonaws.services.lambda.runtime.logging.LogLevel;
import lambent.Logs;

/** The logger of the context. Its methods with a level are those of newer aws-lambda-java-core. */
public final class Logger implements LambdaLogger {
    private final Logs logs;

    Logger(Logs logs) {
        this.logs = logs;
    }

    @Override
    public void log(String message) {
        logs.log(message, 0);
    }

    @Override
    public void log(byte[] message) {
        logs.raw(message, 0);
    }

    public void log(String message, LogLevel level) {
        logs.log(message, level.ordinal());
    }

    public void log(byte[] message, LogLevel level) {
        logs.raw(message, level.ordinal());
    }
}
