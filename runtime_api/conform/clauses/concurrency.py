"""Runtimes that serve several invocations at once."""

from __future__ import annotations

import json
from typing import Final

from runtime_api.conform._clause import SHOULD, Topic
from runtime_api.conform._session import NEXT, NotApplicable, Session, encode, fail
from runtime_api.conform._wire import Exchange

CONCURRENCY: Final = Topic("concurrent", "Lambda Managed Instances, Runtime API; AWS's runtime clients")
_MANY: Final = 3
_SETTING: Final = {
    "AWS_LAMBDA_MAX_CONCURRENCY": str(_MANY),
    "AWS_LAMBDA_INITIALIZATION_TYPE": "lambda-managed-instances",
    "AWS_LAMBDA_LOG_FORMAT": "JSON",
}


async def _polls(session: Session) -> list[Exchange]:
    """The parked polls. Not applicable for a runtime that has one only."""
    polls = [await session.poll()]
    for _ in range(_MANY - 1):
        try:
            exchange = await session.request(f"{_MANY} parked polls", 3.0)
        except Exception as error:
            if "nothing came" in str(error):
                break
            raise
        if exchange.target != NEXT:
            fail("another request came", f"{_MANY} parked polls", exchange)
        polls.append(exchange)
    if len(polls) == 1:
        raise NotApplicable("the runtime serves one invocation at a time (AWS_LAMBDA_MAX_CONCURRENCY is not for it)")
    return polls


async def _answer(session: Session, request_id: str, verb: str = "response") -> Exchange:
    """The whole answer to this invocation, not yet accepted; polls that come before it are let wait."""
    wanted = f"POST of …/{request_id}/{verb}"
    exchange = await session.request(wanted)
    while exchange.target == NEXT:
        exchange = await session.request(wanted)
    if not exchange.target.endswith(f"/{request_id}/{verb}"):
        fail("another request came", wanted, exchange)
    await session.body(exchange)
    return exchange


def _event(session: Session, value: object) -> bytes:
    return encode({"do": "echo", "value": value} if "echo" in session.verbs else value)


@CONCURRENCY.clause("polls", "With AWS_LAMBDA_MAX_CONCURRENCY=3 it has three polls parked.", variables=_SETTING)
async def polls(session: Session) -> None:
    found = await _polls(session)
    if len(found) != _MANY:
        fail(f"there are {len(found)} parked polls", f"{_MANY}")


@CONCURRENCY.clause("bounded", "It has no more polls parked than it was told.", weight=SHOULD, variables=_SETTING)
async def bounded(session: Session) -> None:
    await _polls(session)
    await session.silence(0.5, f"{_MANY} parked polls and nothing else")


@CONCURRENCY.clause(
    "matched", "Invocations that run at the same time get their own answers, in whatever order.", variables=_SETTING
)
async def matched(session: Session) -> None:
    given: dict[str, str] = {}
    for number, poll in enumerate(await _polls(session)):
        value = f"value {number}"
        given[await session.give(poll, _event(session, value), request_id=f"concurrent-{number}")] = value
    while given:
        exchange = await session.request("an answer to each")
        if exchange.target == NEXT:
            continue  # a worker that is done
        request_id = next((one for one in given if exchange.target.endswith(f"/{one}/response")), None)
        if request_id is None:
            fail("another request came", f"POST of …/response for one of {', '.join(given)}", exchange)
        if json.loads(await session.body(exchange)) != given.pop(request_id):
            fail("it has the value of another invocation", "its own value", exchange)
        await exchange.accept()


@CONCURRENCY.clause("context", "Invocations that run at the same time have contexts of their own.", variables=_SETTING)
async def context(session: Session) -> None:
    session.need("context", "tell its context")
    given: dict[str, str] = {}
    for number, poll in enumerate(await _polls(session)):
        request_id, trace = f"concurrent-{number}", f"Root=1-5759e988-{number:024x};Parent=53995c3f42cd8ad8;Sampled=1"
        headers = {"Lambda-Runtime-Trace-Id": trace}
        given[await session.give(poll, encode({"do": "context"}), request_id=request_id, headers=headers)] = trace
    while given:
        exchange = await session.request("an answer to each")
        if exchange.target == NEXT:
            continue
        told = json.loads(await session.body(exchange))
        request_id = told["requestId"]
        if not exchange.target.endswith(f"/{request_id}/response"):
            fail("it has the request id of another invocation", "its own", exchange)
        trace = given.pop(request_id)
        if told.get("traceId") not in {None, trace}:
            fail("it has the trace header of another invocation", trace, exchange)
        await exchange.accept()


@CONCURRENCY.clause(
    "error", "An error of one is posted as its own, leaves the others, and its worker polls again.", variables=_SETTING
)
async def error(session: Session) -> None:
    session.need("fail", "fail")
    first, *others = await _polls(session)
    given = {await session.give(first, encode({"do": "fail", "message": "of one"})): "error"}
    for number, poll in enumerate(others):
        given[await session.give(poll, _event(session, number))] = "response"
    workers, asking = len(given), 0
    while given or asking < workers:
        exchange = await session.request("an answer to each, and a poll of each worker")
        if exchange.target == NEXT:
            asking += 1
            continue
        request_id = exchange.target.split("/")[-2]
        verb = given.pop(request_id, None)
        if verb is None or not exchange.target.endswith(f"/{verb}"):
            fail("another request came", f"POST of …/{request_id}/{verb}", exchange)
        await session.body(exchange)
        await exchange.accept()


@CONCURRENCY.clause(
    "independent", "An answer that is slow to be accepted holds no other worker up.", weight=SHOULD, variables=_SETTING
)
async def independent(session: Session) -> None:
    first, *others = await _polls(session)
    held = await _answer(session, await session.give(first, _event(session, "held")))
    for number, poll in enumerate(others):
        exchange = await _answer(session, await session.give(poll, _event(session, number)))
        session.holds(exchange, number)
        await exchange.accept()
    await held.accept()


@CONCURRENCY.clause(
    "late",
    "410 to the answer of one (its time is over) leaves the others, and the worker polls again.",
    weight=SHOULD,
    variables=_SETTING,
)
async def late(session: Session) -> None:
    first, *others = await _polls(session)
    post = await _answer(session, await session.give(first, _event(session, 1)))
    await post.answer(410, b'{"errorMessage":"Invoke timeout","errorType":"InvokeTimeout"}')
    again = await session.poll("GET of next by the same worker")
    for poll in (again, *others):
        exchange = await _answer(session, await session.give(poll, _event(session, 1)))
        await exchange.accept()
