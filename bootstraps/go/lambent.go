// Package lambent is a Lambda runtime for functions in Go: the function is an executable `bootstrap` for the runtimes
// provided.al2023, provided.al2 and go1.x, and calls Start. The standard library only, without net/http.
//
//	func main() {
//		lambent.Start(func(ctx context.Context, event struct{ Name string }) (string, error) {
//			return "hello " + event.Name, nil
//		})
//	}
package lambent

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
)

// Start serves invocations with handler and does not return. Events and results are whatever encoding/json reads and
// writes; a json.RawMessage is taken and given as it is, and a result that is an io.Reader is streamed. The process ends when the Runtime API is gone, refuses an
// answer for good, or the handler panicked. With AWS_LAMBDA_MAX_CONCURRENCY it serves that many at once.
func Start[In, Out any](handler func(ctx context.Context, event In) (Out, error)) {
	serve(func(ctx context.Context, payload []byte) (result, error) {
		var event In
		if err := json.Unmarshal(payload, &event); err != nil {
			return result{}, err
		}
		out, err := handler(ctx, event)
		if err != nil {
			return result{}, err
		}
		return encode(out)
	})
}

// StartFailed tells the Runtime API that the function cannot be initialised, and ends the process. A function calls it
// in place of Start: the caller then reads err, and not only that the process ended.
func StartFailed(err error) {
	failure := failed(err)
	failure.log()
	connection, message := connect(os.Getenv(apiVariable)), failure.body()
	extra := "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: " + failure.category() + "\r\n"
	if _, err := connection.post("/init/error", extra, message); err != nil {
		fmt.Fprintf(os.Stderr, "bootstrap: the Runtime API is gone: %v\n", err)
	}
	os.Exit(1)
}

const (
	apiVariable   = "AWS_LAMBDA_RUNTIME_API"
	traceVariable = "_X_AMZN_TRACE_ID"
)

// result is what a handler returned: bytes, or a reader of bytes that may not be there yet.
type result struct {
	body   []byte
	stream io.Reader
	kind   string // content type
}

func encode(value any) (result, error) {
	if reader, ok := value.(io.Reader); ok && reader != nil {
		kind := "application/octet-stream"
		if typed, ok := value.(interface{ ContentType() string }); ok {
			kind = typed.ContentType()
		}
		return result{stream: reader, kind: kind}, nil
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false) // as AWS's does
	if err := encoder.Encode(value); err != nil {
		return result{}, err
	}
	return result{body: bytes.TrimSuffix(out.Bytes(), []byte("\n")), kind: "application/json"}, nil
}

type function func(ctx context.Context, payload []byte) (result, error)

func serve(handler function) {
	concurrency, err := strconv.Atoi(os.Getenv("AWS_LAMBDA_MAX_CONCURRENCY"))
	if err != nil || concurrency < 1 {
		concurrency = 1
	}
	ended := make(chan error, concurrency)
	for i := 0; i < concurrency; i++ {
		go func() { ended <- loop(connect(os.Getenv(apiVariable)), handler, concurrency == 1) }()
	}
	fmt.Fprintf(os.Stderr, "bootstrap: %v\n", <-ended)
	os.Exit(1)
}

// loop serves one invocation after the other. alone: no other is served meanwhile, so that the process's environment
// may tell of it.
func loop(connection *connection, handler function, alone bool) error {
	for {
		event, err := connection.next()
		if err != nil {
			return fmt.Errorf("the Runtime API is gone: %w", err)
		}
		if event.status != 200 {
			return fmt.Errorf("the Runtime API gave no invocation: %d %s", event.status, event.body)
		}
		if alone {
			if trace := event.headers["lambda-runtime-trace-id"]; trace == "" {
				os.Unsetenv(traceVariable)
			} else {
				os.Setenv(traceVariable, trace)
			}
		}
		if err := one(connection, handler, event); err != nil {
			return err
		}
	}
}

// one serves an invocation. An error ends the process.
func one(connection *connection, handler function, event *message) error {
	invocation := invocationOf(event)
	// The context holds until the result is sent: what is streamed may depend on it.
	ctx, cancel := context.WithDeadline(context.WithValue(context.Background(), key{}, invocation), invocation.Deadline)
	defer cancel()
	// Echoed when it was given: it tells this attempt from an earlier one with the same request id.
	extra := ""
	if attempt := event.headers["lambda-runtime-invocation-id"]; attempt != "" {
		extra = "Lambda-Runtime-Invocation-Id: " + attempt + "\r\n"
	}
	out, failure := call(ctx, handler, event.body)
	answer, err := connection.answer(invocation.RequestID, out, failure, extra)
	if err != nil {
		return fmt.Errorf("the Runtime API is gone: %w", err)
	}
	// 410, 413: too late, too large. The caller has been told, and life goes on.
	if answer.status >= 300 && answer.status != 410 && answer.status != 413 {
		return fmt.Errorf("the Runtime API refused the result of %s: %d %s", invocation.RequestID, answer.status, answer.body)
	}
	if failure != nil && failure.panicked {
		return fmt.Errorf("the handler panicked: %s", failure.Message)
	}
	return nil
}

func (connection *connection) answer(id string, out result, failure *failure, extra string) (*message, error) {
	if failure != nil {
		failure.log()
		extra += "Content-Type: application/json\r\nLambda-Runtime-Function-Error-Type: " + failure.category() + "\r\n"
		return connection.post("/invocation/"+id+"/error", extra, failure.body())
	}
	extra += "Content-Type: " + headerValue(out.kind) + "\r\n"
	if out.stream == nil {
		return connection.post("/invocation/"+id+"/response", extra, out.body)
	}
	if closer, ok := out.stream.(io.Closer); ok {
		defer closer.Close()
	}
	return connection.stream("/invocation/"+id+"/response", extra, out.stream)
}

// call runs the handler; a panic is a failure.
func call(ctx context.Context, handler function, payload []byte) (out result, failing *failure) {
	defer func() {
		if value := recover(); value != nil {
			failing = panicked(value)
		}
	}()
	out, err := handler(ctx, payload)
	if err != nil {
		return result{}, failed(err)
	}
	return out, nil
}
