// Package clients has what the functions under test share.
package clients

import (
	"errors"
	"os"
	"strings"
)

// Event is what tests/support/clients.py tells a function to do.
type Event struct {
	Do     string `json:"do"`
	Value  any    `json:"value"`
	Size   int    `json:"size"`
	Status int    `json:"status"`
}

// Failure is the error that the function returns when it is told to fail.
type Failure struct{ Message string }

func (failure *Failure) Error() string { return failure.Message }

var calls int

// Obey does what needs nothing of a client; ok tells whether the event asked for that.
func Obey(event Event) (result any, err error, ok bool) {
	calls++
	switch event.Do {
	case "echo":
		return event.Value, nil, true
	case "count":
		return calls, nil, true
	case "fail":
		return nil, &Failure{"it failed é"}, true
	case "panic":
		var missing map[string]int
		missing["key"] = 1
	case "unserialisable":
		return make(chan int), nil, true
	case "trace":
		return os.Getenv("_X_AMZN_TRACE_ID"), nil, true
	case "large":
		return strings.Repeat("x", event.Size), nil, true
	case "exit":
		os.Exit(event.Status)
	}
	return nil, nil, false
}

// Init fails when the handler is named "broken".
func Init() error {
	if os.Getenv("_HANDLER") == "broken" {
		return errors.New("it cannot start é")
	}
	return nil
}

// Context has the members of a told context that are in the environment.
func Context() map[string]any {
	return map[string]any{
		"name":      os.Getenv("AWS_LAMBDA_FUNCTION_NAME"),
		"version":   os.Getenv("AWS_LAMBDA_FUNCTION_VERSION"),
		"memory":    os.Getenv("AWS_LAMBDA_FUNCTION_MEMORY_SIZE"),
		"logGroup":  os.Getenv("AWS_LAMBDA_LOG_GROUP_NAME"),
		"logStream": os.Getenv("AWS_LAMBDA_LOG_STREAM_NAME"),
	}
}
