"""The Extensions API of one environment, and the subscribing half of the Telemetry and Logs APIs: the shell.

It lives on the Runtime API's socket. The routes are rows of `server`'s table; an `ExtensionsApi` exists from when the
first extension is expected or registers, so that an environment without any never meets it. Each extension has at most
one parked ``event/next``; INVOKE is written to the parked ones in the call stack of `RuntimeServer.deliver`'s caller.

The order of checks is AWS's and observable: the identifier first, then headers, then the state table.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from ._errors import error_body
from ._events import Invocation
from ._extension import INVOKE, Extension, ExtensionEvent, ExtensionRefused, Extensions, ExtensionState
from ._extension_wire import (
    FunctionMetadata,
    accepted_features,
    invoke_event,
    parse_register,
    register_body,
    shutdown_event,
)
from ._headers import (
    EXTENSION_ACCEPT_FEATURE,
    EXTENSION_ERROR_TYPE,
    EXTENSION_IDENTIFIER,
    EXTENSION_NAME,
    header_value,
)
from ._limits import EXTENSIONS_API_VERSION, LOGS_API_VERSION, MAX_EXTENSION_BODY, TELEMETRY_API_VERSION
from ._runtime import State
from .http import render

if TYPE_CHECKING:
    from .server import RuntimeConnection

__all__ = ["ExtensionHost", "ExtensionsApi"]

ACCEPTED: Final = render(202, b'{"status":"OK"}\n')
INTERNAL: Final = render(500, error_body("InternalServerError", "Internal Server Error"))
DISABLED: Final = render(404, b"")
TOO_LARGE: Final = render(
    413, error_body("RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({MAX_EXTENSION_BODY} bytes).")
)
_REGISTERING: Final = frozenset({State.STARTED, State.INIT_ERROR})
"""While the runtime is in one of these, internal extensions may register."""
_MAX_ERROR_TYPE: Final = 256


@runtime_checkable
class ExtensionHost(Protocol):
    """What a host of `RuntimeServer` has beside `RuntimeHost` when its environment may have extensions."""

    extensions_enabled: bool
    """False: the routes answer 404, as for an environment whose layers turn extensions off."""

    def function_metadata(self) -> FunctionMetadata:
        """What extensions are told of the function."""
        ...

    def extension_registered(self, extension: Extension) -> None:
        """One has registered."""
        ...

    def extension_ready(self, extension: Extension) -> None:
        """One asked `event/next` and is parked."""
        ...

    def extension_failed(self, extension: Extension) -> None:
        """One posted init/error or exit/error; its process is expected to exit. See its state and `error_type`."""
        ...

    def telemetry_subscribe(self, extension: Extension, api_version: str, body: bytes) -> tuple[int, bytes]:
        """One subscribes to telemetry: the status and body of the answer.

        Args:
            extension: which.
            api_version: ``2022-07-01`` (Telemetry API) or ``2020-08-15`` (Logs API).
            body: as sent, not larger than `MAX_EXTENSION_BODY`.
        """
        ...


class ExtensionsApi:
    """The extensions of one environment and their parked polls.

    Args:
        invocations: as of `Extensions`.

    Attributes:
        known: their states.
    """

    __slots__ = ("_pending", "_polls", "known")

    def __init__(self, *, invocations: bool = True) -> None:
        self.known = Extensions(lambda: str(uuid.uuid4()), invocations=invocations)
        self._polls: dict[Extension, RuntimeConnection] = {}
        self._pending: dict[Extension, bytes] = {}  # for when they ask next

    # ---- for the engine --------------------------------------------------------------------------------------------

    def invoke(self, invocation: Invocation) -> None:
        """Tell those who asked for INVOKE. To be called together with `RuntimeServer.deliver`."""
        body = b""
        for extension in self.known:
            if INVOKE in extension.events and extension.state == ExtensionState.READY:
                body = body or invoke_event(invocation)
                self._deliver(extension, body)

    def shutdown(self, extension: Extension, reason: str, deadline_ms: int) -> None:
        """Tell one of SHUTDOWN: now if it is parked, else when it asks next.

        Args:
            extension: which; it asked for SHUTDOWN.
            reason: ``spindown``, ``timeout`` or ``failure``.
            deadline_ms: when it is killed, in milliseconds since the Unix epoch.
        """
        event = shutdown_event(reason, deadline_ms)
        if extension.state == ExtensionState.READY:
            self._deliver(extension, event)
        else:
            self._pending[extension] = event

    def _deliver(self, extension: Extension, body: bytes) -> None:
        extension.fire(ExtensionEvent.DELIVER)
        poll = self._polls.pop(extension, None)
        if poll is None or not (poll.waiting and poll.receiving):  # its client gave up, and will ask again
            self._pending[extension] = body
        else:
            poll.respond(render(200, body, extra=f"Lambda-Extension-Event-Identifier: {uuid.uuid4()}\r\n"))

    # ---- for the connections ---------------------------------------------------------------------------------------

    def poll(self, extension: Extension, connection: RuntimeConnection) -> bool:
        """`event/next` arrived. True: it is back. False: it changed its connection, or is given what waited for it.

        Raises:
            ExtensionRefused: it is parked already, or has said that it cannot go on.
        """
        old = self._polls.get(extension)
        if extension.state == ExtensionState.READY and old is not None and not (old.waiting and old.receiving):
            old.abort()  # its client gave up, and asks again
            self._polls[extension] = connection
            return False
        extension.fire(ExtensionEvent.NEXT)
        self._polls[extension] = connection
        if self._pending:
            event = self._pending.pop(extension, None)
            if event is not None:
                self._deliver(extension, event)
                return False
        return True


# ---- the routes ----------------------------------------------------------------------------------------------------


def _guarded(route: Callable[[RuntimeConnection, ExtensionHost], bytes | None], connection: RuntimeConnection) -> None:
    """Run a route: it returns its answer, None when that comes later, or raises what is answered 403."""
    host = connection.api.host
    if not isinstance(host, ExtensionHost) or not host.extensions_enabled:
        connection.respond(DISABLED)
        return
    if connection.body_overflow or len(connection.body) > MAX_EXTENSION_BODY:
        connection.respond(TOO_LARGE)
        return
    try:
        answer = route(connection, host)
    except ExtensionRefused as refused:
        answer = render(403, error_body(refused.error_type, str(refused)))
    except Exception as error:  # noqa: BLE001 - a bug of the host; the extension is answered all the same
        asyncio.get_running_loop().call_exception_handler(
            {"message": "the host of an ExtensionsApi raised", "exception": error}
        )
        answer = INTERNAL
    if answer is not None and connection.waiting:
        connection.respond(answer)


def _caller(connection: RuntimeConnection, unknown: str = "Unknown extension {}") -> tuple[ExtensionsApi, Extension]:
    """The environment's extensions, and the one that asks."""
    api = connection.api.extensions
    identifier = connection.headers.get(EXTENSION_IDENTIFIER)
    if api is None:  # nobody has registered, so nobody can be known
        Extensions(str).find(identifier, unknown=unknown)
        raise AssertionError
    return api, api.known.find(identifier, unknown=unknown)


def _register(connection: RuntimeConnection, host: ExtensionHost) -> bytes:
    headers = connection.headers
    name = header_value(headers.get(EXTENSION_NAME, b"").decode("utf-8", "replace"))
    if not name:
        raise ExtensionRefused("Extension.InvalidExtensionName", "Empty extension name")
    events = parse_register(connection.body)
    api = connection.api.extensions or ExtensionsApi(invocations=connection.api.tells_extensions)
    extension = api.known.register(name, events, open=connection.api.machine.state in _REGISTERING)
    connection.api.extensions = api
    host.extension_registered(extension)
    body = register_body(host.function_metadata(), accepted_features(headers.get(EXTENSION_ACCEPT_FEATURE, b"")))
    return render(200, body, extra=f"Lambda-Extension-Identifier: {extension.identifier}\r\n")


def _event_next(connection: RuntimeConnection, host: ExtensionHost) -> None:
    api, extension = _caller(connection)
    if api.poll(extension, connection):
        host.extension_ready(extension)


def _error(event: ExtensionEvent, connection: RuntimeConnection, host: ExtensionHost) -> bytes:
    _, extension = _caller(connection, unknown="Unknown Lambda-Extension-Identifier")
    error_type = connection.headers.get(EXTENSION_ERROR_TYPE, b"")
    if not error_type:
        raise ExtensionRefused("Extension.MissingHeader", "Lambda-Extension-Function-Error-Type not found")
    before = extension.state
    if extension.fire(event) != before:
        extension.error_type = header_value(error_type[:_MAX_ERROR_TYPE].decode("utf-8", "replace"))
        host.extension_failed(extension)
    return ACCEPTED


def _subscribe(version: str, connection: RuntimeConnection, host: ExtensionHost) -> bytes:
    _, extension = _caller(connection)
    status, body = host.telemetry_subscribe(extension, version, connection.body)
    return render(status, body)


_ROOT: Final = f"/{EXTENSIONS_API_VERSION}/extension".encode()

ROUTES: Final[dict[bytes, tuple[bytes, Callable[[RuntimeConnection], None], bool]]] = {
    # as `server._ROUTES`
    _ROOT + b"/register": (b"POST", partial(_guarded, _register), False),
    _ROOT + b"/event/next": (b"GET", partial(_guarded, _event_next), False),
    _ROOT + b"/init/error": (b"POST", partial(_guarded, partial(_error, ExtensionEvent.INIT_ERROR)), False),
    _ROOT + b"/exit/error": (b"POST", partial(_guarded, partial(_error, ExtensionEvent.EXIT_ERROR)), False),
    f"/{TELEMETRY_API_VERSION}/telemetry".encode(): (
        b"PUT",
        partial(_guarded, partial(_subscribe, TELEMETRY_API_VERSION)),
        False,
    ),
    f"/{LOGS_API_VERSION}/logs".encode(): (b"PUT", partial(_guarded, partial(_subscribe, LOGS_API_VERSION)), False),
}
