// What comes goes back: the function of `lambent bench --matrix` on AWS's own Go client.
package main

import (
	"context"

	"github.com/aws/aws-lambda-go/lambda"
)

func main() {
	lambda.Start(func(_ context.Context, event any) (any, error) { return event, nil })
}
