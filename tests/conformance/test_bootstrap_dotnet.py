"""Our .NET runtime: what is its own (the rest: test_bootstrap_contract.py, test_bootstrap_wire.py, test_conform.py).

AWS's client (Amazon.Lambda.RuntimeSupport) was read for each of these.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

import pytest
import uvloop

import bootstraps
from engine import Engine
from tests.support import dotnet
from tests.support.families import ISO
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

SHAPES = (dotnet.SOURCES / "Shapes.cs").read_text("utf-8")


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


@pytest.fixture(params=["here", "core"])
def command(request):
    """On what the engine takes here, which is Mono mostly, and on .NET Core."""
    dotnet.dotnet()
    return bootstraps.command(dotnet.RUNTIME) if request.param == "here" else dotnet.core_runtime()


@pytest.fixture
def shapes(tmp_path):
    bootstraps.build_dotnet(bootstraps.path("dotnet"))
    runtime = bootstraps.path("dotnet") / "target/bootstrap.exe"
    return package(tmp_path / "code", dotnet.compiled(SHAPES, "Shapes.dll", dotnet.core(), runtime), dotnet.core())


def package(folder: Path, *assemblies: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for assembly in assemblies:
        shutil.copy(assembly, folder)
    return folder


@pytest.mark.parametrize(
    ("handler", "event", "answer"),
    [
        ("Nothing", "1", ""),
        ("NothingButContext", "1", '"rid"'),
        ("StaticText", '"é"', '"<é>"'),
        ("StreamToStream", "not json", "NOT JSON"),
        ("TextToStream", '"x"', "x"),
        ("StreamToText", "four", "4"),
        ("InTask", "3", "6"),
        ("InTaskThatYields", "3", "6"),
        ("TaskWithoutResult", "3", ""),
        ("Inherited", "3", '"inherited 3"'),
        ("Private", "3", '"private 3"'),
        ("ObjectAsContext", "3", '"rid"'),
        ("System.String Overloaded(Int32)", "3", '"number 3"'),
    ],
)
def test_handlers_of_every_signature(api, shapes, command, handler, event, answer):
    with api.start(command, cwd=shapes, env={"_HANDLER": f"Shapes::Functions.Shapes::{handler}"}):
        for _ in range(2):
            posted = api.invoke(event.encode(), request_id="rid")
            assert (posted.path[-9:], posted.body.decode()) == ("/response", answer)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (
            "Shapes::Functions.Shapes",
            "Invalid lambda function handler: 'Shapes::Functions.Shapes'. The valid format is ",
        ),
        ("Shapes:: ::X", "Invalid lambda function handler: 'Shapes:: ::X', the type is missing."),
        ("Gone::A::B", "Could not find the specified handler assembly with the file name 'Gone, Culture=neutral, "),
        ("Shapes::Gone::B", "Unable to load type 'Gone' from assembly 'Shapes'."),
        (
            "Shapes::Functions.Shapes::Gone",
            "Unable to find method 'Gone' in type 'Functions.Shapes' from assembly 'Shapes'",
        ),
        (
            "Shapes::Functions.Shapes::Overloaded",
            "The method 'Overloaded' in type 'Functions.Shapes' appears to have a",
        ),
        (
            "Shapes::Functions.Shapes::Three",
            "Method 'Three' of type 'Functions.Shapes' is not supported: the method has more",
        ),
        (
            "Shapes::Functions.Shapes::Two",
            "Method 'Two' of type 'Functions.Shapes' is not supported: the method has 2 ",
        ),
        (
            "Shapes::Functions.Shapes::Generic",
            "The method 'System.String Generic[T](T)' cannot be used as a Lambda Handler",
        ),
        (
            "Shapes::Functions.Shapes::AsyncVoid",
            "The method 'Void AsyncVoid()' cannot be used as a Lambda Handler because",
        ),
        (
            "Shapes::Functions.Base::Inherited",
            "The instance method 'System.String Inherited(Int32)' cannot be used as a ",
        ),
        ("Shapes::Functions.Hidden::Handle", "The interface 'Functions.Hidden+ILambdaContext' is not public"),
    ],
)
def test_a_handler_that_cannot_be_is_an_init_error(api, shapes, command, handler, message):
    with api.start(command, cwd=shapes, env={"_HANDLER": handler}) as runtime:
        posted = api.posted()
        assert posted.path.endswith("/init/error")
        body = posted.json()
        assert body["errorType"] == "LambdaValidationException"
        assert body["errorMessage"].startswith(message)
        assert posted.headers["lambda-runtime-function-error-type"] == "Function.LambdaValidationException"
        assert runtime.wait() == 1
        assert message in runtime.output()


@pytest.mark.parametrize(
    ("missing", "version", "words"),
    [
        ("System.Runtime", "8.0.0.0", "it was compiled for .NET 8, and Mono runs it"),
        ("netstandard", "2.1.0.0", "it was compiled for .NET Standard"),
        ("Elsewhere", "1.0.0.0", ""),
    ],
)
def test_a_class_that_needs_what_is_not_there_says_what(api, tmp_path, command, missing, version, words):
    library = dotnet.compiled(
        f'[assembly: System.Reflection.AssemblyVersion("{version}")] public class Base {{ }}', f"{missing}.dll"
    )
    function = dotnet.compiled("public class F : Base { public int Handle() { return 1; } }", "F.dll", library)
    folder = package(tmp_path / "code", function)
    with api.start(command, cwd=folder, env={"_HANDLER": "F::F::Handle"}) as runtime:
        message = api.posted().json()["errorMessage"]
        assert message.startswith("Unable to load type 'F' from assembly 'F': Could not ")
        assert missing in message
        assert (f" ({words}" in message) == (bootstraps.is_mono(command[0]) and words != "")
        assert runtime.wait() == 1


def test_events_and_results_are_objects_as_awss_serializer_makes_them(api, shapes, command):
    event = {
        "NAME": "é", "count": 3, "ratio": 1.5, "big": 12345678901234567890, "colour": "blue", "maybe": None, "at": 86400,
        "when": "2024-01-02T03:04:05Z", "id": "00000000-0000-0001-0000-000000000002", "raw": "AQID", "data": [4, 5],
        "items": [{"name": "a"}], "map": {"1": [True]}, "renamed-here": "yes", "secret": "no", "unknown": {},
        "link": "http://a/b", "point": {"x": 1, "y": 2}, "span": "01:02:03", "any": {"a": [1, 2.5, None]},
    }  # fmt: skip
    with api.start(command, cwd=shapes, env={"_HANDLER": "Shapes::Functions.Shapes::Thing"}):
        assert api.invoke(json.dumps(event).encode()).json() == {
            "Name": "é", "Count": 3, "Ratio": 1.5, "Big": 12345678901234567890, "Colour": 1, "At": "1970-01-02T00:00:00Z",
            "When": "2024-01-02T03:04:05+00:00", "Id": "00000000-0000-0001-0000-000000000002", "Raw": [1, 2, 3], "Data": [4, 5],
            "Items": [{"Name": "a", "Count": 0, "Ratio": 0, "Big": 0, "Colour": 0, "At": "0001-01-01T00:00:00",
                       "When": "0001-01-01T00:00:00+00:00", "Id": "00000000-0000-0000-0000-000000000000", "Span": "00:00:00"}],
            "Map": {"1": [True]}, "renamed-here": "yes", "Link": "http://a/b", "Point": {"X": 1, "Y": 2}, "Span": "01:02:03",
            "Any": {"a": [1, 2.5, None]},
        }  # fmt: skip


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (b"", "this is not valid JSON: it is empty"),
        (b'{"count": 1.5}', "count: The JSON value could not be converted to System.Int32: it is a number"),
        (b'{"count": "x"}', "count: The JSON value could not be converted to System.Int32: it is a string"),
        (b'{"count": null}', "count: The JSON value could not be converted to System.Int32: it is null"),
        (b'{"count": 99999999999}', "count: The JSON value could not be converted to System.Int32: it is a number, "),
        (b"[1]", "The JSON value could not be converted to Functions.Thing: it is an array"),
        (b'{"count": 1,}', "this is not valid JSON: a name was expected (byte 12)"),
    ],
)
def test_an_event_of_another_shape_is_the_functions_error(api, shapes, command, event, words):
    with api.start(command, cwd=shapes, env={"_HANDLER": "Shapes::Functions.Shapes::Thing"}):
        body = api.invoke(event).json()
        assert body["errorType"] == "JsonSerializerException"
        assert body["errorMessage"].startswith(
            "Error converting the Lambda event JSON payload to type Functions.Thing: " + words
        )
        assert body["cause"]["errorType"] == "JsonException"
        assert api.invoke(b"{}").path.endswith("/response")


def test_what_is_inside_an_exception_is_its_cause(api, shapes, command):
    with api.start(command, cwd=shapes, env={"_HANDLER": "Shapes::Functions.Shapes::Nested"}):
        body = api.invoke(b'"inner"').json()
        assert (body["errorType"], body["errorMessage"]) == ("InvalidOperationException", "outer")
        assert re.match(r"at Functions\.Shapes\.Nested ?\(", body["stackTrace"][-1])
        assert (body["cause"]["errorType"], body["cause"]["errorMessage"]) == ("KeyNotFoundException", "inner")
        several = api.invoke(b'"several"').json()
        assert several["errorType"] == "AggregateException"
        assert [one["errorMessage"] for one in several["causes"]] == ["one", "two"]
        long = api.invoke(b'"long"').json()
        assert long == {"errorMessage": "Exception exceeded maximum payload size of 256KB."}


@pytest.mark.parametrize("event", ["fault", "cancel"])
def test_a_task_that_fails_is_reported_as_what_it_failed_with(api, shapes, command, event):
    with api.start(command, cwd=shapes, env={"_HANDLER": "Shapes::Functions.Shapes::FailsLater"}):
        body = api.invoke(f'"{event}"'.encode()).json()
        assert body["errorType"] == ("FormatException" if event == "fault" else "TaskCanceledException")
        assert body["errorMessage"] == ("later" if event == "fault" else "A task was canceled.")


def test_the_functions_own_serializer_is_used(api, shapes, command):
    with api.start(command, cwd=shapes, env={"_HANDLER": "Shapes::Functions.Shapes::Shouted"}):
        assert api.invoke(b"abc").body == b"<ABC>"
        body = api.invoke(b"bad").json()
        assert (body["errorType"], body["errorMessage"]) == ("FormatException", "no such event")


def test_every_member_of_the_context_is_there(api, shapes, command):
    client = {"client": {"app_title": "t", "installation_id": "i"}, "custom": {"k": "é", "n": 1}, "env": {"e": "v"}}
    headers = {
        "client_context": json.dumps(client, ensure_ascii=False),
        "cognito_identity": '{"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}',
    }
    with api.start(command, cwd=shapes, env={"_HANDLER": "Shapes::Functions.Shapes::Context"}):
        told = api.invoke(request_id="rid", **headers).json()
        assert told["client"] == ["t", "i", None]
        assert told["custom"] == {"k": "é", "n": "1"}
        assert told["env"] == {"e": "v"}
        assert told["identity"] == ["id", "pool"]
        assert (told["memory"], told["name"], told["id"]) == (128, "fn", "rid")
        assert told["unknown"] == "NotImplementedException"
        without = api.invoke(request_id="rid").json()
        assert (without["client"], without["custom"], without["identity"]) == (None, None, [None, None])


@pytest.mark.parametrize("handler", ["Logs", "LogsWithPlainContext"])
def test_the_text_log_format_has_time_request_id_and_level(api, shapes, command, handler):
    with api.start(command, cwd=shapes, env={"_HANDLER": f"Shapes::Functions.Shapes::{handler}"}) as runtime:
        api.invoke(request_id="rid")
        lines = runtime.lines()
    expected = ["info\tprinted", "fail\tto stderr", "warn\tfrom you of 3", "info\tstatic", "info\t", "info\ta 1"]
    for line, rest in zip(lines, expected, strict=False):
        assert re.fullmatch(rf"{ISO}\trid\t{re.escape(rest)}", line)
    assert lines[len(expected) : len(expected) + 1] == ["as it is"]
    assert re.fullmatch(rf"{ISO}\trid\tcrit\tit broke", lines[len(expected) + 1])
    assert lines[len(expected) + 2] == "System.FormatException: inside"
    assert not [line for line in lines if "not wanted" in line]


@pytest.mark.parametrize(("level", "printed"), [("INFO", True), ("WARN", False)])
def test_the_json_log_format_has_the_request_id_and_honours_the_level(api, shapes, command, level, printed):
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": level, "_HANDLER": "Shapes::Functions.Shapes::Logs"}
    with api.start(command, cwd=shapes, env=env) as runtime:
        api.invoke(request_id="rid", trace_id="Root=1-a")
        records = [json.loads(line) for line in runtime.lines() if line.startswith("{")]
    assert all(re.fullmatch(ISO, record.pop("timestamp")) for record in records)
    assert all(record.pop("requestId") == "rid" for record in records)
    assert all(record.pop("traceId") == "Root=1-a" for record in records)
    first = {"level": "Information", "message": "printed"}
    assert (first in records) is printed
    assert {"level": "Warning", "message": "from you of 3", "name": "you", "count": 3} in records
    (broke,) = [record for record in records if record["level"] == "Critical"]
    assert (broke["message"], broke["errorType"], broke["errorMessage"]) == (
        "it broke",
        "System.FormatException",
        "inside",
    )
    assert broke["stackTrace"][0] == "System.FormatException: inside"


def test_the_telemetry_descriptor_gets_framed_records(api, shapes, command):
    read, write_end = os.pipe()
    try:
        env = {"_HANDLER": "Shapes::Functions.Shapes::Logs", "_LAMBDA_TELEMETRY_LOG_FD": str(write_end)}
        with api.start(command, cwd=shapes, env=env, fds=[write_end]) as runtime:
            api.invoke(request_id="rid")
            data = os.read(read, 65536)
            assert runtime.output() == ""
    finally:
        os.close(read)
        os.close(write_end)
    assert data[:4].hex() == "a55a0003"
    size = int.from_bytes(data[4:8], "big")
    assert re.fullmatch(rf"{ISO}\trid\tinfo\tprinted\n", data[16 : 16 + size].decode())


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "it answered what is not HTTP: SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", "it answered what is not HTTP: many"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n", "it answered with more than 268435456 bytes"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffff0\r\n",
            "it answered what is not HTTP: fffffff0",
        ),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1_050_000, "it answered with more than 1048576 bytes of headers"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{", "it closed the connection within a message"),
    ],
    ids=["other", "length", "large", "chunk", "head", "short"],
)
def test_an_answer_that_cannot_be_ends_it_with_a_sentence(api, shapes, command, answer, words):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(30)
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        env = {"_HANDLER": "Shapes::Functions.Shapes::Nothing", "AWS_LAMBDA_RUNTIME_API": address}
        with api.start(command, cwd=shapes, env=env) as runtime:
            peer, _ = listener.accept()
            with peer:
                peer.recv(4096)
                with suppress(OSError):  # it need not take the whole
                    peer.sendall(answer)
                    peer.shutdown(socket.SHUT_WR)
                assert runtime.wait() == 1
            assert runtime.output() == f"bootstrap: the Runtime API is gone: {words}\n"


@pytest.mark.parametrize("address", ["", "127.0.0.1", "a.host:80"])
def test_without_an_address_that_can_be_it_says_so(api, shapes, command, address):
    with api.start(command, cwd=shapes, env={"AWS_LAMBDA_RUNTIME_API": address}) as runtime:
        assert runtime.wait() == 1
        assert "AWS_LAMBDA_RUNTIME_API" in runtime.output()


@pytest.mark.parametrize("handler", ["Program", "Program.exe"])
def test_a_program_that_brings_its_own_loop_runs(api, tmp_path, command, handler):
    source = (dotnet.SOURCES / "Program.cs").read_text("utf-8")
    runtime_assembly = bootstraps.path("dotnet") / "target/bootstrap.exe"
    folder = package(tmp_path / "code", dotnet.compiled(source, "Program.exe", runtime_assembly))
    with api.start(command, cwd=folder, env={"_HANDLER": handler}):
        assert api.invoke(b'{"name": "you"}', request_id="one").json() == {"Hello": "you", "Id": "one", "Calls": 1}
        assert api.invoke(b"{}").json()["Calls"] == 2
    with api.start(command, cwd=folder, env={"_HANDLER": handler, "FAIL": "it cannot start"}) as runtime:
        posted = api.posted()
        assert (posted.path[-11:], posted.json()["errorMessage"]) == ("/init/error", "it cannot start")
        assert runtime.wait() == 1


@pytest.mark.parametrize("isolation", ["process", "auto"])
async def test_the_example_runs_on_the_engine(isolation, tmp_path):
    dotnet.dotnet()
    source = (bootstraps.path("dotnet") / "example/Hello.cs").read_text("utf-8")
    code = package(tmp_path / "code", dotnet.compiled(source, "Hello.dll"))
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "hello", code=code, runtime=dotnet.RUNTIME, handler="Hello::Hello::Greet", timeout_s=20
        )
        first = await function.invoke({"name": "you"}, tail=True)
        told = first.json()
        assert 0 < told.pop("ms_left") <= 20_000
        assert told == {"hello": "you", "calls": 1}
        assert f"\t{first.request_id}\tinfo\tcall 1 of {first.request_id}\n" in first.log_tail
        assert (await function.invoke({})).json()["calls"] == 2


async def test_without_a_compiled_runtime_the_first_function_has_it_compiled(tmp_path):
    dotnet.dotnet()
    source = (bootstraps.path("dotnet") / "example/Hello.cs").read_text("utf-8")
    code = package(tmp_path / "code", dotnet.compiled(source, "Hello.dll"))
    async with Engine(data_dir=tmp_path / "data") as engine:
        shutil.rmtree(engine.runtimes.folder / "dotnet/target")
        function = await engine.create_function(
            "hello", code=code, runtime=dotnet.RUNTIME, handler="Hello::Hello::Greet", timeout_s=60
        )
        assert (await function.invoke({})).json()["hello"] == "world"
