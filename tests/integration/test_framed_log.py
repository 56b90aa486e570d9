"""Records through the framed log: one event each, whatever a function writes to that descriptor."""

from __future__ import annotations

import json
import os

import anyio
import pytest

from engine import Engine
from engine.store.requests import LoggingConfig, UpdateFunctionConfigurationRequest
from tests.support.clients import AWS_LAMBDA_RIC, AWSLAMBDARIC, OUR_NODE, OUR_PYTHON, OUR_RUBY
from tests.support.extensions import extension
from tests.support.functions import bootstrap, python_function
from tests.support.preloading import started_by, warm_up
from tests.support.sandboxes import MODES
from tests.support.standing_by import until_standing_by

pytest_plugins = ("tests.support.sandbox_fixtures",)
pytestmark = pytest.mark.anyio

#: Does what the event says with the descriptor, as a client would.
WRITER = """
import struct
fd = int(os.environ["_LAMBDA_TELEMETRY_LOG_FD"])

def frame(text, level=3, micros=None, length=None):
    data = text.encode()
    micros = int(time.time() * 1e6) if micros is None else micros
    return struct.pack(">IIQ", 0xA55A0003 | level << 2, len(data) if length is None else length, micros) + data

while True:
    request_id, event, _ = take()
    exec(event)
    give(request_id, None)
"""


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(isolation=request.param) as one:
        yield one


async def writer(engine, tmp_path, **options):
    return await engine.create_function("f", code=bootstrap(tmp_path / "f", WRITER), timeout_s=20, **options)


def lines(engine, name="f"):
    """What was said, without the platform's lines."""
    platform = ("START", "END", "REPORT", "INIT_", "EXTENSION", "TELEMETRY")
    return [one.message for one in engine.log(name).records() if not one.message.startswith(platform)]


async def test_many_lines_are_one_record_in_order_with_its_time(engine, tmp_path):
    function = await writer(engine, tmp_path)
    what = r"""
os.write(1, b"before\n")
os.write(fd, frame("one\ntwo\nthree\n", micros=int(time.time() * 1e6) - 3_600_000_000))
os.write(2, b"after\n")
"""
    result = await function.invoke(what, tail=True)
    assert result.function_error is None
    assert lines(engine) == ["before", "one\ntwo\nthree", "after"]
    before, record, _ = [one for one in engine.log("f").records() if one.message in lines(engine)]
    assert 3_590_000 < before.time_ms - record.time_ms < 3_610_000
    assert record.request_id == result.request_id == before.request_id
    assert "before\none\ntwo\nthree\nafter\n" in result.log_tail


async def test_the_level_of_the_record_decides_in_the_json_format(engine, tmp_path):
    function = await writer(engine, tmp_path)
    config = LoggingConfig(log_format="JSON", application_log_level="WARN")
    await engine.registry.update_configuration(
        UpdateFunctionConfigurationRequest(function_name="f", logging_config=config)
    )
    await function.invoke("""for level in range(7): os.write(fd, frame(json.dumps({"n": level}), level))""")
    assert [json.loads(text)["n"] for text in lines(engine) if '"n"' in text] == [4, 5, 6]


async def test_garbage_and_lies_about_the_length_cost_nothing_but_the_writers_own_text(engine, tmp_path):
    function = await writer(engine, tmp_path)
    await function.invoke(
        r"""os.write(fd, b"\xa5\x5a\x00\xff" * 3 + b"\n" + frame("", length=(1 << 32) - 1) + b"\n")"""
    )
    await function.invoke(r"""os.write(fd, os.urandom(60_000).replace(b"\xa5\x5a\x00", b"") + b"\n")""")
    await function.invoke("print('still here', flush=True)")
    assert lines(engine)[-1] == "still here"


async def test_half_a_record_is_told_when_its_writer_dies(engine, tmp_path):
    function = await writer(engine, tmp_path)
    died = await function.invoke("os.write(fd, frame('half a', length=1000)); os._exit(1)")
    assert died.function_error is not None
    await function.invoke("print('anew', flush=True)")
    with anyio.fail_after(10):
        while "anew" not in lines(engine):
            await anyio.sleep(0.01)
    assert [text for text in lines(engine) if text in {"half a", "anew"}] == ["half a", "anew"]


async def test_a_flood_of_records_leaves_the_engine_to_others(engine, tmp_path):
    function = await writer(engine, tmp_path)
    other = await engine.create_function("g", code=bootstrap(tmp_path / "g"), timeout_s=20)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(function.invoke, "for _ in range(100): os.write(fd, frame('') * 1000)")
        for word in range(20):
            assert (await other.invoke(word)).json() == word
    assert 0 < len(lines(engine)) <= 2_000


async def test_it_is_standard_output_and_nobody_elses(engine, tmp_path):
    say = (
        "say('its', *sorted(name for name in os.environ if name.startswith('_LAMBDA')))\nregister('SHUTDOWN')\ntake()\n"
    )
    function = await writer(engine, tmp_path, layers=[extension(tmp_path / "layer", "one", say)])
    inner = """
def kind(n):
    try:
        return os.readlink(f"/proc/self/fd/{n}")
    except OSError:
        return ""
print("same", [n for n in range(100) if kind(n).startswith("pipe:")], len({kind(n) for n in (1, 2, fd)}), flush=True)
"""
    await function.invoke(inner)
    assert "same [1, 2, 5] 1" in lines(engine)
    assert "one its" in [text.strip() for text in lines(engine)]


async def test_it_is_not_offered_where_clients_work_in_several_processes(engine, tmp_path):
    source = "import os\ndef handler(event, context): return os.environ.get('_LAMBDA_TELEMETRY_LOG_FD')\n"
    code = python_function(tmp_path / "f", source)
    function = await engine.create_function(
        "f",
        code=code,
        runtime=OUR_PYTHON.runtime,
        handler="app.handler",
        timeout_s=20,
        max_concurrency=2,
        memory_mb=2048,
    )
    assert (await function.invoke(None)).json() is None


MANY = {
    "python": "import logging\ndef handler(event, context): logging.getLogger().warning('one\\ntwo\\nthree')\n",
    "nodejs": "exports.handler = async () => console.warn('one\\ntwo\\nthree');",
    "ruby": "require 'logger'\ndef handler(event:, context:) = Logger.new($stdout).warn(\"one\\ntwo\\nthree\")\n",
}


@pytest.mark.parametrize("client", [OUR_PYTHON, OUR_NODE, OUR_RUBY, AWSLAMBDARIC, AWS_LAMBDA_RIC], ids=lambda c: c.name)
async def test_a_clients_message_of_many_lines_is_one_event(engine, client, tmp_path):
    function = await engine.create_function(
        "f", code=client.folder(tmp_path / "f", MANY[client.family]), runtime=client.runtime, handler=client.handler,
        memory_mb=client.memory_mb, timeout_s=20,
    )  # fmt: skip
    for _ in range(3):  # executed, standing by, preloaded: whatever it is
        result = await function.invoke(None)
        assert result.function_error is None, result.payload
    said = [text for text in lines(engine) if "two" in text]
    assert [text.endswith("one\ntwo\nthree") for text in said] == [True] * 3


async def said_by(engine, client, folder, name):
    """How a new function of this kind was started, and what it logged."""
    function = await engine.create_function(
        name, code=client.folder(folder / name, MANY[client.family]), runtime=client.runtime, handler=client.handler,
        memory_mb=256, timeout_s=20,
    )  # fmt: skip
    result = await function.invoke(None)
    assert result.function_error is None, result.payload
    return started_by(engine, result), [text for text in lines(engine, name) if "two" in text]


@pytest.mark.skipif(os.geteuid() != 0 or "sandbox" not in MODES, reason="nothing is preloaded here")
@pytest.mark.parametrize("engine", ["sandbox"], indirect=True)
async def test_an_interpreter_that_was_there_before_its_function_has_it_too(engine, tmp_path):
    await warm_up(engine, tmp_path)
    how, (text,) = await said_by(engine, OUR_PYTHON, tmp_path, "python")
    assert how == "preloaded"
    assert text.endswith("one\ntwo\nthree")
    assert (await said_by(engine, OUR_NODE, tmp_path, "node-1"))[0] == "exec"
    await until_standing_by(engine)
    how, (text,) = await said_by(engine, OUR_NODE, tmp_path, "node-2")
    assert how == "preloaded"
    assert text.endswith("one\ntwo\nthree")
