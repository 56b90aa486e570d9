"""Who may import whom, and what `import engine` may load."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def imported_by(path: Path) -> set[str]:
    """Top-level names of the absolute imports of a file, wherever in it they stand."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert node.module is not None
            names.add(node.module.partition(".")[0])
    return names


def modules_after(statement: str) -> set[str]:
    code = f"{statement}; import sys; print('\\n'.join(sys.modules))"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, timeout=30
    )
    assert run.returncode == 0, run.stderr
    return set(run.stdout.split())


@pytest.mark.parametrize("path", sorted((ROOT / "runtime_api").rglob("*.py")), ids=lambda path: path.name)
def test_runtime_api_imports_nothing_of_the_engine(path):
    assert not imported_by(path) & {"engine", "bootstraps", "benchmarks", "tests"}


def test_importing_runtime_api_loads_nothing_of_the_engine():
    loaded = modules_after("import runtime_api")
    assert "runtime_api.server" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"engine", "aiohttp", "anyio", "click", "rich"}}


def test_the_state_table_and_its_neighbours_do_no_io():
    forbidden = {"asyncio", "socket", "select", "time", "logging", "httptools", "os", "threading"}
    for name in (
        "_runtime.py", "_events.py", "_errors.py", "_limits.py", "_headers.py", "_cause.py", "_shape.py",
        "_extension.py", "_extension_wire.py", "_telemetry.py",
    ):  # fmt: skip
        assert not imported_by(ROOT / "runtime_api" / name) & forbidden, name


def test_the_reference_client_needs_the_standard_library_only():
    third_party = imported_by(ROOT / "runtime_api" / "client.py") - set(sys.stdlib_module_names)
    assert not third_party


def test_importing_the_engine_loads_nothing_optional():
    optional = {"nats", "boto3", "botocore", "matplotlib", "click", "rich", "pytest", "hypothesis", "awslambdaric"}
    loaded = {name.partition(".")[0] for name in modules_after("import engine")}
    assert not loaded & optional
