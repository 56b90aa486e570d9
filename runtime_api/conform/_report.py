"""What came out: one `Result` per clause, and how programs read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any
from xml.etree import ElementTree as ET

from msgspec import Struct

__all__ = ["Outcome", "Report", "Result", "Weight"]


class Weight(StrEnum):
    """How much a clause weighs."""

    MUST = "must"  #: a runtime that does otherwise does not work on Lambda, or not always
    SHOULD = "should"  #: it works, but worse than it could, or by luck


class Outcome(StrEnum):
    """How a clause ended."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    ADVICE = "advice"  #: a SHOULD that it does not keep
    NOT_APPLICABLE = "n/a"  #: the runtime, or its function, has nothing that the clause is about
    DEVIATION = "deviation"  #: it fails, and that is known: recorded with its reason
    STALE = "stale"  #: recorded as a known deviation, and it passes


class Result(Struct, frozen=True, kw_only=True):
    """One clause's end.

    Attributes:
        id: the clause, such as ``answer.body``.
        title: what the clause demands, one sentence.
        source: where that is written.
        weight: must or should.
        outcome: how it ended.
        reason: what was wrong, or why it is not applicable; "" when it passed.
        expected: what should have come; "" when nothing was wrong.
        got: the bytes that came instead, printable.
        output: the end of what the runtime printed, when it failed.
        seconds: how long it took.
    """

    id: str
    title: str
    source: str
    weight: Weight
    outcome: Outcome
    reason: str = ""
    expected: str = ""
    got: str = ""
    output: str = ""
    seconds: float = 0.0


class Report(Struct, frozen=True, kw_only=True):
    """All of it. `subject` says what was judged; `user_agent` is how it calls itself, "" when it does not."""

    subject: str
    user_agent: str
    results: Sequence[Result]

    def count(self, outcome: Outcome) -> int:
        """How many clauses ended so."""
        return sum(result.outcome is outcome for result in self.results)

    @property
    def failed(self) -> bool:
        """Whether a MUST is broken that nobody knew of, or a recorded deviation is gone."""
        return any(result.outcome in {Outcome.FAIL, Outcome.STALE} for result in self.results)

    def judged(self, known: Mapping[str, str]) -> Report:
        """The same report where the failures recorded in `known` (clause -> reason) are deviations."""
        return Report(
            subject=self.subject,
            user_agent=self.user_agent,
            results=[_judge(result, known.get(result.id)) for result in self.results],
        )

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "subject": self.subject,
            "user_agent": self.user_agent,
            "summary": {str(outcome): self.count(outcome) for outcome in Outcome},
            "failed": self.failed,
            "clauses": [
                {
                    "id": result.id,
                    "title": result.title,
                    "source": result.source,
                    "weight": str(result.weight),
                    "outcome": str(result.outcome),
                    "reason": result.reason,
                    "expected": result.expected,
                    "got": result.got,
                    "output": result.output,
                    "seconds": round(result.seconds, 3),
                }
                for result in self.results
            ],
        }

    def as_json(self) -> str:
        """The same, as text."""
        return json.dumps(self.as_dict(), ensure_ascii=False, indent=1)

    def as_junit(self) -> str:
        """JUnit XML, as CI servers read it: advice and recorded deviations count as passed, with a note."""
        failures = self.count(Outcome.FAIL) + self.count(Outcome.STALE)
        suite = ET.Element(
            "testsuite",
            name=f"lambent conform {self.subject}",
            tests=str(len(self.results)),
            failures=str(failures),
            errors="0",
            skipped=str(self.count(Outcome.NOT_APPLICABLE)),
            time=f"{sum(result.seconds for result in self.results):.3f}",
        )
        for result in self.results:
            case = ET.SubElement(suite, "testcase", classname="conform", name=result.id, time=f"{result.seconds:.3f}")
            if result.outcome in {Outcome.FAIL, Outcome.STALE}:
                failure = ET.SubElement(case, "failure", message=_xml(result.reason))
                failure.text = _xml(
                    f"{result.title} ({result.source})\nexpected: {result.expected}\ngot:\n{result.got}\n"
                )
            elif result.outcome is Outcome.NOT_APPLICABLE:
                ET.SubElement(case, "skipped", message=_xml(result.reason))
            elif result.outcome is not Outcome.PASS:
                note = ET.SubElement(case, "system-out")
                note.text = _xml(f"{result.outcome}: {result.reason}")
        suites = ET.Element("testsuites")
        suites.append(suite)
        ET.indent(suites)
        return ET.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _judge(result: Result, reason: str | None) -> Result:
    from msgspec.structs import replace

    if reason is None:
        return result
    if result.outcome in {Outcome.FAIL, Outcome.ADVICE}:
        return replace(result, outcome=Outcome.DEVIATION, reason=f"{reason} ({result.reason})")
    if result.outcome is Outcome.PASS:
        return replace(result, outcome=Outcome.STALE, reason=f"recorded as a known deviation, but it passes: {reason}")
    return result


def _xml(text: str) -> str:
    """Text that XML 1.0 can hold."""
    return "".join(c if c in "\t\n" or c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
