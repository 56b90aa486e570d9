"""The functions of ``lambent demo``: one per language that this machine has, able to answer, raise, hang and crash.

The event says what to do: ``{"do": "answer" | "raise" | "hang" | "crash", "name": …}``. A compiled example that cannot
be told by the event is told by its environment instead.
"""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

import bootstraps
from engine.cli.guess import CUSTOM, node_runtime, python_runtime
from engine.errors import LambentError

PYTHON = """\
import os, time

def handler(event, context):
    print("asked to", event["do"])
    if event["do"] == "raise":
        raise ValueError("asked to raise")
    if event["do"] == "hang":
        time.sleep(60)
    if event["do"] == "crash":
        os._exit(1)
    return {"hello": event["name"], "from": "LANGUAGE"}
"""

NODE = """\
exports.handler = async (event) => {
  console.log("asked to", event.do);
  if (event.do === "raise") throw new TypeError("asked to raise");
  if (event.do === "hang") await new Promise((done) => setTimeout(done, 60000));
  if (event.do === "crash") process.exit(1);
  return { hello: event.name, from: "nodejs" };
};
"""

SHELL = """\
handler() {
  echo "asked: $1" >&2
  case "$1" in
    *'"raise"'*) echo "asked to raise" >&2; return 3 ;;
    *'"hang"'*) sleep 60 ;;
    *'"crash"'*) kill -KILL $$ ;;
  esac
  echo '{"hello": "Ada", "from": "shell"}'
}
"""


class Example(Struct, frozen=True, kw_only=True):
    """One function of the demo.

    Attributes:
        language: what the table calls it.
        how: which runtime carries it.
        runtime, handler: as CreateFunction takes them.
        package: a zip.
        modes: act -> the environment that brings it about; None when the event does.
        expected: the answer, or None when the event itself comes back.
        error: the errorType that ``raise`` must be answered with; "" for any.
    """

    language: str
    how: str
    runtime: str
    handler: str
    package: bytes
    modes: Mapping[str, Mapping[str, str]] | None = None
    expected: Mapping[str, str] | None = None
    error: str

    def event(self, act: str) -> dict[str, str]:
        """What the function is sent."""
        return {"do": act, "name": "Ada"}


def examples() -> tuple[list[Example], list[str]]:
    """The functions that can run here, and one line for each language that cannot, saying what is missing."""
    found: list[Example] = []
    missing: list[str] = []
    for make in (_rust, _python, _node, _shell, _ric):
        try:
            found.append(make())
        except (LambentError, LookupError, OSError) as error:
            missing.append(str(error).strip("'\""))
    return found, missing


def _python() -> Example:
    runtime = python_runtime()
    return Example(
        language="Python",
        how=runtime,
        runtime=runtime,
        handler="app.handler",
        package=_zip({"app.py": PYTHON.replace("LANGUAGE", "python").encode()}),
        expected={"hello": "Ada", "from": "python"},
        error="ValueError",
    )


def _node() -> Example:
    runtime = node_runtime()
    return Example(
        language="Node.js",
        how=runtime,
        runtime=runtime,
        handler="index.handler",
        package=_zip({"index.js": NODE.encode()}),
        expected={"hello": "Ada", "from": "nodejs"},
        error="TypeError",
    )


def _shell() -> Example:
    if shutil.which("curl") is None:
        raise LookupError("shell: its bootstrap needs curl (Debian: apt-get install curl)")
    bootstrap = (bootstraps.path("shell") / "bootstrap").read_bytes()
    return Example(
        language="Shell",
        how="sh and curl",
        runtime=CUSTOM,
        handler="function.handler",
        package=_zip({"bootstrap": bootstrap, "function.sh": SHELL.encode()}),
        expected={"hello": "Ada", "from": "shell"},
        error="",
    )


def _rust() -> Example:
    binary = bootstraps.path("rust") / "lambent" / "target" / "release" / "examples" / "echo"
    if not binary.is_file():
        raise LookupError("Rust: not compiled yet ('make bootstraps' does it where cargo is installed)")
    return Example(
        language="Rust",
        how="native binary",
        runtime=CUSTOM,
        handler="bootstrap",
        package=_zip({"bootstrap": binary.read_bytes()}),
        modes={"answer": {}, "raise": {"MODE": "error"}, "hang": {"MODE": "sleep:60000"}, "crash": {"MODE": "exit:1"}},
        error="ModeError",
    )


def _ric() -> Example:
    """AWS's own Python runtime client, unmodified, as anyone would package it."""
    try:
        files = _installed("awslambdaric")
    except importlib.metadata.PackageNotFoundError as error:
        raise LookupError(f"Python on AWS's own runtime client: {error.name} is not installed") from None
    chosen = bootstraps.interpreter(python_runtime())
    if chosen.version != sys.version_info[:2]:
        raise LookupError(
            "Python on AWS's own runtime client: it is installed for "
            f"Python {sys.version_info[0]}.{sys.version_info[1]}, and functions here get {chosen.executable}"
        )
    start = f'#!/bin/sh\nexec {chosen.executable} -m awslambdaric "$_HANDLER"\n'
    return Example(
        language="Python",
        how=f"awslambdaric {importlib.metadata.version('awslambdaric')}",
        runtime=CUSTOM,
        handler="app.handler",
        package=_zip(
            {**files, "bootstrap": start.encode(), "app.py": PYTHON.replace("LANGUAGE", "awslambdaric").encode()}
        ),
        expected={"hello": "Ada", "from": "awslambdaric"},
        error="ValueError",
    )


def _installed(distribution: str) -> dict[str, bytes]:
    """The files of an installed distribution and of all that it requires, by path below site-packages."""
    out: dict[str, bytes] = {}
    wanted, seen = [distribution], set()
    while wanted:
        name = wanted.pop()
        if name in seen:
            continue
        seen.add(name)
        for file in importlib.metadata.files(name) or ():
            if file.parts[0] != ".." and "__pycache__" not in file.parts and not file.parts[0].endswith(".dist-info"):
                out[file.as_posix()] = Path(str(file.locate())).read_bytes()
        needed = [one for one in importlib.metadata.requires(name) or () if "extra ==" not in one]
        wanted += [re.split(r"[^A-Za-z0-9._-]", one, maxsplit=1)[0] for one in needed]
    return out


def _zip(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            executable = os.path.basename(name) == "bootstrap"  # noqa: PTH119 - a name inside the zip
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            archive.writestr(info, data)
    return out.getvalue()
