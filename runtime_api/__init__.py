"""The AWS Lambda Runtime API: what crosses the wall of one execution environment.

Pure state (`Runtime`, with its table in `_runtime.py`), the server of one environment (`RuntimeServer`, or
`ConcurrentRuntimeServer` where several invocations are in flight at a time), a fast
HTTP/1.1 connection to build such servers on (`HttpConnection`), and a reference client (`RuntimeClient`) for tests and
new bootstraps. This package knows nothing of an engine: whoever implements `RuntimeHost` can use it.

The wire is AWS's ``2018-06-01``, as AWS's own clients speak it.
"""

from __future__ import annotations

from ._credentials import CREDENTIALS_PATH, Credentials
from ._errors import ClientError, RuntimeApiError, TransitionRefused
from ._events import Invocation, RuntimeFault
from ._extension import INVOKE, SHUTDOWN, Extension, ExtensionEvent, ExtensionRefused, Extensions, ExtensionState
from ._extension_wire import FunctionMetadata
from ._limits import API_VERSION, MAX_PAYLOAD, MAX_STREAM
from ._runtime import TRANSITIONS, Event, Runtime, State
from ._streamed import BodySource
from ._telemetry import LOGS_API, TELEMETRY_API, Buffer, Buffering, Destination, Subscription, TelemetrySubscriptions
from .client import RuntimeClient
from .concurrent import ConcurrentHost, ConcurrentRuntimeServer
from .extensions import ExtensionHost, ExtensionsApi
from .http import HttpConnection, render
from .server import RestoreHost, RuntimeHost, RuntimeServer
from .streaming import StreamingConnection

__all__ = [
    "API_VERSION",
    "CREDENTIALS_PATH",
    "INVOKE",
    "LOGS_API",
    "MAX_PAYLOAD",
    "MAX_STREAM",
    "SHUTDOWN",
    "TELEMETRY_API",
    "TRANSITIONS",
    "BodySource",
    "Buffer",
    "Buffering",
    "ClientError",
    "ConcurrentHost",
    "ConcurrentRuntimeServer",
    "Credentials",
    "Destination",
    "Event",
    "Extension",
    "ExtensionEvent",
    "ExtensionHost",
    "ExtensionRefused",
    "ExtensionState",
    "Extensions",
    "ExtensionsApi",
    "FunctionMetadata",
    "HttpConnection",
    "Invocation",
    "RestoreHost",
    "Runtime",
    "RuntimeApiError",
    "RuntimeClient",
    "RuntimeFault",
    "RuntimeHost",
    "RuntimeServer",
    "State",
    "StreamingConnection",
    "Subscription",
    "TelemetrySubscriptions",
    "TransitionRefused",
    "render",
]
