"""`lambent serve` as a process of its own, and a person's tools against it."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import threading
import time
import zipfile
from pathlib import Path
from urllib.request import urlopen

import boto3
import psutil
import pytest
from botocore.config import Config

from engine.cli.main import main
from tests.support.cli import PATIENCE, Served, lambent, public_folder, serving, start
from tests.support.functions import python_function
from tests.support.leaks import eventually

APP = """
import time
def handler(event, context):
    print("handling", event)
    if event.get("fail"):
        raise ValueError("no")
    time.sleep(event.get("sleep", 0))
    return {"got": event, "custom": (context.client_context.custom if context.client_context else None)}
"""


@pytest.fixture(scope="module")
def server():
    with public_folder() as folder, serving(data=folder / "data") as served:
        yield served


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return python_function(tmp_path / "app", APP)


@pytest.fixture
def call(server: Served, monkeypatch, capsysbinary):
    """Calls a command in this process against the server: (exit code, stdout, stderr)."""
    monkeypatch.setenv("LAMBENT_ENDPOINT_URL", server.url)

    def run(*args: str) -> tuple[int, str, str]:
        code = main(args)
        out, err = capsysbinary.readouterr()
        return code, out.decode(), err.decode()

    return run


def client_of(url: str):
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}),
    )


def test_one_ready_line_names_the_address_the_isolation_the_data_and_the_pid(server):
    found = re.fullmatch(
        r"lambent: ready on http://127\.0\.0\.1:\d+ \(isolation (process|sandbox), data (\S+), pid (\d+)\)\n",
        server.ready,
    )
    assert found is not None, server.ready
    assert Path(found[2]) == server.data
    assert int(found[3]) == server.process.pid
    assert json.load(urlopen(f"{server.url}/_lambent/info"))["pid"] == server.process.pid


def test_deploy_invoke_logs_ps_and_story_go_round(app, call):
    code, out, err = call("deploy", str(app), "--name", "round")
    assert (code, out) == (0, "arn:aws:lambda:us-east-1:000000000000:function:round\n")
    assert "created round (python3" in err

    code, out, err = call(
        "invoke", "round", '{"n": 1}', "--log-type", "Tail", "--client-context", '{"custom": {"a": 1}}'
    )
    assert (code, json.loads(out)) == (0, {"got": {"n": 1}, "custom": {"a": 1}})
    log = err.splitlines()
    assert [line.split()[0] for line in log] == ["START", "handling", "END", "REPORT"]
    request_id = log[0].split()[2]

    code, out, err = call("logs", "round", "--request-id", request_id)
    assert [line.split()[1] for line in out.splitlines()] == ["START", "handling", "END", "REPORT"]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z START ", out)

    _, out, _ = call("logs", "round", "--json", "--limit", "1")
    (record,) = map(json.loads, out.splitlines())
    assert record["message"].startswith(f"REPORT RequestId: {request_id}\t")

    _, out, _ = call("ps", "round")
    heading, row = out.splitlines()
    assert heading.split()[:3] == ["ENVIRONMENT", "FUNCTION", "RUNTIME"]
    assert row.split()[1] == "round"
    _, out, _ = call("ps", "--json")
    (environment_,) = [one for one in json.loads(out) if one["function"] == "round"]
    assert (environment_["invocations"], environment_["memory_mb"]) == (1, 128)

    code, out, _ = call("story", request_id)
    assert code == 0
    assert out.startswith(f"round  success  {request_id}\ncold, Init ")
    for step in ("received", "process started", "handed to the runtime", "answered by the runtime", "ended"):
        assert step in out
    _, out, _ = call("story", request_id, "--json")
    assert json.loads(out)["function"] == "round"


def test_deploy_again_updates_code_and_what_is_given_and_keeps_the_rest(app, call, server):
    call("deploy", str(app), "--name", "again", "--memory", "256", "--timeout", "9", "--env", "STAGE=dev")
    python_function(app, "def handler(event, context): return 'second'")
    code, out, err = call("deploy", str(app), "--name", "again", "--timeout", "7", "--json")
    now = json.loads(out)
    assert code == 0
    assert "updated again (python3" in err
    assert (now["MemorySize"], now["Timeout"], now["Environment"]["Variables"]) == (256, 7, {"STAGE": "dev"})
    assert (now["State"], now["LastUpdateStatus"]) == ("Active", "Successful")
    assert call("invoke", "again")[1] == '"second"\n'


def test_deploy_keeps_a_handler_that_was_named_but_follows_a_change_of_language(app, call, tmp_path):
    python_function(app, "def mine(event, context): return 'mine'")
    call("deploy", str(app), "--name", "language", "--handler", "app.mine", "--runtime", "python3.11")
    python_function(app, "def handler(e, c): return 'other'\ndef mine(e, c): return 'mine still'")
    call("deploy", str(app), "--name", "language")
    assert call("invoke", "language")[1] == '"mine still"\n'
    other = tmp_path / "other"
    other.mkdir()
    (other / "bootstrap").write_text("#!/bin/sh\nexit 1\n")
    (other / "bootstrap").chmod(0o755)
    _, out, err = call("deploy", str(other), "--name", "language", "--json")
    assert json.loads(out)["Runtime"] == "provided.al2023"
    assert "bootstrap is there" in err


def test_deploy_max_concurrency_makes_a_function_of_that_kind_and_ps_shows_how_many_run(app, call, server):
    code, _, err = call("deploy", str(app), "--name", "several", "--max-concurrency", "3")
    assert code == 0, err
    assert call("invoke", "several", "{}")[0] == 0
    _, out, _ = call("ps", "several")
    (row,) = out.splitlines()[1:]
    assert " 0 of 3 " in row
    _, out, _ = call("ps", "several", "--json")
    (environment,) = json.loads(out)
    assert (environment["in_flight"], environment["capacity"]) == (0, 3)

    code, _, err = call("deploy", str(app), "--name", "several", "--timeout", "9")
    assert code == 0, err
    config = client_of(server.url).get_function_configuration(FunctionName="several")
    managed = config["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
    assert (managed["PerExecutionEnvironmentMaxConcurrency"], config["Timeout"]) == (3, 9)

    assert call("deploy", str(app), "--name", "single")[0] == 0
    code, _, err = call("deploy", str(app), "--name", "single", "--max-concurrency", "3")
    assert code == 1
    assert "delete it first" in err


def test_deploy_publish_makes_a_version_that_invoke_reaches_by_its_qualifier(app, call):
    code, out, err = call("deploy", str(app), "--name", "versioned", "--publish")
    assert (code, out) == (0, "arn:aws:lambda:us-east-1:000000000000:function:versioned:1\n")
    assert "published version 1 of versioned (python3" in err
    assert call("deploy", str(app), "--name", "versioned", "--publish")[1] == out, "nothing had changed"
    python_function(app, "def handler(event, context): return ['second', context.function_version]")
    _, out, _ = call("deploy", str(app), "--name", "versioned", "--publish", "--json")
    assert (json.loads(out)["Version"], json.loads(out)["State"]) == ("2", "Active")
    assert json.loads(call("invoke", "versioned", '{"n": 1}', "--qualifier", "1")[1])["got"] == {"n": 1}
    for name, qualifier, version in (("versioned:2", None, "2"), ("versioned", "$LATEST", "$LATEST")):
        given = ("--qualifier", qualifier) if qualifier else ()
        _, out, _ = call("invoke", name, "--json", *given)
        assert (json.loads(out)["payload"], json.loads(out)["executed_version"]) == (["second", version], version)
    _, out, _ = call("ps", "versioned")
    assert {row.split()[1] for row in out.splitlines()[1:]} == {"versioned", "versioned:1", "versioned:2"}
    code, _, err = call("invoke", "versioned", "--qualifier", "9")
    assert code == 1
    assert "Function not found: arn:aws:lambda:us-east-1:000000000000:function:versioned:9" in err


def test_deploy_layer_publishes_what_has_changed_and_keeps_what_is_not_given(app, call, tmp_path):
    python_function(app, "import of_layer\ndef handler(event, context): return of_layer.NAME")
    layer = python_function(tmp_path / "common" / "python", "NAME = 'one'", "of_layer").parent
    arn = "arn:aws:lambda:us-east-1:000000000000:layer:common"
    code, _, err = call("deploy", str(app), "--name", "layered", "--layer", str(layer))
    assert (code, f"published the layer {arn}:1" in err) == (0, True), err
    assert json.loads(call("invoke", "layered")[1]) == "one"

    _, out, err = call("deploy", str(app), "--name", "layered", "--layer", str(layer), "--json")
    assert "published the layer" not in err
    assert [one["Arn"] for one in json.loads(out)["Layers"]] == [f"{arn}:1"]
    python_function(layer / "python", "NAME = 'two'", "of_layer")
    _, out, _ = call("deploy", str(app), "--name", "layered", "--layer", str(layer), "--json")
    assert [one["Arn"] for one in json.loads(out)["Layers"]] == [f"{arn}:2"]
    assert json.loads(call("invoke", "layered")[1]) == "two"
    _, out, _ = call("deploy", str(app), "--name", "layered", "--layer", f"{arn}:1", "--json")
    assert [one["Arn"] for one in json.loads(out)["Layers"]] == [f"{arn}:1"]
    _, out, _ = call("deploy", str(app), "--name", "layered", "--timeout", "5", "--json")
    assert [one["Arn"] for one in json.loads(out)["Layers"]] == [f"{arn}:1"]
    code, _, err = call("deploy", str(app), "--name", "layered", "--layer", f"{arn}:9")
    assert code == 1
    assert f"Layer version {arn}:9 does not exist." in err


def test_deploy_watch_makes_a_saved_file_live_on_the_next_invocation(app, call):
    code, _, err = call("deploy", str(app), "--name", "live", "--watch")
    assert (code, f"live from {app}" in err) == (0, True)
    assert json.loads(call("invoke", "live", "{}")[1])["got"] == {}
    for number in range(3):
        (app / "app.py").write_text(f"def handler(event, context): return {number}")
        assert call("invoke", "live")[1] == f"{number}\n"


def test_a_function_error_is_exit_code_1_with_its_payload_on_stdout(app, call):
    call("deploy", str(app), "--name", "failing")
    code, out, err = call("invoke", "failing", '{"fail": 1}')
    assert (code, json.loads(out)["errorType"], err) == (1, "ValueError", "")
    code, out, _ = call("invoke", "failing", "--event", '{"fail": 1}', "--json")
    answer = json.loads(out)
    assert (code, answer["function_error"], answer["payload"]["errorMessage"]) == (1, "Unhandled", "no")
    assert call("invoke", "failing", "--invocation-type", "DryRun") == (0, "", "")


def test_invoke_reads_its_event_from_standard_input_and_writes_the_exact_payload(app, server):
    lambent("deploy", str(app), "--name", "piped", env={"LAMBENT_ENDPOINT_URL": server.url})
    done = lambent("invoke", "piped", "-", "--endpoint-url", server.url, given='{"ü": "\\u00e9"}')
    assert (done.returncode, json.loads(done.stdout)["got"]) == (0, {"ü": "é"})


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (
            ["invoke", "nobody"],
            ["cannot invoke function 'nobody'", "ResourceNotFoundException (HTTP 404)", "lambent deploy"],
        ),
        (["invoke", "nobody", "{"], ["is not JSON"]),
        (["invoke", "no body"], ["cannot invoke function 'no body'", "HTTP 400"]),
        (["invoke", "nobody", "{}", "--client-context", "x"], ["the client context is not JSON"]),
        (["logs", "nobody"], ["cannot read the log of function 'nobody'", "Function not found"]),
        (["story", "0-0"], ["No invocation 0-0 is remembered"]),
        (["deploy", "{app}", "--name", "a b"], ["function 'a b'", "HTTP 400"]),
        (["deploy", "{app}", "--name", "x", "--memory", "1"], ["cannot create function 'x'", "memorySize"]),
        (["deploy", "{app}/app.py/none"], ["there is no function at"]),
    ],
)
def test_a_refusal_is_told_in_one_paragraph_and_exit_code_1(app, call, args, words):
    code, out, err = call(*(one.replace("{app}", str(app)) for one in args))
    assert (code, out) == (1, "")
    paragraph = err.splitlines()[-1]
    assert paragraph.startswith("lambent: ")
    for word in words:
        assert word in paragraph


def test_a_watched_zip_is_refused_before_anything_is_sent(call, tmp_path):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.writestr("app.py", "def handler(e, c): return 1")
    code, _, err = call("deploy", str(tmp_path / "f.zip"), "--watch")
    assert (code, "--watch runs a function from a folder" in err) == (1, True)


def test_something_else_than_a_lambent_server_is_said_to_be_that(call, monkeypatch):
    import http.server

    class Other(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(418)

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Other) as other:
        thread = threading.Thread(target=other.serve_forever)
        thread.start()
        try:
            code, _, err = call("ps", "--endpoint-url", f"http://127.0.0.1:{other.server_port}")
        finally:
            other.shutdown()
            thread.join()
    assert (code, "HTTP 418" in err, "not the answer of a Lambent server" in err) == (1, True, True)


def test_logs_follow_shows_lines_as_they_come_and_ends_on_ctrl_c(app, call, server):
    call("deploy", str(app), "--name", "chatty")
    process = start("logs", "--follow", "chatty", "--endpoint-url", server.url)
    try:
        for number in (41, 42):  # the second is not there yet when the first is shown
            call("invoke", "chatty", json.dumps({"n": number}))
            assert any(f"handling {{'n': {number}}}" in line for line in iter(process.stdout.readline, ""))
    finally:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err.strip()) == (130, "")


def test_boto3_creates_waits_lists_invokes_and_deletes_here(server):
    client = client_of(server.url)
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return [event, context.function_name]")
    client.create_function(
        FunctionName="boto",
        Runtime="python3.11",
        Handler="app.handler",
        Role="arn:aws:iam::000000000000:role/r",
        Code={"ZipFile": package.getvalue()},
    )
    client.get_waiter("function_active_v2").wait(FunctionName="boto", WaiterConfig={"Delay": 0.05})
    assert "boto" in [one["FunctionName"] for one in client.list_functions()["Functions"]]
    answer = client.invoke(FunctionName="boto", Payload=b"[1]")
    assert (answer["StatusCode"], json.load(answer["Payload"])) == (200, [[1], "boto"])
    client.delete_function(FunctionName="boto")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.invoke(FunctionName="boto")


class TestStopping:
    """Signals, on servers of their own."""

    @pytest.fixture
    def own(self, app):
        with public_folder() as folder, serving(data=folder / "data") as served:
            done = lambent("deploy", str(app), "--name", "f", "--timeout", "60", "--endpoint-url", served.url)
            assert done.returncode == 0, done.stderr
            yield served

    @staticmethod
    def invocation(served: Served, seconds: float) -> subprocess.Popen[str]:
        """An invocation that has begun."""
        process = start("invoke", "f", json.dumps({"sleep": seconds}), "--endpoint-url", served.url)

        def busy() -> bool:
            rows = json.load(urlopen(f"{served.url}/_lambent/environments"))["environments"]
            return any(one["request_id"] for one in rows)

        eventually(busy, "the invocation has begun")
        return process

    @pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
    def test_a_signal_lets_running_invocations_finish_then_stops(self, own, signum):
        invocation = self.invocation(own, 1.0)
        own.process.send_signal(signum)
        out, err = invocation.communicate(timeout=PATIENCE)
        assert (invocation.returncode, json.loads(out)["got"], err) == (0, {"sleep": 1.0}, "")
        assert own.process.wait(PATIENCE) == 0
        assert "finishing what runs" in own.process.stderr.read()

    def test_a_second_signal_stops_at_once_and_leaves_no_process(self, own):
        invocation = self.invocation(own, 50)
        children = psutil.Process(own.process.pid).children(recursive=True)
        own.process.send_signal(signal.SIGTERM)
        while "finishing what runs" not in own.process.stderr.readline():
            pass
        began = time.monotonic()
        own.process.send_signal(signal.SIGTERM)
        assert own.process.wait(PATIENCE) == 1
        assert time.monotonic() - began < 20  # and not the 50 s of the function
        invocation.communicate(timeout=PATIENCE)
        assert invocation.returncode == 1
        eventually(lambda: not any(child.is_running() for child in children), "its processes are gone")

    def test_functions_are_there_again_after_a_restart(self, own):
        own.process.terminate()
        assert own.process.wait(PATIENCE) == 0
        with serving(data=own.data) as again:
            done = lambent("invoke", "f", '{"n": 2}', "--endpoint-url", again.url)
            assert (done.returncode, json.loads(done.stdout)["got"]) == (0, {"n": 2})

    def test_an_idle_server_stops_cleanly(self, own):
        own.process.terminate()
        assert own.process.wait(PATIENCE) == 0
        assert "Traceback" not in own.process.stderr.read()


class TestRefusingToStart:
    """What serve says when it cannot."""

    def test_a_port_that_is_taken(self, server, tmp_path):
        port = server.url.rpartition(":")[2]
        with public_folder() as folder:
            done = lambent("serve", "--port", port, "--data-dir", str(folder / "d"))
        assert (done.returncode, done.stdout) == (2, "")
        assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
        assert "choose another host or port" in done.stderr

    def test_a_data_directory_in_use(self, server):
        done = lambent("serve", "--port", "0", "--data-dir", str(server.data))
        assert (done.returncode, done.stdout) == (1, "")
        assert str(server.data) in done.stderr
        assert str(server.process.pid) in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_data_directory_that_is_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        done = lambent("serve", "--port", "0", "--data-dir", str(tmp_path / "file"))
        assert (done.returncode, done.stdout) == (1, "")
        assert f"cannot keep functions in {tmp_path / 'file'}" in done.stderr
        assert "--data-dir" in done.stderr

    def test_settings_come_from_the_file_in_the_working_directory(self):
        with public_folder() as folder:
            (folder / "lambent.toml").write_text('region = "eu-west-3"\naccount-id = "123456789012"\n')
            with serving("--config", str(folder / "lambent.toml"), data=folder / "d") as served:
                info = json.load(urlopen(f"{served.url}/_lambent/info"))
        assert (info["region"], info["account_id"]) == ("eu-west-3", "123456789012")

    def test_hot_reload_can_be_refused(self, app):
        with public_folder() as folder, serving("--no-hot-reload", data=folder / "d") as served:
            done = lambent("deploy", str(app), "--name", "f", "--watch", "--endpoint-url", served.url)
        assert done.returncode == 1
        assert "cannot create function 'f'" in done.stderr
