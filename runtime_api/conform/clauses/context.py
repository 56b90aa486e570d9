"""What a handler is told beside its event."""

from __future__ import annotations

import json
from typing import Any, Final

from runtime_api.conform._clause import GUIDE, SHOULD, Topic
from runtime_api.conform._session import ARN, NotApplicable, Session, encode, fail

CONTEXT: Final = Topic("context", f"{GUIDE}: Next invocation, response headers")


async def _told(session: Session, name: str, what: str, **options: Any) -> Any:
    session.need("context", "tell its context")
    post = await session.invoke({"do": "context"}, **options)
    try:
        told = json.loads(bytes(post.body))
    except ValueError:
        told = None
    if not isinstance(told, dict):
        fail("the verb 'context' must return an object", "a JSON object", post)
    if name not in told:
        raise NotApplicable(f"the function's context tells no {name} ({what})")
    return told[name]


@CONTEXT.clause("id", "The request id reaches the handler.")
async def id_(session: Session) -> None:
    for request_id in ("first-id", "second-id"):
        got = await _told(session, "requestId", "the request id", request_id=request_id)
        if got != request_id:
            fail(f"the handler was told {got!r}", f"{request_id!r}")


@CONTEXT.clause("arn", "The ARN reaches the handler as the caller addressed the function, anew with each invocation.")
async def arn(session: Session) -> None:
    for value in (ARN, f"{ARN}:blue"):
        got = await _told(session, "arn", "the ARN", headers={"Lambda-Runtime-Invoked-Function-Arn": value})
        if got != value:
            fail(f"the handler was told {got!r}", f"{value!r}")


@CONTEXT.clause("deadline", "The time left is counted from Lambda-Runtime-Deadline-Ms, anew with each invocation.")
async def deadline(session: Session) -> None:
    for seconds in (30.0, 3.0, 600.0):
        got = await _told(session, "remainingMs", "the time left", deadline_s=seconds)
        low, high = (seconds - 2.5) * 1000, seconds * 1000 + 5
        if not isinstance(got, int | float) or not low <= got <= high:
            fail(f"the handler was told {got!r} ms", f"between {low:.0f} and {high:.0f} ms")


@CONTEXT.clause(
    "trace",
    "The trace header reaches the handler's environment (_X_AMZN_TRACE_ID), anew with each invocation.",
    weight=SHOULD,
)
async def trace(session: Session) -> None:
    for value in ("Root=1-1-1;Parent=1;Sampled=1", "Root=1-2-2;Parent=2;Sampled=0"):
        got = await _told(session, "traceId", "_X_AMZN_TRACE_ID", headers={"Lambda-Runtime-Trace-Id": value})
        if got != value:
            fail(f"the handler saw {got!r}", f"{value!r}")


@CONTEXT.clause(
    "trace-gone", "Without a trace header the handler does not see that of an invocation before.", weight=SHOULD
)
async def trace_gone(session: Session) -> None:
    await _told(session, "traceId", "_X_AMZN_TRACE_ID", headers={"Lambda-Runtime-Trace-Id": "Root=1-1-1"})
    got = await _told(session, "traceId", "_X_AMZN_TRACE_ID", headers={"Lambda-Runtime-Trace-Id": None})
    if got:
        fail(f"the handler saw {got!r}", "nothing")


@CONTEXT.clause("client", "The client context reaches the handler; text of any script in it.")
async def client(session: Session) -> None:
    custom = {"k": "é 中"}
    header = json.dumps({"custom": custom, "client": {"app_title": "t"}, "env": {}}, ensure_ascii=False)
    got = await _told(session, "clientContext", "the client context", headers={"Lambda-Runtime-Client-Context": header})
    if got != custom:
        fail(f"the handler was told {got!r}", f"{custom!r}")


@CONTEXT.clause("client-gone", "Without a client context the handler is not told that of an invocation before.")
async def client_gone(session: Session) -> None:
    header = json.dumps({"custom": {"k": "v"}})
    await _told(session, "clientContext", "the client context", headers={"Lambda-Runtime-Client-Context": header})
    got = await _told(session, "clientContext", "the client context")
    if got:
        fail(f"the handler was told {got!r}", "nothing")


@CONTEXT.clause(
    "odd-values", "A header value that is not as expected is an error of that invocation at the most.", weight=SHOULD
)
async def odd_values(session: Session) -> None:
    for name, value in (
        ("Lambda-Runtime-Client-Context", "this is { not JSON"),
        ("Lambda-Runtime-Cognito-Identity", "nor is this"),
        ("Lambda-Runtime-Trace-Id", "no trace"),
    ):
        poll = await session.poll()
        request_id = await session.give(poll, encode("odd"), headers={name: value})
        post = await session.request(f"POST of …/{request_id}/response or …/error")
        if not post.target.endswith((f"{request_id}/response", f"{request_id}/error")):
            fail("another request came", f"POST of …/{request_id}/response or …/error", post)
        await session.body(post)
        await post.accept()
    await session.lives("after odd headers")
