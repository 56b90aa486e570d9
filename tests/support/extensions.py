"""Small external extensions for tests: programs in a layer's `extensions` folder, written for the occasion."""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.support.functions import PYTHON

GATE = """
def gate(name):
    path = os.path.join(os.environ.get("TMPDIR", "/tmp"), name)
    while not os.path.exists(path):
        time.sleep(0.002)
"""
"""A function that waits until the test opens a gate (`tests.support.stories.open_gate`)."""

_PRELUDE = """
import http.client, json, os, signal, sys, time
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
connection = http.client.HTTPConnection(api)
NAME = os.path.basename(sys.argv[0])
identifier = None

def call(method, path, body=None, headers=None):
    headers = dict(headers or {})
    if identifier is not None:
        headers["Lambda-Extension-Identifier"] = identifier
    connection.request(method, "/2020-01-01/extension" + path, body, headers)
    reply = connection.getresponse()
    return reply.status, {k.lower(): v for k, v in reply.getheaders()}, reply.read()

def register(*events, name=NAME, features=None):
    global identifier
    headers = {"Lambda-Extension-Name": name}
    if features:
        headers["Lambda-Extension-Accept-Feature"] = features
    status, headers, body = call("POST", "/register", json.dumps({"events": events}), headers)
    identifier = headers.get("lambda-extension-identifier")
    return status, json.loads(body)

def take():
    status, headers, body = call("GET", "/event/next")
    assert status == 200, (status, body)
    return json.loads(body)

def fail(kind, error_type="Extension.Reason"):
    return call("POST", "/" + kind + "/error", b"{}", {"Lambda-Extension-Function-Error-Type": error_type})

def say(*words):
    print(NAME, *words, flush=True)
"""

LOYAL = """
register("INVOKE", "SHUTDOWN")
say("registered")
while True:
    event = take()
    say(event["eventType"], event.get("shutdownReason", ""))
    if event["eventType"] == "SHUTDOWN":
        sys.exit(0)
"""
"""Says each event that it is told of, and goes when told to."""


def extension(layer: Path, name: str, body: str = LOYAL) -> Path:
    """An external extension in this layer: `register`, `take`, `fail`, `say` and `call` speak the Extensions API."""
    folder = layer / "extensions"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / name
    program.write_text(f"#!{PYTHON} -S\n{_PRELUDE}{GATE}\n{textwrap.dedent(body)}")
    program.chmod(0o755)
    return layer
