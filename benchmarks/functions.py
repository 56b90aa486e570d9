"""The functions that are measured: one echo per runtime, as a package for an engine and as a command for the floor."""

from __future__ import annotations

import io
import py_compile
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile

from msgspec import Struct

import bootstraps

ROOT = Path(__file__).parent.parent
PYTHON = f"python3.{sys.version_info[1]}"

PYTHON_ECHO = "def handler(event, context):\n    return event\n"
NODE_ECHO = "exports.handler = async (event) => event;\n"
SHELL_ECHO = "handler() { cat; }\n"
RIC_BOOTSTRAP = """#!/bin/sh
exec {python} -m awslambdaric app.handler
"""


class Missing(Exception):
    """Something that a measurement needs is not on this machine; the message says what and how to get it."""


class Function(Struct, frozen=True):
    """One echo.

    Attributes:
        name: how tables name it.
        runtime: AWS runtime identifier.
        handler: the handler setting.
        files: file name -> content; ``bootstrap`` is executable.
    """

    name: str
    runtime: str
    handler: str
    files: Mapping[str, bytes]

    def package(self) -> bytes:
        """The zip for CreateFunction."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as package:
            for name, content in self.files.items():
                entry = zipfile.ZipInfo(name)
                entry.external_attr = (0o100755 if name == "bootstrap" else 0o100644) << 16
                package.writestr(entry, content)
        return buffer.getvalue()

    def unpack(self, folder: Path) -> Path:
        """Writes the files into `folder`, for what starts functions from one."""
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o755 if name == "bootstrap" else 0o644)
        return folder

    def command(self, folder: Path) -> list[str]:
        """What starts its runtime from the unpacked files, without an engine."""
        return bootstraps.command(self.runtime) or [str(folder / "bootstrap")]

    def variables(self, runtime_api: str, folder: Path) -> dict[str, str]:
        """The environment that its runtime needs, without an engine."""
        return {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "AWS_LAMBDA_RUNTIME_API": runtime_api,
            "AWS_LAMBDA_FUNCTION_NAME": self.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{self.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": "benchmark",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "LAMBDA_TASK_ROOT": str(folder),
            "_HANDLER": self.handler,
        }


@cache
def native_binary() -> Path:
    """The echo on our Rust library (`bootstraps/rust/lambent`), built when needed."""
    crate = ROOT / "bootstraps/rust/lambent"
    if shutil.which("cargo") is None:
        raise Missing("cargo is not installed: no native bootstrap")
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--example", "echo"]
    built = subprocess.run(command, cwd=crate, capture_output=True, text=True, check=False)
    if built.returncode:
        raise Missing(f"{crate} does not build: {built.stderr.strip()[-300:]}")
    return crate / "target/release/examples/echo"


def _native() -> Function:
    return Function("native", "provided.al2023", "bootstrap", {"bootstrap": native_binary().read_bytes()})


def _python() -> Function:
    return Function("python", PYTHON, "app.handler", {"app.py": PYTHON_ECHO.encode()})


def _node() -> Function:
    node = shutil.which("node")
    if node is None:
        raise Missing("node is not installed")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    major = version.lstrip("v").partition(".")[0]
    return Function("node", f"nodejs{major}.x", "app.handler", {"app.js": NODE_ECHO.encode()})


def _compiled(path: Path) -> bytes:
    """Bytecode that Python takes without looking at the source's time, which a zip does not keep."""
    with NamedTemporaryFile(suffix=".pyc") as file:
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(path), file.name, doraise=True, invalidation_mode=mode)
        return Path(file.name).read_bytes()


@cache
def _awslambdaric() -> Function:
    """AWS's own client from PyPI, packed with its dependencies and their bytecode, in a `provided` function."""
    spec = find_spec("awslambdaric")
    if spec is None or spec.origin is None:
        raise Missing("awslambdaric is not installed (uv sync)")
    interpreter = bootstraps.interpreter(PYTHON)
    if interpreter.version != sys.version_info[:2]:
        raise Missing(f"awslambdaric is here for {PYTHON}, and functions would run on {interpreter.executable}")
    site = Path(spec.origin).parent.parent
    files = {"bootstrap": RIC_BOOTSTRAP.format(python=interpreter.executable).encode(), "app.py": PYTHON_ECHO.encode()}
    for pattern in ("awslambdaric/**/*", "simplejson/**/*", "snapshot_restore_py.py", "runtime_client*.so"):
        for path in sorted(site.glob(pattern)):
            if not path.is_file() or {"tests", "__pycache__"}.intersection(path.parts):
                continue
            place = path.relative_to(site)
            files[str(place)] = path.read_bytes()
            if path.suffix == ".py":
                files[str(place.parent / "__pycache__" / f"{path.stem}.{sys.implementation.cache_tag}.pyc")] = (
                    _compiled(path)
                )
    return Function("awslambdaric", "provided.al2023", "app.handler", files)


def _shell() -> Function:
    if shutil.which("curl") is None:
        raise Missing("curl is not installed")
    files = {"bootstrap": (bootstraps.path("shell") / "bootstrap").read_bytes(), "function.sh": SHELL_ECHO.encode()}
    return Function("shell", "provided.al2023", "function.handler", files)


FUNCTIONS: dict[str, Callable[[], Function]] = {
    "native": _native,
    "python": _python,
    "awslambdaric": _awslambdaric,
    "node": _node,
    "shell": _shell,
}


def function(name: str) -> Function:
    """One of `FUNCTIONS`. Raises Missing when this machine cannot run it."""
    return FUNCTIONS[name]()
