package lambent

import (
	"context"
	"log/slog"
	"os"
)

// Logger is a logger of log/slog whose lines have the request id, where they are written with a handler's context:
// as JSON when the function's log format says so (AWS_LAMBDA_LOG_FORMAT), from the level of AWS_LAMBDA_LOG_LEVEL on.
func Logger() *slog.Logger {
	level := slog.LevelInfo
	_ = level.UnmarshalText([]byte(os.Getenv("AWS_LAMBDA_LOG_LEVEL"))) // TRACE and FATAL are none of Go's
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: rename}
	if os.Getenv("AWS_LAMBDA_LOG_FORMAT") == "JSON" {
		return slog.New(logHandler{slog.NewJSONHandler(os.Stdout, options)})
	}
	return slog.New(logHandler{slog.NewTextHandler(os.Stdout, options)})
}

// The names that Lambda's own records have.
func rename(groups []string, attribute slog.Attr) slog.Attr {
	if len(groups) == 0 {
		switch attribute.Key {
		case slog.TimeKey:
			attribute.Key = "timestamp"
		case slog.MessageKey:
			attribute.Key = "message"
		}
	}
	return attribute
}

type logHandler struct{ slog.Handler }

func (handler logHandler) Handle(ctx context.Context, record slog.Record) error {
	if invocation := FromContext(ctx); invocation != nil {
		record.AddAttrs(slog.String("requestId", invocation.RequestID))
	}
	return handler.Handler.Handle(ctx, record)
}

func (handler logHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return logHandler{handler.Handler.WithAttrs(attributes)}
}

func (handler logHandler) WithGroup(name string) slog.Handler {
	return logHandler{handler.Handler.WithGroup(name)}
}
