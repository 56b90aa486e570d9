"""Our Python runtime by the wire alone, against a scripted Runtime API: AWS's behaviour where it shows in bytes.

However it is started: as an ordinary process, executed in a sandbox, or as a fork of a preloaded interpreter.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

import bootstraps
from bootstraps._interpreters import _candidates
from tests.support.preloading import need_sandboxes, never_preloaded
from tests.support.sandboxed_runtime_api import SandboxedRuntimeApi, SandboxHost
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

COMMAND = bootstraps.command(f"python3.{sys.version_info[1]}")
ISO = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
LARGE = 1_000_000


@pytest.fixture(scope="module")
def sandbox_host():
    """Where runtimes run in sandboxes."""
    need_sandboxes()
    host = SandboxHost()
    yield host
    host.stop()


@pytest.fixture(params=["process", "sandbox", "preloaded"])
def make_api(request, monkeypatch):
    """Makes Runtime APIs whose runtimes are executed, executed in a sandbox, or forks of a preloaded interpreter."""
    if request.param == "process":
        return ScriptedRuntimeApi
    host = request.getfixturevalue("sandbox_host")
    if request.param == "sandbox":
        never_preloaded(monkeypatch)
    else:
        host.preload()
    return type("Api", (SandboxedRuntimeApi,), {"host": host, "preloaded": request.param == "preloaded"})


@pytest.fixture
def api(make_api):
    with make_api() as running:
        yield running


@pytest.fixture
def process_api():
    """For what is about the process alone."""
    with ScriptedRuntimeApi() as running:
        yield running


def write(folder: Path, source: str, name: str = "app.py") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(textwrap.dedent(source))
    return folder


def returned(api, folder, source, payload=b"null", env=None, **headers):
    """What the handler in `source` made of one invocation."""
    with api.start(COMMAND, cwd=write(folder, source), env=env):
        return api.invoke(payload, **headers)


@pytest.mark.parametrize("minor", range(9, 15))
def test_every_python_from_3_9_runs_it(process_api, tmp_path, minor):
    found = next((i for i in _candidates("python") if i.version == (3, minor)), None)
    if found is None:
        pytest.skip(f"no Python 3.{minor} on this machine")  # never all of them: no machine is asked to have each
    source = """
        import logging
        def handler(event, context):
            logging.warning("seen %s", event)
            if event == "fail":
                raise KeyError(event)
            return {"event": event, "id": context.aws_request_id}
    """
    with process_api.start([found.executable, *COMMAND[1:]], cwd=write(tmp_path, source)) as runtime:
        assert process_api.invoke(b'"\xc3\xa9"', request_id="one").json() == {"event": "é", "id": "one"}
        failed = process_api.invoke(b'"fail"', request_id="two")
        assert failed.path.endswith("/two/error")
        assert failed.json()["errorType"] == "KeyError"
        assert re.search(rf"\[WARNING\]\t{ISO}\tone\tseen é\n", runtime.output())


@pytest.mark.parametrize("minor", range(9, 15))
def test_every_python_from_3_9_can_be_preloaded(minor, tmp_path):
    found = next((i for i in _candidates("python") if i.version == (3, minor)), None)
    if found is None:
        pytest.skip(f"no Python 3.{minor} on this machine")
    need_sandboxes()
    source = """
        import logging, os, sys
        def handler(event, context):
            logging.warning("seen %s", event)
            import colorsys, ctypes, random, ssl
            return [sys.version_info[:2], os.environ["_HANDLER"]]
    """
    host = SandboxHost(found.executable)
    try:
        host.preload()
        api_type = type("Api", (SandboxedRuntimeApi,), {"host": host, "preloaded": True})
        for request in ("one", "two"):
            with api_type() as api, api.start(COMMAND, cwd=write(tmp_path, source)) as runtime:
                answer = api.invoke(b'"x"', request_id=request)
                assert answer.path.endswith(f"/{request}/response"), runtime.output()
                assert answer.json() == [[3, minor], "app.handler"]
                assert re.search(rf"\[WARNING\]\t{ISO}\t{request}\tseen x\n", runtime.output())
    finally:
        host.stop()


def test_it_runs_as_a_script_too(process_api, tmp_path):
    bootstrap = bootstraps.path("python") / "bootstrap.py"
    write(tmp_path, "def handler(event, context): print('printed'); return event")
    with process_api.start([COMMAND[0], bootstrap, "app.handler"], cwd=tmp_path, env={"_HANDLER": ""}) as runtime:
        assert process_api.invoke(b"[1]").json() == [1]
        assert runtime.output() == "printed\n"


def test_nothing_is_loaded_that_the_function_did_not_ask_for(process_api, tmp_path):
    source = """
        import sys
        at_import = set(sys.modules)
        def handler(event, context):
            heavy = {"json", "logging", "re", "enum", "socket", "http.client", "traceback", "importlib", "os", "site"}
            return sorted(heavy & set(sys.modules))
    """
    assert returned(process_api, tmp_path, source).json() == []


@pytest.mark.parametrize(
    ("source", "handler", "kind", "message"),
    [
        ("import nowhere", "app.handler", "Runtime.ImportModuleError",
         "Unable to import module 'app': No module named 'nowhere'"),
        ("", "absent.handler", "Runtime.ImportModuleError", "Unable to import module 'absent': No module named 'absent'"),
        ("", "pkg/absent.handler", "Runtime.ImportModuleError",
         "Unable to import module 'pkg/absent': No module named 'pkg'"),
        ("", "app.handler", "Runtime.HandlerNotFound", "Handler 'handler' missing on module 'app'"),
        ("", "app", "Runtime.MalformedHandlerName", "Bad handler 'app': not enough values to unpack (expected 2, got 1)"),
        ("", "sys.exit", "Runtime.BuiltInModuleConflict", "Cannot use built-in module sys as a handler module"),
        ("def handler(:", "app.handler", "Runtime.UserCodeSyntaxError",
         "Syntax error in module 'app': invalid syntax (app.py, line 1)"),
        ("raise LookupError('at import')", "app.handler", "LookupError", "at import"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("Runtime") else None,
)  # fmt: skip
def test_a_handler_that_does_not_resolve_is_an_init_error_in_aws_words(api, tmp_path, source, handler, kind, message):
    with api.start(COMMAND, cwd=write(tmp_path, source), env={"_HANDLER": handler}) as runtime:
        error = api.posted()
        assert error.path == "/2018-06-01/runtime/init/error"
        assert error.headers["lambda-runtime-function-error-type"] == kind
        body = error.json()
        assert list(body) == ["errorMessage", "errorType", "requestId", "stackTrace"]
        assert (body["errorType"], body["errorMessage"], body["requestId"]) == (kind, message, "")
        assert runtime.wait() == 1
        assert f"[ERROR] {kind}: {message}\rTraceback (most recent call last):" in runtime.output()
    if kind == "Runtime.UserCodeSyntaxError":
        assert body["stackTrace"] == [f'  File "{api.seen(tmp_path)}/app.py" Line 1\n    def handler(:']
    elif kind == "LookupError":
        assert body["stackTrace"] == [f'  File "{api.seen(tmp_path)}/app.py", line 1, in <module>\n    {source}\n']
    else:
        assert body["stackTrace"] == []


@pytest.mark.parametrize("handler", ["pkg/mod.handler", "pkg.mod.handler"])
def test_a_handler_may_lie_in_a_package(api, tmp_path, handler):
    write(tmp_path, "from pkg.other import name\ndef handler(event, context): return [name, __name__]", "pkg/mod.py")
    write(tmp_path, "name = 'other'", "pkg/other.py")
    with api.start(COMMAND, cwd=tmp_path, env={"_HANDLER": handler}):
        assert api.invoke().json() == ["other", "pkg.mod"]


def test_the_functions_own_modules_come_first_even_one_called_bootstrap(api, tmp_path):
    write(tmp_path, "def handler(event, context): import sys; return [sys.path[0], __file__]", "bootstrap.py")
    with api.start(COMMAND, cwd=tmp_path, env={"_HANDLER": "bootstrap.handler"}):
        assert api.invoke().json() == [api.seen(tmp_path), f"{api.seen(tmp_path)}/bootstrap.py"]


def test_an_exception_is_reported_with_its_stack_and_its_cause_for_x_ray(api, tmp_path):
    source = """
        def inner():
            raise RuntimeError("two\\nlines \\u00e9")
        def handler(event, context):
            inner()
    """
    with api.start(COMMAND, cwd=write(tmp_path, source)) as runtime:
        error = api.invoke(request_id="rid")
        assert error.path == "/2018-06-01/runtime/invocation/rid/error"
        file = f"{api.seen(tmp_path)}/app.py"
        assert error.json() == {
            "errorMessage": "two\nlines é",
            "errorType": "RuntimeError",
            "requestId": "rid",
            "stackTrace": [
                f'  File "{file}", line 5, in handler\n    inner()\n',
                f'  File "{file}", line 3, in inner\n    raise RuntimeError("two\\nlines \\u00e9")\n',
            ],
        }
        assert json.loads(error.headers["lambda-runtime-function-xray-error-cause"]) == {
            "working_directory": api.seen(tmp_path),
            "exceptions": [
                {
                    "message": "two\nlines é",
                    "type": "RuntimeError",
                    "stack": [
                        {"label": "handler", "path": file, "line": 5},
                        {"label": "inner", "path": file, "line": 3},
                    ],
                }
            ],
            "paths": [file],
        }
        nbsp = "\u00a0"
        assert runtime.output() == (
            "[ERROR] RuntimeError: two\nlines é\rTraceback (most recent call last):"
            f'\r{nbsp * 2}File "{file}", line 5, in handler\r{nbsp * 4}inner()'
            f'\r{nbsp * 2}File "{file}", line 3, in inner\r{nbsp * 4}raise RuntimeError("two\\nlines \\u00e9")\n'
        )


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("None", "null"),
        ("{'a': [1, 2.5, True]}", '{"a": [1, 2.5, true]}'),
        ("decimal.Decimal('1.10')", "1.10"),
        ("{'d': [decimal.Decimal('12345678901234567890.5'), 'x']}", '{"d": [12345678901234567890.5, "x"]}'),
        ("decimal.Decimal('-NaN')", "NaN"),
        ("[float('nan'), float('inf'), -float('inf')]", "[NaN, Infinity, -Infinity]"),
        ("{'b': b'caf\\xc3\\xa9', b'k': 1}", '{"b": "caf\\u00e9", "k": 1}'),
        ("[Point(1, Point(2, 3))]", '[{"x": 1, "y": {"x": 2, "y": 3}}]'),
        ("(1, (2,))", "[1, [2]]"),
        ("{1: 'a', None: 'b', True: 'c', 2.5: 'd'}", '{"1": "c", "null": "b", "2.5": "d"}'),
        ("'\\u00e9\\u2028'", '"\\u00e9\\u2028"'),
    ],
)
def test_results_become_json_as_aws_writes_it(api, tmp_path, expression, text):
    source = f"""
        import collections, decimal
        Point = collections.namedtuple("Point", "x y")
        def handler(event, context):
            return {expression}
    """
    response = returned(api, tmp_path, source)
    assert (response.body.decode(), response.headers["content-type"]) == (text, "application/json")


@pytest.mark.parametrize(
    ("environment", "body"), [("AWS_Lambda_python3.11", b'"\\u00e9"'), ("AWS_Lambda_python3.12", b'"\xc3\xa9"')]
)
def test_text_is_escaped_up_to_python3_11_and_utf8_from_3_12(api, tmp_path, environment, body):
    source = "def handler(event, context): return '\\u00e9'"
    assert returned(api, tmp_path, source, env={"AWS_EXECUTION_ENV": environment}).body == body


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("{1, 2}", "Object of type set is not JSON serializable"),
        ("[handler]", "Object of type function is not JSON serializable"),
        ("loop", "Circular reference detected"),
        ("{(1, 2): 3}", "keys must be str, int, float, bool or None, not tuple"),
        ("b'\\xff' and {'a': b'\\xff'}", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
    ],
)
def test_a_result_that_json_cannot_hold_is_a_marshal_error_and_the_next_one_is_fine(api, tmp_path, expression, message):
    source = f"""
        loop = []
        loop.append(loop)
        def handler(event, context):
            return {expression} if event else "fine"
    """
    with api.start(COMMAND, cwd=write(tmp_path, source)):
        error = api.invoke(b"1", request_id="rid")
        assert error.json() == {
            "errorMessage": f"Unable to marshal response: {message}",
            "errorType": "Runtime.MarshalError",
            "requestId": "rid",
            "stackTrace": [],
        }
        assert error.headers["lambda-runtime-function-error-type"] == "Runtime.MarshalError"
        assert api.invoke(b"0").body == b'"fine"'


def test_bytes_are_returned_as_they_are(api, tmp_path):
    response = returned(api, tmp_path, "def handler(event, context): return b'\\x00\\xff'")
    assert (response.body, response.headers["content-type"]) == (b"\x00\xff", "application/unknown")


@pytest.mark.parametrize("payload", [b"", b"{", b"[1] 2", b'"\xff"', b"nul"])
def test_a_payload_that_is_not_json_is_an_unmarshal_error(api, tmp_path, payload):
    error = returned(api, tmp_path, "def handler(event, context): return 1", payload).json()
    assert error["errorType"] == "Runtime.UnmarshalError"
    assert error["errorMessage"].startswith("Unable to unmarshal input: ")


def test_other_content_types_reach_the_handler_as_bytes(api, tmp_path):
    source = "def handler(event, context): return [type(event).__name__, len(event)]"
    assert returned(api, tmp_path, source, b"\x00\x01", content_type="text/plain").json() == ["bytes", 2]


def test_the_context_is_awslambdarics_field_by_field(api, tmp_path):
    source = """
        def handler(event, context):
            client = context.client_context
            return {
                "repr": repr(context),
                "client": [client.client.app_title, client.client.installation_id, client.custom, client.env],
                "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
                "w3c": context.w3c(),
                "tenant": context.tenant_id,
                "left": context.get_remaining_time_in_millis(),
            }
    """
    told = returned(
        api, tmp_path, source, request_id="rid", tenant_id=None, aws_tenant_id="blue",
        client_context='{"client": {"app_title": "é"}, "custom": {"k": 1}, "w3c": {"traceparent": "t", "other": "o"}}',
        cognito_identity='{"cognitoIdentityId": "id", "cognitoIdentityPoolId": "pool"}',
        deadline_ms=str(int(time.time() * 1000) + 60_000),
    ).json()  # fmt: skip
    assert told["client"] == ["é", None, {"k": 1}, None]
    assert told["identity"] == ["id", "pool"]
    assert told["w3c"] == {"traceparent": "t"}
    assert told["tenant"] == "blue"
    assert 0 < told["left"] <= 60_000
    assert told["repr"] == (
        "LambdaContext([aws_request_id=rid,log_group_name=/aws/lambda/fn,"
        "log_stream_name=2026/01/02/[$LATEST]0123456789abcdef0123456789abcdef,function_name=fn,memory_limit_in_mb=128,"
        "function_version=$LATEST,invoked_function_arn=arn:aws:lambda:us-east-1:000000000000:function:fn,"
        "client_context=ClientContext([custom={'k': 1},env=None,client=Client([installation_id=None,app_title=é,"
        "app_version_name=None,app_version_code=None,app_package_name=None])]),"
        "identity=CognitoIdentity([cognito_identity_id=id,cognito_identity_pool_id=pool]),tenant_id=blue])"
    )


def test_time_left_never_goes_below_zero(api, tmp_path):
    source = "def handler(event, context): return context.get_remaining_time_in_millis()"
    assert returned(api, tmp_path, source, deadline_ms="1").body == b"0"


def test_a_client_context_that_is_not_json_is_an_error_of_that_invocation(api, tmp_path):
    error = returned(api, tmp_path, "def handler(event, context): pass", client_context="{").json()
    assert error["errorType"] == "Runtime.LambdaContextUnmarshalError"
    assert error["errorMessage"].startswith("Unable to parse Client Context JSON: ")


@pytest.mark.parametrize("when", ["import os", "pass"])
def test_the_trace_id_is_in_the_environment_for_each_invocation_and_gone_without_one(api, tmp_path, when):
    source = f"""
        {when}
        def handler(event, context):
            import os, subprocess
            shown = subprocess.run(["sh", "-c", "echo $_X_AMZN_TRACE_ID"], capture_output=True, text=True).stdout
            return [os.environ.get("_X_AMZN_TRACE_ID"), shown.strip()]
    """
    with api.start(COMMAND, cwd=write(tmp_path, source), env={"_X_AMZN_TRACE_ID": "init"}):
        assert api.invoke(trace_id="Root=1;Sampled=1").json() == ["Root=1;Sampled=1"] * 2
        assert api.invoke(trace_id="Root=2").json() == ["Root=2"] * 2
        assert api.invoke(trace_id=None).json() == [None, ""]


def test_the_attempt_id_is_echoed_on_responses_and_errors_and_absent_when_not_given(api, tmp_path):
    with api.start(COMMAND, cwd=write(tmp_path, "def handler(event, context): return 1 / event")):
        assert api.invoke(b"1", invocation_id="a-1").headers["lambda-runtime-invocation-id"] == "a-1"
        assert api.invoke(b"0", invocation_id="a-2").headers["lambda-runtime-invocation-id"] == "a-2"
        assert "lambda-runtime-invocation-id" not in api.invoke(b"1").headers


def test_one_connection_carries_everything(api, tmp_path):
    with api.start(COMMAND, cwd=write(tmp_path, "def handler(event, context): return 1 / event")):
        for payload in (b"1", b"0", b"1"):
            api.invoke(payload)
    assert {request.connection for request in api.requests} == {0}


@pytest.mark.parametrize("options", [{"chunked": True}, {"close": True}], ids=["chunked", "connection-close"])
def test_other_servers_ways_of_speaking_http_are_understood(make_api, tmp_path, options):
    with make_api(**options) as api, api.start(COMMAND, cwd=write(tmp_path, "def handler(e, c): return e")):
        for size in (10, LARGE, 10):
            assert api.invoke(json.dumps("x" * size).encode()).json() == "x" * size


@pytest.mark.parametrize(("status", "goes_on"), [(413, True), (403, False), (500, False)])
def test_a_refused_response_ends_the_runtime_unless_it_was_only_too_large(make_api, tmp_path, status, goes_on):
    write(tmp_path, "def handler(event, context): return event")
    with make_api(answers={"/response": status}) as api, api.start(COMMAND, cwd=tmp_path) as runtime:
        api.invoke(b"1", request_id="rid")
        if goes_on:
            assert api.invoke(b"2").body == b"2"
        else:
            assert runtime.wait() == 1
            assert f"Runtime API refused the result of rid: {status}" in runtime.output()


@pytest.mark.parametrize("leave", ["sys.exit(7)", "exit(7)", "os._exit(7)"])
def test_a_handler_may_end_the_process(api, tmp_path, leave):
    source = f"import os, sys\ndef handler(event, context):\n    print('last', end='')\n    {leave}"
    with api.start(COMMAND, cwd=write(tmp_path, source)) as runtime:
        api.send()
        assert runtime.wait() == 7
        assert runtime.output() == "last"


def test_print_reaches_the_log_at_once_and_unfinished_lines_too(api, tmp_path):
    write(tmp_path, "import time\ndef handler(event, context):\n    print('dots', end='')\n    time.sleep(60)")
    with api.start(COMMAND, cwd=tmp_path) as runtime:
        api.send()
        deadline = time.monotonic() + 20
        while runtime.output() != "dots":
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_logging_before_and_after_the_first_invocation_has_awslambdarics_format(api, tmp_path):
    source = """
        import logging
        logging.getLogger("mine").error("at import")
        def handler(event, context):
            logging.getLogger().setLevel(logging.DEBUG)
            logging.debug("a %d\\nb", 1)
            logging.basicConfig(format="unused")
            return len(logging.getLogger().handlers)
    """
    with api.start(COMMAND, cwd=write(tmp_path, source)) as runtime:
        assert api.invoke(request_id="rid").body == b"1"
        assert re.fullmatch(rf"\[ERROR\]\t{ISO}\t\tat import\n\[DEBUG\]\t{ISO}\trid\ta 1\nb\n", runtime.output()), (
            runtime.output()
        )


def test_a_file_logging_py_in_the_package_does_not_shadow_the_real_one(api, tmp_path):
    write(tmp_path, "raise SystemExit('shadowed')", "logging.py")
    source = """
        import logging, logging.handlers
        def handler(event, context):
            return [logging.__spec__.loader.__class__.__name__, logging.__name__ in logging.__file__]
    """
    assert returned(api, tmp_path, source).json() == ["SourceFileLoader", True]


def test_the_json_log_format_has_levels_ids_and_exceptions(api, tmp_path):
    source = """
        import logging
        def handler(event, context):
            logging.debug("hidden")
            logging.info("shown %s", "é", extra={"order": 7})
            logging.warning({"whole": ["object"]})
            try:
                1 / 0
            except ZeroDivisionError:
                logging.exception("caught")
            raise ValueError("out")
    """
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    with api.start(COMMAND, cwd=write(tmp_path, source), env=env) as runtime:
        api.invoke(request_id="rid")
        shown, whole, caught, final = [json.loads(line) for line in runtime.lines()]
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"
    assert all(re.fullmatch(stamp, one.pop("timestamp")) for one in (shown, whole, caught, final))
    assert shown == {"level": "INFO", "message": "shown é", "logger": "root", "requestId": "rid", "order": 7}
    assert whole["message"] == {"whole": ["object"]}
    assert (caught["level"], caught["errorType"], caught["errorMessage"]) == (
        "ERROR",
        "ZeroDivisionError",
        "division by zero",
    )
    assert caught["location"] == f"{api.seen(tmp_path)}/app.py:handler:10"
    assert (final["level"], final["errorType"], final["requestId"]) == ("ERROR", "ValueError", "rid")


def test_the_telemetry_descriptor_gets_framed_records(process_api, tmp_path):
    read, write_end = os.pipe()
    source = "import logging\ndef handler(event, context):\n    logging.warning('one\\ntwo')\n    raise ValueError('x')"
    try:
        env = {"_LAMBDA_TELEMETRY_LOG_FD": str(write_end)}
        with process_api.start(COMMAND, cwd=write(tmp_path, source), env=env, fds=[write_end]) as runtime:
            process_api.invoke()
            data = os.read(read, 65536)
            assert runtime.output() == ""
    finally:
        os.close(read)
        os.close(write_end)
    frames = []
    while data:
        size = int.from_bytes(data[4:8], "big")
        assert abs(int.from_bytes(data[8:16], "big") / 1e6 - time.time()) < 60
        frames.append((data[:4].hex(), data[16 : 16 + size].decode()))
        data = data[16 + size :]
    assert [kind for kind, _ in frames] == ["a55a0003", "a55a0017"]
    assert frames[0][1].endswith("\tone\ntwo\n")
    assert frames[1][1].startswith("[ERROR] ValueError: x\nTraceback (most recent call last):\n")


def test_signal_handlers_run_while_it_waits_for_work(api, tmp_path):
    source = """
        import os, signal
        got = []
        signal.signal(signal.SIGUSR1, lambda *_: got.append(1))
        def handler(event, context):
            return [os.getpid(), len(got)]
    """
    with api.start(COMMAND, cwd=write(tmp_path, source)) as runtime:
        pid, _ = api.invoke().json()
        os.kill(runtime.pid, 10)
        assert api.invoke().json() == [pid, 1]


def test_it_leaves_when_the_runtime_api_has_gone(make_api, tmp_path):
    write(tmp_path, "def handler(event, context): return 1")
    with make_api() as api:
        context = api.start(COMMAND, cwd=tmp_path)
        runtime = context.__enter__()
        closing = threading.Thread(target=lambda: (api.invoke(), api.__exit__(None, None, None)))
        closing.start()
        try:
            assert runtime.wait() == 1
        finally:
            context.__exit__(None, None, None)
            closing.join()
