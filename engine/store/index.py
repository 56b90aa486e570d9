"""Functions as they are known: in memory, read synchronously. What changes them is :mod:`engine.store.registry`."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from engine.model.function import LATEST, FunctionVersion
from engine.store import markers, shapes
from engine.store.constraints import check
from engine.store.names import Names, Reference

MAX_PAGE: Final = 50
"""Functions or versions in one page of a list, whatever was asked for (facts §9.2)."""

Page = tuple[list[FunctionVersion], str | None]
"""What a list answers: the versions, and the marker of the next page or None."""

Position = tuple[str, int]
"""A function's name, and a version's number; 0 is ``$LATEST``, -1 before it."""


class Record:
    """One function.

    Attributes:
        latest: ``$LATEST``.
        versions: what is published and not deleted, by number, ascending.
        next_version: the number of the next one; never used before.
        tags: of the function.
        reserved: its reserved concurrency, None when it has none.
    """

    __slots__ = ("latest", "next_version", "reserved", "tags", "versions")

    def __init__(
        self, latest: FunctionVersion, tags: dict[str, str], reserved: int | None = None, next_version: int = 1
    ) -> None:
        self.latest = latest
        self.versions: dict[str, FunctionVersion] = {}
        self.next_version = next_version
        self.tags = tags
        self.reserved = reserved

    def every(self) -> Iterator[FunctionVersion]:
        """``$LATEST``, then the published ones, oldest first."""
        yield self.latest
        yield from self.versions.values()


class FunctionIndex:
    """Every function of one account in one region."""

    def __init__(self, names: Names, account_concurrency: int) -> None:
        self.names = names
        self.account_concurrency = account_concurrency
        self._records: dict[str, Record] = {}
        self._sorted: list[str] = []

    def get(self, name: str, qualifier: str | None = None) -> FunctionVersion:
        """A function version by bare name.

        Raises:
            ResourceNotFoundException: no such function, or no such version of it.
        """
        record = self._records.get(name)
        if record is not None:
            if qualifier is None or qualifier == LATEST:
                return record.latest
            version = record.versions.get(qualifier)
            if version is not None:
                return version
        raise self.names.not_found(name, qualifier)

    def find(self, function: str, qualifier: str | None = None) -> tuple[FunctionVersion, str | None]:
        """A function version by any form of its name, as Invoke and GetFunction take it.

        Returns:
            the version, and the qualifier that was asked for, in the name or apart; None when there was none.

        Raises:
            ValidationException: the name or the qualifier is malformed.
            InvalidParameterValueException: they disagree.
            ResourceNotFoundException: not there, or an ARN of another region.
            AccessDeniedException: an ARN of another account.
        """
        record = self._records.get(function)
        if record is not None and qualifier is None:
            return record.latest, None
        reference = self.resolve(function, qualifier)
        return self.get(reference.name, reference.qualifier), reference.qualifier

    def resolve(self, function: str, qualifier: str | None = None) -> Reference:
        """Check and take apart a name without looking the function up. Raises as :meth:`find`."""
        check(shapes.QUALIFIED_FUNCTION, {"FunctionName": function, "Qualifier": qualifier})
        return self.names.resolve(function, qualifier)

    def list(self, marker: str | None = None, max_items: int | None = None, *, every_version: bool = False) -> Page:
        """A page of functions in the order of their names.

        Args:
            marker: what the page before returned; None for the first.
            max_items: 1 to 10,000; pages hold at most 50.
            every_version: also the published versions, each after its function's ``$LATEST``, oldest first.

        Returns:
            the functions, and the marker of the next page or None.

        Raises:
            InvalidParameterValueException: the marker is not one of ours.
        """
        after = _read_marker(marker, "ListFunctions")
        start = bisect_left(self._sorted, after[0])
        records = (self._records[self._sorted[at]] for at in range(start, len(self._sorted)))
        found = (item for record in records for item in (record.every() if every_version else (record.latest,)))
        return _page(found, after, max_items)

    def list_versions(self, name: str, marker: str | None = None, max_items: int | None = None) -> Page:
        """A page of one function's versions: ``$LATEST``, then the published ones, oldest first.

        Args:
            name: the bare name.
            marker: what the page before returned; None for the first.
            max_items: 1 to 10,000; pages hold at most 50.

        Returns:
            the versions, and the marker of the next page or None.

        Raises:
            ResourceNotFoundException: no such function.
            InvalidParameterValueException: the marker is not one of ours.
        """
        after = _read_marker(marker, "ListVersionsByFunction")
        return _page(self._record(name).every(), after, max_items)

    def tags(self, name: str) -> dict[str, str]:
        """The function's tags. Raises ResourceNotFoundException."""
        return dict(self._record(name).tags)

    def reserved(self, name: str) -> int | None:
        """The function's reserved concurrency, None when it has none. Raises ResourceNotFoundException."""
        return self._record(name).reserved

    def reserved_total(self) -> int:
        """The sum of all reservations."""
        return sum(record.reserved or 0 for record in self._records.values())

    def _record(self, name: str) -> Record:
        record = self._records.get(name)
        if record is None:
            raise self.names.not_found(name)
        return record

    def _insert(self, name: str, record: Record) -> None:
        self._records[name] = record
        insort(self._sorted, name)

    def _remove(self, name: str) -> None:
        del self._records[name]
        del self._sorted[bisect_left(self._sorted, name)]


def _page(found: Iterator[FunctionVersion], after: Position, max_items: int | None) -> Page:
    most = min(max_items or MAX_PAGE, MAX_PAGE)
    page: list[FunctionVersion] = []
    for item in found:
        if _position(item) > after:
            if len(page) == most:
                return page, _marker(_position(page[-1]))
            page.append(item)
    return page, None


def _position(function: FunctionVersion) -> Position:
    return function.name, 0 if function.version == LATEST else int(function.version)


def _marker(position: Position) -> str:
    return markers.write(f"{position[0]}:{position[1]}")


def _read_marker(marker: str | None, operation: str) -> Position:
    if marker is None:
        return "", -1
    name, _, number = markers.read(marker, operation).partition(":")
    if not number.isdecimal():
        raise markers.bad(marker, operation)
    return name, int(number)
