// The function under test on our runtime.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"functions.test/clients"
	"lambent"
)

type event struct {
	clients.Event
	Pieces []string `json:"pieces"`
}

var logger = lambent.Logger()

func handle(ctx context.Context, event event) (any, error) {
	if result, err, ok := clients.Obey(event.Event); ok {
		return result, err
	}
	switch event.Do {
	case "context":
		invocation := lambent.FromContext(ctx)
		told := clients.Context()
		told["requestId"], told["arn"] = invocation.RequestID, invocation.FunctionARN
		deadline, _ := ctx.Deadline()
		told["remaining"] = time.Until(deadline).Milliseconds()
		var client struct{ Custom map[string]string }
		if invocation.ClientContext != nil {
			if err := json.Unmarshal(invocation.ClientContext, &client); err != nil {
				return nil, err
			}
		}
		told["client"] = client.Custom
		return told, nil
	case "log":
		logger.InfoContext(ctx, "a line of log")
		fmt.Println("a printed line")
	case "stream":
		reader, writer := io.Pipe()
		go func() {
			for _, piece := range event.Pieces {
				_, _ = io.WriteString(writer, piece)
			}
			writer.Close()
		}()
		return reader, nil
	}
	return nil, nil
}

func main() {
	if err := clients.Init(); err != nil {
		lambent.StartFailed(err)
	}
	lambent.Start(handle)
}
