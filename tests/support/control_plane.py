"""A control plane on a real socket, and an unmodified boto3 against it."""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio.to_thread
import boto3
from aiohttp import web
from botocore.config import Config

from engine.clock import Clock, SystemClock
from engine.control import make_app
from engine.store import FunctionRegistry
from tests.support.packages import package

ACCOUNT, REGION = "000000000000", "us-east-1"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/lambda-role"
ARN = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:"


class ControlPlane:
    """The server, its registry and a client."""

    def __init__(self, registry: FunctionRegistry, url: str) -> None:
        self.registry = registry
        self.url = url
        self.client = client(url)
        #: For requests that boto3's own validation would not let out.
        self.loose = client(url, parameter_validation=False)

    async def call(self, operation: str, /, *, loose: bool = False, **members: Any) -> dict[str, Any]:
        """Call an operation of boto3's client in a thread."""
        chosen = self.loose if loose else self.client
        return await anyio.to_thread.run_sync(lambda: getattr(chosen, operation)(**members))

    async def create(self, name: str = "f", **members: Any) -> dict[str, Any]:
        """CreateFunction with what is needed filled in."""
        filled = {
            "FunctionName": name,
            "Runtime": "python3.12",
            "Handler": "app.handler",
            "Role": ROLE,
            "Code": {"ZipFile": package()},
            **members,
        }
        given = {member: value for member, value in filled.items() if value is not None}
        return await self.call("create_function", loose=True, **given)

    async def refused(self, attempt: Callable[[], Any]) -> tuple[str, int, str]:
        """Code, status and text of the error that an awaited call ends in."""
        try:
            await attempt()
        except self.client.exceptions.ClientError as error:
            answer = error.response
            assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"]
            return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]
        raise AssertionError("the call was not refused")

    async def http(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """A request as it stands, without a client library."""
        url = path if path.startswith("http") else self.url + path
        request = urllib.request.Request(url, body, headers or {}, method=method)

        def send() -> tuple[int, dict[str, str], bytes]:
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
            except urllib.request.HTTPError as error:
                with error:
                    return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()

        return await anyio.to_thread.run_sync(send)


def client(url: str, **config: Any) -> Any:
    """boto3's Lambda client, without retries: a test sees the first answer."""
    return boto3.client(
        "lambda",
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"total_max_attempts": 1}, **config),
    )


@asynccontextmanager
async def control_plane(
    data_dir: Path, *, clock: Clock | None = None, max_unzipped: int = 262_144_000, **app: Any
) -> AsyncIterator[ControlPlane]:
    """A registry on `data_dir` and a server for it."""
    clock = clock or SystemClock()
    registry = FunctionRegistry(
        data_dir, account_id=ACCOUNT, region=REGION, clock=clock, durable=False, max_unzipped=max_unzipped
    )
    await registry.open()
    runner = web.AppRunner(make_app(registry, clock=clock, **app), access_log=None, handle_signals=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    plane = ControlPlane(registry, f"http://{host}:{port}")
    try:
        yield plane
    finally:
        await anyio.to_thread.run_sync(plane.client.close)
        await anyio.to_thread.run_sync(plane.loose.close)
        await runner.cleanup()
        await registry.close()
