"""What a published version is made of, and what becomes of its state. Pure: versions in, versions out.

::

                    no SnapStart, or nobody makes snapshots
    PublishVersion ───────────────────────────────────────────► Active
          │                                                       ▲
          │ SnapStart.ApplyOn = PublishedVersions                 │ version_ready
          └─────────────────────────────────────────► Pending ────┤
                                                                  │ version_failed
                                                                  ▼
                                                                Failed

Everything else of a version is as it was published, for good.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal
from uuid import uuid4

import msgspec

from engine.errors import InvalidParameterValueException
from engine.model.function import LATEST, FunctionVersion

CREATING: Final = "The function is being created."


def fingerprint(latest: FunctionVersion) -> str:
    """What tells one ``$LATEST`` from another for PublishVersion: code and configuration, not when it was changed."""
    plain = msgspec.structs.replace(
        latest,
        version=LATEST,
        origin="",
        last_modified="",
        revision_id="",
        state="Active",
        state_reason=None,
        state_reason_code=None,
        last_update_status="Successful",
        last_update_status_reason=None,
        last_update_status_reason_code=None,
    )
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()


def check_code_sha256(latest: FunctionVersion, given: str | None) -> None:
    """What PublishVersion's CodeSha256 is for.

    Raises:
        InvalidParameterValueException: the code is another one by now (recorded text, facts §10.2).
    """
    if given and given != latest.code_sha256:
        raise InvalidParameterValueException(
            f"CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({latest.code_sha256}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )


def published(latest: FunctionVersion, number: int, description: str | None, *, pending: bool) -> FunctionVersion:
    """A version of `latest` as it is.

    Args:
        latest: ``$LATEST``, with a package.
        number: of the version.
        description: instead of the function's; None keeps that.
        pending: it is not to be invoked before somebody says that it is ready.
    """
    version = msgspec.structs.replace(
        latest,
        version=str(number),
        description=latest.description if description is None else description,
        origin=fingerprint(latest),
    )
    return _in_state(version, "Pending", CREATING, "Creating") if pending else _in_state(version, "Active")


def ready(version: FunctionVersion) -> FunctionVersion:
    """It may be invoked."""
    return _in_state(version, "Active")


def failed(version: FunctionVersion, reason_code: str, reason: str) -> FunctionVersion:
    """It can never be invoked."""
    return _in_state(version, "Failed", reason, reason_code)


def _in_state(
    version: FunctionVersion,
    state: Literal["Pending", "Active", "Failed"],
    reason: str | None = None,
    reason_code: str | None = None,
) -> FunctionVersion:
    """In another state, which is another revision."""
    return msgspec.structs.replace(
        version,
        revision_id=str(uuid4()),
        state=state,
        state_reason=reason,
        state_reason_code=reason_code,
        last_update_status="Successful" if state == "Active" else None,
        last_update_status_reason=None,
        last_update_status_reason_code=None,
    )
