// What comes goes back: the function of `lambent bench --matrix` on our runtime.
package main

import (
	"context"

	"lambent"
)

func main() {
	lambent.Start(func(_ context.Context, event any) (any, error) { return event, nil })
}
