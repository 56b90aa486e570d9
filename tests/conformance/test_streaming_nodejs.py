"""Streaming handlers in Node.js: ours against aws-lambda-ric by the wire, and both of them in the engine."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import bootstraps
from engine import Engine
from engine.errors import FunctionFailedError
from tests.support.clients import AWS_LAMBDA_RIC, NODE_CLIENT, OUR_NODE
from tests.support.require import requires, unavailable
from tests.support.scripted_runtime_api import ScriptedRuntimeApi
from tests.support.streaming import gate

pytest_plugins = ("tests.support.sandbox_fixtures",)

INTEGRATION = "application/vnd.awslambda.http-integration-response"
STREAMIFIED = "exports.handler = awslambda.streamifyResponse(async (event, out, context) => { %s });"
BODIES = {
    "pieces": "out.write('one,'); out.write(Buffer.from('two,')); out.write(new Uint8Array([33])); out.end();",
    "objects are JSON": "out.write({a: [1, 'é']}); out.write(5); out.write([1]); out.end();",
    "end with a piece": "out.write('a'); out.end('b');",
    "nothing": "out.end();",
    "an empty piece": "out.write(''); out.write('x'); out.write(''); out.end();",
    "hexadecimal": "out.write('7a', 'hex'); out.end();",
    "content type": "out.setContentType('text/html; charset=utf-8'); out.write('<p>'); out.end();",
    "content type too late": "out.write('x'); out.setContentType('a/b'); out.end();",
    "integration": (
        "const http = awslambda.HttpResponseStream.from(out, {statusCode: 404, headers: {a: 'é'}, cookies: ['c=1']});"
        " http.write('body'); http.end();"
    ),
    "integration without a write": "awslambda.HttpResponseStream.from(out, {statusCode: 204}).end();",
    "integration with an end": "awslambda.HttpResponseStream.from(out, {statusCode: 200}).end('body');",
    "pipeline": (
        "const {pipeline} = require('stream/promises'); const {Readable} = require('stream');"
        " await pipeline(Readable.from(['a', 'b', 'c'.repeat(200000)]), out);"
    ),
    "pipe": (
        "require('stream').Readable.from(['x', 'y']).pipe(out); await new Promise((done) => out.on('finish', done));"
    ),
    "back-pressure": (
        "const block = Buffer.alloc(50000, 'x'); for (let i = 0; i < 40; i++) { if (!out.write(block))"
        " { await new Promise((done) => out.once('drain', done)); } } out.end();"
    ),
    "callbacks": "await new Promise((done) => out.write('x', done)); out.end(); await new Promise((d) => out.once('finish', d));",
    "corked": "out.cork(); out.write('a'); out.write('b'); out.uncork(); out.end();",
    "a value is ignored": "out.end('x'); return 5;",
    "throws first": "throw new TypeError('before');",
    "throws in the middle": "out.write('half'); throw new TypeError('é in the middle');",
    "throws behind much": "for (let i = 0; i < 50; i++) { out.write('x'.repeat(9999)); } throw new Error('x');",
    "throws text": "out.write('half'); throw 'text';",
    "throws after the end": "out.end('all'); await new Promise((done) => setTimeout(done, 100)); throw new Error('late');",
    "waits for the loop": "setTimeout(() => console.log('timer'), 30); out.end('x');",
    "does not wait": "context.callbackWaitsForEmptyEventLoop = false; setTimeout(() => {}, 60000); out.end('x');",
    "context": "out.write(JSON.stringify({...context, keys: Object.keys(context)})); out.end();",
    "request id": "out.end(String(context.awsRequestId) + event.k);",
    "marks": (
        "out.end(JSON.stringify([typeof awslambda.streamifyResponse, typeof awslambda.HttpResponseStream.from,"
        " String(exports.handler[Symbol.for('aws.lambda.runtime.handler.streaming')])]));"
    ),
}
FUNCTIONS = {name: STREAMIFIED % body for name, body in BODIES.items()} | {
    "not async": "exports.handler = awslambda.streamifyResponse((event, out) => { out.end('x'); });",
    "uncaught": STREAMIFIED % "setTimeout(() => { throw new Error('late'); }, 10); await new Promise(() => {});",
    "high-water mark": (
        "exports.handler = awslambda.streamifyResponse(async (e, out) => { out.end(String(e.k)); }, {highWaterMark: 1000});"
    ),
}
DIES = {"uncaught": 129}


@pytest.fixture(scope="module")
def commands() -> tuple[list[str], list[str]]:
    requires("node")
    if not (NODE_CLIENT / "dist/rapid-client.node").exists():
        unavailable("aws-lambda-ric is not installed (scripts/setup-node-clients.sh)")
    node = shutil.which("node")
    assert node is not None
    return [node, str(bootstraps.path("nodejs") / "bootstrap.js")], [node, str(NODE_CLIENT / "bin/index.mjs")]


def observe(command: list[str], folder: Path, name: str) -> dict[str, Any]:
    """What a runtime posts and prints for one invocation, without what differs from run to run."""
    with ScriptedRuntimeApi() as api, api.start([*command, "app.handler"], cwd=folder) as runtime:
        api.send(b'{"k": "v"}', request_id="rid", deadline_ms="9999999999999")
        posted = api.posted()
        if name in DIES:
            assert runtime.wait() == DIES[name]
        else:
            api.send(b'{"k": "w"}', request_id="second")
            assert api.posted().path.endswith("/second/response")
        output = runtime.output()
    kept = {"content-type", "transfer-encoding", "trailer", "lambda-runtime-function-response-mode"}
    trailers = dict(posted.trailers)
    if "lambda-runtime-function-error-body" in trailers:
        error = json.loads(base64.b64decode(trailers["lambda-runtime-function-error-body"], validate=True))
        trailers["lambda-runtime-function-error-body"] = {**error, "trace": error["trace"][:1]}
    lines = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", output).split("\n")
    streamed = posted.path.endswith("/response")
    return {
        "path": posted.path,
        "headers": {key: value for key, value in posted.headers.items() if key in kept} if streamed else {},
        "body": posted.body if streamed else posted.json()["errorType"],
        "trailers": trailers,
        "output": [re.sub(r'"stack":\[.*\]\}', "<stack>", line) for line in lines if "rid" in line],
    }


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bytes_are_those_of_aws_lambda_ric(commands, name, tmp_path):
    (tmp_path / "app.js").write_text(FUNCTIONS[name])
    ours, theirs = (observe(command, tmp_path, name) for command in commands)
    assert ours == theirs


OURS = {
    "never ended": ("out.write('half');", b"half", "Response stream is not finished."),
    "never begun": ("", b"", "Response stream is not finished."),
    "never settled": ("await new Promise(() => {});", b"", "Response stream is not finished."),
    "broken source": (
        """
        async function* source() { yield 'half'; throw new Error('the source broke'); }
        await require('stream/promises').pipeline(source(), out);
        """,
        b"half",
        "the source broke",
    ),
    "destroyed": ("out.write('half'); await new Promise((d) => setTimeout(d, 20)); out.destroy();", b"half", "Response stream is not finished."),
}  # fmt: skip


@pytest.mark.parametrize("name", OURS)
def test_where_awss_client_would_hang_the_caller_is_told(name, tmp_path):
    requires("node")
    command = bootstraps.command("nodejs20.x")
    assert command is not None
    body, sent, message = OURS[name]
    (tmp_path / "app.js").write_text(STREAMIFIED % body)
    with ScriptedRuntimeApi() as api, api.start(command, cwd=tmp_path):
        for _ in range(2):
            posted = api.invoke()
            assert posted.body == sent
            error = json.loads(base64.b64decode(posted.trailers["lambda-runtime-function-error-body"]))
            assert error["errorMessage"] == message


def test_another_kind_of_streaming_is_an_init_error(tmp_path):
    """AWS's client means to say this, and ends with a ReferenceError."""
    requires("node")
    command = bootstraps.command("nodejs20.x")
    assert command is not None
    mark = "Symbol.for('aws.lambda.runtime.handler.streaming')"
    (tmp_path / "app.js").write_text(f"exports.handler = async () => {{}}; exports.handler[{mark}] = 'request';")
    with ScriptedRuntimeApi() as api, api.start(command, cwd=tmp_path) as runtime:
        error = api.posted()
        assert error.path.endswith("/init/error")
        assert error.json()["errorType"] == "Runtime.MalformedStreamingHandler"
        assert error.json()["errorMessage"] == "Only response streaming is supported."
        assert runtime.wait() == 129


def test_the_attempt_id_and_one_connection(tmp_path):
    requires("node")
    command = bootstraps.command("nodejs20.x")
    assert command is not None
    (tmp_path / "app.js").write_text(STREAMIFIED % "out.end('x');")
    with ScriptedRuntimeApi() as api, api.start(command, cwd=tmp_path):
        for number in range(3):
            posted = api.invoke(invocation_id=f"a-{number}")
            assert posted.headers["lambda-runtime-invocation-id"] == f"a-{number}"
    assert {request.connection for request in api.requests} == {0}


@pytest.mark.parametrize(("status", "goes_on"), [(413, True), (403, False)])
def test_a_refused_stream_ends_the_runtime_unless_it_was_only_too_large(tmp_path, status, goes_on):
    requires("node")
    command = bootstraps.command("nodejs20.x")
    assert command is not None
    (tmp_path / "app.js").write_text(STREAMIFIED % "out.end('x');")
    with ScriptedRuntimeApi(answers={"/response": status}) as api, api.start(command, cwd=tmp_path) as runtime:
        api.invoke(request_id="rid")
        if goes_on:
            assert api.invoke().body == b"x"
        else:
            assert runtime.wait() == 1
            assert f"the Runtime API refused the result of rid: {status}" in runtime.output()


IN_THE_ENGINE = """
const net = require('net');
const passed = (port) => new Promise((done) => net.connect(port, '127.0.0.1').on('end', done).resume());
exports.handler = awslambda.streamifyResponse(async (event, out) => {
  const http = event.status ? awslambda.HttpResponseStream.from(out, { statusCode: event.status }) : out;
  for (const piece of event.pieces) {
    if (typeof piece === 'number') { await passed(piece); } else { http.write(piece); }
  }
  if (event.fail) { throw new Error(event.fail); }
  if (event.die) { process.exit(3); }
  const block = Buffer.alloc(65536);
  for (let left = event.flood || 0; left > 0; left -= block.length) {
    if (!http.write(block)) { await new Promise((done) => http.once('drain', done)); }
  }
  http.end();
});
"""


@pytest.fixture(params=[OUR_NODE, AWS_LAMBDA_RIC], ids=lambda client: client.name)
async def function(request, anyio_backend, no_leaks, tmp_path):
    client = request.param
    folder = client.folder(tmp_path / "f", IN_THE_ENGINE)
    async with Engine() as engine:
        yield await engine.create_function(
            "f", code=folder, runtime=client.runtime, handler=client.handler, timeout_s=20, memory_mb=256
        )


async def test_each_piece_reaches_the_caller_as_it_is_written(function):
    async with gate() as closed, asyncio.timeout(30):
        stream = function.invoke_stream({"pieces": ["one", closed.port, "two"]})
        assert await anext(stream) == b"one"
        assert stream.content_type == "application/octet-stream"
        await closed.reached.wait()
        closed.release()
        assert b"".join([piece async for piece in stream]) == b"two"


async def test_the_prelude_errors_and_large_responses_pass_through(function):
    stream = function.invoke_stream({"pieces": ["body"], "status": 418})
    assert b"".join([piece async for piece in stream]) == b'{"statusCode":418}' + bytes(8) + b"body"
    assert stream.content_type == INTEGRATION
    got = []
    with pytest.raises(FunctionFailedError) as failed:
        got.extend([piece async for piece in function.invoke_stream({"pieces": ["half"], "fail": "in the middle"})])
    error = json.loads(failed.value.payload)
    assert (error["errorType"], error["errorMessage"]) == ("Error", "in the middle")
    total = 0
    async for piece in function.invoke_stream({"pieces": [], "flood": 20 << 20}):
        total += len(piece)
    assert total == 20 << 20
    assert (await function.invoke({"pieces": ["as ", "a whole"]})).payload == b"as a whole"
    with pytest.raises(FunctionFailedError, match=r"Runtime\.ExitError"):
        async for _ in function.invoke_stream({"pieces": ["half"], "die": True}):
            pass
    assert [piece async for piece in function.invoke_stream({"pieces": ["alive"]})] == [b"alive"]
