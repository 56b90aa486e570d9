"""Who an environment belongs to: the seam between one environment and the many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Protocol, TypeAlias

from engine.model.invocation import Invocation

if TYPE_CHECKING:
    from engine.errors import AwsError
    from engine.lifecycle.concurrent.environment import ConcurrentEnvironment
    from engine.lifecycle.environment import Environment

    AnyEnvironment: TypeAlias = Environment | ConcurrentEnvironment


class Owner(Protocol):
    """The dispatcher, as an environment sees it. What those with several invocations tell beside is in `concurrent`."""

    def environment_answered(self, environment: Environment, invocation: Invocation) -> None:
        """Its runtime has answered this invocation, which its caller is told next, and is expected back."""
        ...

    def environment_available(self, environment: Environment, *, broken: bool) -> None:
        """It can take an invocation."""
        ...

    def environment_refused(
        self, environment: AnyEnvironment, reason: str, error: AwsError | None = None, *, again: bool = False
    ) -> None:
        """The host would not make it, or its restore failed.

        Args:
            environment: which.
            reason: why.
            error: what its callers hear instead.
            again: they hear nothing yet: another one, made in another way, may well serve them.
        """
        ...

    def environment_lost(self, environment: AnyEnvironment) -> None:
        """It can take no invocation any more, and its memory is not free yet. May be told more than once."""
        ...

    def environment_stuck(self, environment: AnyEnvironment, reason: str) -> None:
        """Something of it would not be ended or removed; destroying it is tried again."""
        ...

    def environment_gone(self, environment: AnyEnvironment) -> None:
        """Nothing is left of it."""
        ...

    def finished(self) -> None:
        """An invocation is being answered."""
        ...

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run `work` in a task that the engine owns; its exceptions are reported and never lost."""
        ...
