"""Every error of the engine, in one tree.

::

    LambentError                      anything the engine raises on purpose; says what was tried, and why it failed
    ├── ConfigurationError            a setting, flag or environment variable that cannot be used
    ├── DataDirectoryError            the data directory is locked, damaged, full or not writable
    ├── SandboxError                  the host would not give us a sandbox or a process in it
    ├── EngineClosedError             the engine is draining or has stopped
    ├── FunctionFailedError           a function failed whose response was being taken in pieces
    └── AwsError                      an error with an AWS code, HTTP status and wire body: what an AWS client is shown
        ├── InvalidParameterValueException …  one class per code, below

The AWS names, statuses and the *member name* of the message (``message`` or ``Message``: it differs per exception in
AWS's own model, and typed clients read only the right one) follow botocore's ``lambda/2015-03-31/service-2.json``.
"""

from __future__ import annotations

from typing import ClassVar, Literal


class LambentError(Exception):
    """The root of all errors that the engine raises on purpose."""


class ConfigurationError(LambentError):
    """A setting cannot be used; the message names it, its value, where it came from and what is allowed."""


class DataDirectoryError(LambentError):
    """The data directory cannot be used: in use by another engine, damaged, full or not writable."""


class SandboxError(LambentError):
    """A sandbox or a process in it could not be made; the message names the step, the paths and the OS error."""


class EngineClosedError(LambentError):
    """The engine is draining or stopped and takes no new work."""


class FunctionFailedError(LambentError):
    """A function failed whose response was being taken in pieces: what came of it is not complete.

    `Engine.invoke` returns a failure as a result instead, as nothing of the response was given out there.

    Attributes:
        payload: the error as the function (or the engine) told it, JSON, byte for byte.
    """

    def __init__(self, payload: bytes) -> None:
        super().__init__(f"the function failed: {payload[:1000].decode('utf-8', 'replace')}")
        self.payload = payload


class AwsError(LambentError):
    """An error as an AWS client sees it.

    Attributes:
        code: the shape name, sent as ``x-amzn-ErrorType``.
        status: the HTTP status.
        member: the JSON member that carries the text; ``message`` or ``Message``, per AWS's model.
        fault: ``User`` or ``Service``, the ``Type`` member of the body; None leaves it out (ValidationException).
    """

    code: ClassVar[str] = "ServiceException"
    status: ClassVar[int] = 500
    member: ClassVar[Literal["message", "Message"]] = "message"
    fault: ClassVar[Literal["User", "Service"] | None] = "User"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def body(self) -> dict[str, object]:
        """The JSON body as a dict, in AWS's order: Type first, then the message."""
        out: dict[str, object] = {}
        if self.fault is not None:
            out["Type"] = self.fault
        out[self.member] = self.text
        return out

    def headers(self) -> dict[str, str]:
        """Extra response headers beside ``x-amzn-ErrorType``."""
        return {}


class ServiceException(AwsError):
    """500: something in the engine failed, not the caller."""

    code, status, member, fault = "ServiceException", 500, "Message", "Service"


class ValidationException(AwsError):
    """400: a request member violates the API model (lengths, patterns, ranges). AWS sends no Type with it."""

    code, status, fault = "ValidationException", 400, None


class InvalidParameterValueException(AwsError):
    """400: a parameter is well formed but not acceptable."""

    code, status = "InvalidParameterValueException", 400


class InvalidRequestContentException(AwsError):
    """400: the request body could not be read as JSON."""

    code, status = "InvalidRequestContentException", 400


class AccessDeniedException(AwsError):
    """403: the resource belongs to another account. AWS sends no Type with it."""

    code, status, fault = "AccessDeniedException", 403, None


class ResourceNotFoundException(AwsError):
    """404: no such function, version, alias or other resource."""

    code, status, member = "ResourceNotFoundException", 404, "Message"


class ResourceConflictException(AwsError):
    """409: the resource exists already, or its state forbids the operation just now."""

    code, status = "ResourceConflictException", 409


class PreconditionFailedException(AwsError):
    """412: the RevisionId given is not the current one."""

    code, status = "PreconditionFailedException", 412


class RequestTooLargeException(AwsError):
    """413: the request payload exceeds the Invoke limit (6 MB; facts §5.3)."""

    code, status = "RequestTooLargeException", 413


class RequestEntityTooLargeException(AwsError):
    """413: the zipped package or the HTTP body is larger than CreateFunction takes. AWS sends no Type with it."""

    code, status, fault = "RequestEntityTooLargeException", 413, None


class UnsupportedMediaTypeException(AwsError):
    """415: the content type of the request cannot be read."""

    code, status = "UnsupportedMediaTypeException", 415


class CodeStorageExceededException(AwsError):
    """400: no room for another code package."""

    code, status = "CodeStorageExceededException", 400


class SnapStartException(AwsError):
    """400: a restore hook of the function's failed."""

    code, status, member = "SnapStartException", 400, "Message"

    def __init__(
        self,
        text: str = "The afterRestore() runtime hook encountered an error. "
        "For more information, check the Amazon CloudWatch logs.",
    ) -> None:
        super().__init__(text)


class SnapStartTimeoutException(AwsError):
    """408: the restore and its hooks took longer than 10 seconds."""

    code, status, member = "SnapStartTimeoutException", 408, "Message"

    def __init__(self, text: str = "Lambda couldn't restore the snapshot within the timeout limit.") -> None:
        super().__init__(text)


class SnapStartNotReadyException(AwsError):
    """409: a version with SnapStart is invoked before its snapshot is made."""

    code, status, member = "SnapStartNotReadyException", 409, "Message"


class InvalidZipFileException(AwsError):
    """502: Lambda could not unzip the package at invocation."""

    code, status, member = "InvalidZipFileException", 502, "Message"


class InvalidRuntimeException(AwsError):
    """502: the runtime of the function cannot run on this host."""

    code, status, member = "InvalidRuntimeException", 502, "Message"


class NotImplementedException(AwsError):
    """501: an operation of the Lambda API that Lambent does not have yet. The text names the operation."""

    code, status = "NotImplementedException", 501
    fault = "Service"


ThrottleReason = Literal[
    "ConcurrentInvocationLimitExceeded",
    "FunctionInvocationRateLimitExceeded",
    "ReservedFunctionConcurrentInvocationLimitExceeded",
    "ReservedFunctionInvocationRateLimitExceeded",
    "CallerRateLimitExceeded",
    "ConcurrentSnapshotCreateLimitExceeded",
]


class TooManyRequestsException(AwsError):
    """429: throttled. Carries the Reason and a Retry-After header (facts §6.4)."""

    code, status = "TooManyRequestsException", 429

    def __init__(self, reason: ThrottleReason, text: str = "Rate Exceeded.", retry_after_s: int = 1) -> None:
        super().__init__(text)
        self.reason = reason
        self.retry_after_s = retry_after_s

    def body(self) -> dict[str, object]:
        """The body with its Reason, in the order of AWS's recordings."""
        return {"Reason": self.reason, "Type": self.fault, "message": self.text}

    def headers(self) -> dict[str, str]:
        """Retry-After, in whole seconds."""
        return {"Retry-After": str(self.retry_after_s)}
