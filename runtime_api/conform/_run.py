"""Running the clauses against one runtime."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable

from ._clause import Clause
from ._report import Outcome, Report, Result, Weight
from ._session import Failed, NotApplicable, open_session
from ._subject import Subject
from .clauses import CLAUSES

__all__ = ["conform"]


async def conform(
    subject: Subject,
    *,
    only: Callable[[str], bool] = lambda _id: True,
    patience_s: float = 10.0,
    jobs: int = 1,
    told: Callable[[Result], None] = lambda _result: None,
) -> Report:
    """Judge a runtime.

    Each clause starts the runtime anew, so that none depends on another.

    Args:
        subject: the bootstrap with its function.
        only: which clauses, by id.
        patience_s: how long the runtime may take to do anything, its start included.
        jobs: how many clauses run at the same time.
        told: called with each result as it is there.

    Raises:
        OSError: the runtime cannot be started at all.
    """
    verbs, agent = await _verbs(subject, patience_s)
    gate = asyncio.Semaphore(jobs)

    async def run(clause: Clause) -> Result:
        async with gate:
            result = await _judge(clause, subject, verbs, patience_s)
        told(result)
        return result

    chosen = [clause for clause in CLAUSES if only(clause.id)]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(run(clause)) for clause in chosen]
    return Report(subject=subject.name, user_agent=agent, results=[task.result() for task in tasks])


async def _verbs(subject: Subject, patience_s: float) -> tuple[frozenset[str], str]:
    """What the function can be told to do. Empty: it is not known to follow the convention, and is taken to echo."""
    async with open_session(subject, frozenset(), patience_s) as session:
        try:
            post = await session.invoke({"do": "verbs"})
            told = json.loads(bytes(post.body))
        except (Failed, ValueError):
            return frozenset(), session.user_agent
        if isinstance(told, list) and all(isinstance(verb, str) for verb in told):
            return frozenset(told), session.user_agent
        return frozenset(), session.user_agent


async def _judge(clause: Clause, subject: Subject, verbs: frozenset[str], patience_s: float) -> Result:
    began = time.monotonic()
    outcome, reason, expected, got, output = Outcome.PASS, "", "", "", ""
    async with open_session(subject, verbs, patience_s, clause.variables) as session:
        try:
            async with asyncio.timeout(6 * patience_s):
                await clause.check(session)
        except NotApplicable as error:
            outcome, reason = Outcome.NOT_APPLICABLE, str(error)
        except Failed as error:
            outcome = Outcome.FAIL if clause.weight is Weight.MUST else Outcome.ADVICE
            reason, expected, got = error.reason, error.expected, error.got
            output = session.output()
        except TimeoutError:
            outcome = Outcome.FAIL if clause.weight is Weight.MUST else Outcome.ADVICE
            reason, expected = f"the clause was not over after {6 * patience_s:g} s", clause.title
            output = session.output()
    return Result(
        id=clause.id,
        title=clause.title,
        source=clause.source,
        weight=clause.weight,
        outcome=outcome,
        reason=reason,
        expected=expected,
        got=got,
        output=output,
        seconds=time.monotonic() - began,
    )
