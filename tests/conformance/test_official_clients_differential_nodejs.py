"""Our Node.js runtime against aws-lambda-ric itself: same function, same event, same bytes, same exit code."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import bootstraps
from tests.support.clients import NODE_CLIENT
from tests.support.require import requires, unavailable
from tests.support.scripted_runtime_api import ScriptedRuntimeApi

FUNCTIONS = {
    "async": "exports.handler = async (e, c) => e;",
    "promise": "exports.handler = (e, c) => new Promise((done) => setTimeout(() => done('later'), 20));",
    "callback": "exports.handler = (e, c, done) => { done(null, [1]); };",
    "callback error": "exports.handler = (e, c, done) => { done(new RangeError('no')); };",
    "callback string": "exports.handler = (e, c, done) => { done('no'); };",
    "callback waits": "exports.handler = (e, c, done) => { setTimeout(() => console.log('timer'), 30); done(null, 1); };",
    "callback does not wait": (
        "exports.handler = (e, c, done) => { c.callbackWaitsForEmptyEventLoop = false;"
        " setTimeout(() => {}, 60000); done(null, 1); };"
    ),
    "twice": "exports.handler = (e, c, done) => { done(null, 1); done(null, 2); c.succeed(3); };",
    "succeed": "exports.handler = (e, c) => { c.succeed({a: 1}); };",
    "fail": "exports.handler = (e, c) => { c.fail('x'); };",
    "fail nothing": "exports.handler = (e, c) => { c.fail(); };",
    "done": "exports.handler = (e, c) => { c.done(null, 4); };",
    "nothing": "exports.handler = (e, c) => { setTimeout(() => console.log('then'), 10); };",
    "returns a value": "exports.handler = (e, c) => 5;",
    "undefined": "exports.handler = async () => undefined;",
    "throws": "exports.handler = () => { throw new TypeError('bad é \\n two'); };",
    "throws async": "exports.handler = async () => { const e = new Error('x'); e.code = 7; e.extra = {y: 1}; throw e; };",
    "throws text": "exports.handler = async () => { throw 'text'; };",
    "throws object": "exports.handler = async () => { throw {name: 'N', message: 'M', stack: 'S\\nT'}; };",
    "rejects nothing": "exports.handler = async () => { throw undefined; };",
    "bigint": "exports.handler = async () => ({a: 1n});",
    "circular": "exports.handler = async () => { const a = {}; a.a = a; return a; };",
    "uncaught": "exports.handler = () => { setTimeout(() => { throw new Error('late'); }, 10); };",
    "rejection": "exports.handler = () => { Promise.reject(new Error('lost')); setTimeout(() => {}, 100); };",
    "exit": "exports.handler = () => { process.exit(5); };",
    "never": "exports.handler = () => new Promise(() => {});",
    "context": "exports.handler = async (e, c) => ({ ...c, left: typeof c.getRemainingTimeInMillis(), keys: Object.keys(c) });",
    "console": (
        "exports.handler = async () => { console.log('a %d\\nb', 1, {x: 1}); console.info('i'); console.warn('w');"
        " console.error(new Error('e').message); console.debug('d'); console.trace('t'); console.fatal('f'); };"
    ),
    "trace": "exports.handler = async () => process.env._X_AMZN_TRACE_ID;",
    "nested": "exports.handler = { deeper: async () => 'deep' };",
    "missing module": "require('nowhere');",
    "missing handler": "exports.other = 1;",
    "not a function": "exports.handler = 1;",
    "syntax": "exports.handler = (",
    "throws at import": "throw new Error('import');",
    "throws text at import": "throw 'text';",
}
HANDLERS = {"nested": "app.handler.deeper"}


@pytest.fixture(scope="module")
def commands() -> tuple[list[str], list[str]]:
    requires("node")
    if not (NODE_CLIENT / "dist/rapid-client.node").exists():
        unavailable("aws-lambda-ric is not installed (scripts/setup-node-clients.sh)")
    node = shutil.which("node")
    assert node is not None
    return [node, str(bootstraps.path("nodejs") / "bootstrap.js")], [node, str(NODE_CLIENT / "bin/index.mjs")]


def own_frame(line: str) -> bool:
    """Whether a line of a stack is the runtime's own or Node's, not the function's."""
    return bool(re.match(r"\s+at ", line)) and "app.js" not in line


def observe(command: list[str], folder: Path, name: str, env: dict[str, str]) -> dict[str, object]:
    """What a runtime posts and prints for one invocation, and how it ends, without what differs from run to run."""
    handler = HANDLERS.get(name, "app.handler")
    with (
        ScriptedRuntimeApi() as api,
        api.start([*command, handler], cwd=folder, env={**env, "_HANDLER": handler}) as runtime,
    ):
        api.send(
            '{"k": "é", "n": 1.5}'.encode(), request_id="rid", deadline_ms="9999999999999",
            client_context='{"custom": {"x": 1}}', cognito_identity='{"cognitoIdentityId": "i"}',
        )  # fmt: skip
        if name == "exit":
            return {"exit": runtime.wait(), "output": printed(runtime.output())}
        posted = api.posted()
        body = posted.json()
        dies = posted.path.endswith("init/error") or name in {"uncaught", "rejection"}
        if dies:
            code = runtime.wait()
        else:
            api.send(b"{}", request_id="second")
            api.posted()
            code = None
        output = printed(runtime.output())
    if isinstance(body, dict) and "trace" in body:
        body["trace"] = [line for line in body["trace"] if not own_frame(line)]
        # Which file of the runtime asked for a module that is not there.
        body["errorMessage"] = re.sub(r"\n- \S+(bootstrap\.js|index\.mjs)", "", body["errorMessage"])
        body["trace"] = [line for line in body["trace"] if not re.match(r"- \S+(bootstrap\.js|index\.mjs)", line)]
    cause = json.loads(posted.headers.get("lambda-runtime-function-xray-error-cause", "null"))
    for exception in cause["exceptions"] if cause else ():
        exception["stack"] = [one for one in exception["stack"] if one["path"].endswith("app.js")]
        del cause["paths"]
    return {"path": posted.path, "body": body, "exit": code, "output": output, "cause": cause}


def printed(output: str) -> str:
    output = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", "<time>", output)
    output = re.sub(r"\\n- [^\s\"]+(bootstrap\.js|index\.mjs)", "", output)
    # The second invocation is there to see the first one's end; and their command says what it starts.
    lines = [line for line in output.split("\n") if "second" not in line and not line.startswith("Executing '")]
    # Stacks are compared in the bodies; here they would have to be taken apart inside JSON inside a line.
    return "\n".join(re.sub(r'"stack":\[.*\]\}', '"stack":<stack>}', line) for line in lines)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bytes_are_those_of_aws_lambda_ric(commands, name, tmp_path):
    (tmp_path / "app.js").write_text(FUNCTIONS[name])
    ours, theirs = (observe(command, tmp_path, name, {}) for command in commands)
    assert ours == theirs


@pytest.mark.parametrize("name", ["console", "throws async", "async"])
def test_the_json_log_format_is_that_of_aws_lambda_ric(commands, name, tmp_path):
    (tmp_path / "app.js").write_text(FUNCTIONS[name])
    env = {"AWS_LAMBDA_LOG_FORMAT": "JSON", "AWS_LAMBDA_LOG_LEVEL": "INFO"}
    seen = []
    for command in commands:
        records = str(observe(command, tmp_path, name, env)["output"]).split("\n")
        parsed = [json.loads(record) for record in records if record.startswith("{")]
        for record in parsed:
            if "stackTrace" in record:
                record["stackTrace"] = [line for line in record["stackTrace"] if not own_frame(line)]
            if isinstance(record.get("message"), dict):
                record["message"].pop("stackTrace", None)
        seen.append(parsed)
    assert seen[0] == seen[1]
