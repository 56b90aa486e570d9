"""The function that `lambent conform` tells what to do (docs/conform.md)."""

import os

VERBS = ["echo", "fail", "unserialisable", "size", "count", "context", "exit"]
calls = []


def handler(event, context):
    """Obey the event's verb."""
    do = event["do"]
    if do == "verbs":
        return VERBS
    if do == "echo":
        return event["value"]
    if do == "fail":
        raise ValueError(event["message"])
    if do == "unserialisable":
        return {1, 2}
    if do == "size":
        return "x" * event["bytes"]
    if do == "count":
        calls.append(event)
        return len(calls)
    if do == "exit":
        os._exit(event["code"])
    return {
        "requestId": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "remainingMs": context.get_remaining_time_in_millis(),
        "traceId": os.environ.get("_X_AMZN_TRACE_ID"),
        "clientContext": context.client_context and context.client_context.custom,
    }
