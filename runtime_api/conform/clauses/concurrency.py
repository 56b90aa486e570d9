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


@CONCURRENCY.clause(
    "polls", "With AWS_LAMBDA_MAX_CONCURRENCY=3 it has three polls parked, and not more.", variables=_SETTING
)
async def polls(session: Session) -> None:
    found = await _polls(session)
    if len(found) != _MANY:
        fail(f"there are {len(found)} parked polls", f"{_MANY}")
    await session.silence(0.5, f"{_MANY} parked polls and nothing else")


@CONCURRENCY.clause(
    "matched", "Invocations that run at the same time get their own answers, in whatever order.", variables=_SETTING
)
async def matched(session: Session) -> None:
    given: dict[str, str] = {}
    for number, poll in enumerate(await _polls(session)):
        value = f"value {number}"
        event = {"do": "echo", "value": value} if "echo" in session.verbs else value
        given[await session.give(poll, encode(event), request_id=f"concurrent-{number}")] = value
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


@CONCURRENCY.clause(
    "late",
    "410 to the answer of one (its time is over) leaves the others, and the worker polls again.",
    weight=SHOULD,
    variables=_SETTING,
)
async def late(session: Session) -> None:
    first, *others = await _polls(session)
    event = {"do": "echo", "value": 1} if "echo" in session.verbs else 1
    request_id = await session.give(first, encode(event))
    post = await session.post(request_id, accept=False)
    await post.answer(410, b'{"errorMessage":"Invoke timeout","errorType":"InvokeTimeout"}')
    again = await session.poll("GET of next by the same worker")
    for poll in (again, *others):
        request_id = await session.give(poll, encode(event))
        exchange = await session.request("its answer")
        while exchange.target == NEXT:
            exchange = await session.request("its answer")
        if not exchange.target.endswith(f"/{request_id}/response"):
            fail("another request came", f"POST of …/{request_id}/response", exchange)
        await session.body(exchange)
        await exchange.accept()
