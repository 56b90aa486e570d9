"""Init from end to end: how long it may take, when it runs again, what is told of it, and what the function is told."""

from __future__ import annotations

import re

import pytest

from engine import Engine
from engine.model.initialization import limit_s
from tests.support.functions import bootstrap, python_function
from tests.support.sandboxes import MODES

pytest_plugins = ("tests.support.sandbox_fixtures",)

TRACE = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0")

#: Init does, the first time, what FIRST says, and goes well from then on (in the same /tmp).
TWICE = """
mark = os.path.join(os.environ.get("TMPDIR", "/tmp"), "mark")
again = os.path.exists(mark)
open(mark, "w").close()
if not again:
    exec(os.environ["FIRST"])
while True:
    request_id, event, _ = take()
    give(request_id, "well")
"""
HANG = "time.sleep(1000)"
ERROR = """call("POST", "/init/error", b'{"errorType":"Function.Odd"}', {"Lambda-Runtime-Function-Error-Type": "Function.Odd"})"""


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(init_timeout_s=1.0, isolation=request.param) as running:
        yield running


def init_reports(engine: Engine) -> list[str]:
    records = [record.message for record in engine.log("f").records()]
    return [message for message in records if message.startswith("INIT_REPORT")]


@pytest.mark.parametrize(
    ("first", "told"),
    [
        (HANG, "Status: timeout"),
        (ERROR, "Status: error\tError Type: Function.Odd"),
        (f"{ERROR}; os._exit(3)", "Status: error\tError Type: Function.Odd"),
        ("os._exit(3)", "Status: error\tError Type: Runtime.ExitError"),
    ],
    ids=["timeout", "error", "error, then exit", "exit"],
)
async def test_an_init_that_fails_runs_again_within_the_invocation_and_the_caller_does_not_see_it(
    engine, tmp_path, first, told
):
    code = bootstrap(tmp_path / "f", TWICE)
    function = await engine.create_function("f", code=code, timeout_s=20, environment={"FIRST": first})
    result = await function.invoke(tail=True)
    assert result.json() == "well"
    (report,) = init_reports(engine)  # the second went well, and has none
    assert f"\tPhase: init\t{told}" in report
    assert not result.cold
    assert "Init Duration" not in result.log_tail, "it counts in Duration"


async def test_an_init_that_fails_twice_is_answered_with_the_error_that_was_posted_not_with_the_exit(engine, tmp_path):
    code = bootstrap(tmp_path / "f", f"{ERROR}; os._exit(3)")
    function = await engine.create_function("f", code=code, timeout_s=20)
    result = await function.invoke()
    assert (result.function_error, result.payload) == ("Unhandled", b'{"errorType":"Function.Odd"}')
    phases = [re.findall(r"Phase: (\w+)", report)[0] for report in init_reports(engine)]
    assert phases == ["init", "invoke"]


async def test_the_second_init_runs_on_the_functions_own_time(engine, tmp_path):
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f", HANG), timeout_s=1)
    result = await function.invoke(tail=True)
    assert result.json()["errorType"] == "Sandbox.Timedout"
    assert "\tDuration: 1000.00 ms\t" in result.log_tail
    assert [re.findall(r"Phase: (\w+)\tStatus: (\w+)", report)[0] for report in init_reports(engine)] == [
        ("init", "timeout"),
        ("invoke", "timeout"),
    ]


async def test_init_has_a_tracing_header_of_its_own_and_each_invocation_its_own(engine, tmp_path):
    code = python_function(
        tmp_path / "f",
        """
        import os
        at_init = os.environ["_X_AMZN_TRACE_ID"]
        def handler(event, context):
            return [at_init, os.environ["_X_AMZN_TRACE_ID"], os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]
        """,
    )
    function = await engine.create_function("f", code=code, runtime="python3.11", handler="app.handler", timeout_s=20)
    first, second = [(await function.invoke()).json() for _ in range(2)]
    seen = {first[0], first[1], second[1]}
    assert len(seen) == 3
    assert all(TRACE.fullmatch(header) for header in seen)
    assert second[0] == first[0]
    assert first[2] == "on-demand"


async def test_the_scheduler_knows_how_each_environment_was_initialised(engine, tmp_path):
    code = bootstrap(tmp_path / "f")
    for name, many in (("on-demand", None), ("lambda-managed-instances", 2)):
        function = await engine.create_function(name, code=code, max_concurrency=many, timeout_s=20)
        await function.invoke()
        pool = engine.dispatcher.pool(name, "$LATEST")
        assert pool is not None
        assert pool.initialization == name
    assert {one["function"]: one["initialization"] for one in engine.dispatcher.listing()} == {
        name: name for name in ("on-demand", "lambda-managed-instances")
    }


@pytest.mark.parametrize(
    ("kind", "timeout_s", "limit"),
    [
        ("on-demand", 3, 10),
        ("on-demand", 900, 10),
        ("provisioned-concurrency", 3, 130),
        ("provisioned-concurrency", 900, 900),
        ("snap-start", 131, 131),
        ("lambda-managed-instances", 3, 130),
    ],
)
def test_only_on_demand_is_init_limited_to_ten_seconds(kind, timeout_s, limit):
    assert limit_s(kind, timeout_s, 10) == limit
