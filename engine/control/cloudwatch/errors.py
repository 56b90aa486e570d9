"""Errors of CloudWatch Logs: 400 with the code in ``__type``, as JSON 1.1 has it."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.errors import AwsError


class LogsError(AwsError):
    """An error of CloudWatch Logs."""

    status: ClassVar[int] = 400
    fault: ClassVar[Literal["User", "Service"] | None] = None

    def body(self) -> dict[str, object]:
        """``__type`` and ``message``."""
        return {"__type": self.code, "message": self.text}


class ResourceNotFound(LogsError):
    """The group or the stream is not there."""

    code = "ResourceNotFoundException"


class AlreadyExists(LogsError):
    """There is one of that name."""

    code = "ResourceAlreadyExistsException"


class InvalidParameter(LogsError):
    """A parameter cannot be used."""

    code = "InvalidParameterException"


class UnknownOperation(LogsError):
    """No operation of CloudWatch Logs, or none that is here."""

    code = "UnknownOperationException"


class Serialization(LogsError):
    """The body is not the JSON that it should be."""

    code = "SerializationException"


class ServiceUnavailable(LogsError):
    """The engine could not do it."""

    code = "ServiceUnavailableException"
    status: ClassVar[int] = 503


def group_missing() -> ResourceNotFound:
    """In AWS's words."""
    return ResourceNotFound("The specified log group does not exist.")


def stream_missing() -> ResourceNotFound:
    """In AWS's words."""
    return ResourceNotFound("The specified log stream does not exist.")
