"""The judge, judged: a runtime that keeps every clause passes all, and each flaw is found by the clause it breaks."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
import uvloop

from runtime_api.conform import CLAUSES, LocalSubject, Outcome, Weight, conform

RUNTIME = Path(__file__).with_name("runtime.py")

#: flaw -> the clause that must find it.
FLAWS = {
    "never-polls": "poll.first",
    "garbage": "poll.first",
    "wrong-path": "poll.first",
    "wrong-method": "poll.first",
    "poll-with-body": "poll.first",
    "no-host": "poll.first",
    "http-1.0": "poll.first",
    "polls-twice": "poll.one",
    "impatient": "poll.waits",
    "one-connection-per-request": "poll.kept",
    "eager": "poll.order",
    "needs-trace": "poll.few-headers",
    "small-headers": "poll.more-headers",
    "case-sensitive": "poll.any-case",
    "no-chunks": "poll.chunked",
    "one-read-per-answer": "poll.in-pieces",
    "never-reconnects": "poll.reconnect",
    "hangs-when-dropped": "poll.dropped",
    "spins": "poll.fatal",
    "answers-twice": "answer.once",
    "no-length": "answer.framing",
    "uuid-only": "answer.id",
    "swapped": "answer.matched",
    "no-attempt": "answer.attempt",
    "null-is-empty": "answer.value.null",
    "no-astral": "answer.value.beyond-the-basic-plane",
    "shallow": "answer.value.deep",
    "truncates": "answer.large",
    "dies-of-bad-json": "answer.not-json",
    "swallows-bad-json": "answer.empty-event",
    "dies-of-413": "answer.too-large",
    "dies-of-410": "answer.timed-out",
    "hangs-when-refused": "answer.refused-403",
    "forgets": "answer.state",
    "error-as-response": "error.path",
    "error-shape": "error.shape",
    "error-ascii": "error.message",
    "no-trace": "error.trace",
    "bad-error-type": "error.type-header",
    "bad-xray": "error.xray",
    "dies-of-errors": "error.lives",
    "exit-code": "error.exit",
    "init-error-elsewhere": "init.error",
    "init-error-stays": "init.ends",
    "init-error-polls": "init.ends",
    "init-error-code": "init.ends",
    "first-context": "context.id",
    "deadline-in-seconds": "context.deadline",
    "stale-context": "context.trace-gone",
    "mangled-context": "context.client",
    "dies-of-odd-headers": "context.odd-values",
    "no-mode": "stream.mode",
    "stream-drops": "stream.whole",
    "stream-buffers": "stream.at-once",
    "stream-eager": "stream.next-after",
    "no-trailers": "stream.error",
    "restore-impatient": "restore.waits",
    "restore-stays": "restore.resumes",
    "too-few-workers": "concurrent.polls",
    "too-many-workers": "concurrent.bounded",
    "shared-context": "concurrent.context",
    "worker-ends-with-error": "concurrent.error",
    "one-answer-at-a-time": "concurrent.independent",
    "ignores-sigterm": "end.sigterm",
}


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})  # sockets are under test, not the loops


def subject(flaw: str = "") -> LocalSubject:
    return LocalSubject(flaw or "flawless", [sys.executable, "-S", str(RUNTIME)], str(RUNTIME.parent), {"FLAW": flaw})


async def test_a_runtime_that_keeps_the_contract_passes_every_clause():
    report = await conform(subject(), jobs=4)
    assert {result.id: result.reason for result in report.results if result.outcome is not Outcome.PASS} == {}
    assert len(report.results) == len(CLAUSES)
    assert (report.user_agent, report.failed) == ("flawed/1", False)


async def test_each_flaw_is_found_by_the_clause_that_it_breaks():
    """All at once: each is a process that mostly waits."""
    gate = asyncio.Semaphore(6)

    async def find(flaw: str, clause: str) -> str | None:
        async with gate:
            report = await conform(subject(flaw), only=clause.__eq__, patience_s=2.0)
        (result,) = report.results
        wanted = Outcome.FAIL if result.weight is Weight.MUST else Outcome.ADVICE
        if result.outcome is not wanted or not result.reason or not result.expected:
            return f"{flaw}: {clause} ended with {result.outcome} ({result.reason})"
        return None

    found = await asyncio.gather(*(find(flaw, clause) for flaw, clause in FLAWS.items()))
    assert [one for one in found if one] == []


def test_nearly_every_clause_has_a_flaw_that_it_finds():
    """Those left out say the same of another value or another moment."""
    same = {
        "poll.again", "answer.path", "answer.binary", "answer.refused-400", "answer.fatal", "answer.slow-accept",
        "answer.size", "answer.value.booleans", "answer.value.numbers", "answer.value.text", "answer.value.scripts",
        "answer.value.empty", "answer.value.nested", "error.refused", "error.unserialisable", "init.ok", "init.shape",
        "init.refused", "context.arn", "context.trace", "context.client-gone", "restore.parks", "concurrent.matched",
        "concurrent.late", "end.sigterm-after",
    }  # fmt: skip
    assert {clause.id for clause in CLAUSES} - set(FLAWS.values()) == same


def test_clause_ids_are_unique_and_have_a_sentence_and_a_source():
    assert len({clause.id for clause in CLAUSES}) == len(CLAUSES)
    for clause in CLAUSES:
        assert clause.title.endswith("."), clause.id
        assert clause.source, clause.id
