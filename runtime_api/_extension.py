"""The extensions' state tables: what the extensions of one environment may ask for, and when.

An *extension* is software that lives beside the function: an *external* one is a process of its own, an executable file
in ``/opt/extensions``, known by that file's name before it says its first word; an *internal* one is code inside the
runtime's process, and unknown until it registers. Both register, ask ``event/next``, are told of INVOKE (and external
ones of SHUTDOWN) if they asked for it, and ask again; both may say that they cannot go on. The two rules of
`_runtime.py` hold here as well: each transition is a row, and this file does no I/O, reads no clock and writes no log.

::

    Started ── register ► Registered ── next ► Ready ── deliver ► Running ── next ► Ready
       │                      │                  │                   │
       │                      ├ init/error ► InitError               ├ exited ► Exited
       │                      └ exit/error ► ExitError ◄─ exit/error ┤
       └ launch error ► LaunchError                                  └ did not exit ► ShutdownFailed

An internal extension has no process of its own, and so none of the states that only a process can be in.

Reading the rows:

* ``Ready`` permits no ``next``: unlike the runtime's, a second poll does not join the first but is refused (403).
* ``InitError: INIT_ERROR`` and ``ExitError: EXIT_ERROR`` lead nowhere: repeats are tolerated, the first one counts.
* What asked for no events is parked at its first ``next`` for good: nothing is ever delivered to it (but SHUTDOWN, if
  it asked for that). The runtimes of Go and Rust do this, to be known as having an extension, and so to be sent SIGTERM
  before they are killed. `Extensions.busy` never counts it.

Source: aws-lambda-runtime-interface-emulator, `core/externalagent_states.go`, `core/internalagent_states.go`,
`core/registrations.go` and `rapi/handler/agent*.go` (facts §2).
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import IntEnum
from typing import Final

from ._errors import RuntimeApiError
from ._limits import MAX_EXTENSION_NAME, MAX_EXTENSIONS

__all__ = [
    "EXTERNAL",
    "INTERNAL",
    "INVOKE",
    "SHUTDOWN",
    "Extension",
    "ExtensionEvent",
    "ExtensionRefused",
    "ExtensionState",
    "Extensions",
]

INVOKE: Final = "INVOKE"
SHUTDOWN: Final = "SHUTDOWN"


class ExtensionState(IntEnum):
    """Where an extension is."""

    STARTED = 0
    REGISTERED = 1
    READY = 2
    RUNNING = 3
    INIT_ERROR = 4
    EXIT_ERROR = 5
    SHUTDOWN_FAILED = 6
    EXITED = 7
    LAUNCH_ERROR = 8

    @property
    def aws_name(self) -> str:
        """The name that AWS prints, in refusals and in EXTENSION log lines."""
        return _STATE_NAMES[self]


class ExtensionEvent(IntEnum):
    """What happens to an extension. The last four are the engine's: they are no requests."""

    REGISTER = 0
    NEXT = 1
    INIT_ERROR = 2
    EXIT_ERROR = 3
    DELIVER = 4  #: it is given an INVOKE or SHUTDOWN event
    EXITED = 5  #: its process ended by itself, well, after SHUTDOWN
    SHUTDOWN_FAILED = 6  #: it ended otherwise, or had to be killed
    LAUNCH_ERROR = 7  #: it could not be executed

    @property
    def wanted_name(self) -> str:
        """The state that this event asks for, as AWS's refusal names it (of exit/error it says Exited)."""
        return _WANTED_NAMES[self]


_STATE_NAMES: Final[Mapping[ExtensionState, str]] = {
    ExtensionState.STARTED: "Started",
    ExtensionState.REGISTERED: "Registered",
    ExtensionState.READY: "Ready",
    ExtensionState.RUNNING: "Running",
    ExtensionState.INIT_ERROR: "InitError",
    ExtensionState.EXIT_ERROR: "ExitError",
    ExtensionState.SHUTDOWN_FAILED: "ShutdownFailed",
    ExtensionState.EXITED: "Exited",
    ExtensionState.LAUNCH_ERROR: "LaunchError",
}

_WANTED_NAMES: Final[Mapping[ExtensionEvent, str]] = {
    ExtensionEvent.REGISTER: "Registered",
    ExtensionEvent.NEXT: "Ready",
    ExtensionEvent.INIT_ERROR: "InitError",
    ExtensionEvent.EXIT_ERROR: "Exited",
    ExtensionEvent.DELIVER: "Running",
    ExtensionEvent.EXITED: "Exited",
    ExtensionEvent.SHUTDOWN_FAILED: "ShutdownFailed",
    ExtensionEvent.LAUNCH_ERROR: "LaunchError",
}

Table = Mapping[ExtensionState, Mapping[ExtensionEvent, ExtensionState]]

INTERNAL: Final[Table] = {
    ExtensionState.STARTED: {
        ExtensionEvent.REGISTER: ExtensionState.REGISTERED,
    },
    ExtensionState.REGISTERED: {
        ExtensionEvent.NEXT: ExtensionState.READY,
        ExtensionEvent.INIT_ERROR: ExtensionState.INIT_ERROR,
        ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
    },
    ExtensionState.READY: {
        ExtensionEvent.DELIVER: ExtensionState.RUNNING,
        ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
    },
    ExtensionState.RUNNING: {
        ExtensionEvent.NEXT: ExtensionState.READY,
        ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
    },
    ExtensionState.INIT_ERROR: {
        ExtensionEvent.INIT_ERROR: ExtensionState.INIT_ERROR,
    },
    ExtensionState.EXIT_ERROR: {
        ExtensionEvent.EXIT_ERROR: ExtensionState.EXIT_ERROR,
    },
}

EXTERNAL: Final[Table] = {
    **INTERNAL,
    ExtensionState.STARTED: {
        **INTERNAL[ExtensionState.STARTED],
        ExtensionEvent.LAUNCH_ERROR: ExtensionState.LAUNCH_ERROR,
    },
    ExtensionState.RUNNING: {
        **INTERNAL[ExtensionState.RUNNING],
        ExtensionEvent.EXITED: ExtensionState.EXITED,
        ExtensionEvent.SHUTDOWN_FAILED: ExtensionState.SHUTDOWN_FAILED,
    },
    ExtensionState.SHUTDOWN_FAILED: {},
    ExtensionState.EXITED: {},
    ExtensionState.LAUNCH_ERROR: {},
}


class ExtensionRefused(RuntimeApiError):
    """A request of an extension that is answered 403.

    Attributes:
        error_type: AWS's, e.g. ``Extension.InvalidExtensionState``. The text is the ``errorMessage``.
    """

    def __init__(self, error_type: str, message: str) -> None:
        super().__init__(message)
        self.error_type = error_type


class Extension:
    """One extension of one environment.

    Attributes:
        name: its file's name, or the one that an internal extension gave itself.
        identifier: the UUID that its requests carry.
        external: whether it is a process of its own.
        events: what it asked to be told, as it asked; () before it registered.
        state: changed by `fire` only.
        error_type: why it failed to launch, to start or to go on, in its own words if it had any; "" when it did not.
    """

    __slots__ = ("error_type", "events", "external", "identifier", "name", "state")

    def __init__(self, name: str, identifier: str, *, external: bool) -> None:
        self.name = name
        self.identifier = identifier
        self.external = external
        self.events: tuple[str, ...] = ()
        self.state = ExtensionState.STARTED
        self.error_type = ""

    def wants(self, event: str) -> bool:
        """Whether it is to be told of INVOKE or SHUTDOWN."""
        return event in self.events

    def may(self, event: ExtensionEvent) -> bool:
        """Whether `event` is legal now."""
        return event in self._row()

    def fire(self, event: ExtensionEvent) -> ExtensionState:
        """Make the transition for `event` and return the new state.

        Raises:
            ExtensionRefused: the table has no such row; the state is unchanged.
        """
        target = self._row().get(event)
        if target is None:
            # AWS names it by name when it registers, and by identifier afterwards.
            who = self.name if event is ExtensionEvent.REGISTER else self.identifier
            raise ExtensionRefused(
                "Extension.InvalidExtensionState",
                f"State transition from {self.state.aws_name} to {event.wanted_name} failed for extension {who}. "
                "Error: State transition is not allowed",
            )
        self.state = target
        return target

    def _row(self) -> Mapping[ExtensionEvent, ExtensionState]:
        return (EXTERNAL if self.external else INTERNAL).get(self.state, {})

    def __repr__(self) -> str:
        kind = "external" if self.external else "internal"
        return f"<Extension {self.name!r} {kind} {self.state.aws_name} {list(self.events)}>"


class Extensions:
    """The extensions of one environment, from the start of its processes to their end.

    Args:
        new_identifier: makes a UUID, in its usual form.
        invocations: whether they may be told of invocations: not where several are in flight at a time.
    """

    __slots__ = ("_by_id", "_by_name", "_invocations", "_new_identifier")

    def __init__(self, new_identifier: Callable[[], str], *, invocations: bool = True) -> None:
        self._new_identifier = new_identifier
        self._invocations = invocations
        self._by_id: dict[str, Extension] = {}
        self._by_name: dict[str, Extension] = {}

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Extension]:
        return iter(self._by_name.values())

    # ---- coming in -------------------------------------------------------------------------------------------------

    def expect(self, name: str) -> Extension:
        """An external extension is about to be started.

        Raises:
            ExtensionRefused: there are as many as there may be. It is known all the same, as one that failed to launch.
        """
        extension = self._add(name, external=True)
        if len(self._by_name) > MAX_EXTENSIONS:
            extension.fire(ExtensionEvent.LAUNCH_ERROR)
            extension.error_type = "TooManyExtensions"
            raise ExtensionRefused("Extension.LaunchError", f"Extension limit ({MAX_EXTENSIONS}) reached")
        return extension

    def register(self, name: str, events: Sequence[str], *, open: bool) -> Extension:  # noqa: A002 - the field's word
        """An extension introduces itself. A name that is not expected is an internal extension's.

        Args:
            name: from its header.
            events: what it wants to be told.
            open: whether registration still is, i.e. whether the runtime has not asked for its first `next`.

        Raises:
            ExtensionRefused: with AWS's type and words.
        """
        if not name:
            raise ExtensionRefused("Extension.InvalidExtensionName", "Empty extension name")
        if len(name) > MAX_EXTENSION_NAME:  # ours: it is kept, and printed
            raise ExtensionRefused(
                "Extension.InvalidExtensionName", f"Extension name exceeds {MAX_EXTENSION_NAME} characters"
            )
        extension = self._by_name.get(name)
        external = extension is not None and extension.external
        if events and not external and not self._invocations:
            raise ExtensionRefused("Extension.InvalidEventType", "No events allowed for internal extensions")
        for event in events:
            if event not in {INVOKE, SHUTDOWN} or (event == INVOKE and not self._invocations):
                raise ExtensionRefused("Extension.InvalidEventType", f"{event[:200]}: ErrorInvalidEventType")
            if event == SHUTDOWN and not external:
                raise ExtensionRefused(
                    "Extension.InvalidEventType", f"{event}: ShutdownEventNotSupportedForInternalExtension"
                )
        if not external:
            if not open:
                raise ExtensionRefused("Extension.RegistrationClosed", "Extension registration closed already")
            if len(self._by_name) >= MAX_EXTENSIONS:
                raise ExtensionRefused("Extension.TooManyExtensions", f"Extension limit ({MAX_EXTENSIONS}) reached")
            if extension is not None:
                raise ExtensionRefused("Extension.InvalidExtensionState", "Extension with this name already registered")
            extension = self._add(name, external=False)
        assert extension is not None
        extension.fire(ExtensionEvent.REGISTER)
        extension.events = tuple(dict.fromkeys(events))
        return extension

    def find(self, identifier: bytes | None, *, unknown: str = "Unknown extension {}") -> Extension:
        """The extension that a request's ``Lambda-Extension-Identifier`` names.

        Args:
            identifier: the header's value, None when there was none.
            unknown: the words for one that is nobody's, with ``{}`` for the identifier; the routes differ in them.

        Raises:
            ExtensionRefused: with AWS's type and words.
        """
        if not identifier:
            raise ExtensionRefused("Extension.MissingExtensionIdentifier", "Missing Lambda-Extension-Identifier header")
        text = identifier[:100].decode("latin-1")
        found = self._by_id.get(text)
        if found is None:
            try:
                text = str(uuid.UUID(text))
            except ValueError:
                raise ExtensionRefused(
                    "Extension.InvalidExtensionIdentifier", "Invalid Lambda-Extension-Identifier"
                ) from None
            found = self._by_id.get(text)
        if found is None:
            raise ExtensionRefused("Extension.UnknownExtensionIdentifier", unknown.format(text))
        return found

    def named(self, name: str) -> Extension | None:
        """The extension of that name."""
        return self._by_name.get(name)

    def _add(self, name: str, *, external: bool) -> Extension:
        extension = Extension(name, self._new_identifier(), external=external)
        self._by_name[name] = extension
        self._by_id[extension.identifier] = extension
        return extension

    # ---- the gates -------------------------------------------------------------------------------------------------

    def registering(self) -> bool:
        """Whether an external extension has yet to register: the runtime is started when none has."""
        return any(one.external and one.state == ExtensionState.STARTED for one in self)

    def initializing(self) -> bool:
        """Whether one of them has yet to ask its first `event/next`: Init is over when the runtime and all have."""
        return any(one.state != ExtensionState.READY for one in self)

    def busy(self) -> bool:
        """Whether one that is told of INVOKE has not come back from it: the invocation is over when all have."""
        return any(one.state != ExtensionState.READY and INVOKE in one.events for one in self)
