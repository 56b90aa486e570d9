"""A function version: its configuration and where its code is.

One frozen Struct serves the store (it is what is persisted), the control plane (which renders AWS's member names from
it) and the data plane (which starts environments from it). A change makes a new Struct with a new `revision_id`;
environments belong to one revision and never see another's code or settings.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from engine.model.layer import LayerUse
from engine.model.managed import ManagedInstances

PackageType = Literal["Zip", "Image"]
State = Literal["Pending", "Active", "Inactive", "Failed"]
UpdateStatus = Literal["Successful", "InProgress", "Failed"]

LATEST = "$LATEST"


class FunctionVersion(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of one function, complete.

    Attributes:
        name: the function's name, without account or region.
        version: ``$LATEST`` or a number in decimal.
        arn: the unqualified function ARN.
        runtime: an AWS runtime identifier such as ``python3.12`` or ``provided.al2023``; None only for images.
        memory_mb: memory limit in MB (MemorySize); CPU follows from it.
        timeout_s: time limit of one invocation in whole seconds.
        ephemeral_storage_mb: size of /tmp in MB.
        environment: the user's variables; reserved keys were refused on the way in.
        code_sha256: base64 SHA-256 of the zip package, as AWS prints it; "" for a folder deployment.
        code_size: bytes of the zip package.
        source_dir: absolute path of a live folder (hot reload) instead of a package; None for a package.
        layers: what is merged into /opt, in order.
        managed_instances: set for a function whose environments take several invocations at a time.
        last_modified: AWS's string form, ``2024-01-02T03:04:05.678+0000``.
        revision_id: UUID that changes with each mutation.
        origin: of a published version: which ``$LATEST`` it was made of (:mod:`engine.store.versions`); else "".
    """

    name: str
    arn: str
    version: str = LATEST
    runtime: str | None = "provided.al2023"
    handler: str = ""
    role: str = ""
    description: str = ""
    memory_mb: int = 128
    timeout_s: int = 3
    ephemeral_storage_mb: int = 512
    environment: dict[str, str] = {}
    architectures: tuple[str, ...] = ("x86_64",)
    package_type: PackageType = "Zip"
    code_sha256: str = ""
    code_size: int = 0
    source_dir: str | None = None
    layers: tuple[LayerUse, ...] = ()
    tracing_mode: Literal["PassThrough", "Active"] = "PassThrough"
    dead_letter_target: str | None = None
    kms_key_arn: str | None = None
    vpc_config: dict[str, object] | None = None
    file_system_configs: tuple[dict[str, object], ...] = ()
    snap_start: Literal["None", "PublishedVersions"] = "None"
    managed_instances: ManagedInstances | None = None
    log_format: Literal["Text", "JSON"] = "Text"
    log_group: str = ""
    application_log_level: str | None = None
    system_log_level: str | None = None
    last_modified: str = ""
    revision_id: str = ""
    state: State = "Active"
    state_reason: str | None = None
    state_reason_code: str | None = None
    last_update_status: UpdateStatus | None = "Successful"
    last_update_status_reason: str | None = None
    last_update_status_reason_code: str | None = None
    origin: str = ""


def snap_started(function: FunctionVersion) -> bool:
    """Whether SnapStart applies to it: it does to published versions only."""
    return function.snap_start == "PublishedVersions" and function.version != LATEST
