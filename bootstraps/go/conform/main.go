// The function that `lambent conform` tells what to do (docs/conform.md).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"time"

	"lambent"
)

type event struct {
	Do      string          `json:"do"`
	Value   json.RawMessage `json:"value"`
	Message string          `json:"message"`
	Bytes   int             `json:"bytes"`
	Code    int             `json:"code"`
	Pieces  []string        `json:"pieces"`
	PauseMs int             `json:"pause_ms"`
	Fail    string          `json:"fail"`
}

var count int

func handle(ctx context.Context, event event) (any, error) {
	switch event.Do {
	case "verbs":
		return []string{"echo", "fail", "unserialisable", "size", "count", "context", "exit", "stream"}, nil
	case "echo":
		return event.Value, nil
	case "fail":
		return nil, errors.New(event.Message)
	case "unserialisable":
		return make(chan int), nil
	case "size":
		return strings.Repeat("x", event.Bytes), nil
	case "count":
		count++
		return count, nil
	case "context":
		invocation := lambent.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		var client struct{ Custom map[string]any }
		if invocation.ClientContext != nil {
			if err := json.Unmarshal(invocation.ClientContext, &client); err != nil {
				return nil, err
			}
		}
		trace := os.Getenv("_X_AMZN_TRACE_ID")
		if os.Getenv("AWS_LAMBDA_MAX_CONCURRENCY") != "" { // the environment is shared by those that run at once
			trace = invocation.TraceID
		}
		return map[string]any{
			"requestId":     invocation.RequestID,
			"arn":           invocation.FunctionARN,
			"remainingMs":   time.Until(deadline).Milliseconds(),
			"traceId":       trace,
			"clientContext": client.Custom,
		}, nil
	case "stream":
		reader, writer := io.Pipe()
		go func() {
			for _, piece := range event.Pieces {
				_, _ = io.WriteString(writer, piece)
				time.Sleep(time.Duration(event.PauseMs) * time.Millisecond)
			}
			if event.Fail != "" {
				writer.CloseWithError(errors.New(event.Fail))
			}
			writer.Close()
		}()
		return reader, nil
	case "exit":
		os.Exit(event.Code)
	}
	return nil, nil
}

func main() {
	if handler := os.Getenv("_HANDLER"); strings.HasPrefix(handler, "no_such_") {
		lambent.StartFailed(errors.New("there is no handler " + handler))
	}
	lambent.Start(handle)
}
