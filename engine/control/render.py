"""Answers as AWS writes them: function configurations, errors."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import uuid4

import msgspec
from aiohttp import web

from engine.errors import AwsError
from engine.model.function import LATEST, FunctionVersion, snap_started
from engine.model.layer import LayerVersion
from engine.store import versions

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

JSON: Final = "application/json"
_CREATING: Final = versions.CREATING
_NOT_LISTED: Final = (
    "State", "StateReason", "StateReasonCode", "LastUpdateStatus", "LastUpdateStatusReason",
    "LastUpdateStatusReasonCode", "RuntimeVersionConfig",
)  # fmt: skip


def json_response(body: object, *, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(body=msgspec.json.encode(body), status=status, content_type=JSON)


def error_response(error: AwsError) -> web.Response:
    """AWS's error envelope (facts §6.5): the code in a header, type and text in the body."""
    headers = {"x-amzn-ErrorType": error.code, **error.headers()}
    return web.Response(body=msgspec.json.encode(error.body()), status=error.status, content_type=JSON, headers=headers)


def creating(function: FunctionVersion) -> FunctionVersion:
    """A new function as CreateFunction shows it: Pending, though it is Active already (facts §10.1).

    Its RevisionId is of the moment, as AWS's is: the one that counts comes with GetFunction.
    """
    return msgspec.structs.replace(
        function,
        state="Pending",
        state_reason=_CREATING,
        state_reason_code="Creating",
        last_update_status=None,
        revision_id=str(uuid4()),
    )


def updating(function: FunctionVersion) -> FunctionVersion:
    """A changed function as the update's answer shows it: InProgress, with AWS's odd reason."""
    return msgspec.structs.replace(
        function,
        last_update_status="InProgress",
        last_update_status_reason=_CREATING,
        last_update_status_reason_code="Creating",
        revision_id=str(uuid4()),
    )


def configuration(function: FunctionVersion, *, qualified: bool = False) -> dict[str, object]:
    """FunctionConfiguration. Members that are not set are absent.

    Args:
        function: the version.
        qualified: FunctionArn ends in the version, as when the request named one.
    """
    out: dict[str, object] = {
        "FunctionName": function.name,
        "FunctionArn": f"{function.arn}:{function.version}"
        if qualified or function.version != LATEST
        else function.arn,
        "Runtime": function.runtime,
        "Role": function.role,
        "Handler": function.handler,
        "CodeSize": function.code_size,
        "Description": function.description,
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mb,
        "LastModified": function.last_modified,
        "CodeSha256": function.code_sha256,
        "Version": function.version,
        "VpcConfig": function.vpc_config,
        "DeadLetterConfig": _given("TargetArn", function.dead_letter_target),
        "Environment": _given("Variables", function.environment or None),
        "KMSKeyArn": function.kms_key_arn,
        "TracingConfig": {"Mode": function.tracing_mode},
        "RevisionId": function.revision_id,
        "Layers": [{"Arn": layer.arn, "CodeSize": layer.code_size} for layer in function.layers] or None,
        "State": function.state,
        "StateReason": function.state_reason,
        "StateReasonCode": function.state_reason_code,
        "LastUpdateStatus": function.last_update_status,
        "LastUpdateStatusReason": function.last_update_status_reason,
        "LastUpdateStatusReasonCode": function.last_update_status_reason_code,
        "FileSystemConfigs": list(function.file_system_configs) or None,
        "PackageType": function.package_type,
        "Architectures": list(function.architectures),
        "EphemeralStorage": {"Size": function.ephemeral_storage_mb},
        "SnapStart": {
            "ApplyOn": function.snap_start,
            "OptimizationStatus": "On" if snap_started(function) and function.state == "Active" else "Off",
        },
        "RuntimeVersionConfig": _given("RuntimeVersionArn", _runtime_version(function)),
        "CapacityProviderConfig": _capacity_provider(function),
        "LoggingConfig": _present(
            {
                "LogFormat": function.log_format,
                "ApplicationLogLevel": function.application_log_level,
                "SystemLogLevel": function.system_log_level,
                "LogGroup": function.log_group,
            }
        ),
    }
    return _present(out)


def listed(function: FunctionVersion, *, qualified: bool = False) -> dict[str, object]:
    """FunctionConfiguration as ListFunctions and ListVersionsByFunction give it: without states (as recorded)."""
    return {
        name: value for name, value in configuration(function, qualified=qualified).items() if name not in _NOT_LISTED
    }


def layer_version(layer: LayerVersion) -> dict[str, object]:
    """LayerVersionsListItem: what is said of a layer version in lists."""
    return _present(
        {
            "LayerVersionArn": layer.arn,
            "Version": layer.version,
            "Description": layer.description,
            "CreatedDate": layer.created_date,
            "CompatibleArchitectures": layer.compatible_architectures,
            "CompatibleRuntimes": layer.compatible_runtimes,
            "LicenseInfo": layer.license_info,
        }
    )


def layer_content(layer: LayerVersion, location: str) -> dict[str, object]:
    """GetLayerVersionResponse: one layer version with a link to its package."""
    return {
        "Content": {"Location": location, "CodeSha256": layer.code_sha256, "CodeSize": layer.code_size},
        "LayerArn": layer.layer_arn,
        **layer_version(layer),
    }


def _runtime_version(function: FunctionVersion) -> str | None:
    """AWS names each patch of a runtime by a hash; ours is the hash of the identifier."""
    if function.runtime is None:
        return None
    region = function.arn.split(":")[3]
    return f"arn:aws:lambda:{region}::runtime:{hashlib.sha256(function.runtime.encode()).hexdigest()}"


def _capacity_provider(function: FunctionVersion) -> dict[str, object] | None:
    managed = function.managed_instances
    if managed is None:
        return None
    members: dict[str, object] = {
        "CapacityProviderArn": managed.capacity_provider,
        "PerExecutionEnvironmentMaxConcurrency": managed.max_concurrency,
        "ExecutionEnvironmentMemoryGiBPerVCpu": managed.gib_per_vcpu,
    }
    return {"LambdaManagedInstancesCapacityProviderConfig": _present(members)}


def _given(member: str, value: object) -> dict[str, object] | None:
    return None if value is None else {member: value}


def _present(members: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in members.items() if value is not None}
