"""Software of others that uses the Extensions API runs unmodified: AWS's Rust crates, aws-lambda-go, the Web Adapter."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from engine import Engine
from tests.support.functions import PYTHON, bootstrap
from tests.support.require import unavailable
from tests.support.sandboxes import MODES
from tests.support.stories import environment_of, in_order, log, story

pytest_plugins = ("tests.support.sandbox_fixtures",)

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent / "extensions"
RUST_EXTENSION = HERE / "rust/target/release/extension"
RUST_FUNCTION = HERE / "rust/target/release/bootstrap"
GO_FUNCTION = HERE / "go/target/bootstrap"
WEB_ADAPTER = ROOT / ".tools/extension-clients/bin/lambda-adapter"


@pytest.fixture(params=MODES)
def isolation(request, anyio_backend, no_leaks) -> str:
    return request.param


def placed(program: Path, target: Path) -> Path:
    """A copy of a built program; the folder that it is the top of."""
    if not program.exists():
        unavailable(f"{program.relative_to(ROOT)} is not built (scripts/setup-extension-clients.sh)")
    target.parent.mkdir(parents=True)
    shutil.copy(program, target)
    return target.parent


async def test_an_extension_on_awss_rust_crate(isolation, tmp_path):
    layer = placed(RUST_EXTENSION, tmp_path / "layer/extensions/rust-extension").parent
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=bootstrap(tmp_path / "f"), layers=[layer])
        assert [(await function.invoke(n, tail=True)).json() for n in (1, 2)] == [1, 2]
        environment = await environment_of(engine)
    in_order(
        story(environment),
        "extension rust-extension started",
        "extension rust-extension registered for [INVOKE, SHUTDOWN]",
        "process started",
        "NEXT: INIT -> READY",
        "SIGTERM to the runtime",
        "SHUTDOWN (spindown) to extension rust-extension",
        "extension rust-extension ended: exit status 0",
        "CLOSED",
    )
    told = "extension INVOKE arn:aws:lambda:us-east-1:000000000000:function:f"
    in_order(
        log(environment),
        "EXTENSION\tName: rust-extension\tState: Ready\tEvents: [INVOKE, SHUTDOWN]",
        told,
        "END",
        told,
        "END",
        "extension SHUTDOWN spindown",
    )


@pytest.mark.parametrize(
    ("program", "name", "said"),
    [
        (RUST_FUNCTION, "_lambda-rust-runtime-no-op-graceful-shutdown-helper", "function SIGTERM"),
        (GO_FUNCTION, "GoLangEnableSIGTERM", "SIGTERM"),
    ],
    ids=["lambda_runtime", "aws-lambda-go"],
)
async def test_a_runtime_of_awss_that_wants_to_be_told_of_its_end(isolation, tmp_path, program, name, said):
    code = placed(program, tmp_path / "f/bootstrap")
    async with Engine(isolation=isolation) as engine:
        function = await engine.create_function("f", code=code, timeout_s=20)
        assert [(await function.invoke(n)).json() for n in (1, 2)] == [1, 2]
        environment = await environment_of(engine)
    in_order(
        story(environment),
        "process started",
        f"extension {name} registered for []",
        "NEXT: INIT -> READY",
        "SIGTERM to the runtime",
        "CLOSED",
    )
    in_order(log(environment), f"EXTENSION\tName: {name}\tState: Ready\tEvents: []", "START", "END", said)


WEB_APP = """
import http.server, os
class App(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("hello from " + self.path).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "text/plain")
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
http.server.HTTPServer(("127.0.0.1", 8080), App).serve_forever()
"""
EVENT = {
    "version": "2.0",
    "routeKey": "$default",
    "rawPath": "/there",
    "rawQueryString": "",
    "headers": {"host": "x.lambda-url.us-east-1.on.aws"},
    "requestContext": {
        "accountId": "anonymous",
        "apiId": "x",
        "domainName": "x.lambda-url.us-east-1.on.aws",
        "domainPrefix": "x",
        "http": {"method": "GET", "path": "/there", "protocol": "HTTP/1.1", "sourceIp": "127.0.0.1", "userAgent": "t"},
        "requestId": "id",
        "routeKey": "$default",
        "stage": "$default",
        "time": "12/Mar/2020:19:03:58 +0000",
        "timeEpoch": 1583348638390,
    },
    "isBase64Encoded": False,
}


@pytest.mark.skipif("sandbox" not in MODES, reason="the app's port is fixed: it needs a network of its own")
async def test_the_web_adapter_an_extension_that_is_the_runtime_too(anyio_backend, no_leaks, tmp_path):
    layer = placed(WEB_ADAPTER, tmp_path / "layer/extensions/lambda-adapter").parent
    (tmp_path / "f").mkdir()
    app = tmp_path / "f/bootstrap"
    app.write_text(f"#!{PYTHON} -S\n{WEB_APP}")
    app.chmod(0o755)
    async with Engine(isolation="sandbox", network="own") as engine:
        function = await engine.create_function("f", code=app.parent, layers=[layer], timeout_s=20)
        answer = (await function.invoke(EVENT)).json()
        environment = await environment_of(engine)
    assert (answer["statusCode"], answer["body"]) == (200, "hello from /there")
    in_order(
        story(environment),
        "extension lambda-adapter registered for []",
        "process started",
        "NEXT: INIT -> READY",
        "SIGTERM to the runtime",
        "SIGKILL to extension lambda-adapter",
        "CLOSED",
    )
