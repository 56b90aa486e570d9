// The function under test on AWS's client.
package main

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"

	"functions.test/clients"
)

var logger = lambdacontext.NewLogger()

func handle(ctx context.Context, event clients.Event) (any, error) {
	if result, err, ok := clients.Obey(event); ok {
		return result, err
	}
	switch event.Do {
	case "context":
		invocation, _ := lambdacontext.FromContext(ctx)
		told := clients.Context()
		told["requestId"], told["arn"] = invocation.AwsRequestID, invocation.InvokedFunctionArn
		deadline, _ := ctx.Deadline()
		told["remaining"] = time.Until(deadline).Milliseconds()
		told["client"] = invocation.ClientContext.Custom
		return told, nil
	case "log":
		logger.InfoContext(ctx, "a line of log")
		fmt.Println("a printed line")
	}
	return nil, nil
}

func main() {
	if err := clients.Init(); err != nil {
		log.Fatal(err) // AWS's client has nothing to tell the Runtime API of it
	}
	lambda.Start(handle)
}
