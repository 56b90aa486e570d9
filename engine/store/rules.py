"""What the API model does not say: rules between members, and members to a function's configuration.

Pure: a request in, a :class:`FunctionVersion` or an AWS error out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from engine.errors import InvalidParameterValueException, NotImplementedException, ValidationException
from engine.lifecycle.variables import RESERVED
from engine.model.function import FunctionVersion
from engine.model.limits import (
    EPHEMERAL_MB_MAX,
    MAX_ENVIRONMENT_JSON,
    MAX_LAYERS,
    MAX_TAGS,
    MEMORY_MB_MAX,
    TIMEOUT_S_MAX,
)
from engine.store import managed, shapes
from engine.store.constraints import check
from engine.store.requests import (
    CreateFunctionRequest,
    FunctionCode,
    LayerVersionContentInput,
    LoggingConfig,
    PublishLayerVersionRequest,
    PublishVersionRequest,
    Settings,
    UpdateFunctionCodeRequest,
    UpdateFunctionConfigurationRequest,
)

MAX_NAME: Final = 64

_NOT_BUILT: Final = (
    "image_config",
    "durable_config",
    "runtime_config",
    "accelerator_config",
)
_NOT_BUILT_AT_CREATE: Final = ("code_signing_config_arn", "tenancy_config", "publish_to")
_ENVIRONMENT_FAULT: Final = (
    "Lambda was unable to configure your environment variables because the environment variables you have provided "
)


def check_create(request: CreateFunctionRequest, *, folder: bool) -> None:
    """Everything about CreateFunction that can be said without looking at other functions or unpacking the code.

    Args:
        request: the request.
        folder: the code is a live folder, given apart from the request; no Code is needed then.

    Raises:
        ValidationException, InvalidParameterValueException, NotImplementedException: in AWS's words where AWS has any.
    """
    wire = _wire(request)
    if folder:
        wire["Code"] = {}
    check(shapes.CREATE_FUNCTION, wire)
    _refuse_unbuilt(request, "CreateFunction", (*_NOT_BUILT, *_NOT_BUILT_AT_CREATE))
    if request.package_type == "Image":
        raise NotImplementedException(
            "CreateFunction with PackageType Image: Lambent runs zip packages and folders, not container images"
        )
    if not request.runtime or not request.handler:
        raise InvalidParameterValueException(
            "Runtime and Handler are mandatory parameters for functions created with deployment packages."
        )
    check_settings(request)
    if request.tags:
        check_tags(request.tags)


def check_configuration(request: UpdateFunctionConfigurationRequest) -> None:
    """Everything about UpdateFunctionConfiguration that can be said without the function. Raises as check_create."""
    check(shapes.UPDATE_FUNCTION_CONFIGURATION, _wire(request))
    _refuse_unbuilt(request, "UpdateFunctionConfiguration", _NOT_BUILT)
    check_settings(request)


def check_code(request: UpdateFunctionCodeRequest) -> None:
    """Everything about UpdateFunctionCode that can be said without the function. Raises as check_create."""
    check(shapes.UPDATE_FUNCTION_CODE, _wire(request))
    _refuse_unbuilt(request, "UpdateFunctionCode", ("publish_to",))
    if request.image_uri is not None:
        raise InvalidParameterValueException(
            "Please don't provide ImageUri when updating a function with packageType Zip."
        )


def check_publish(request: PublishVersionRequest) -> None:
    """Everything about PublishVersion that can be said without the function. Raises as check_create."""
    check(shapes.PUBLISH_VERSION, _wire(request))
    _refuse_unbuilt(request, "PublishVersion", ("publish_to",))


def check_name(name: str) -> None:
    """The bare name's length, which the model does not limit.

    Raises:
        InvalidParameterValueException: longer than 64 characters.
    """
    if len(name) > MAX_NAME:
        raise InvalidParameterValueException(
            f"1 validation error detected: Value '{name}' at 'functionName' failed to satisfy constraint: "
            f"Member must have length less than or equal to {MAX_NAME}"
        )


def check_layer(request: PublishLayerVersionRequest) -> None:
    """Everything about PublishLayerVersion that can be said without unpacking. Raises as check_create."""
    check(shapes.PUBLISH_LAYER_VERSION, _wire(request))


def check_total_size(unzipped: int, limit: int) -> None:
    """A function's code and its layers together (AWS's words, as users report them).

    Raises:
        InvalidParameterValueException: more than `limit` bytes.
    """
    if unzipped > limit:
        raise InvalidParameterValueException(
            f"Function code combined with layers exceeds the maximum allowed size of {limit} bytes. "
            f"The actual size is {unzipped} bytes."
        )


def zip_of(code: FunctionCode | LayerVersionContentInput) -> bytes:
    """The package in a request.

    Raises:
        InvalidParameterValueException: there is none, or more than one source.
        NotImplementedException: the code is in S3.
    """
    image = code.image_uri if isinstance(code, FunctionCode) else None
    elsewhere = (code.s3_bucket, code.s3_key, code.s3_object_version, code.s3_object_storage_mode, image)
    if code.zip_file is not None:
        if any(part is not None for part in elsewhere):
            raise InvalidParameterValueException(
                "Please do not provide other FunctionCode parameters when providing a ZipFile."
            )
        if not isinstance(code.zip_file, bytes):
            raise InvalidParameterValueException(f"ZipFile must be bytes, not {type(code.zip_file).__name__}")
        return code.zip_file
    if code.s3_bucket is not None or code.s3_key is not None:
        raise NotImplementedException(
            f"Lambent cannot fetch code from S3 (S3Bucket {code.s3_bucket!r}, S3Key {code.s3_key!r}): "
            "send the package itself as ZipFile"
        )
    raise InvalidParameterValueException("Please provide a source for function code.")


def check_settings(request: Settings) -> None:
    """Values that AWS refuses outside its model. Raises InvalidParameterValueException."""
    if request.runtime is not None and request.runtime not in shapes.RUNTIMES:
        raise InvalidParameterValueException(
            f"Value {request.runtime} at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
            f"[{', '.join(shapes.RUNTIMES)}] or be a valid ARN"
        )
    storage = request.ephemeral_storage.size if request.ephemeral_storage is not None else None
    for member, value, most in (
        ("MemorySize", request.memory_size, MEMORY_MB_MAX),
        ("Timeout", request.timeout, TIMEOUT_S_MAX),
        ("EphemeralStorage", storage, EPHEMERAL_MB_MAX),
    ):
        if value is not None and value > most:
            raise InvalidParameterValueException(
                f"'{member}' value failed to satisfy constraint: Member must have value less than or equal to {most}"
            )
    if request.handler is not None and "\0" in request.handler:
        raise InvalidParameterValueException("The handler must not contain a NUL character: it is passed to a process")
    if request.environment is not None and request.environment.variables is not None:
        check_environment(_strings(request.environment.variables))
    if request.layers and len(request.layers) > MAX_LAYERS:
        raise InvalidParameterValueException(f"Cannot reference more than {MAX_LAYERS} layers.")
    logging = request.logging_config
    if (
        logging is not None
        and logging.log_format == "Text"
        and (logging.application_log_level is not None or logging.system_log_level is not None)
    ):
        raise InvalidParameterValueException(
            'LogLevel is not supported when LogFormat is set to "Text". '
            'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
        )


def check_environment(variables: Mapping[str, str]) -> None:
    """Size, reserved keys, and values that no process can have. Raises InvalidParameterValueException."""
    reserved = sorted(RESERVED.intersection(variables))
    if reserved:
        raise InvalidParameterValueException(
            _ENVIRONMENT_FAULT + "contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    broken = sorted(key for key, value in variables.items() if "\0" in value)
    if broken:
        raise InvalidParameterValueException(
            _ENVIRONMENT_FAULT + f"contain a NUL character, which no process can be given: {', '.join(broken)}"
        )
    measured = msgspec.json.encode(variables)
    if len(measured) > MAX_ENVIRONMENT_JSON:
        raise InvalidParameterValueException(
            _ENVIRONMENT_FAULT + f"exceeded the 4KB limit. String measured: {measured.decode()}"
        )


def check_tags(tags: Mapping[str, str | None]) -> None:
    """The number of tags a function would have. Raises InvalidParameterValueException."""
    if len(tags) > MAX_TAGS:
        raise InvalidParameterValueException("Number of tags exceeds resource tag limit.")


def created(request: CreateFunctionRequest, function: FunctionVersion) -> FunctionVersion:
    """Fill the configuration of a new function in.

    Args:
        request: a checked request.
        function: the function with its name, ARN and code.
    """
    base = msgspec.structs.replace(
        function,
        runtime=request.runtime,
        handler=request.handler or "",
        role=request.role or "",
        log_group=f"/aws/lambda/{function.name}",
        architectures=_plain(request.architectures) or ("x86_64",),
    )
    return configured(request, managed.created(request.capacity_provider_config, base))


def configured(request: Settings, function: FunctionVersion) -> FunctionVersion:
    """`function` with the members of `request` that were given; empty containers clear. The caller has checked it.

    All but its Layers, which are looked up (:meth:`engine.store.layers.Layers.resolve`).
    """
    changes: dict[str, object] = {}
    for member, attribute in (
        ("runtime", "runtime"),
        ("role", "role"),
        ("handler", "handler"),
        ("description", "description"),
        ("timeout", "timeout_s"),
        ("memory_size", "memory_mb"),
    ):
        value = getattr(request, member)
        if value is not None:
            changes[attribute] = value
    if request.ephemeral_storage is not None:
        changes["ephemeral_storage_mb"] = request.ephemeral_storage.size
    if request.environment is not None:
        changes["environment"] = _strings(request.environment.variables or {})
    if request.vpc_config is not None:
        vpc = request.vpc_config
        changes["vpc_config"] = _without_nulls(vpc) if vpc.subnet_ids or vpc.security_group_ids else None
    if request.dead_letter_config is not None:
        changes["dead_letter_target"] = request.dead_letter_config.target_arn or None
    if request.kms_key_arn is not None:
        changes["kms_key_arn"] = request.kms_key_arn or None
    if request.tracing_config is not None and request.tracing_config.mode is not None:
        changes["tracing_mode"] = request.tracing_config.mode
    if request.file_system_configs is not None:
        changes["file_system_configs"] = tuple(_without_nulls(item) for item in request.file_system_configs)
    if request.snap_start is not None and request.snap_start.apply_on is not None:
        changes["snap_start"] = request.snap_start.apply_on
    changes.update(managed.changes(request, function))
    if request.logging_config is not None:
        changes.update(_logging(request.logging_config, function))
    return msgspec.structs.replace(function, **changes)


def _logging(logging: LoggingConfig, function: FunctionVersion) -> dict[str, object]:
    """JSON brings levels with it (INFO unless said), Text takes them away (recorded: LoggingConfig format switch)."""
    log_format = logging.log_format or function.log_format
    out: dict[str, object] = {"log_format": log_format}
    if logging.log_group is not None:
        out["log_group"] = logging.log_group
    if log_format == "Text":
        if logging.application_log_level is not None or logging.system_log_level is not None:
            raise InvalidParameterValueException(
                'LogLevel is not supported when LogFormat is set to "Text". '
                'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
            )
        return {**out, "application_log_level": None, "system_log_level": None}
    out["application_log_level"] = logging.application_log_level or function.application_log_level or "INFO"
    out["system_log_level"] = logging.system_log_level or function.system_log_level or "INFO"
    return out


def _refuse_unbuilt(request: msgspec.Struct, operation: str, members: tuple[str, ...]) -> None:
    """Settings that would change what a function does must not be taken and then ignored."""
    for member in members:
        if getattr(request, member):
            name = next(f.encode_name for f in msgspec.structs.fields(request) if f.name == member)
            raise NotImplementedException(
                f"{operation} with {name}: Lambent does not implement {name} yet; leave it out"
            )


def _wire(request: msgspec.Struct) -> dict[str, object]:
    """The request in wire names, without the package: constraints do not look at it, and it may be 50 MB."""
    if isinstance(request, CreateFunctionRequest) and request.code is not None:
        request = msgspec.structs.replace(request, code=msgspec.structs.replace(request.code, zip_file=None))
    elif isinstance(request, UpdateFunctionCodeRequest):
        request = msgspec.structs.replace(request, zip_file=None)
    elif isinstance(request, PublishLayerVersionRequest) and request.content is not None:
        request = msgspec.structs.replace(request, content=msgspec.structs.replace(request.content, zip_file=None))
    try:
        # There and back: what came as JSON passes as it is; an embedder may have put anything into the Struct.
        back = msgspec.json.decode(msgspec.json.encode(request), type=type(request))
    except (TypeError, UnicodeEncodeError, msgspec.MsgspecError) as error:
        raise ValidationException(f"1 validation error detected: {error}") from error
    for member in request.__struct_fields__:
        if getattr(back, member) != getattr(request, member):
            kind = type(getattr(request, member)).__name__
            raise ValidationException(f"1 validation error detected: {member} cannot be given as {kind}")
    wire: dict[str, object] = msgspec.to_builtins(request)
    return wire


def _strings(items: Mapping[str, str | None]) -> dict[str, str]:
    return {key: value for key, value in items.items() if value is not None}


def _plain(items: list[str | None] | None) -> tuple[str, ...]:
    return tuple(item for item in items or () if item is not None)


def _without_nulls(item: object) -> dict[str, object]:
    wire: dict[str, object] = msgspec.to_builtins(item)
    return {key: value for key, value in wire.items() if value is not None}
