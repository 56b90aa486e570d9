"""CapacityProviderConfig: what makes a function one of AWS's managed instances. Pure.

The kind is decided when the function is created; after that only its numbers change, as on AWS. What AWS asks for
beside is not asked for here, because it is about machines that this is not: at least 2,048 MB, a published version, a
capacity provider that exists.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.errors import InvalidParameterValueException
from engine.model.function import FunctionVersion
from engine.model.managed import ManagedInstances
from engine.store.requests import CapacityProviderConfig, LoggingConfig, Settings


def created(config: CapacityProviderConfig | None, function: FunctionVersion) -> FunctionVersion:
    """A new function, of the kind that the request asks for. The caller has checked the request.

    These functions log JSON (AWS: "Lambda automatically configures the log format to JSON").
    """
    if config is None:
        return function
    return msgspec.structs.replace(
        function,
        managed_instances=_merged(config, None),
        log_format="JSON",
        application_log_level="INFO",
        system_log_level="INFO",
    )


def changes(request: Settings, function: FunctionVersion) -> dict[str, Any]:
    """What the request changes of it; numbers that it leaves out stay.

    Raises:
        InvalidParameterValueException: the function is not of this kind, or the setting is not for it.
    """
    config = request.capacity_provider_config
    if function.managed_instances is None:
        if config is not None:  # AWS's words
            raise InvalidParameterValueException(
                "CapacityProviderConfig isn't supported for Lambda Default functions. "
                "A function is made to take several invocations at a time when it is created: delete it first."
            )
        return {}
    snap_start = request.snap_start
    if snap_start is not None and snap_start.apply_on == "PublishedVersions":
        raise InvalidParameterValueException("SnapStart isn't supported for Lambda Managed Instances functions.")
    _check_logging(request.logging_config)
    return {} if config is None else {"managed_instances": _merged(config, function.managed_instances)}


def _check_logging(logging: LoggingConfig | None) -> None:
    if logging is not None and logging.log_format == "Text":
        raise InvalidParameterValueException(
            "LogFormat Text isn't supported for Lambda Managed Instances functions: their log format is JSON."
        )


def _merged(config: CapacityProviderConfig, old: ManagedInstances | None) -> ManagedInstances:
    new = config.lambda_managed_instances_capacity_provider_config
    assert new is not None
    assert new.capacity_provider_arn is not None
    many, ratio = new.per_execution_environment_max_concurrency, new.execution_environment_memory_gib_per_vcpu
    if old is not None:
        many = old.max_concurrency if many is None else many
        ratio = old.gib_per_vcpu if ratio is None else ratio
    return ManagedInstances(capacity_provider=new.capacity_provider_arn, max_concurrency=many, gib_per_vcpu=ratio)
