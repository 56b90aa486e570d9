"""SnapStart with real runtimes: initialised when published, parked, released, hooks run; and how that fails."""

from __future__ import annotations

import json
import re
from pathlib import Path

import anyio
import pytest

from engine import Engine
from engine.errors import (
    ResourceConflictException,
    ResourceNotFoundException,
    SnapStartException,
    SnapStartNotReadyException,
)
from engine.store.requests import SnapStart, UpdateFunctionConfigurationRequest
from tests.support.clients import AWS_JAVA, AWSLAMBDARIC
from tests.support.functions import bootstrap, python_function
from tests.support.sandboxes import MODES

pytest_plugins = ("tests.support.sandbox_fixtures",)

HOOKS = """
import os
from snapshot_restore_py import register_after_restore, register_before_snapshot
did = ["init " + os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]]

@register_before_snapshot
def before():
    did.append("before")

@register_after_restore
def after():
    did.append("after")

register_before_snapshot(did.append, "before, first")
register_after_restore(did.append, "after, last")

def handler(event, context):
    return did
"""
PARKS = """
status, _, body = call("GET", "/restore/next")
assert (status, body) == (200, b""), (status, body)
status, _, _ = call("GET", "/restore/next")
while True:
    request_id, event, _ = take()
    give(request_id, [os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"], status])
"""


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(isolation=request.param, freeze_after_ms=0) as running:
        yield running


async def publish(engine: Engine, name: str, code: Path, **options: object) -> str:
    """A function with SnapStart, and a version of it; its state when it was published."""
    await engine.create_function(name, code=code, **options)
    await engine.registry.update_configuration(
        UpdateFunctionConfigurationRequest(function_name=name, snap_start=SnapStart(apply_on="PublishedVersions"))
    )
    return (await engine.function(name).publish()).state


async def settled(engine: Engine, name: str):
    """Version 1, once it is no more Pending."""
    with anyio.fail_after(30):
        while engine.registry.get(name, "1").state == "Pending":
            await anyio.sleep(0.005)
    return engine.registry.get(name, "1")


def log_of(engine: Engine, name: str) -> list[str]:
    return [re.sub(r"[\d.]+ ms", "N ms", record.message) for record in engine.log(name).records()]


PYTHON = {"runtime": "python3.11", "handler": "app.handler", "memory_mb": 256, "timeout_s": 10}


async def test_python_runs_its_hooks_around_the_place_of_the_snapshot(engine, tmp_path):
    assert await publish(engine, "f", python_function(tmp_path / "f", HOOKS), **PYTHON) == "Pending"
    with pytest.raises(SnapStartNotReadyException):
        await engine.invoke("f:1")
    assert (await settled(engine, "f")).state == "Active"
    assert [line.partition(" ")[0] for line in log_of(engine, "f")] == ["INIT_START", "INIT_REPORT"]
    result = await engine.invoke("f:1")
    assert result.json() == ["init snap-start", "before, first", "before", "after", "after, last"]
    with anyio.fail_after(10):
        while not (lines := log_of(engine, "f")[2:])[-1].startswith("REPORT"):  # the runtime's next `next`
            await anyio.sleep(0.005)
    init = [] if engine.provider.mode == "sandbox" else ["INIT_START", "INIT_REPORT"]  # there, from a snapshot
    assert [line.partition(" ")[0] for line in lines] == [
        *init, "RESTORE_START", "RESTORE_REPORT", "START", "END", "REPORT",
    ]  # fmt: skip
    assert "RESTORE_REPORT Restore Duration: N ms" in lines
    assert re.search(r"\tRestore Duration: N ms\tBilled Restore Duration: N ms\t$", lines[-1])
    assert "Init Duration" not in lines[-1]
    assert (await engine.invoke("f")).json() == ["init on-demand"], "the unpublished function has no snapshot"


async def test_a_record_of_many_lines_is_one_event_after_a_restore_too(engine, tmp_path):
    source = "import logging\ndef handler(event, context): logging.getLogger().warning('one\\ntwo')\n"
    await publish(engine, "f", python_function(tmp_path / "f", source), **PYTHON)
    await settled(engine, "f")
    assert (await engine.invoke("f:1")).function_error is None
    assert [text.endswith("one\ntwo") for text in log_of(engine, "f") if "two" in text] == [True]


async def test_aws_own_python_client_runs_its_hooks(engine, tmp_path):
    folder = AWSLAMBDARIC.folder(tmp_path / "f", HOOKS)
    await publish(engine, "f", folder, runtime="provided.al2023", handler="app.handler", memory_mb=256, timeout_s=10)
    assert (await settled(engine, "f")).state == "Active"
    result = await engine.invoke("f:1")
    assert result.json() == ["init snap-start", "before, first", "before", "after", "after, last"]


async def test_aws_own_java_client_runs_its_hooks(no_leaks, tmp_path):
    """Where there is a /tmp of its own: it unpacks a library at a fixed name there."""
    folder = AWS_JAVA.folder(tmp_path / "f", "Hooks")
    async with Engine(isolation=MODES[-1]) as engine:
        await publish(engine, "f", folder, runtime=AWS_JAVA.runtime, handler="Hooks", memory_mb=1769, timeout_s=20)
        assert (await settled(engine, "f")).state == "Active"
        assert (await engine.invoke("f:1")).json() == ["init", "before", "after"]


async def test_credentials_are_fetched_and_not_in_variables(engine, tmp_path):
    source = """
import json, os, urllib.error, urllib.request
def fetch(token):
    uri = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    try:
        reply = urllib.request.urlopen(urllib.request.Request(uri, headers={"Authorization": token}))
    except urllib.error.HTTPError as error:
        return error.code
    return json.load(reply)
def handler(event, context):
    given = fetch(os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"])
    return [given, fetch("another"), sorted(name for name in os.environ if "ACCESS_KEY" in name or "SESSION" in name)]
"""
    await publish(engine, "f", python_function(tmp_path / "f", source), **PYTHON)
    assert (await settled(engine, "f")).state == "Active"
    given, refused, names = (await engine.invoke("f:1")).json()
    assert {**given, "Expiration": ""} == {
        "AccessKeyId": "lambent", "SecretAccessKey": "lambent", "Token": "lambent", "Expiration": "",
    }  # fmt: skip
    assert (refused, names) == (404, [])


async def test_any_runtime_may_park(engine, tmp_path):
    await publish(engine, "f", bootstrap(tmp_path / "f", PARKS))
    assert (await settled(engine, "f")).state == "Active"
    assert (await engine.invoke("f:1")).json() == ["snap-start", 403], "once, and not again"


async def test_a_runtime_that_knows_nothing_of_snapshots_works(engine, tmp_path):
    await publish(engine, "f", bootstrap(tmp_path / "f"))
    assert (await settled(engine, "f")).state == "Active"
    assert (await engine.invoke("f:1", 7)).json() == 7


async def test_on_demand_there_is_no_such_route(engine, tmp_path):
    body = """
    status, _, _ = call("GET", "/restore/next")
    while True:
        request_id, event, _ = take()
        give(request_id, status)
    """
    function = await engine.create_function("f", code=bootstrap(tmp_path / "f", body))
    assert (await function.invoke()).json() == 404


@pytest.mark.parametrize(
    ("source", "code", "words"),
    [
        ("import nowhere", "FunctionError.RuntimeInitError", "No module named 'nowhere'"),
        ("import os; os._exit(3)", "FunctionError.RuntimeInitError", "exit status 3"),
        (
            "import snapshot_restore_py as s\ns.register_before_snapshot(int, 'x')\ndef handler(e, c): pass",
            "FunctionError.RuntimeInitError",
            "invalid literal",
        ),
    ],
    ids=["import", "exit", "before-hook"],
)
async def test_a_version_whose_init_fails_is_failed_with_the_reason(engine, tmp_path, source, code, words):
    await publish(engine, "f", python_function(tmp_path / "f", source), **PYTHON)
    version = await settled(engine, "f")
    assert (version.state, version.state_reason_code) == ("Failed", code)
    assert words in version.state_reason
    with pytest.raises(ResourceConflictException, match="Failed"):
        await engine.invoke("f:1")


async def test_a_restore_hook_that_fails_is_told_to_the_caller(engine, tmp_path):
    source = "import snapshot_restore_py as s\ns.register_after_restore(int, 'x')\ndef handler(e, c): pass"
    await publish(engine, "f", python_function(tmp_path / "f", source), **PYTHON)
    assert (await settled(engine, "f")).state == "Active", "hooks after the restore are not run for the snapshot"
    with pytest.raises(SnapStartException, match="afterRestore"):
        await engine.invoke("f:1")
    lines = log_of(engine, "f")
    assert any(line.startswith("[ERROR] ValueError: invalid literal") for line in lines)
    assert any(line.startswith("RESTORE_REPORT Restore Duration: N ms\tStatus: error") for line in lines)


async def test_an_engine_that_stops_over_it_prepares_it_anew(no_leaks, tmp_path, open_folder):
    """With a first Init that never ends."""
    gate = open_folder / "gate"
    gate.mkdir(mode=0o777)
    source = f"import os, time\nwhile not os.path.exists({str(gate / 'open')!r}): time.sleep(0.01)\n"
    code = python_function(tmp_path / "f", source + "def handler(event, context): return 1\n")
    async with Engine(data_dir=open_folder / "data", isolation="process") as engine:
        await publish(engine, "f", code, **PYTHON)
    async with Engine(data_dir=open_folder / "data", isolation="process") as engine:
        assert engine.registry.get("f", "1").state == "Pending"
        (gate / "open").touch()
        assert (await settled(engine, "f")).state == "Active"
        assert json.loads((await engine.invoke("f:1")).payload) == 1


async def test_deleting_a_version_that_is_being_prepared_is_no_error(engine, tmp_path):
    await publish(engine, "f", bootstrap(tmp_path / "f", "time.sleep(0.3)\n"))
    await engine.registry.delete("f")
    with pytest.raises(ResourceNotFoundException):
        engine.registry.get("f", "1")
    with anyio.fail_after(10):
        while engine.preparations.running:
            await anyio.sleep(0.005)
