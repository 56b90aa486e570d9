"""Going through a cold start and an invocation with nobody there, ahead of the real one.

A fork shares its memory with the zygote until either writes to it, and an interpreter writes wherever it looks, since
it counts references: some 500 pages until the handler has run, and 5 us each. A process that waits has time for that.
In the zygote itself it makes the interpreter specialise its bytecode (3.11 and later) once for all.
"""

from __future__ import annotations

import os
import sys
from _socket import socketpair
from typing import Any

_NEXT = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nLambda-Runtime-Aws-Request-Id: 0\r\n"
    b"Lambda-Runtime-Deadline-Ms: 0\r\nLambda-Runtime-Invoked-Function-Arn: arn\r\nLambda-Runtime-Trace-Id: Root=0\r\n"
    b'Content-Length: 35\r\n\r\n{"key": ["value", 1.5, true, null]}'
)
_ACCEPTED = b'HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'
_SOURCE = "import json\nNAME = 'name'\nclass Thing:\n    pass\ndef handler(event, context):\n    return {NAME: event}\n"
#: Of the standard library, small, and hardly ever imported.
_MODULE = "colorsys"


def rehearse(runtime: Any) -> None:
    """Do what the bootstrap module `runtime` is about to do. Nothing of it stays."""
    logging = sys.modules["logging"]
    root = logging.getLogger()
    before = dict(os.environb), list(sys.path), dict(sys.path_importer_cache), list(root.handlers), list(sys.argv)
    converter = logging.Formatter.converter
    ours, theirs = socketpair()
    try:
        theirs.sendall(_NEXT + _ACCEPTED + _NEXT)
        client = runtime.RuntimeClient("127.0.0.1:9001")
        client._socket = ours
        os.environ["_LAMBDA_TELEMETRY_LOG_FD"] = "1"  # taken out again by the next
        log = runtime.LambdaContext._sink = runtime.Log()
        runtime._search_path("/var/task")
        runtime._set_up_logging(logging, log)
        __import__(_MODULE)
        names: dict[str, Any] = {"__name__": "rehearsal"}
        exec(compile(_SOURCE, "rehearsal.py", "exec"), names)  # noqa: S102
        calls = [names["handler"]]

        def handler(event: Any, context: Any) -> Any:
            return calls.pop()(event, context) if calls else sys.exit()

        runtime._serve(client, log, handler, ascii_only=True)
    except SystemExit:
        pass
    finally:
        ours.close()
        theirs.close()
        sys.modules.pop(_MODULE, None)
        environment, sys.path[:], importers, root.handlers[:], sys.argv[:] = before
        sys.path_importer_cache.clear()
        sys.path_importer_cache.update(importers)
        logging.Formatter.converter = converter
        for name in set(os.environb) - set(environment):
            del os.environb[name]
        runtime.LambdaContext._sink = None
