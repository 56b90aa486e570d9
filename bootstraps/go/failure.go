package lambent

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"runtime"
	"strings"
)

const maxFrames = 32

// failure is an error as callers get it.
type failure struct {
	Message  string   `json:"errorMessage"`
	Type     string   `json:"errorType"`
	Trace    []string `json:"stackTrace"` // of panics: errors in Go have none
	panicked bool
}

// failed describes a returned error; its type is the name of its Go type, as AWS's client has it, or what its method
// ErrorType says.
func failed(err error) *failure {
	return &failure{Message: err.Error(), Type: typeName(err), Trace: []string{}}
}

func panicked(value any) *failure {
	failure := &failure{Message: fmt.Sprint(value), Type: typeName(value), panicked: true}
	// From the place of the panic on: this function, the deferred one and the runtime's own are left out.
	callers := make([]uintptr, maxFrames)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	for more := true; more; {
		var frame runtime.Frame
		frame, more = frames.Next()
		if len(failure.Trace) == 0 && strings.HasPrefix(frame.Function, "runtime.") {
			continue
		}
		failure.Trace = append(failure.Trace, fmt.Sprintf("%s:%d %s", frame.File, frame.Line, frame.Function))
	}
	return failure
}

func typeName(value any) string {
	if named, ok := value.(interface{ ErrorType() string }); ok {
		return named.ErrorType()
	}
	kind := reflect.TypeOf(value)
	if kind.Kind() == reflect.Pointer {
		kind = kind.Elem()
	}
	if kind.Name() == "" {
		return kind.String()
	}
	return kind.Name()
}

func (failure *failure) body() []byte {
	body, err := json.Marshal(failure)
	if err != nil {
		panic(err) // texts only: it cannot be
	}
	return body
}

func (failure *failure) log() {
	fmt.Fprintf(os.Stderr, "[ERROR] %s\n", failure.body())
}

// category is the type as the header has it: Category.Reason, in letters. Others are replaced by Lambda.
func (failure *failure) category() string {
	if strings.HasPrefix(failure.Type, "Function.") || strings.HasPrefix(failure.Type, "Runtime.") {
		return headerValue(failure.Type)
	}
	letters := strings.Map(func(char rune) rune {
		if char >= 'a' && char <= 'z' || char >= 'A' && char <= 'Z' {
			return char
		}
		return -1
	}, failure.Type)
	if len(letters) < 2 {
		return "Function.Error"
	}
	return "Function." + strings.ToUpper(letters[:1]) + letters[1:]
}

// headerValue makes text fit to stand in a header line.
func headerValue(text string) string {
	return strings.Map(func(char rune) rune {
		if char < ' ' || char > '~' {
			return '?'
		}
		return char
	}, text)
}
