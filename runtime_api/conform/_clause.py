"""A clause: one demand of the Runtime API that a runtime can break, with the test that shows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from msgspec import Struct

from ._report import Weight
from ._session import Session

__all__ = ["GUIDE", "MUST", "SHOULD", "Clause", "Topic"]

MUST: Final = Weight.MUST
SHOULD: Final = Weight.SHOULD
GUIDE: Final = "AWS Lambda developer guide, Runtime API"

Check = Callable[[Session], Awaitable[None]]


class Clause(Struct, frozen=True, kw_only=True):
    """One demand.

    Attributes:
        id: ``topic.name``, stable: recorded deviations name it.
        title: the demand, one sentence.
        source: where it is written.
        weight: whether a runtime must or should keep it.
        check: shows it; raises `Failed` or `NotApplicable`.
        variables: environment variables that the runtime is started with for it.
    """

    id: str
    title: str
    source: str
    weight: Weight
    check: Check
    variables: Mapping[str, str] = {}


class Topic:
    """The clauses of one topic, in the order in which they are written."""

    def __init__(self, name: str, source: str) -> None:
        self.name = name
        self.source = source
        self.clauses: list[Clause] = []

    def clause(
        self,
        name: str,
        title: str,
        *,
        weight: Weight = MUST,
        source: str | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Callable[[Check], Check]:
        """Add the decorated function as a clause."""

        def add(check: Check) -> Check:
            self.clauses.append(
                Clause(
                    id=f"{self.name}.{name}",
                    title=title,
                    source=source or self.source,
                    weight=weight,
                    check=check,
                    variables=dict(variables or {}),
                )
            )
            return check

        return add
