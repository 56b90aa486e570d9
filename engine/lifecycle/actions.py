"""What an environment's core can make happen: the verbs that its shell carries out.

Each is a plain call that returns at once. What takes time answers later, with the event that its docstring names.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from engine.lifecycle.failures import Failure
from engine.lifecycle.states import Event, Phase
from engine.model.invocation import Invocation


class Actions(ABC):
    """The verbs of `core.EnvironmentCore`, without a body."""

    __slots__ = ()

    @abstractmethod
    def launch(self) -> None:
        """Make the sandbox if there is none, and start the runtime's process in it."""

    @abstractmethod
    def deliver(self, invocation: Invocation) -> None:
        """Give the parked runtime its event."""

    @abstractmethod
    def initialized(self) -> None:
        """Tell the sandbox that Init is over, well; before any event is delivered."""

    @abstractmethod
    def restore(self) -> None:
        """Release the runtime that is parked on `restore/next`."""

    @abstractmethod
    def freeze(self) -> None:
        """Stop every process; call `freeze_refused` if the host would not, `unavailable` if it left them half-way."""

    @abstractmethod
    def thaw(self) -> None:
        """Let every process run again, then call `thawed`, or `unavailable` if the host would not."""

    @abstractmethod
    def arm(self, deadline: float) -> None:
        """Call `tick` at `deadline`, instead of any earlier wish."""

    @abstractmethod
    def returning(self, invocation: Invocation) -> None:
        """Tell the scheduler that the runtime has answered and will soon ask for `next`."""

    @abstractmethod
    def answer(self, invocation: Invocation) -> None:
        """Tell the caller."""

    @abstractmethod
    def kill(self) -> None:
        """End every process in the sandbox, then call `killed`."""

    @abstractmethod
    def close(self) -> None:
        """End the sandbox, then call `closed`, or `not_closed` if something of it would not be ended or removed."""

    @abstractmethod
    def available(self, *, broken: bool) -> None:
        """Tell the scheduler that another invocation may come."""

    @abstractmethod
    def refused(self, reason: str) -> None:
        """Tell the scheduler that the host would not make this environment."""

    @abstractmethod
    def not_restored(self, failure: Failure) -> None:
        """Tell the scheduler that the function's restore failed, so that there is no environment."""

    @abstractmethod
    def lost(self) -> None:
        """Tell the scheduler that no invocation may come any more, though the memory is not free yet. Idempotent."""

    @abstractmethod
    def gone(self) -> None:
        """Tell the scheduler that the environment's memory is free again."""

    @abstractmethod
    def note_start(self, invocation: Invocation) -> None:
        """START, for the log."""

    @abstractmethod
    def note_end(self, invocation: Invocation, failure: Failure | None = None) -> None:
        """END and REPORT, for the log; `failure` when it did not end as it should."""

    @abstractmethod
    def note_init(self, failure: Failure | None, seconds: float) -> None:
        """The end of an Init, for the log."""

    @abstractmethod
    def note_restore(self, failure: Failure | None, seconds: float) -> None:
        """The end of a restore, for the log."""

    @abstractmethod
    def note_transition(self, event: Event, target: Phase) -> None:
        """A transition off the warm path, for the story."""

    @abstractmethod
    def story(self) -> str:
        """The transitions so far, for an error message."""
