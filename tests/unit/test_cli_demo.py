"""`lambent demo` tells a function that behaves from one that does not."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest

from engine.cli.demo import _ms, _Screen
from engine.cli.demo_functions import Example, examples
from engine.cli.demo_play import Play, Row
from engine.errors import TooManyRequestsException
from engine.invoke.result import InvocationResult

EXPECTED = {"hello": "Ada", "from": "x"}
EXAMPLE = Example(
    language="X", how="x", runtime="provided", handler="b", package=b"", expected=EXPECTED, error="ValueError"
)
GOOD = {
    "answer": (EXPECTED, False),
    "raise": ({"errorType": "ValueError"}, True),
    "hang": ({"errorType": "Sandbox.Timedout"}, True),
    "crash": ({"errorType": "Runtime.ExitError"}, True),
}


class FakeFunction:
    """Answers each act as it is told; the first answer is cold."""

    def __init__(self, answers: dict[str, tuple[Any, bool]], *, cold: bool = True) -> None:
        self.answers = answers
        self.cold = cold
        self.configured: list[dict[str, str]] = []

    async def configure(self, environment: dict[str, str]) -> None:
        self.configured.append(environment)

    async def invoke(self, event: dict[str, str]) -> InvocationResult:
        answer, failed = self.answers[event["do"]]
        cold, self.cold = self.cold, False
        return InvocationResult(
            request_id="",
            payload=json.dumps(answer).encode(),
            function_error="Unhandled" if failed else None,
            executed_version="$LATEST",
            log_tail="",
            duration_ms=1.0,
            init_ms=5.0 if cold else None,
            total_ms=7.0 if cold else 1.0,
            environment_id="e",
        )


async def performed(function: FakeFunction, example: Example = EXAMPLE) -> Row:
    row = Row(language="X", how="x")
    play = Play(function, example, row)
    await play.start()
    await play.hang()
    await play.crash()
    return row


async def test_a_function_that_behaves_has_no_problems_and_its_cold_and_warm_apart():
    row = await performed(FakeFunction(GOOD))
    assert row.behaved
    assert (row.cold_ms, row.init_ms, row.warm_ms) == (7.0, 5.0, 1.0)
    assert (row.raised, row.hung, row.crashed) == ("ValueError", "Sandbox.Timedout", "Runtime.ExitError")


@pytest.mark.parametrize(
    ("act", "answer", "words"),
    [
        ("answer", ({"hello": "Bob"}, False), "the first answer: {'hello': 'Bob'} instead of"),
        ("raise", ({"errorType": "KeyError"}, True), "an error: 'KeyError' instead of 'ValueError'"),
        ("raise", (EXPECTED, False), "an error: '' instead of 'ValueError'"),
        ("hang", (EXPECTED, False), "a timeout: '' instead of 'Sandbox.Timedout'"),
        ("crash", ({"errorType": "Sandbox.Timedout"}, True), "a crash: 'Sandbox.Timedout' instead of"),
    ],
)
async def test_each_kind_of_misbehaviour_is_found_and_named(act, answer, words):
    row = await performed(FakeFunction({**GOOD, act: answer}))
    assert not row.behaved
    assert any(words in problem for problem in row.problems), row.problems


async def test_a_first_answer_that_was_not_cold_is_a_problem():
    assert not (await performed(FakeFunction(GOOD, cold=False))).behaved


async def test_an_error_type_that_may_be_anything_must_still_be_there():
    anything = Example(language="X", how="x", runtime="provided", handler="b", package=b"", expected=EXPECTED, error="")
    assert (await performed(FakeFunction(GOOD), anything)).behaved
    assert not (await performed(FakeFunction({**GOOD, "raise": (EXPECTED, False)}), anything)).behaved


async def test_a_compiled_example_is_told_by_its_environment():
    modes = {"answer": {}, "raise": {"MODE": "error"}, "hang": {"MODE": "sleep"}, "crash": {"MODE": "exit"}}
    told = Example(
        language="X", how="x", runtime="provided", handler="b", package=b"", expected=EXPECTED, error="", modes=modes
    )
    function = FakeFunction(GOOD)
    await performed(function, told)
    assert function.configured == [{}, {"MODE": "error"}, {"MODE": "sleep"}, {"MODE": "exit"}, {}]


def test_every_example_of_this_machine_is_a_package_that_fits_its_runtime():
    found, missing = examples()
    assert found
    assert len(found) + len(missing) == 5
    for example in found:
        with zipfile.ZipFile(io.BytesIO(example.package)) as archive:
            names = set(archive.namelist())
        if example.runtime.startswith("provided"):
            assert "bootstrap" in names
        else:
            assert {name.partition(".")[0] for name in names} == {example.handler.partition(".")[0]}


def test_what_is_missing_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setattr("engine.cli.demo_functions.shutil.which", lambda _: None)
    monkeypatch.setattr("engine.cli.demo_functions.bootstraps.path", lambda _: tmp_path)
    _, missing = examples()
    assert any("needs curl" in line for line in missing)
    assert any("make bootstraps" in line for line in missing)


@pytest.mark.parametrize(("value", "text"), [(None, ""), (0.123, "0.12 ms"), (12.34, "12.3 ms"), (1234.5, "1234 ms")])
def test_times_keep_three_figures(value, text):
    assert _ms(value) == text


def test_the_rows_judge_themselves():
    assert not Row(language="", how="").behaved
    assert Row(language="", how="", done=True).behaved
    assert not Row(language="", how="", done=True, problems=["x"]).behaved


async def test_a_refusal_by_the_engine_is_a_problem_of_that_function_alone():
    function = FakeFunction(GOOD)

    async def refuse(event: dict[str, str]) -> InvocationResult:
        raise TooManyRequestsException("ConcurrentInvocationLimitExceeded")

    function.invoke = refuse
    row = await performed(function)
    assert (row.done, row.behaved, set(row.problems)) == (True, False, {"Rate Exceeded."})


def test_away_from_a_terminal_each_function_is_one_plain_line(capsys):
    good = Row(
        language="Python", how="python3.11", cold_ms=20.0, init_ms=18.0, warm_ms=0.2, raised="ValueError",
        hung="Sandbox.Timedout", hung_ms=1001.0, crashed="Runtime.ExitError", again_ms=21.0, done=True,
    )  # fmt: skip
    bad = Row(language="Rust", how="native binary", done=True, problems=["a crash: ''"])
    screen = _Screen([good, bad], ["Shell: no curl"], "process", quiet=False)
    with screen:
        screen.finished(good)
        screen.finished(bad)
    screen.summary([], 3.0, behaved=False)
    assert capsys.readouterr().out == (
        "lambent demo: 2 functions, isolation process\n"
        "Python (python3.11): cold 20.0 ms (init 18.0 ms), warm 0.20 ms, raises ValueError, hangs Sandbox.Timedout after "
        "1001 ms, crashes Runtime.ExitError, then answers in 21.0 ms: ok\n"
        "Rust (native binary): cold - (init -), warm -, raises -, hangs - after -, crashes -, then answers in -: WRONG\n"
        "  a crash: ''\n"
        "  left out: Shell: no curl\n"
        "1 of 2 functions misbehaved\n"
    )
