"""More of the functions that are measured: those of the matrix, on AWS's own runtime clients and on ours."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.functions import FUNCTIONS, NODE_ECHO, ROOT, Function, Missing

RUBY_ECHO = "def handler(event:, context:)\n  event\nend\n"
JAVA_ECHO = """
public class Echo {
    public Object handle(Object event) {
        return event;
    }
}
"""
CSHARP_ECHO = """
public class Echo
{
    public object Handle(object input)
    {
        return input;
    }
}
"""
NODE_CLIENT = ROOT / "tests/conformance/nodejs/node_modules/aws-lambda-ric"
JAVA_CLIENT = ROOT / ".tools/java"
#: What AWS's own images give a JVM.
JAVA_OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xshare:auto"


def _interpreter(runtime: str) -> str:
    import bootstraps

    try:
        return bootstraps.interpreter(runtime).executable
    except bootstraps.RuntimeNotFoundError as error:
        raise Missing(str(error)) from None


def _files(root: Path, prefix: str = "") -> dict[str, bytes]:
    return {
        f"{prefix}{path.relative_to(root)}": path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()
    }


def _aws_lambda_ric() -> Function:
    """AWS's own client from npm, in the package of a `provided` function."""
    if not (NODE_CLIENT / "dist/rapid-client.node").exists():
        raise Missing("aws-lambda-ric is not installed (scripts/setup-node-clients.sh)")
    node = _interpreter("nodejs22.x")
    script = f'#!/bin/sh\nexec {node} node_modules/aws-lambda-ric/bin/index.mjs "$_HANDLER"\n'
    files = {"bootstrap": script.encode(), "app.js": NODE_ECHO.encode()}
    for part in ("bin", "dist"):
        files |= _files(NODE_CLIENT / part, f"node_modules/aws-lambda-ric/{part}/")
    files["node_modules/aws-lambda-ric/package.json"] = (NODE_CLIENT / "package.json").read_bytes()
    return Function("aws-lambda-ric", "provided.al2023", "app.handler", files)


def _ruby() -> Function:
    _interpreter("ruby3.4")
    return Function("ruby", "ruby3.4", "app.handler", {"app.rb": RUBY_ECHO.encode()})


@cache
def _java_class() -> dict[str, bytes]:
    """Compiled once for all runs: kept in .tools."""
    compiler = shutil.which("javac")
    if compiler is None:
        raise Missing("javac is not installed (Debian: apt-get install default-jdk-headless)")
    key = hashlib.sha256(JAVA_ECHO.encode()).hexdigest()[:16]
    kept = ROOT / ".tools/java-functions" / f"bench-{key}.class"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as work:
            (Path(work) / "Echo.java").write_text(JAVA_ECHO)
            command = [compiler, "--release", "11", "-d", work, f"{work}/Echo.java"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise Missing(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
            shutil.copy(Path(work) / "Echo.class", kept)
    return {"Echo.class": kept.read_bytes()}


def _java() -> Function:
    _interpreter("java17")
    return Function("java", "java17", "Echo::handle", _java_class())


def _aws_java() -> Function:
    """AWS's own client from Maven Central, started as its images do."""
    jars = sorted(JAVA_CLIENT.glob("*.jar"))
    if not jars:
        raise Missing("AWS's Java client is not here (scripts/setup-java-clients.sh)")
    java = _interpreter("java17")
    script = (
        "#!/bin/sh\n"
        f"exec {java} -XX:MaxHeapSize=$((AWS_LAMBDA_FUNCTION_MEMORY_SIZE * 870))k {JAVA_OPTIONS} "
        '-cp "$LAMBDA_TASK_ROOT:$LAMBDA_TASK_ROOT/lib/*" '
        'com.amazonaws.services.lambda.runtime.api.client.AWSLambda "$_HANDLER"\n'
    )
    files = {"bootstrap": script.encode(), **_java_class(), **{f"lib/{jar.name}": jar.read_bytes() for jar in jars}}
    return Function("aws-lambda-java-ric", "provided.al2023", "Echo::handle", files)


def _dotnet() -> Function:
    """On .NET, or on Mono where there is none; the assembly is kept in .tools."""
    import bootstraps

    _interpreter("dotnet8")
    key = hashlib.sha256(CSHARP_ECHO.encode()).hexdigest()[:16]
    kept = ROOT / ".tools/dotnet-functions" / f"bench-{key}" / "Echo.dll"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=kept.parent) as work:
            source = Path(work) / "Echo.cs"
            source.write_text(CSHARP_ECHO)
            try:
                bootstraps.compile_dotnet([source], Path(work) / kept.name)
            except bootstraps.BuildError as error:
                raise Missing(str(error)) from None
            (Path(work) / kept.name).replace(kept)
    return Function("dotnet", "dotnet8", "Echo::Echo::Handle", {kept.name: kept.read_bytes()})


def _go(name: str, program: str) -> Function:
    built = ROOT / "benchmarks/go/target" / program
    if not built.exists():
        raise Missing(f"{built.relative_to(ROOT)} is not built (scripts/setup-go-clients.sh)")
    return Function(name, "provided.al2023", "bootstrap", {"bootstrap": built.read_bytes()})


@cache
def _lambda_runtime() -> Function:
    """AWS's own Rust runtime from crates.io."""
    crate = ROOT / "bootstraps/rust/official"
    if shutil.which("cargo") is None:
        raise Missing("cargo is not installed: no lambda_runtime")
    command = ["cargo", "build", "--release", "--locked", "--quiet", "--bin", "echo"]
    built = subprocess.run(command, cwd=crate, capture_output=True, text=True, check=False)
    if built.returncode:
        raise Missing(f"{crate} does not build: {built.stderr.strip()[-300:]}")
    binary = (crate / "target/release/echo").read_bytes()
    return Function("lambda_runtime", "provided.al2023", "bootstrap", {"bootstrap": binary})


CLIENTS: dict[str, Callable[[], Function]] = {
    **FUNCTIONS,
    "aws-lambda-ric": _aws_lambda_ric,
    "ruby": _ruby,
    "java": _java,
    "aws-lambda-java-ric": _aws_java,
    "dotnet": _dotnet,
    "go": lambda: _go("go", "ours"),
    "aws-lambda-go": lambda: _go("aws-lambda-go", "aws"),
    "lambda_runtime": _lambda_runtime,
}

#: Language -> (our runtime, AWS's client). Where there is no AWS client to be had: None.
FAMILIES: dict[str, tuple[str, str | None]] = {
    "Rust": ("native", "lambda_runtime"),
    "Go": ("go", "aws-lambda-go"),
    "Python": ("python", "awslambdaric"),
    "Node.js": ("node", "aws-lambda-ric"),
    "Ruby": ("ruby", None),
    "Java": ("java", "aws-lambda-java-ric"),
    ".NET": ("dotnet", None),
    "Shell": ("shell", None),
}
