"""Our Ruby runtime by the wire: what is Ruby's own. AWS's client (aws_lambda_ric 3.1.3) was read for each of these."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import uvloop

import bootstraps
from engine import Engine
from tests.support.require import requires
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

RUNTIME = "ruby3.3"


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture(scope="module")
def command() -> list[str]:
    requires("ruby")
    found = bootstraps.command(RUNTIME)
    assert found is not None
    return found


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


def write(folder: Path, source: str, name: str = "app.rb") -> Path:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(source)
    return folder


@pytest.mark.parametrize(
    ("source", "handler", "name"),
    [
        ("def handler(event:, context:) = 'here'", "app.handler", "app.rb"),
        ("module Deep; def self.go(event:, context:); 'here'; end; end", "app.Deep.go", "app.rb"),
        ("class A; module B; def self.go(event:, context:); 'here'; end; end; end", "app.A::B.go", "app.rb"),
        ("def handler(event:, context:); 'here'; end", "lib/deep/app.handler", "lib/deep/app.rb"),
    ],
)
def test_handlers_are_methods_of_the_file_or_of_a_class(api, tmp_path, command, source, handler, name):
    with api.start(command, cwd=write(tmp_path, source, name), env={"_HANDLER": handler}):
        assert api.invoke().json() == "here"


def test_a_handler_name_of_another_form_is_an_init_error(api, tmp_path, command):
    with api.start(command, cwd=tmp_path, env={"_HANDLER": "nodot"}) as runtime:
        error = api.posted()
        assert error.headers["lambda-runtime-function-error-type"] == "Init<ArgumentError>"
        assert error.json()["errorType"] == "Init<ArgumentError>"
        assert error.json()["errorMessage"].startswith('Invalid handler ["nodot"], must be of form FILENAME.METHOD or ')
        assert runtime.wait() == 252
        assert "Init error when loading handler nodot\n" in runtime.output()


@pytest.mark.parametrize(
    ("source", "kind", "shown", "ends"),
    [
        ("raise 'x'", "Function<RuntimeError>", "Function<UserException>", False),
        ("raise StandardError, 'x'", "Function<StandardError>", "Function<StandardError>", False),
        ("nothing_of_that_name", "Function<NameError>", "Function<NameError>", True),
        ("nil.nothing", "Function<NoMethodError>", "Function<NoMethodError>", True),
        ("exit 3", "Function<SystemExit>", "Function<SystemExit>", True),
        ("raise NotImplementedError, 'x'", "Function<NotImplementedError>", "Function<UserException>", True),
    ],
)
def test_errors_that_end_the_process_and_errors_that_do_not(api, tmp_path, command, source, kind, shown, ends):
    with api.start(command, cwd=write(tmp_path, f"def handler(event:, context:)\n  {source}\nend")) as runtime:
        error = api.invoke(request_id="rid")
        assert error.path.endswith("/rid/error")
        assert error.json()["errorType"] == kind
        assert error.headers["lambda-runtime-function-error-type"] == shown
        (line,) = error.json()["stackTrace"] if "exit" not in source else error.json()["stackTrace"][-1:]
        assert re.search(r"app\.rb:2:in [`'](Object#)?handler'", line)
        if ends:
            assert runtime.wait() == 255
            assert "Critical exception from handler\n" in runtime.output()
        else:
            assert api.invoke().path.endswith("/error")


def test_a_message_that_is_no_unicode_is_reported(api, tmp_path, command):
    source = 'def handler(event:, context:)\n  raise ArgumentError, "bad \\xff byte"\nend'
    with api.start(command, cwd=write(tmp_path, source)):
        assert api.invoke().json()["errorMessage"] == "bad \N{REPLACEMENT CHARACTER} byte"
        assert api.invoke().path.endswith("/error")


@pytest.mark.parametrize(
    ("result", "body", "content_type"),
    [
        ('StringIO.new("\\x00raw")', b"\x00raw", "application/unknown"),
        ("{ 'a' => :b, c: [1.5, nil, true] }", b'{"a":"b","c":[1.5,null,true]}', "application/json"),
        ("nil", b"null", "application/json"),
        ("Struct.new(:x) { def to_json(*) = '{\"own\":1}' }.new(1)", b'{"own":1}', "application/json"),
    ],
)
def test_results_are_json_or_what_an_io_holds(api, tmp_path, command, result, body, content_type):
    with api.start(command, cwd=write(tmp_path, f"def handler(event:, context:)\n  {result}\nend")):
        response = api.invoke()
        assert (response.body, response.headers["content-type"]) == (body, content_type)


def test_an_event_that_is_no_json_comes_as_it_is(api, tmp_path, command):
    with api.start(command, cwd=write(tmp_path, "def handler(event:, context:)\n  event.bytes\nend")):
        assert api.invoke(b"\x00\xff", content_type="application/octet-stream").json() == [0, 255]


def test_the_marshaller_can_be_replaced(api, tmp_path, command):
    source = """
        module AwsLambda
          class Marshaller
            class << self
              def marshall_request(request) = request.body.upcase
              def marshall_response(result) = [StringIO.new("<#{result}>"), 'application/unknown']
            end
          end
        end
        def handler(event:, context:) = event
    """
    with api.start(command, cwd=write(tmp_path, source)):
        assert api.invoke(b"abc").body == b"<ABC>"


def test_only_loggers_of_standard_output_and_error_are_changed(api, tmp_path, command):
    source = """
        require 'logger'
        OTHER = StringIO.new
        def handler(event:, context:)
          Logger.new($stderr, progname: 'prog').warn('to stderr')
          Logger.new($stdout, level: Logger::ERROR).warn('not wanted')
          Logger.new($stdout, formatter: ->(*all) { "own #{all.last}\\n" }).warn('formatted')
          Logger.new(OTHER).info('elsewhere')
          OTHER.string
        end
    """
    with api.start(command, cwd=write(tmp_path, source)) as runtime:
        assert "elsewhere" in (elsewhere := api.invoke(request_id="rid").json())
        assert "rid" not in elsewhere
        first, second, *rest = runtime.lines()
    assert re.fullmatch(r"W, \[\S+ #\d+\]  WARN rid -- prog: to stderr", first)
    assert second == "own formatted"
    assert rest == []


def test_the_telemetry_descriptor_gets_framed_records(api, tmp_path, command):
    source = "def handler(event:, context:)\n  puts 'one', ['two']\n  Logger.new($stdout).info('three')\nend"
    read, write_end = os.pipe()
    try:
        env = {"_LAMBDA_TELEMETRY_LOG_FD": str(write_end)}
        with api.start(command, cwd=write(tmp_path, source), env=env, fds=[write_end]) as runtime:
            api.invoke(request_id="rid")
            data = os.read(read, 65536)
            assert runtime.output() == ""
    finally:
        os.close(read)
        os.close(write_end)
    frames = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        frames.append((data[:4].hex(), data[16 : 16 + size].decode()))
        data = data[16 + size :]
    assert frames[0] == ("a55a0003", "one\ntwo\n")
    assert frames[1][0] == "a55a0003"
    assert re.fullmatch(r"I, \[\S+ #\d+\]  INFO rid -- : three\n", frames[1][1])


def test_gems_are_loaded_when_they_are_asked_for_and_not_before(api, tmp_path, command):
    home = tmp_path / "gems"
    lib = home / "gems/little-1.2.3/lib"
    lib.mkdir(parents=True)
    (lib / "little.rb").write_text("require 'json'\nLITTLE = 'from a gem'\n")
    (home / "specifications").mkdir()
    (home / "specifications/little-1.2.3.gemspec").write_text(
        "Gem::Specification.new { |s| s.name = 'little'; s.version = '1.2.3'; s.require_paths = ['lib']; s.summary = 'x' }"
    )
    source = """
        BEFORE = Lambent.gems?
        require 'set'
        def handler(event:, context:)
          require event
          [BEFORE, Lambent.gems?, LITTLE, Gem::Version.new('1.10') > Gem::Version.new('1.9')]
        end
    """
    env = {"GEM_PATH": str(home)}
    with api.start(command, cwd=write(tmp_path / "code", source), env=env):
        assert api.invoke(b'"little"').json() == [False, True, "from a gem", True]
        missing = api.invoke(b'"nowhere/at/all"')
        assert missing.json()["errorMessage"] == "cannot load such file -- nowhere/at/all"


async def test_the_example_runs_on_the_engine():
    requires("ruby")
    async with Engine() as engine:
        function = await engine.create_function(
            "hello", code=bootstraps.path("ruby") / "example", runtime=RUNTIME, handler="app.handler", timeout_s=20
        )
        first = await function.invoke({"name": "you"}, tail=True)
        told = first.json()
        assert 0 < told.pop("left_ms") <= 20_000
        assert told == {"hello": "you", "calls": 1}
        assert f"call 1 of {first.request_id}\n" in first.log_tail
        assert (await function.invoke({})).json()["calls"] == 2
