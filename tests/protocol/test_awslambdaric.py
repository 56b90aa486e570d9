"""AWS's own Python runtime client, unmodified, against `RuntimeServer` and a minimal host."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from runtime_api import State
from tests.protocol.wire import Endpoint, endpoint, invocation

pytest.importorskip("awslambdaric", reason="the tests dependency group is not installed")

APP = """
import os

def handler(event, context):
    if event.get("fail"):
        raise ValueError("as asked")
    if event.get("big"):
        return "x" * event["big"]
    return {
        "event": event,
        "request_id": context.aws_request_id,
        "arn": context.invoked_function_arn,
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
        "client": context.client_context and context.client_context.custom,
        "remaining": context.get_remaining_time_in_millis() > 1000,
    }
"""


@asynccontextmanager
async def runtime_process(api: Endpoint, folder: Path, handler: str = "app.handler"):
    (folder / "app.py").write_text(APP)
    env = {
        "PATH": os.environ["PATH"],
        "AWS_LAMBDA_RUNTIME_API": api.address,
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "LAMBDA_TASK_ROOT": str(folder),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "awslambdaric", handler,
        cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def test_awslambdaric_is_served(tmp_path):
    async with endpoint() as api, runtime_process(api, tmp_path) as process:
        await api.host.heard(1)
        shape = api.server._shape
        for number in range(1, 6):
            api.server.deliver(
                invocation(
                    f"4c2f5a62-9d5f-4c9e-8a3e-{number:012}",
                    payload=json.dumps({"n": number, "pad": "x" * number * 700}).encode(),
                    deadline_ms=4_000_000_000_000,
                    function_arn="arn:aws:lambda:us-east-1:000000000000:function:f",
                    trace_id=f"Root=1-{number}",
                    invocation_id=f"attempt-{number}",
                    client_context='{"custom":{"a":"b"}}',
                )
            )
            calls = await api.host.heard(2 * number + 1)
            kind, request_id, body, content_type = calls[2 * number - 1]
            assert (kind, request_id) == ("response", f"4c2f5a62-9d5f-4c9e-8a3e-{number:012}")
            assert content_type == b"application/json"
            result = json.loads(body)
            assert result == {
                "event": {"n": number, "pad": "x" * number * 700},
                "request_id": request_id,
                "arn": "arn:aws:lambda:us-east-1:000000000000:function:f",
                "trace": f"Root=1-{number}",
                "client": {"a": "b"},
                "remaining": True,
            }
        assert shape._known, "its answers are predicted"
        assert shape._tries == 31, "from the second one on"

        api.server.deliver(invocation("e", payload=b'{"fail":true}', deadline_ms=4_000_000_000_000))
        kind, request_id, body, error_type, cause = (await api.host.heard(13))[11]
        assert (kind, request_id, error_type) == ("error", "e", "Runtime.Unknown")
        assert json.loads(body)["errorMessage"] == "as asked"
        assert json.loads(cause)["exceptions"][0]["type"] == "ValueError"

        api.server.deliver(invocation("big", payload=b'{"big":6291600}', deadline_ms=4_000_000_000_000))
        calls = await api.host.heard(14)
        assert calls[13][:3] == ("fault", "big", "Function.ResponseSizeTooLarge")
        async with asyncio.timeout(20):
            assert await process.wait() == 1  # this client exits when an answer is refused
        assert len(api.host.calls) == 14
        assert api.server.machine.state is State.RESPONSE_SENT


async def test_awslambdaric_reports_a_failed_init_and_exits(tmp_path):
    async with endpoint() as api, runtime_process(api, tmp_path, "missing.handler") as process:
        kind, body, error_type = (await api.host.heard(1))[0]
        assert kind == "init_error"
        assert error_type == "Runtime.ImportModuleError"
        assert "missing" in json.loads(body)["errorMessage"]
        async with asyncio.timeout(20):
            assert await process.wait() == 1
