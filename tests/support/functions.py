"""Small functions for tests: folders with an executable `bootstrap`, written for the occasion."""

from __future__ import annotations

import textwrap
from pathlib import Path

# Debian's interpreter: functions run as users of their own, who cannot enter a virtual environment under /root.
PYTHON = "/usr/bin/python3"

_PRELUDE = """
import http.client, json, os, signal, socket, sys, time
api = os.environ["AWS_LAMBDA_RUNTIME_API"]
connection = http.client.HTTPConnection(api)
BASE = "/2018-06-01/runtime"

def call(method, path, body=None, headers=None):
    connection.request(method, BASE + path, body, headers or {})
    reply = connection.getresponse()
    return reply.status, dict((k.lower(), v) for k, v in reply.getheaders()), reply.read()

def take():
    status, headers, body = call("GET", "/invocation/next")
    assert status == 200, (status, body)
    return headers["lambda-runtime-aws-request-id"], json.loads(body), headers

def give(request_id, value):
    return call("POST", f"/invocation/{request_id}/response", json.dumps(value).encode())

def fail(request_id, value):
    return call("POST", f"/invocation/{request_id}/error", json.dumps(value).encode())
"""

ECHO = """
while True:
    request_id, event, _ = take()
    give(request_id, event)
"""


def bootstrap(folder: Path, body: str = ECHO, *, interpreter: str = f"{PYTHON} -S") -> Path:
    """A folder whose bootstrap is this Python program; `take`, `give`, `fail` and `call` speak the Runtime API."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "bootstrap"
    program.write_text(f"#!{interpreter}\n{_PRELUDE}\n{textwrap.dedent(body)}")
    program.chmod(0o755)
    return folder


def python_function(folder: Path, source: str, module: str = "app") -> Path:
    """A folder with one module, for our own Python runtime."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{module}.py").write_text(textwrap.dedent(source))
    return folder
