"""How a runtime ends when it is told to."""

from __future__ import annotations

import signal
from typing import Final

from runtime_api.conform._clause import Topic
from runtime_api.conform._session import Session

ENDING: Final = Topic("end", "AWS Lambda developer guide, Execution environment lifecycle: Shutdown phase")


@ENDING.clause("sigterm", "SIGTERM ends a runtime that waits for an invocation, within two seconds.")
async def sigterm(session: Session) -> None:
    await session.poll()
    session.signal(signal.SIGTERM)
    await session.end("the process's end", 2.0)


@ENDING.clause("sigterm-after", "SIGTERM ends a runtime that has served invocations, within two seconds.")
async def sigterm_after(session: Session) -> None:
    await session.echo("before the end")
    await session.poll()
    session.signal(signal.SIGTERM)
    await session.end("the process's end", 2.0)
