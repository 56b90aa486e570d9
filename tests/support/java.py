"""Java functions for tests: compiled once, against AWS's jars in .tools/java."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import bootstraps
from tests.support.require import requires, unavailable

ROOT = Path(__file__).parents[2]
JARS = ROOT / ".tools/java"
SOURCES = ROOT / "tests/conformance/java"


def jars(*names: str) -> list[Path]:
    """AWS's jars whose names begin so; skips when they are not there."""
    found = [path for name in names for path in JARS.glob(f"{name}-[0-9]*.jar")]
    if len(found) < len(names):
        unavailable(f"AWS's Java client is not in {JARS} (scripts/setup-java-clients.sh)")
    return found


@cache
def java() -> str:
    """The Java that functions get; skips when there is none, or it has no compiler beside it."""
    requires("javac", because="default-jdk-headless")
    return bootstraps.interpreter("java17").executable


def compiled(source: str, name: str, classpath: tuple[Path, ...] = ()) -> Path:
    """A folder with the classes of one source file; kept in .tools from one run of the tests to the next."""
    java()
    key = hashlib.sha256("\0".join([source, name, *(path.name for path in classpath)]).encode()).hexdigest()[:16]
    target = ROOT / ".tools/java-functions" / key
    if not target.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as work:
            (Path(work) / f"{name}.java").write_text(source, encoding="utf-8")
            options = [
                "--release",
                "11",
                "-encoding",
                "UTF-8",
                "-cp",
                ":".join(map(str, classpath)),
                "-d",
                f"{work}/out",
            ]
            subprocess.run(["javac", *options, f"{work}/{name}.java"], check=True, timeout=60)
            shutil.move(f"{work}/out", target)
    return target


def function(folder: Path, client: tuple[str, ...] = (), name: str = "App") -> None:
    """Put the function of `App.java` into `folder`, with aws-lambda-java-core and the jars of `client` in its lib."""
    needed = (*jars("aws-lambda-java-core"), *jars(*client))
    shutil.copytree(compiled((SOURCES / f"{name}.java").read_text("utf-8"), name, needed), folder, dirs_exist_ok=True)
    (folder / "lib").mkdir()
    for jar in needed:
        shutil.copy(jar, folder / "lib")
