"""An example function: says who called, when the time is up, and counts the calls of this environment."""

import logging

logger = logging.getLogger()
logger.setLevel(logging.INFO)
calls = 0


def handler(event, context):
    global calls  # noqa: PLW0603 - what stays between invocations is the point of the example
    calls += 1
    logger.info("call %d with %d ms left", calls, context.get_remaining_time_in_millis())
    return {"hello": event.get("name", "world"), "calls": calls, "requestId": context.aws_request_id}
