package lambent

import (
	"context"
	"encoding/json"
	"strconv"
	"time"
)

// Invocation is what Lambda tells a handler beside its event. Names and sizes of the function are in the environment
// (AWS_LAMBDA_FUNCTION_NAME and so on), the time left is the context's own deadline.
type Invocation struct {
	RequestID     string
	FunctionARN   string
	TraceID       string // empty when there is none
	TenantID      string // empty when there is none
	Deadline      time.Time
	ClientContext json.RawMessage // what the caller sent along, nil without
	Identity      json.RawMessage // of Amazon Cognito, nil without
}

type key struct{}

// FromContext is the invocation that a handler was called for; nil for a context that is of no handler.
func FromContext(ctx context.Context) *Invocation {
	invocation, _ := ctx.Value(key{}).(*Invocation)
	return invocation
}

func invocationOf(event *message) *Invocation {
	deadline, err := strconv.ParseInt(event.headers["lambda-runtime-deadline-ms"], 10, 64)
	if err != nil {
		deadline = time.Now().Add(15 * time.Minute).UnixMilli() // the longest that there is
	}
	return &Invocation{
		RequestID:     event.headers["lambda-runtime-aws-request-id"],
		FunctionARN:   event.headers["lambda-runtime-invoked-function-arn"],
		TraceID:       event.headers["lambda-runtime-trace-id"],
		TenantID:      event.headers["lambda-runtime-aws-tenant-id"],
		Deadline:      time.UnixMilli(deadline),
		ClientContext: optional(event.headers["lambda-runtime-client-context"]),
		Identity:      optional(event.headers["lambda-runtime-cognito-identity"]),
	}
}

func optional(text string) json.RawMessage {
	if text == "" {
		return nil
	}
	return json.RawMessage(text)
}
