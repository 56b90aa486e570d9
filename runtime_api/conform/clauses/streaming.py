"""Responses that are sent while they are made."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Final

from runtime_api.conform._clause import GUIDE, Topic
from runtime_api.conform._session import NotApplicable, Session, encode, fail
from runtime_api.conform._wire import Exchange

STREAMING: Final = Topic("stream", f"{GUIDE}: Response streaming for custom runtimes")
_INTEGRATION = "application/vnd.awslambda.http-integration-response"


async def _stream(session: Session, event: dict[str, object]) -> tuple[str, Exchange]:
    session.need("stream", "stream its response")
    poll = await session.poll()
    request_id = await session.give(poll, encode({"do": "stream", **event}))
    wanted = f"POST of …/{request_id}/response, streamed"
    post = await session.request(wanted)
    if not post.target.endswith(f"/{request_id}/response"):
        fail("another request came", wanted, post)
    return request_id, post


@STREAMING.clause(
    "mode", "A streamed response says so: Lambda-Runtime-Function-Response-Mode: streaming, and is chunked."
)
async def mode(session: Session) -> None:
    _, post = await _stream(session, {"pieces": ["one", "two"]})
    if post.framing != "chunked":
        fail("the body is not chunked", "Transfer-Encoding: chunked", post)
    if post.header("lambda-runtime-function-response-mode") != "streaming":
        if post.header("content-type") == _INTEGRATION:
            raise NotApplicable("it says so by its content type, as AWS's Go client does")
        fail("the mode header is missing", "Lambda-Runtime-Function-Response-Mode: streaming", post)


@STREAMING.clause("whole", "All of its pieces arrive, in order, and nothing else.")
async def whole(session: Session) -> None:
    pieces = ["first,", "second é,", "x" * 100_000, "end"]
    _, post = await _stream(session, {"pieces": pieces})
    body = _content(post, await session.body(post))
    if body != "".join(pieces).encode():
        fail(f"the body has {len(body)} bytes", f"the {len(''.join(pieces).encode())} bytes of the pieces", post)
    await post.accept()
    await session.poll("GET of next, after the stream")


@STREAMING.clause("at-once", "A piece is sent when it is written, not when the response is complete.")
async def at_once(session: Session) -> None:
    _, post = await _stream(session, {"pieces": ["early", "late"], "pause_ms": 1500})
    before = await post.more(0)
    if post.complete:
        fail("the first bytes came with the last", "the first piece 1.5 s before the end of the body", post)
    await session.body(post)
    if before >= len(post.body):
        fail("everything came at once", "the pieces one after the other", post)
    await post.accept()


@STREAMING.clause("next-after", "The next invocation is asked for when the stream is complete, not before.")
async def next_after(session: Session) -> None:
    _, post = await _stream(session, {"pieces": ["a", "b"], "pause_ms": 700})
    await session.silence(0.4, "nothing before the stream's end")
    await session.body(post)
    await session.silence(0.3, "nothing until the response is accepted")
    await post.accept()
    await session.lives("after a stream")


@STREAMING.clause("error", "An error after the first byte is told in trailers: type, and base64 of the error's JSON.")
async def error(session: Session) -> None:
    _, post = await _stream(session, {"pieces": ["begun"], "fail": "in the middle"})
    await session.body(post)
    wanted = "trailers Lambda-Runtime-Function-Error-Type and Lambda-Runtime-Function-Error-Body"
    if not post.trailers.get("lambda-runtime-function-error-type"):
        fail(f"the trailers are {post.trailers}", wanted, post)
    try:
        body = json.loads(base64.b64decode(post.trailers.get("lambda-runtime-function-error-body", ""), validate=True))
    except (binascii.Error, ValueError) as reason:
        fail(f"the trailer's body cannot be read: {reason}", wanted, post)
    if "in the middle" not in str(body.get("errorMessage")):
        fail(f"the trailer's body is {body}", "errorMessage with the error's message", post)
    await post.accept()
    await session.lives("after a stream that failed")


def _content(post: Exchange, body: bytes) -> bytes:
    """Without the prelude of an HTTP integration."""
    if post.header("content-type") == _INTEGRATION:
        _, _, body = body.partition(bytes(8))
    return body
