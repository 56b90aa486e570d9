"""The same function in every language, for our bootstraps and for AWS's own runtime clients.

Each `Client` writes a folder that the engine can deploy. Its function does what the event's ``do`` asks: ``echo`` the
``value``, tell the ``context``, ``log`` a line, ``count`` the calls, ``fail``, return something ``unserialisable`` or
``large``, ``exit``.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import bootstraps
from tests.support import dotnet, java
from tests.support.families import NODE, PYTHON, RUBY
from tests.support.require import requires, unavailable

ROOT = Path(__file__).parents[2]
NODE_CLIENTS = ROOT / "tests/conformance/nodejs/node_modules"
NODE_CLIENT = NODE_CLIENTS / "aws-lambda-ric"


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
    broken: str = ""
    """Source that fails at import, because a module is missing."""
    broken_handler: str | None = None
    """Where the source is compiled and the same: a handler whose initialisation fails."""
    memory_mb: int = 256
    """A whole processor (1769) for virtual machines, which are slow to start on a part of one."""
    interpreted: Callable[[], list[str]] | None = None
    """The command line of our runtime on another interpreter than the engine would choose."""

    def command(self, folder: Path) -> list[str]:
        """The command line that runs the function in `folder`, for tests without an engine."""
        if self.interpreted is not None:
            return self.interpreted()
        line = bootstraps.command(self.runtime)
        return bootstraps.for_function(line, self.memory_mb) if line is not None else [str(folder / "bootstrap")]

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


def _our_ruby(folder: Path, source: str) -> None:
    requires("ruby")
    (folder / "app.rb").write_text(source)


def _our_java(folder: Path, _source: str) -> None:
    java.function(folder)


def _our_dotnet(folder: Path, _source: str) -> None:
    dotnet.function(folder)


def _aws_java_client(folder: Path, source: str) -> None:
    """As people deploy it: the jars in the package, and a bootstrap that starts AWS's client. `source`: which class."""
    client = "aws-lambda-java-runtime-interface-client", "aws-lambda-java-serialization", "utils-lite"
    java.function(folder, client, source)
    options = '-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$LAMBDA_TASK_ROOT/lib/*"'
    _script(
        folder / "bootstrap",
        f'exec {java.java()} {options} com.amazonaws.services.lambda.runtime.api.client.AWSLambda "$_HANDLER"',
    )


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


def _aws_lambda_ric_4(folder: Path, source: str) -> None:
    """The same of version 4, which serves several invocations at a time. It wants Node.js 22, and runs on 20 as well."""
    requires("node")
    client = NODE_CLIENTS / "aws-lambda-ric-4"
    if not (client / "rapid-client.node").exists():
        unavailable("aws-lambda-ric 4 is not installed (scripts/setup-node-clients.sh)")
    target = folder / "node_modules/aws-lambda-ric"
    target.mkdir(parents=True)
    for part in ("index.mjs", "package.json", "rapid-client.node"):
        shutil.copy(client / part, target)
    (folder / "app.js").write_text(source)
    node = shutil.which("node")
    _script(folder / "bootstrap", f'exec {node} node_modules/aws-lambda-ric/index.mjs "$_HANDLER"')


def go(module: str, name: str) -> Path:
    """The compiled program of a Go module here; skips when it was not built."""
    built = ROOT / module / "target" / name
    if not built.exists():
        unavailable(f"{built.relative_to(ROOT)} is not built (scripts/setup-go-clients.sh)")
    return built


def _go(name: str) -> Callable[[Path, str], None]:
    def write(folder: Path, _source: str) -> None:
        shutil.copy(go("tests/conformance/go", name), folder / "bootstrap")

    return write


def rust(name: str) -> Path:
    """An example of our Rust crate, or ``official``, the function on AWS's; skips when it was not built."""
    program = "official/target/release/bootstrap" if name == "official" else f"lambent/target/release/examples/{name}"
    built = ROOT / "bootstraps/rust" / program
    if not built.exists():
        requires("cargo")
        unavailable(f"{built} is not built (scripts/build-bootstraps.sh)")
    return built


def _our_rust(folder: Path, _source: str) -> None:
    built = ROOT / "tests/conformance/rust/target/release/ours"
    if not built.exists():
        requires("cargo")
        unavailable(f"{built} is not built (scripts/setup-rust-clients.sh)")
    shutil.copy(built, folder / "bootstrap")


OUR_PYTHON = Client(
    "python", "python", f"python3.{sys.version_info[1]}", "app.handler", _our_python, PYTHON, "import nowhere"
)
OUR_NODE = Client("nodejs", "nodejs", "nodejs20.x", "app.handler", _our_node, NODE, "require('nowhere')")
OUR_RUBY = Client("ruby", "ruby", "ruby3.3", "app.handler", _our_ruby, RUBY, "require 'nowhere'")
OUR_JAVA = Client("java", "java", "java17", "App", _our_java, "", broken_handler="App$Broken", memory_mb=1769)
OUR_DOTNET = Client(
    "dotnet", "dotnet", dotnet.RUNTIME, "App::App::Handle", _our_dotnet, "", broken_handler="App::Broken::Handle"
)
OUR_DOTNET_CORE = replace(OUR_DOTNET, name="dotnet-core", interpreted=dotnet.core_runtime)
AWS_JAVA = Client(
    "aws-lambda-java",
    "java",
    "provided.al2023",
    "App",
    _aws_java_client,
    "App",
    broken_handler="App$Broken",
    memory_mb=1769,
)
OUR_GO = Client("go", "go", "provided.al2023", "bootstrap", _go("ours"), "", broken_handler="broken")
AWS_GO = Client("aws-lambda-go", "aws-go", "provided.al2023", "bootstrap", _go("aws"), "", broken_handler="broken")
OUR_RUST = Client("rust", "rust", "provided.al2023", "bootstrap", _our_rust, "", broken_handler="broken")
AWSLAMBDARIC = Client(
    "awslambdaric", "python", "provided.al2023", "app.handler", _awslambdaric, PYTHON, "import nowhere"
)
AWS_LAMBDA_RIC = Client(
    "aws-lambda-ric", "nodejs", "provided.al2023", "app.handler", _aws_lambda_ric, NODE, "require('nowhere')"
)
AWS_LAMBDA_RIC_4 = Client(
    "aws-lambda-ric-4", "nodejs", "provided.al2023", "app.handler", _aws_lambda_ric_4, NODE, "require('nowhere')"
)
