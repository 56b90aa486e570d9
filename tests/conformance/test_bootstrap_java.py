"""Our Java runtime: what AWS's client cannot be asked for (that: test_official_clients_differential_java.py)."""

from __future__ import annotations

import json
import os
import shutil

import pytest
import uvloop

import bootstraps
from engine import Engine
from tests.support import java
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

RUNTIME = "java17"


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


@pytest.fixture
def api():
    with ScriptedRuntimeApi() as running:
        yield running


@pytest.fixture
def command():
    java.java()
    return bootstraps.command(RUNTIME)


def test_the_jar_has_none_of_awss_interfaces(command):
    import zipfile

    with zipfile.ZipFile(command[command.index("-cp") + 1]) as jar:
        names = [name for name in jar.namelist() if name.endswith(".class")]
    assert "lambent/Bootstrap.class" in names
    assert "adapters/lambent/adapters/AwsAdapters.class" in names
    assert not [name for name in names if name.startswith("com/")]


def test_the_json_log_format_has_the_request_id_and_honours_the_level(api, tmp_path, command):
    java.function(tmp_path)
    env = {"_HANDLER": "App", "AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    with api.start(command, cwd=tmp_path, env=env) as runtime:
        api.invoke(b'{"do": "log"}', request_id="one")
        api.invoke(b'{"do": "fail"}', request_id="two")
        records = [json.loads(line) for line in runtime.lines() if line.startswith("{")]
    assert records[0].pop("timestamp")
    assert records[0] == {"message": "a line of log\n", "level": "UNDEFINED", "AWSRequestId": "one"}
    assert (records[1]["level"], records[1]["AWSRequestId"]) == ("ERROR", "two")
    assert records[1]["message"].startswith("it failed é: java.lang.IllegalStateException\n")


def test_the_telemetry_descriptor_gets_framed_records(api, tmp_path, command):
    java.function(tmp_path)
    read, write_end = os.pipe()
    try:
        env = {"_HANDLER": "App", "_LAMBDA_TELEMETRY_LOG_FD": str(write_end)}
        with api.start(command, cwd=tmp_path, env=env, fds=[write_end]) as runtime:
            api.invoke(b'{"do": "log"}')
            data = os.read(read, 65536)
            assert runtime.output() == "a printed line\n"
    finally:
        os.close(read)
        os.close(write_end)
    assert data[:4].hex() == "a55a0003"
    assert data[16:] == b"a line of log\n"
    assert int.from_bytes(data[4:8], "big") == len(data) - 16


MANY_LINES = """
    import com.amazonaws.services.lambda.runtime.Context;
    public class Many {
        public void go(String event, Context context) {
            System.out.println("before");
            context.getLogger().log("one\\ntwo\\nthree\\n");
            System.out.println("after");
        }
    }
"""


async def test_a_record_of_many_lines_is_one_event_of_the_engines_log(tmp_path):
    core = java.jars("aws-lambda-java-core")
    shutil.copytree(java.compiled(MANY_LINES, "Many", tuple(core)), tmp_path / "code")
    (tmp_path / "code/lib").mkdir()
    shutil.copy(core[0], tmp_path / "code/lib")
    async with Engine() as engine:
        function = await engine.create_function(
            "many", code=tmp_path / "code", runtime=RUNTIME, handler="Many::go", timeout_s=60, memory_mb=1769
        )
        result = await function.invoke("")
        assert result.function_error is None, result.payload
        said = [one.message for one in engine.log("many").records()]
    assert said[said.index("before") :][:3] == ["before", "one\ntwo\nthree", "after"]


RECORDS = """
    import java.time.*;
    import java.util.*;
    public class Modern {
        public static class Event { public Instant at; public UUID id; public Optional<String> maybe; public byte[] raw; }
        public static Map<String, Object> go(Event event) {
            Map<String, Object> out = new LinkedHashMap<>();
            out.put("at", event.at.plusSeconds(1));
            out.put("id", event.id);
            out.put("maybe", event.maybe.orElse("absent"));
            out.put("size", event.raw.length);
            out.put("day", LocalDate.of(2024, 1, 2));
            return out;
        }
    }
"""


def test_dates_of_today_are_iso_text(api, tmp_path, command):
    shutil.copytree(java.compiled(RECORDS, "Modern"), tmp_path / "code")
    event = (
        b'{"at": "2024-01-02T03:04:05Z", "id": "00000000-0000-0001-0000-000000000002", "maybe": null, "raw": "AQID"}'
    )
    with api.start(command, cwd=tmp_path / "code", env={"_HANDLER": "Modern::go"}):
        assert api.invoke(event).json() == {
            "at": "2024-01-02T03:04:06Z",
            "id": "00000000-0000-0001-0000-000000000002",
            "maybe": "absent",
            "size": 3,
            "day": "2024-01-02",
        }


OWN_JSON = """
    import com.amazonaws.services.lambda.runtime.CustomPojoSerializer;
    import java.io.*;
    import java.lang.reflect.Type;
    public class Own implements CustomPojoSerializer {
        public <T> T fromJson(InputStream in, Type type) {
            try { return (T) new String(in.readAllBytes()).toUpperCase(); } catch (IOException e) { throw new UncheckedIOException(e); }
        }
        public <T> T fromJson(String in, Type type) { return null; }
        public <T> void toJson(T value, OutputStream out, Type type) {
            try { out.write(("<" + value + ">").getBytes()); } catch (IOException e) { throw new UncheckedIOException(e); }
        }
        public String handle(String event) { return event + "!"; }
    }
"""


def test_a_serializer_of_the_functions_own_is_used(api, tmp_path, command):
    core = java.jars("aws-lambda-java-core")
    shutil.copytree(java.compiled(OWN_JSON, "Own", tuple(core)), tmp_path / "code")
    services = tmp_path / "code/META-INF/services"
    services.mkdir(parents=True)
    (services / "com.amazonaws.services.lambda.runtime.CustomPojoSerializer").write_text("Own\n")
    (tmp_path / "code/lib").mkdir()
    shutil.copy(core[0], tmp_path / "code/lib")
    with api.start(command, cwd=tmp_path / "code", env={"_HANDLER": "Own::handle"}):
        assert api.invoke(b"abc").body == b"<ABC!>"


async def test_without_a_compiled_runtime_the_first_function_has_it_compiled(monkeypatch, tmp_path):
    java.java()
    code = java.compiled((bootstraps.path("java") / "example/Hello.java").read_text(), "Hello")
    async with Engine(data_dir=tmp_path / "data") as engine:
        shutil.rmtree(engine.runtimes.folder / "java/target")
        function = await engine.create_function(
            "hello", code=code, runtime=RUNTIME, handler="Hello::greet", timeout_s=60, memory_mb=1769
        )
        assert (await function.invoke({"name": "you"})).json() == {"hello": "you", "calls": 1}
        assert (await function.invoke({})).json() == {"hello": "world", "calls": 2}


@pytest.mark.parametrize("isolation", ["process", "auto"])
async def test_the_heap_is_a_share_of_the_memory_size_and_its_end_is_told(isolation, tmp_path):
    source = """
        import java.util.*;
        public class Heap {
            static List<byte[]> kept = new ArrayList<>();
            public long go(String what) {
                while (what.equals("fill")) kept.add(new byte[1 << 20]);
                return Runtime.getRuntime().maxMemory() >> 20;
            }
        }
    """
    code = java.compiled(source, "Heap")
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function(
            "heap", code=code, runtime=RUNTIME, handler="Heap::go", timeout_s=30, memory_mb=256
        )
        assert 200 <= (await function.invoke("size")).json() <= 218
        result = await function.invoke("fill")
        assert result.json()["errorType"] == "java.lang.OutOfMemoryError"
        assert (await function.invoke("size")).json() > 0
