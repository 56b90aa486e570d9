"""SnapStart: a runtime that is initialised once and resumed."""

from __future__ import annotations

from typing import Final

from runtime_api.conform._clause import Topic
from runtime_api.conform._session import NEXT, NotApplicable, Session, fail
from runtime_api.conform._wire import Exchange

RESTORING: Final = Topic("restore", "AWS Lambda developer guide, SnapStart: Runtime hooks for custom runtimes")
_SNAP_START: Final = {"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"}
_PATH: Final = "/2018-06-01/runtime/restore/next"


async def _parked(session: Session) -> Exchange:
    wanted = f"GET {_PATH}"
    exchange = await session.request(wanted)
    if exchange.target == NEXT:
        raise NotApplicable("the runtime does not take part: it asks for an invocation at once")
    if exchange.method != "GET" or exchange.target != _PATH:
        fail("another request came", wanted, exchange)
    return exchange


@RESTORING.clause(
    "parks",
    "With AWS_LAMBDA_INITIALIZATION_TYPE=snap-start it parks at /runtime/restore/next before its first poll.",
    variables=_SNAP_START,
)
async def parks(session: Session) -> None:
    await _parked(session)
    await session.silence(0.5, "nothing until it is restored")


@RESTORING.clause(
    "resumes", "After the 200 of restore/next it asks for invocations and serves them.", variables=_SNAP_START
)
async def resumes(session: Session) -> None:
    parked = await _parked(session)
    await parked.answer(200, b"")
    await session.echo("restored")


@RESTORING.clause(
    "waits", "It waits to be restored without a time limit of its own (three seconds here).", variables=_SNAP_START
)
async def waits(session: Session) -> None:
    parked = await _parked(session)
    await session.silence(3.0, "nothing until it is restored")
    await parked.answer(200, b"")
    await session.echo("restored late")
