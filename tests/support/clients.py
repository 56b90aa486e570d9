"""The same function in every language, for our bootstraps and for AWS's own runtime clients.

Each `Client` writes a folder that the engine can deploy. Its function does what the event's ``do`` asks: ``echo`` the
``value``, tell the ``context``, ``log`` a line, ``count`` the calls, ``fail``, return something ``unserialisable``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import bootstraps
from tests.support.require import requires, unavailable

ROOT = Path(__file__).parents[2]
NODE_CLIENT = ROOT / "tests/conformance/nodejs/node_modules/aws-lambda-ric"

PYTHON = """
import logging

calls = 0
logging.getLogger().setLevel(logging.INFO)


def handler(event, context):
    global calls
    calls += 1
    do = event["do"]
    if do == "echo":
        return event.get("value")
    if do == "context":
        return {
            "requestId": context.aws_request_id,
            "arn": context.invoked_function_arn,
            "name": context.function_name,
            "version": context.function_version,
            "memory": context.memory_limit_in_mb,
            "logGroup": context.log_group_name,
            "logStream": context.log_stream_name,
            "remaining": context.get_remaining_time_in_millis(),
            "client": context.client_context and context.client_context.custom,
        }
    if do == "log":
        logging.info("a line of %s", "log")
        print("a printed line")
    if do == "count":
        return calls
    if do == "fail":
        raise ValueError("it failed \\u00e9")
    if do == "unserialisable":
        return {1, 2}
"""

NODE = """
let calls = 0;
exports.handler = async (event, context) => {
  calls += 1;
  switch (event.do) {
    case 'echo': return event.value;
    case 'context': return {
      requestId: context.awsRequestId,
      arn: context.invokedFunctionArn,
      name: context.functionName,
      version: context.functionVersion,
      memory: context.memoryLimitInMB,
      logGroup: context.logGroupName,
      logStream: context.logStreamName,
      remaining: context.getRemainingTimeInMillis(),
      client: context.clientContext && context.clientContext.custom,
    };
    case 'log': console.log('a line of %s', 'log'); process.stdout.write('a printed line\\n'); return null;
    case 'count': return calls;
    case 'fail': throw new TypeError('it failed \\u00e9');
    case 'unserialisable': return { big: 1n };
  }
};
"""


@dataclass(frozen=True)
class Client:
    """A runtime under test."""

    name: str
    family: str
    runtime: str
    handler: str
    write: Callable[[Path, str], None]
    """Writes a folder whose handler's source is the second argument."""
    source: str
    broken: str
    """Source that fails at import, because a module is missing."""

    def folder(self, path: Path, source: str | None = None) -> Path:
        """Make the folder."""
        path.mkdir(parents=True)
        self.write(path, self.source if source is None else source)
        return path


def _script(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def _our_python(folder: Path, source: str) -> None:
    (folder / "app.py").write_text(source)


def _our_node(folder: Path, source: str) -> None:
    requires("node")
    (folder / "app.js").write_text(source)


def _awslambdaric(folder: Path, source: str) -> None:
    """As people deploy it: ``pip install --target`` into the package, and a bootstrap that starts it."""
    runtime = f"python3.{sys.version_info[1]}"  # the client has a compiled part: same minor version as these tests
    interpreter = bootstraps.interpreter(runtime)
    if interpreter.note is not None:
        unavailable(f"awslambdaric here is compiled for {runtime}: {interpreter.note}")
    for module in ("awslambdaric", "runtime_client", "simplejson", "snapshot_restore_py"):
        spec = find_spec(module)
        if spec is None or spec.origin is None:
            unavailable(f"{module} is not installed (uv sync)")
        origin = Path(spec.origin)
        if origin.name == "__init__.py":
            shutil.copytree(origin.parent, folder / module, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(origin, folder)
    (folder / "app.py").write_text(source)
    _script(folder / "bootstrap", f'exec {interpreter.executable} -m awslambdaric "$_HANDLER"')


def _aws_lambda_ric(folder: Path, source: str) -> None:
    """As people deploy it: ``npm install`` in the package, and a bootstrap that starts it."""
    requires("node")
    if not (NODE_CLIENT / "dist/rapid-client.node").exists():
        unavailable("aws-lambda-ric is not installed (scripts/setup-node-clients.sh)")
    target = folder / "node_modules/aws-lambda-ric"
    for part in ("bin", "dist"):
        shutil.copytree(NODE_CLIENT / part, target / part)
    shutil.copy(NODE_CLIENT / "package.json", target)
    (folder / "app.js").write_text(source)
    _script(folder / "bootstrap", f'exec {shutil.which("node")} node_modules/aws-lambda-ric/bin/index.mjs "$_HANDLER"')


def rust(name: str) -> Path:
    """The compiled bootstrap of ``bootstraps/rust/<name>``; skips when it was not built."""
    built = ROOT / "bootstraps/rust" / name / "target/release/bootstrap"
    if not built.exists():
        requires("cargo")
        unavailable(f"{built} is not built (scripts/build-bootstraps.sh)")
    return built


OUR_PYTHON = Client(
    "python", "python", f"python3.{sys.version_info[1]}", "app.handler", _our_python, PYTHON, "import nowhere"
)
OUR_NODE = Client("nodejs", "nodejs", "nodejs20.x", "app.handler", _our_node, NODE, "require('nowhere')")
AWSLAMBDARIC = Client(
    "awslambdaric", "python", "provided.al2023", "app.handler", _awslambdaric, PYTHON, "import nowhere"
)
AWS_LAMBDA_RIC = Client(
    "aws-lambda-ric", "nodejs", "provided.al2023", "app.handler", _aws_lambda_ric, NODE, "require('nowhere')"
)
