"""The functions in examples/ on real frameworks, deployed with what they import, called as an HTTP API calls them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engine import Engine, Function
from tests.support.http_event import request
from tests.support.require import requires, unavailable

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PYTHON = f"python3.{sys.version_info[1]}"


@pytest.fixture
def anyio_backend():
    return ("asyncio", {"loop_factory": uvloop.new_event_loop})


def package(name: str, folder: Path) -> Path:
    """The example with what it imports beside it, as people deploy it; skips when that is not installed."""
    if name == "express":
        requires("node")
        installed = EXAMPLES / name / "node_modules"
    else:
        installed = ROOT / ".tools/examples" / name
    if not (installed / ".stamp").exists():
        unavailable(f"what {name} imports is not in {installed} (scripts/setup-examples.sh)")
    target = folder / name
    shutil.copytree(EXAMPLES / name, target, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    shutil.copytree(installed, target / "node_modules" if name == "express" else target, dirs_exist_ok=True)
    return target


def executable(folder: Path) -> Path:
    """The axum example, as people deploy it; skips when it is not built."""
    built = EXAMPLES / "axum/target/release/bootstrap"
    if not built.exists():
        requires("cargo")
        unavailable(f"{built.relative_to(ROOT)} is not built (scripts/setup-examples.sh)")
    (folder / "axum").mkdir()
    shutil.copy(built, folder / "axum")
    return folder / "axum"


@asynccontextmanager
async def deployed(name: str, runtime: str, folder: Path, **environment: str) -> AsyncIterator[Function]:
    async with Engine() as engine:
        yield await engine.create_function(
            name,
            code=executable(folder) if name == "axum" else package(name, folder),
            runtime=runtime,
            handler="app.handler",
            memory_mb=1769,
            timeout_s=20,
            environment=environment,
        )


async def call(function: Function, *arguments: Any, **headers: str) -> tuple[int, Any]:
    result = await function.invoke(request(*arguments, **headers))
    assert result.function_error is None, result.payload
    answer = result.json()
    types = [value for name, value in answer["headers"].items() if name.lower() == "content-type"]
    assert types[0].startswith("application/json")
    assert not answer.get("isBase64Encoded")
    return answer["statusCode"], json.loads(answer["body"])


@pytest.mark.parametrize(
    ("name", "runtime"), [("fastapi", PYTHON), ("express", "nodejs20.x"), ("axum", "provided.al2023")]
)
async def test_an_application_answers_an_http_api(name, runtime, tmp_path):
    async with deployed(name, runtime, tmp_path) as function:
        status, body = await call(function, "GET", "/?name=%C3%A9")
        assert (status, body["hello"]) == (200, "é")
        assert body["request_id"]
        assert await call(function, "POST", "/notes", {"text": "buy tea é"}) == (201, {"id": 1})
        assert await call(function, "GET", "/notes/1") == (200, {"text": "buy tea é"})
        assert await call(function, "GET", "/notes/2") == (404, {"detail": "there is no note 2"})


async def test_fastapi_judges_what_it_is_sent(tmp_path):
    async with deployed("fastapi", PYTHON, tmp_path) as function:
        status, body = await call(function, "POST", "/notes", {"words": "wrong"})
        assert (status, body["detail"][0]["loc"]) == (422, ["body", "text"])
        status, body = await call(function, "GET", "/openapi.json")
        assert (status, body["info"]["title"]) == (200, "Notes")


async def test_powertools_routes_logs_and_counts(tmp_path):
    async with deployed("powertools", PYTHON, tmp_path, POWERTOOLS_LOG_LEVEL="INFO") as function:
        result = await function.invoke(request("GET", "/prices/tea"), tail=True)
        answer = result.json()
        assert (answer["statusCode"], json.loads(answer["body"])) == (200, {"name": "tea", "price": 3})
        records = [json.loads(line) for line in result.log_tail.splitlines() if line.startswith("{")]
        (logged,) = [record for record in records if record.get("message") == "asked for a price"]
        assert logged["function_request_id"] == result.request_id
        assert (logged["function_name"], logged["item"], logged["cold_start"]) == ("powertools", "tea", True)
        metrics = {
            record["_aws"]["CloudWatchMetrics"][0]["Metrics"][0]["Name"] for record in records if "_aws" in record
        }
        assert metrics == {"ColdStart", "Asked"}

        assert (await call(function, "GET", "/prices/gold"))[0] == 404
        again = await function.invoke(request("GET", "/prices/coffee"), tail=True)
        assert not again.cold
        assert '"ColdStart"' not in again.log_tail
        assert again.request_id in again.log_tail
