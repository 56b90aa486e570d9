"""Asking for invocations."""

from __future__ import annotations

import asyncio
from typing import Final

from runtime_api.conform._clause import GUIDE, SHOULD, Topic
from runtime_api.conform._session import NEXT, Session, encode, fail, head

POLLING: Final = Topic("poll", f"{GUIDE}: Next invocation")
_ONCE = "exactly one parked GET of next"


@POLLING.clause("first", "After its start the runtime asks for the next invocation: GET, this path, no body.")
async def first(session: Session) -> None:
    poll = await session.poll()
    if poll.defects:
        fail("; ".join(poll.defects), "a well-formed HTTP/1.1 request", poll)
    if poll.version != "1.1":
        fail(f"the request is HTTP/{poll.version}", "HTTP/1.1", poll)
    if await session.body(poll):
        fail("a GET of next has no body", "no body", poll)


@POLLING.clause("one", "A runtime that serves one invocation at a time has one poll parked, and sends nothing else.")
async def one(session: Session) -> None:
    await session.poll()
    await session.silence(0.4, _ONCE)


@POLLING.clause("waits", "It waits for an invocation without a time limit of its own (three seconds here).")
async def waits(session: Session) -> None:
    poll = await session.poll()
    await session.silence(3.0, _ONCE)
    request_id = await session.give(poll, encode(_echo(session, "late")))
    session.holds(await session.post(request_id), "late")


@POLLING.clause("again", "After its answer is accepted it asks again, and serves the next invocation.")
async def again(session: Session) -> None:
    for number in range(3):
        await session.echo(f"invocation {number}")
    await session.poll("GET of next, after the third answer")


@POLLING.clause("order", "It does not ask for the next invocation before its answer to this one is accepted.")
async def order(session: Session) -> None:
    poll = await session.poll()
    request_id = await session.give(poll, encode(_echo(session, "slow")))
    post = await session.post(request_id, accept=False)
    await session.silence(0.4, "nothing until the answer is accepted")
    await post.accept()
    await session.poll()


@POLLING.clause("few-headers", "Only the headers that are always there are needed: id, deadline and ARN.")
async def few_headers(session: Session) -> None:
    await session.echo("few", headers={"Lambda-Runtime-Trace-Id": None})


@POLLING.clause("more-headers", "Headers that it does not know do not trouble it.")
async def more_headers(session: Session) -> None:
    await session.echo("more", headers={"Lambda-Runtime-Something-New": "x" * 2000, "X-Other": "1"})


@POLLING.clause("any-case", "Header names are read whatever their case is.", source="RFC 9110, 5.1")
async def any_case(session: Session) -> None:
    for change in (str.lower, str.upper):
        poll = await session.poll()
        request_id = f"case-{change.__name__}"
        fields = [(change(name), value) for name, value in session.fields(request_id)]
        body = encode(_echo(session, "case"))
        fields += [(change("Content-Type"), "application/json"), (change("Content-Length"), str(len(body)))]
        await poll.send(head(200, fields) + body)
        session.holds(await session.post(request_id), "case")


@POLLING.clause("chunked", "An invocation may come with a chunked body.", source="RFC 9112, 7.1")
async def chunked(session: Session) -> None:
    poll = await session.poll()
    body = encode(_echo(session, "in chunks"))
    fields = [*session.fields("chunked"), ("Content-Type", "application/json"), ("Transfer-Encoding", "chunked")]
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    await poll.send(head(200, fields), *(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n")
    session.holds(await session.post("chunked"), "in chunks")


@POLLING.clause("in-pieces", "An invocation may come in small pieces, cut anywhere, also inside its head.")
async def in_pieces(session: Session) -> None:
    poll = await session.poll()
    body = encode(_echo(session, "é 😀"))
    fields = [*session.fields("pieces"), ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    whole = head(200, fields) + body
    await poll.send(*(whole[at : at + 5] for at in range(0, len(whole), 5)), pause_s=0.001)
    session.holds(await session.post("pieces"), "é 😀")


@POLLING.clause("reconnect", "When the connection is closed after an invocation it connects anew.")
async def reconnect(session: Session) -> None:
    for number in range(3):
        poll = await session.poll()
        request_id = await session.give(poll, encode(_echo(session, number)), close=True)
        post = await session.post(request_id, accept=False)
        session.holds(post, number)
        await post.answer(202, b'{"status":"OK"}\n', close=True)
    await session.poll()


@POLLING.clause("kept", "It keeps its connection instead of making one per request.", weight=SHOULD)
async def kept(session: Session) -> None:
    used = set()
    for number in range(4):
        poll = await session.poll()
        request_id = await session.give(poll, encode(_echo(session, number)))
        used |= {("poll", poll.connection), ("post", (await session.post(request_id)).connection)}
    if len(used) > 4:
        fail(
            f"four invocations took {len({connection for _, connection in used})} connections",
            "two at the most: one for polls, one for answers (or one for both)",
        )


@POLLING.clause(
    "dropped", "A parked poll whose connection breaks is repeated, or the runtime ends: it does not hang, or spin."
)
async def dropped(session: Session) -> None:
    poll = await session.poll()
    await poll.drop()
    for count in range(1, 21):
        try:
            again = await asyncio.wait_for(session.poll("GET of next again, or the runtime's end"), session.patience_s)
        except Exception as error:
            if "ended" in str(error):
                return
            raise
        if count == 1:
            request_id = await session.give(again, encode(_echo(session, "after a break")))
            session.holds(await session.post(request_id), "after a break")
            return


@POLLING.clause(
    "fatal", "500 to a poll means that the environment cannot go on: the runtime ends and does not spin.", weight=SHOULD
)
async def fatal(session: Session) -> None:
    poll = await session.poll()
    for _ in range(20):
        await poll.answer(500, b'{"errorMessage":"Internal Server Error","errorType":"InternalServerError"}')
        try:
            poll = await session.poll("the runtime's end")
        except Exception as error:
            if "ended" in str(error):
                return
            raise
    fail("it asked twenty times more", f"the runtime's end after a few 500s to {NEXT}", poll)


def _echo(session: Session, value: object) -> object:
    return {"do": "echo", "value": value} if "echo" in session.verbs else value
