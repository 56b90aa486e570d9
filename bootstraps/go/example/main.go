// A function to try: it greets, and counts how often this environment was called.
package main

import (
	"context"

	"lambent"
)

type event struct {
	Name string `json:"name"`
}

type greeting struct {
	Hello string `json:"hello"`
	Calls int    `json:"calls"`
}

var calls int

func greet(ctx context.Context, event event) (greeting, error) {
	calls++
	if event.Name == "" {
		event.Name = "world"
	}
	lambent.Logger().InfoContext(ctx, "greeting", "name", event.Name)
	return greeting{event.Name, calls}, nil
}

func main() {
	lambent.Start(greet)
}
