"""A full disk under the data directory: a clear error, nothing corrupted, and on it goes when there is room again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.require import requires, unavailable

ROOT = Path(__file__).resolve().parents[2]

PRELUDE = """
import asyncio, json, os, resource, sys
from pathlib import Path
from engine.clock import SystemClock
from engine.errors import AwsError
from engine.store import *
from tests.support.packages import package

DATA = Path(sys.argv[1])

def make():
    return FunctionRegistry(DATA, account_id="000000000000", region="us-east-1", clock=SystemClock())

def request(name, size=10):
    return CreateFunctionRequest(
        function_name=name, runtime="python3.12", handler="app.handler", role="arn:aws:iam::000000000000:role/r",
        code=FunctionCode(zip_file=package({"app.py": "x", "blob": os.urandom(size)})))

async def attempt(call):
    try:
        await call
    except AwsError as error:
        return [error.code, error.status, error.text]
    return None

async def whole(registry):
    names = [function.name for function in registry.list()[0]]
    for name in names:
        function = registry.get(name)
        assert registry.package_path(function).stat().st_size == function.code_size
        assert (Path(registry.code_root(function)) / "app.py").read_text() == "x"
    assert not list((DATA / "code").glob(".tmp-*"))
    return names
"""

FULL = (
    PRELUDE
    + """
async def main():
    out = {}
    registry = make()
    await registry.open()
    await registry.create(request("before"))
    out["package"] = await attempt(registry.create(request("big", 8_000_000)))
    out["after package"] = await whole(registry)
    ballast = open(DATA / "ballast", "wb", buffering=0)
    try:
        while True:
            ballast.write(b"x" * 4096)
    except OSError:
        pass
    for number in range(200):
        out["row"] = await attempt(registry.update_configuration(
            UpdateFunctionConfigurationRequest(function_name="before", description=str(number) * 60)))
        if out["row"]:
            break
    out["described"] = registry.get("before").description
    out["expected"] = str(number - 1) * 60 if number else ""
    out["create"] = await attempt(registry.create(request("other")))
    out["full"] = await whole(registry)
    ballast.close()
    os.unlink(DATA / "ballast")
    out["again"] = await attempt(registry.create(request("after")))
    await registry.close()
    registry = make()
    await registry.open()
    out["reopened"] = await whole(registry)
    out["described again"] = registry.get("before").description
    await registry.close()
    print(json.dumps(out))

asyncio.run(main())
"""
)

LIMITED = (
    PRELUDE
    + """
async def main():
    out = {}
    registry = make()
    await registry.open()
    await registry.create(request("before"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    out["package"] = await attempt(registry.create(request("big", 1_000_000)))
    out["after package"] = await whole(registry)
    for number in range(1000):
        out["row"] = await attempt(registry.update_configuration(
            UpdateFunctionConfigurationRequest(function_name="before", description=str(number) * 60)))
        if out["row"]:
            break
    out["described"] = registry.get("before").description
    out["expected"] = str(number - 1) * 60
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    out["again"] = await attempt(registry.create(request("after")))
    await registry.close()
    registry = make()
    await registry.open()
    out["reopened"] = await whole(registry)
    out["described again"] = registry.get("before").description
    await registry.close()
    print(json.dumps(out))

asyncio.run(main())
"""
)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_a_full_file_system(tmp_path):
    """On a tmpfs of 6 MB in a mount namespace of its own, which goes with the process."""
    requires("unshare", "mount")
    inside = f'mount -t tmpfs -o size=6m none {tmp_path} && exec "$0" "$@"'
    can = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", inside, "true"], capture_output=True, check=False
    )
    if can.returncode != 0:
        unavailable(f"needs a mount namespace with a tmpfs of its own: {can.stderr.decode().strip()}")
    out = run(
        "unshare", "--map-root-user", "--mount", "sh", "-c", inside, sys.executable, "-c", FULL, str(tmp_path)
    )  # fmt: skip
    code, status, text = out["package"]
    assert (code, status) == ("CodeStorageExceededException", 400)
    assert "No space left on device" in text
    assert str(tmp_path / "code") in text
    assert out["after package"] == out["full"] == ["before"]
    code, status, text = out["row"]
    assert (code, status) == ("ServiceException", 500)
    assert f"Make room on the disk of {tmp_path}" in text
    assert out["create"][0] == "CodeStorageExceededException"
    assert out["described"] == out["described again"] == out["expected"]
    assert out["again"] is None
    assert out["reopened"] == ["after", "before"]


@pytest.mark.slow
def test_a_limit_on_file_sizes(tmp_path):
    """Where nothing may be mounted: RLIMIT_FSIZE makes writes fail in the middle (EFBIG)."""
    out = run(sys.executable, "-c", LIMITED, str(tmp_path))
    code, status, text = out["package"]
    assert (code, status) == ("CodeStorageExceededException", 400)
    assert "File too large" in text
    assert out["after package"] == ["before"]
    code, status, text = out["row"]
    assert (code, status) == ("ServiceException", 500)
    assert "Nothing was changed" in text
    assert out["described"] == out["described again"] == out["expected"]
    assert out["again"] is None
    assert out["reopened"] == ["after", "before"]
