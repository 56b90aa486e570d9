"""Interpreters that stand by in blanks: the function finds what it finds in an executed one, and nothing is left."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import uvloop

from engine import Engine
from engine.sandbox import ProcessSpec, namespaces
from engine.sandbox.namespaces import standby, view
from engine.sandbox.namespaces.standby import Key, Standbys, key_of
from tests.support.leaks import eventually, gone, leak_check
from tests.support.preloading import started_by
from tests.support.require import requires
from tests.support.standing_by import started, until_standing_by

NODE = """
const fs = require('fs');
const status = Object.fromEntries(
  fs.readFileSync('/proc/self/status', 'utf8').split('\\n').map((line) => line.split(':\\t')));
const links = (folder) => fs.readdirSync(folder).map((n) => {
  try { return [n, fs.readlinkSync(`${folder}/${n}`).split(':')[0]] } catch (_) { return null }
}).filter((one) => one && Number(one[0]) < 3);
exports.handler = async (event) => event === 'value' ? VALUE : ({
  env: process.env, argv: process.argv, flags: process.execArgv, cwd: process.cwd(), uid: process.getuid(),
  gid: process.getgid(), umask: process.umask(), stdin: fs.readFileSync(0, 'utf8'), open: links('/proc/self/fd'),
  limits: fs.readFileSync('/proc/self/limits', 'utf8'), caps: [status.CapEff, status.CapBnd, status.NoNewPrivs],
  filter: status.Seccomp, parent: process.ppid, time: new Date(0).getHours(),
  child: require('child_process').execSync('echo $AWS_LAMBDA_FUNCTION_NAME; pwd').toString(),
});
"""
RUBY = """
STATUS = File.readlines('/proc/self/status').to_h { |line| line.chomp.split(":\\t", 2) }
def handler(event:, context:)
  return (VALUE) if event == 'value'
  links = %w[0 1 2].map { |n| File.readlink("/proc/self/fd/#{n}").split(':')[0] }
  { env: ENV.to_h, argv: ARGV, program: $PROGRAM_NAME, cwd: Dir.pwd, uid: Process.uid, gid: Process.gid,
    umask: File.umask, stdin: $stdin.read, open: links, limits: File.read('/proc/self/limits'),
    caps: STATUS.values_at('CapEff', 'CapBnd', 'NoNewPrivs'), filter: STATUS['Seccomp'], parent: Process.ppid,
    time: Time.at(0).hour, child: `echo $AWS_LAMBDA_FUNCTION_NAME; pwd`, encoding: ENV['PATH'].encoding.to_s }
end
"""
LANGUAGES = {
    "nodejs": ("nodejs20.x", "app.js", NODE, "node"),
    "ruby": ("ruby3.2", "app.rb", RUBY, "ruby"),
}


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})  # the runtimes are under test, not the loops


@pytest.fixture(autouse=True)
def tight():
    """Every test leaves nothing behind."""
    if reason := namespaces.why_not():
        pytest.skip(f"no sandboxes of namespaces here: {reason}")
    with leak_check():
        yield


@pytest.fixture
async def engine(tight) -> AsyncIterator[Engine]:
    """In sandbox mode."""
    with tempfile.TemporaryDirectory(prefix="lambent-test-") as folder:
        Path(folder).chmod(0o755)
        async with Engine(data_dir=Path(folder) / "data", isolation="sandbox", memory_mb=100_000) as engine:
            yield engine


@pytest.fixture(params=LANGUAGES)
def language(request) -> str:
    """Each that can stand by."""
    requires(LANGUAGES[request.param][3])
    return request.param


async def deploy(engine: Engine, tmp_path: Path, name: str, language: str, value: str = "1", **options: Any):
    """A function that tells about its process, or what `value` is."""
    runtime, file, source, _ = LANGUAGES[language]
    code = tmp_path / name
    code.mkdir()
    (code / file).write_text(source.replace("VALUE", value))
    options = {"memory_mb": 256, "timeout_s": 20, **options}
    return await engine.create_function(name, code=code, runtime=runtime, handler="app.handler", **options)


async def told(engine: Engine, tmp_path: Path, name: str, language: str, **options: Any):
    """What the first invocation returned, and how its environment was started."""
    event = "value" if "value" in options else {}
    result = await (await deploy(engine, tmp_path, name, language, **options)).invoke(event)
    assert result.function_error is None, result.payload
    return result.json(), started_by(engine, result)


async def warm_up(engine: Engine, tmp_path: Path, language: str, **options: Any) -> None:
    """Have a function of the language started once, which is executed."""
    _, how = await told(engine, tmp_path, "first", language, value="1", **options)
    assert how == "exec"
    await until_standing_by(engine)


async def test_a_function_finds_the_same_process_either_way(engine, tmp_path, language):
    executed, how = await told(engine, tmp_path, "a", language)
    assert how == "exec"
    await until_standing_by(engine)
    stood_by, how = await told(engine, tmp_path, "b", language)
    assert how == "preloaded"
    private = (
        "_X_AMZN_TRACE_ID", "AWS_LAMBDA_LOG_STREAM_NAME", "AWS_LAMBDA_LOG_GROUP_NAME", "AWS_LAMBDA_FUNCTION_NAME",
        "AWS_LAMBDA_RUNTIME_API",
    )  # fmt: skip
    for one, name in ((executed, "a"), (stood_by, "b")):
        assert one["env"]["AWS_LAMBDA_FUNCTION_NAME"] == name
        assert one.pop("child") == f"{name}\n/var/task\n"
        assert one["stdin"] == ""
        assert all(one["env"].pop(variable) for variable in private)
        assert one.pop("uid") == one.pop("gid")  # another for each sandbox
    assert stood_by == executed


@pytest.mark.parametrize(
    ("language", "variables", "value", "expected"),
    [
        ("nodejs", {"NODE_OPTIONS": "--title=mine"}, "process.title", "mine"),
        ("nodejs", {"TZ": "Asia/Tokyo"}, "new Date(0).getHours()", 9),
        ("nodejs", {"HOME": "/tmp/é", "EMPTY": ""}, "[require('os').homedir(), process.env.EMPTY]", ["/tmp/é", ""]),
        ("ruby", {"RUBYOPT": "-w"}, "$VERBOSE", True),
        ("ruby", {"TZ": "Asia/Tokyo"}, "Time.at(0).hour", 9),
        ("ruby", {"HOME": "/tmp/é", "EMPTY": ""}, "[Dir.home, ENV['EMPTY']]", ["/tmp/é", ""]),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_settings_hold(engine, tmp_path, language, variables, value, expected):
    requires(LANGUAGES[language][3])
    await warm_up(engine, tmp_path, language)
    answer, _ = await told(engine, tmp_path, "f", language, value=value, environment=variables)
    assert answer == expected


async def test_each_process_serves_one_function(engine, tmp_path, language):
    await warm_up(engine, tmp_path, language)
    value = {"nodejs": "process.pid + ' ' + Math.random()", "ruby": '"#{Process.pid} #{rand}"'}[language]
    seen = []
    for number in range(3):
        await until_standing_by(engine)
        answer, how = await told(engine, tmp_path, f"f{number}", language, value=value)
        assert how == "preloaded"
        seen.append(answer.split()[1])
    assert len(set(seen)) == 3


async def test_one_that_ends_while_it_stands_by_is_done_without(engine, tmp_path, language):
    await warm_up(engine, tmp_path, language)
    blanks = list(engine.provider._blanks)
    for pid in started(engine):
        os.kill(pid, signal.SIGKILL)
    with anyio.fail_after(10):
        while any(type(key) is Key for blank in blanks for key in blank._preloaded):
            await anyio.sleep(0.005)
    assert await told(engine, tmp_path, "f", language, value="7") == (7, "exec")


async def test_a_process_that_another_language_did_not_need_ends(engine, tmp_path, language):
    await warm_up(engine, tmp_path, language)
    (blank, *_) = engine.provider._blanks
    waiting = [one.pid for key, (_, one) in blank._preloaded.items() if type(key) is Key]
    code = tmp_path / "other"
    code.mkdir()
    (code / "app.py").write_text("def handler(event, context): return 1\n")
    function = await engine.create_function("other", code=code, runtime="python3.11", handler="app.handler")
    assert (await function.invoke({})).json() == 1
    for pid in waiting:
        await anyio.to_thread.run_sync(eventually, lambda pid=pid: gone(pid), f"process {pid} ends")


def spec(*argv: str, **env: str) -> ProcessSpec:
    return ProcessSpec(argv=argv, env=env, cwd="/var/task")


def test_which_commands_and_settings_can_stand_by():
    script = f"{view.RUNTIME}/nodejs/bootstrap.js"
    key = key_of(spec("/usr/bin/node", script, NODE_PATH="/opt", TZ=":UTC", HOME="/", LD_LIBRARY_PATH="/x"))
    assert key == Key(("/usr/bin/node", script), (("LD_LIBRARY_PATH", "/x"), ("NODE_PATH", "/opt"), ("TZ", ":UTC")))
    assert key_of(spec("/usr/bin/ruby", "--disable-gems", f"{view.RUNTIME}/ruby/bootstrap.rb")) is not None
    assert key_of(spec("/usr/bin/node", script, LD_PRELOAD="x.so")) is None
    assert key_of(spec("/usr/bin/node", "/var/task/index.js")) is None
    assert key_of(spec("/opt/node", script)) is None
    assert key_of(spec("/bin/sh", "-c", "exec", "/opt/wrapper", "/usr/bin/node", script)) is None


def test_kinds_are_wanted_for_a_while_and_the_oldest_gives_way():
    kinds = [Key((f"/{n}",), ()) for n in range(3)]
    wanted = Standbys()
    for now, kind in enumerate(kinds):
        wanted.want(kind, float(now))
    assert wanted.warm(2.0) == kinds[1:]
    assert wanted.warm(2.0 + standby.WARM_SECONDS) == kinds[2:]
    assert wanted.warm(2.1 + standby.WARM_SECONDS) == []


def test_a_kind_that_failed_rests():
    kind = Key(("/x",), ())
    wanted = Standbys()
    wanted.want(kind, 0.0)
    wanted.failed(kind, 1.0)
    assert wanted.warm(1.0) == wanted.warm(0.9 + standby.RETRY_SECONDS) == []
    assert wanted.warm(1.0 + standby.RETRY_SECONDS) == [kind]
