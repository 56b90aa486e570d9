"""`lambent run`: one function, no server, as a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.support import dotnet
from tests.support.cli import PATIENCE, lambent, paragraphs, public_folder, start
from tests.support.extensions import extension
from tests.support.functions import bootstrap, python_function
from tests.support.leaks import eventually

APP = """
import os, sys, time
print("imported")
def handler(event, context):
    print("handling", event)
    if event.get("fail"):
        raise KeyError("no such order")
    if event.get("sleep"):
        time.sleep(event["sleep"])
    return {"got": event, "stage": os.environ.get("STAGE"), "memory": context.memory_limit_in_mb}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    return python_function(tmp_path / "app", APP)


def test_the_result_is_on_stdout_and_the_log_on_stderr(app):
    done = lambent("run", str(app), "--event", '{"a": 1}', "--memory", "256", "--env", "STAGE=dev")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"got": {"a": 1}, "stage": "dev", "memory": "256"})
    assert done.stdout.count("\n") == 1
    said = done.stderr.splitlines()
    assert "handler app.handler (app.py defines handler)" in said[0]
    kinds = [line.split()[0] for line in said[1:]]
    assert kinds == ["INIT_START", "imported", "START", "handling", "END", "REPORT"]
    assert said[-1].endswith("\t")


def test_the_event_comes_from_a_file_or_standard_input(app, tmp_path):
    (tmp_path / "event.json").write_text('{"from": "file"}')
    done = lambent("run", str(app), "--event", "event.json", cwd=tmp_path)
    assert json.loads(done.stdout)["got"] == {"from": "file"}
    done = lambent("run", str(app), "--event", "-", given='{"from": "stdin"}')
    assert json.loads(done.stdout)["got"] == {"from": "stdin"}


def test_a_function_error_is_its_payload_and_exit_code_1(app):
    done = lambent("run", str(app), "--event", '{"fail": true}')
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["errorType"], answer["errorMessage"]) == ("KeyError", "'no such order'")
    assert paragraphs(done.stderr) == []


def test_a_timeout_is_a_function_error(app):
    done = lambent("run", str(app), "--event", '{"sleep": 60}', "--timeout", "1")
    assert done.returncode == 1
    assert json.loads(done.stdout)["errorType"] == "Sandbox.Timedout"
    assert "Status: timeout" in done.stderr


def test_n_invocations_are_one_cold_and_then_warm(app):
    done = lambent("run", str(app), "-n", "3", "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["init_ms"] is None for one in answers] == [False, True, True]
    assert len({one["request_id"] for one in answers}) == 3
    assert all(one["function_error"] is None and one["duration_ms"] >= 0 for one in answers)


MEETS = """
import os, time
TMP = os.environ.get("TMPDIR", "/tmp")
def handler(event, context):
    open(os.path.join(TMP, "meet." + context.aws_request_id), "w").close()
    while sum(name.startswith("meet.") for name in os.listdir(TMP)) < 3:
        time.sleep(0.002)
    return context.aws_request_id
"""


def test_max_concurrency_invokes_together_and_one_environment_takes_them(tmp_path):
    code = python_function(tmp_path / "meets", MEETS)
    done = lambent("run", str(code), "--max-concurrency", "3", "-n", "3", "--timeout", "20", "--json")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert (done.returncode, len(answers)) == (0, 3)
    assert sum(one["init_ms"] is not None for one in answers) == 1
    assert done.stderr.count("platform.initStart") == 1  # its logs are JSON


@pytest.mark.parametrize("many", ["0", "1601", "x"])
def test_a_concurrency_that_no_environment_can_have_is_refused(app, many):
    done = lambent("run", str(app), "--max-concurrency", many)
    assert done.returncode == 2
    assert "--max-concurrency" in done.stderr


USES_LAYERS = """
import first, second, os
def handler(event, context):
    return [first.NAME, second.NAME, os.path.isdir(os.environ.get("LAMBENT_OPT", "/opt"))]
"""


def test_layers_are_folders_and_zips_and_later_ones_cover_earlier_ones(tmp_path):
    function = python_function(tmp_path / "uses", USES_LAYERS)
    layer = python_function(tmp_path / "base" / "python", "NAME = 1", "first").parent
    python_function(layer / "python", "NAME = 1", "second")
    with zipfile.ZipFile(tmp_path / "more.zip", "w") as archive:
        archive.writestr("python/second.py", "NAME = 2")
    done = lambent("run", str(function), "--layer", str(layer), "--layer", str(tmp_path / "more.zip"))
    assert (done.returncode, json.loads(done.stdout)) == (0, [1, 2, True]), done.stderr


@pytest.mark.parametrize(
    ("layer", "code", "words"),
    [
        ("nothing", 2, "nothing cannot be read: No such file or directory; name a folder, a zip file or a layer"),
        ("app/app.py", 2, "app.py is neither a folder nor a zip file"),
        ("arn:aws:lambda:us-east-1:000000000000:layer:x:1", 1, "Layer version arn:aws:lambda:us-east-1:0000000000"),
    ],
)
def test_a_layer_that_is_none_is_an_error_that_says_what_to_do(app, layer, code, words):
    done = lambent("run", str(app), "--layer", layer, cwd=app.parent)
    assert done.returncode == code
    (said,) = paragraphs(done.stderr)
    assert words in said


def test_extensions_are_files_and_folders_and_are_told_of_the_end(app, tmp_path):
    for name in ("one", "two", "three"):
        extension(tmp_path / name, name)
    given = [tmp_path / "one/extensions/one", tmp_path / "two/extensions/two", tmp_path / "three/extensions"]
    done = lambent("run", str(app), *(part for path in given for part in ("--extension", str(path))))
    assert done.returncode == 0, done.stderr
    for name in ("one", "two", "three"):
        for line in (f"{name} registered", f"EXTENSION\tName: {name}\tState: Ready", f"{name} SHUTDOWN spindown"):
            assert line in done.stderr


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            ["nothing"],
            "the extension nothing cannot be read: No such file or directory; name an executable, or a folder",
        ),
        (["app/app.py"], "the extension app/app.py cannot be executed: chmod +x app/app.py"),
        (["empty"], "the folder empty has no files: name one with extensions in it, or an extension"),
        (["a/x", "b"], "a/x and b/x would both be the extension x: rename one of them"),
    ],
)
def test_an_extension_that_is_none_is_an_error_that_says_what_to_do(app, given, words):
    for folder in ("empty", "a", "b"):
        (app.parent / folder).mkdir()
    for program in ("a/x", "b/x"):
        (app.parent / program).touch(0o755)
    done = lambent("run", str(app), *(part for path in given for part in ("--extension", path)), cwd=app.parent)
    assert done.returncode == 2
    (said,) = paragraphs(done.stderr)
    assert words in said


def test_a_zip_a_source_file_and_a_bootstrap_executable_run_too(app, tmp_path):
    with zipfile.ZipFile(tmp_path / "f.zip", "w") as archive:
        archive.write(app / "app.py", "app.py")
    for path in (tmp_path / "f.zip", app / "app.py"):
        done = lambent("run", str(path), "--event", "{}")
        assert (done.returncode, json.loads(done.stdout)["got"]) == (0, {}), done.stderr
    program = bootstrap(tmp_path / "echo") / "bootstrap"
    done = lambent("run", str(program), "--event", '{"exact":  "bytes"}')
    assert (done.returncode, json.loads(done.stdout)) == (0, {"exact": "bytes"}), done.stderr
    assert "provided.al2023, handler bootstrap" in done.stderr


def test_csharp_is_compiled_when_it_runs_and_again_when_it_is_saved(tmp_path):
    dotnet.dotnet()
    source = tmp_path / "f/Greeter.cs"
    source.parent.mkdir()
    text = 'namespace A { public class B { public string C(string name) { return "hello " + name; } } }'
    source.write_text(text)
    process = start("run", str(source), "--watch", "--event", '"Ada"')
    try:
        assert process.stdout.readline() == '"hello Ada"\n'
        source.write_text("namespace A {")
        said = iter(process.stderr.readline, "")
        assert "handler Greeter::A.B::C (A.B has the public method C)" in next(said)
        assert "Greeter.cs cannot be compiled: " in next(line for line in said if line.startswith("not invoked"))
        source.write_text(text.replace("hello", "good bye"))
        assert process.stdout.readline() == '"good bye Ada"\n'
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


def test_a_given_handler_and_runtime_are_not_remarked_upon(app):
    done = lambent("run", str(app), "--handler", "app.handler", "--runtime", "python3.11")
    assert done.returncode == 0
    assert done.stderr.startswith("INIT_START")


def test_a_handler_that_is_not_there_is_the_function_s_error(app):
    done = lambent("run", str(app), "--handler", "app.absent")
    assert done.returncode == 1
    assert json.loads(done.stdout)["errorType"] == "Runtime.HandlerNotFound"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["/nowhere"], ["there is no function at /nowhere", "No such file"]),
        (["{app}", "--event", "{broken"], ["is not JSON"]),
        (["{app}", "--event", "absent.json"], ["no file of that name"]),
        (["{app}", "--memory", "1"], ["memorySize"]),
        (["{app}", "--timeout", "0"], ["timeout"]),
        (["{app}", "--runtime", "cobol85"], ["runtime", "cobol85"]),
        (["{app}", "--env", "AWS_REGION=x"], ["reserved keys", "AWS_REGION"]),
        (["{app}", "--handler", "other.handler"], ["neither other.py nor other.rb nor other.js"]),
        (["{app}/.."], ["cannot tell how to run"]),
    ],
)
def test_a_mistake_is_told_in_one_paragraph_and_exit_code_1(app, args, words):
    done = lambent("run", *(one.replace("{app}", str(app)) for one in args))
    assert (done.returncode, done.stdout) == (1, "")
    (paragraph,) = paragraphs(done.stderr)
    assert "Traceback" not in done.stderr
    assert done.stderr.rstrip().endswith(paragraph)
    for word in words:
        assert word in paragraph


def test_ctrl_c_ends_the_function_and_leaves_no_process(app):
    process = start("run", str(app), "--event", '{"sleep": 600}', "--timeout", "900")
    for line in process.stderr:
        if line.startswith("handling"):
            break
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    eventually(lambda: not any(child.is_running() for child in children), "the function's processes are gone")


@pytest.mark.slow
def test_watch_invokes_again_when_a_file_is_saved(app, tmp_path):
    process = start("run", str(app), "--watch", "--event", "{}")
    try:
        assert json.loads(process.stdout.readline())["stage"] is None
        (app / "app.py").write_text("def handler(event, context): return 'saved'")
        assert process.stdout.readline() == '"saved"\n'
        (app / "app.py").write_text("def handler(event, context): return oops")
        assert json.loads(process.stdout.readline())["errorType"] == "NameError"
        (app / "app.py").write_text("def handler(event, context): return 'right again'")
        assert process.stdout.readline() == '"right again"\n'
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 130


def test_watch_of_an_executable_takes_the_new_one(tmp_path):
    program = bootstrap(tmp_path / "f") / "bootstrap"
    process = start("run", str(program), "--watch", "--event", "1")
    try:
        assert process.stdout.readline() == "1\n"
        fresh = bootstrap(
            tmp_path / "g", "while True:\n    request_id, event, _ = take()\n    give(request_id, 'new')\n"
        )
        (fresh / "bootstrap").rename(program)
        assert process.stdout.readline() == '"new"\n'
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=PATIENCE)


def test_a_reader_that_leaves_early_is_no_error(app):
    process = start("run", str(app), "-n", "3")
    process.stdout.close()
    assert process.wait(PATIENCE) in {0, 1}
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()


def test_no_temporary_data_is_left(app):
    with public_folder() as place:
        done = lambent("run", str(app), env={"TMPDIR": str(place)})
        assert done.returncode == 0, done.stderr
        assert list(place.iterdir()) == []


def test_the_lambent_script_is_installed_beside_the_interpreter():
    import sys

    script = Path(sys.executable).with_name("lambent")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, check=False, timeout=PATIENCE)
    assert done.stdout.startswith("lambent ")
