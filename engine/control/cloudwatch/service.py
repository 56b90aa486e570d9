"""What the operations share: the store, names and ARNs."""

from __future__ import annotations

from typing import Protocol

from engine.control.cloudwatch.errors import InvalidParameter, group_missing
from engine.telemetry.store import LogGroup, LogStore


class _OfGroup(Protocol):
    @property
    def log_group_name(self) -> str | None: ...
    @property
    def log_group_identifier(self) -> str | None: ...


class LogsService:
    """The log groups of one engine, as an account and region's.

    Attributes:
        store: where they are.
    """

    def __init__(self, store: LogStore, region: str, account_id: str) -> None:
        self.store = store
        self._prefix = f"arn:aws:logs:{region}:{account_id}:log-group:"

    def arn(self, group: str) -> str:
        """Of a group, without the ``:*`` that some operations add."""
        return self._prefix + group

    def name(self, identifier: str) -> str:
        """A group's name, of an ARN or a name."""
        if not identifier.startswith("arn:"):
            return identifier
        parts = identifier.split(":", 6)
        if len(parts) < 7 or parts[2] != "logs" or parts[5] != "log-group":
            raise InvalidParameter(f"'{identifier}' is not the ARN of a log group")
        return parts[6].removesuffix(":*")

    def group(self, identifier: str) -> LogGroup:
        """The group. Raises `ResourceNotFound`."""
        group = self.store.get(self.name(identifier))
        if group is None:
            raise group_missing()
        return group

    def named(self, asked: _OfGroup) -> LogGroup:
        """The group that a request names in one of two ways."""
        if (asked.log_group_name is None) == (asked.log_group_identifier is None):
            raise InvalidParameter("Exactly one of logGroupName and logGroupIdentifier must be given")
        return self.group(asked.log_group_name or asked.log_group_identifier or "")
