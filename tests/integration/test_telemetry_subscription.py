"""An extension that subscribes to telemetry is told what its environment says, from the Init's beginning on."""

from __future__ import annotations

import json

import anyio
import pytest

from engine import Engine
from tests.support.extensions import extension
from tests.support.functions import bootstrap
from tests.support.sandboxes import MODES

pytest_plugins = ("tests.support.sandbox_fixtures",)
pytestmark = pytest.mark.anyio

#: Listens, subscribes, and says what it is sent: as the extension's own lines, which it has not subscribed to.
SUBSCRIBER = """
import http.server, threading

class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for event in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            say("heard", json.dumps(event))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *words):
        pass

server = http.server.HTTPServer((api.split(":")[0], 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
register("INVOKE", "SHUTDOWN")

def subscribe(path, body, identifier):
    connection.request("PUT", path, json.dumps(body), {"Lambda-Extension-Identifier": identifier})
    reply = connection.getresponse()
    say("answer", reply.status, reply.read().decode())

wanted = {
    "schemaVersion": "2022-12-13",
    "types": ["platform", "function"],
    "buffering": {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": "http://sandbox.localdomain:%d/x" % server.server_port},
}
subscribe("/2022-07-01/telemetry", wanted, "12345678-1234-1234-1234-123456789012")
subscribe("/2022-07-01/telemetry", {**wanted, "types": []}, identifier)
subscribe("/2022-07-01/telemetry", wanted, identifier)
take()
subscribe("/2022-07-01/telemetry", wanted, identifier)
while take()["eventType"] != "SHUTDOWN":
    pass
"""


@pytest.fixture(params=MODES)
async def engine(request, anyio_backend, no_leaks):
    async with Engine(isolation=request.param) as one:
        yield one


async def test_a_subscriber_hears_the_init_the_invocation_and_what_is_printed(engine, tmp_path):
    layer = extension(tmp_path / "layer", "one", SUBSCRIBER)
    function = await engine.create_function(
        "f",
        code=bootstrap(tmp_path / "f", "while True:\n    i, e, h = take()\n    print(e, flush=True)\n    give(i, e)\n"),
        layers=[layer],
        timeout_s=20,
    )
    assert (await function.invoke("a word")).json() == "a word"
    log = engine.log("f")

    def said(what: str) -> list[str]:
        beginning = f"one {what} "
        found = [one.message for one in log.records()]
        return [text.removeprefix(beginning) for text in found if text.startswith(beginning)]

    with anyio.fail_after(20):
        while not any('"platform.report"' in text for text in said("heard")):
            await anyio.sleep(0.01)
    answers = [text.partition(" ") for text in said("answer")]
    assert [status for status, _, _ in answers] == ["403", "400", "200", "403"]
    assert answers[2][2] == '"OK"'
    assert json.loads(answers[3][2])["errorType"] == "Telemetry.SubscriptionClosed"
    heard = [json.loads(text) for text in said("heard")]
    assert [event["type"] for event in heard] == [
        "platform.initStart",
        "platform.telemetrySubscription",
        "platform.extension",
        "platform.initRuntimeDone",
        "platform.initReport",
        "platform.start",
        "function",
        "platform.runtimeDone",
        "platform.report",
    ]
    assert heard[6]["record"] == "a word"
    texts = [record.message for record in log.records()]
    assert "TELEMETRY\tName: one\tState: Subscribed\tTypes: [platform, function]" in texts
