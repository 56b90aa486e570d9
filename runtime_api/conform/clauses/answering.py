"""Answers: whose they are, what is in them, and what becomes of refused ones."""

from __future__ import annotations

import uuid
from typing import Any, Final

from runtime_api.conform._clause import GUIDE, SHOULD, Topic
from runtime_api.conform._session import Failed, Session, encode, fail

ANSWERING: Final = Topic("answer", f"{GUIDE}: Invocation response")
_WIRE = "what AWS's own clients send"
_REFUSED = b'{"errorMessage":"refused for a test","errorType":"Refused"}'


@ANSWERING.clause(
    "path", "The result is POSTed to /runtime/invocation/{id}/response with the id that came with the event."
)
async def path(session: Session) -> None:
    post = await session.echo("result")
    if post.defects:
        fail("; ".join(post.defects), "a well-formed HTTP/1.1 request", post)


@ANSWERING.clause("once", "It is posted once.")
async def once(session: Session) -> None:
    await session.echo("once")
    await session.poll("GET of next, and no second post")
    await session.silence(0.3, "nothing else")


@ANSWERING.clause("framing", "The body has a Content-Length or is chunked, so that its end is known.")
async def framing(session: Session) -> None:
    post = await session.echo("framed")
    if post.framing == "none":
        fail("the request has neither", "Content-Length, or Transfer-Encoding: chunked", post)


@ANSWERING.clause("id", "The id is taken as it is, whatever it looks like; it need not be a UUID.")
async def id_(session: Session) -> None:
    for request_id in ("a", "0123456789" * 12, "AbC.dEf-gHi_jKl~1", str(uuid.uuid4()).upper()):
        await session.echo(request_id, request_id=request_id)


@ANSWERING.clause("matched", "Each of many invocations gets its own answer.")
async def matched(session: Session) -> None:
    for number in range(25):
        await session.echo({"number": number, "key": str(uuid.uuid4())})


@ANSWERING.clause(
    "attempt",
    "Lambda-Runtime-Invocation-Id, where the event came with it, is sent back with the answer.",
    weight=SHOULD,
    source="AWS's runtime clients since 2026 (awslambdaric 4.0.2, Java RIC 2.12)",
)
async def attempt(session: Session) -> None:
    token = uuid.uuid4().hex
    post = await session.echo("attempt", headers={"Lambda-Runtime-Invocation-Id": token})
    got = post.header("lambda-runtime-invocation-id")
    if got != token:
        fail(
            f"the header is {got!r}" if got else "the header is missing", f"Lambda-Runtime-Invocation-Id: {token}", post
        )


VALUES: Final[dict[str, Any]] = {
    "null": None,
    "booleans": [True, False],
    "numbers": [0, -1, 1.5, 1e21, 9007199254740991],
    "text": 'quote " backslash \\ slash / tab \t newline \n',
    "scripts": "Grüße, Ω, 中文, العربية, हिन्दी, \u2028\u2029",
    "beyond the basic plane": "😀 𝄞 👩‍👩‍👧",
    "empty": ["", [], {}],
    "nested": {"a": [{"b": {"c": [[[]]]}}]},
}


def _values(name: str, value: Any) -> None:
    @ANSWERING.clause(f"value.{name.replace(' ', '-')}", f"JSON survives the way there and back: {name}.")
    async def check(session: Session) -> None:
        await session.echo(value)


for _name, _value in VALUES.items():
    _values(_name, _value)


@ANSWERING.clause("value.deep", "JSON that is nested a hundred deep survives.")
async def deep(session: Session) -> None:
    value: Any = "bottom"
    for _ in range(100):
        value = [value]
    await session.echo(value)


@ANSWERING.clause("large", "Six megabytes go both ways, twice.", source="AWS Lambda quotas")
async def large(session: Session) -> None:
    value = "0123456789" * 620_000
    for _ in range(2):
        await session.echo(value)


@ANSWERING.clause(
    "empty-event", "An event without a single byte does not break the runtime: it answers, or posts an error."
)
async def empty_event(session: Session) -> None:
    await _odd(session, b"")


@ANSWERING.clause("not-json", "An event that is not JSON does not break the runtime: it answers, or posts an error.")
async def not_json(session: Session) -> None:
    await _odd(session, b"this is { not JSON")


@ANSWERING.clause("binary", "An event that is not text does not break the runtime: it answers, or posts an error.")
async def binary(session: Session) -> None:
    await _odd(session, bytes(range(256)))


async def _odd(session: Session, payload: bytes) -> None:
    poll = await session.poll()
    request_id = await session.give(poll, payload)
    wanted = f"POST of …/{request_id}/response or …/error"
    post = await session.request(wanted)
    if not post.target.endswith((f"{request_id}/response", f"{request_id}/error")):
        fail("another request came", wanted, post)
    await session.body(post)
    await post.accept()
    await session.lives("after an odd event")


@ANSWERING.clause(
    "too-large", "413 to an answer (it was too large) is not the end: the runtime goes on.", source=f"{GUIDE}; {_WIRE}"
)
async def too_large(session: Session) -> None:
    await _refused(session, 413, may_end=False)


@ANSWERING.clause("refused-400", "400 to an answer does not make the runtime hang or spin: it goes on, or ends.")
async def refused_400(session: Session) -> None:
    await _refused(session, 400, may_end=True)


@ANSWERING.clause("refused-403", "403 to an answer does not make the runtime hang or spin: it goes on, or ends.")
async def refused_403(session: Session) -> None:
    await _refused(session, 403, may_end=True)


@ANSWERING.clause(
    "timed-out", "410 to an answer (its invocation has timed out) is not the end: the runtime goes on.",
    weight=SHOULD, source="Lambda Managed Instances, Runtime API",
)  # fmt: skip
async def timed_out(session: Session) -> None:
    await _refused(session, 410, may_end=False)


@ANSWERING.clause(
    "fatal", "500 to an answer means that the environment cannot go on: the runtime ends, or asks again; no spinning."
)
async def fatal(session: Session) -> None:
    await _refused(session, 500, may_end=True)


async def _refused(session: Session, status: int, *, may_end: bool) -> None:
    poll = await session.poll()
    request_id = await session.give(poll, encode(_event(session, "refused")))
    post = await session.post(request_id, accept=False)
    await post.answer(status, _REFUSED)
    try:
        wanted = "GET of next" + (", or the runtime's end" if may_end else "")
        exchange = await session.request(wanted)
        for _ in range(10):  # some report the refusal as an error of the invocation, or try again
            if exchange.method == "GET":
                break
            await session.body(exchange)
            await exchange.answer(status, _REFUSED)
            exchange = await session.request(wanted)
        else:
            fail("it posted ten times more", wanted, exchange)
        session.put_back(exchange)
        await session.lives(f"after a {status}")
    except Failed as failed:
        if may_end and "ended" in failed.reason:
            return
        raise


@ANSWERING.clause("slow-accept", "The answer may be accepted late (two seconds here).")
async def slow_accept(session: Session) -> None:
    poll = await session.poll()
    request_id = await session.give(poll, encode(_event(session, "slow")))
    post = await session.post(request_id, accept=False)
    await session.silence(2.0, "nothing until the answer is accepted")
    await post.accept()
    await session.lives("after a late 202")


def _event(session: Session, value: Any) -> Any:
    return {"do": "echo", "value": value} if "echo" in session.verbs else value


@ANSWERING.clause("size", "A result much larger than its event is sent whole.")
async def size(session: Session) -> None:
    session.need("size", "return a text of a size")
    for count in (1, 100_000, 5_000_000):
        post = await session.invoke({"do": "size", "bytes": count})
        if bytes(post.body) != b'"' + b"x" * count + b'"':
            fail(f"the body has {len(post.body)} bytes", f"a JSON string of {count} times x", post)


@ANSWERING.clause("state", "The process is the same from one invocation to the next: what it remembers stays.")
async def state(session: Session) -> None:
    session.need("count", "count its calls")
    for number in (1, 2, 3):
        session.holds(await session.invoke({"do": "count"}), number)
