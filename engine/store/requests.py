"""The requests of the Lambda API that the registry takes, member for member as on the wire.

Python names are AWS's in snake case (``MemorySize`` is `memory_size`), so that a request decodes from JSON as it is and
an embedder builds the same object. None is "not given"; AWS reads JSON null as absent, too.
"""

from __future__ import annotations

from msgspec import Struct, field


class FunctionCode(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Where the code comes from: a zip file (bytes; base64 on the wire), S3 or an image."""

    zip_file: bytes | None = None
    s3_bucket: str | None = None
    s3_key: str | None = None
    s3_object_version: str | None = None
    s3_object_storage_mode: str | None = None
    image_uri: str | None = None
    source_kms_key_arn: str | None = field(default=None, name="SourceKMSKeyArn")


class Environment(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """The user's environment variables."""

    variables: dict[str, str | None] | None = None


class VpcConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Kept and shown, without effect: there is no VPC here."""

    subnet_ids: list[str | None] | None = None
    security_group_ids: list[str | None] | None = None
    ipv6_allowed_for_dual_stack: bool | None = None


class DeadLetterConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Where events go that failed for good."""

    target_arn: str | None = None


class TracingConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """``Active`` or ``PassThrough``."""

    mode: str | None = None


class S3FilesConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """How an S3 Files mount reads."""

    direct_s3_read: str | None = field(default=None, name="DirectS3Read")


class FileSystemConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """An EFS or S3 Files mount."""

    arn: str | None = None
    local_mount_path: str | None = None
    s3_files_config: S3FilesConfig | None = None


class EphemeralStorage(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Size of /tmp in MB."""

    size: int | None = None


class SnapStart(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """``PublishedVersions`` or ``None``."""

    apply_on: str | None = None


class LoggingConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Format, levels and group of the function's log."""

    log_format: str | None = None
    application_log_level: str | None = None
    system_log_level: str | None = None
    log_group: str | None = None


class ManagedInstancesConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """On which capacity provider, and how many invocations one environment takes at a time."""

    capacity_provider_arn: str | None = None
    per_execution_environment_max_concurrency: int | None = None
    execution_environment_memory_gib_per_vcpu: float | None = field(
        default=None, name="ExecutionEnvironmentMemoryGiBPerVCpu"
    )


class CapacityProviderConfig(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Makes a function one of AWS's managed instances."""

    lambda_managed_instances_capacity_provider_config: ManagedInstancesConfig | None = None


class Settings(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """What CreateFunction and UpdateFunctionConfiguration have in common. Members typed `dict` are not built yet."""

    function_name: str | None = None
    runtime: str | None = None
    role: str | None = None
    handler: str | None = None
    description: str | None = None
    timeout: int | None = None
    memory_size: int | None = None
    vpc_config: VpcConfig | None = None
    dead_letter_config: DeadLetterConfig | None = None
    environment: Environment | None = None
    kms_key_arn: str | None = field(default=None, name="KMSKeyArn")
    tracing_config: TracingConfig | None = None
    layers: list[str | None] | None = None
    file_system_configs: list[FileSystemConfig | None] | None = None
    image_config: dict[str, object] | None = None
    ephemeral_storage: EphemeralStorage | None = None
    snap_start: SnapStart | None = None
    logging_config: LoggingConfig | None = None
    capacity_provider_config: CapacityProviderConfig | None = None
    durable_config: dict[str, object] | None = None
    runtime_config: dict[str, object] | None = None
    accelerator_config: dict[str, object] | None = None


class CreateFunctionRequest(Settings, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """CreateFunction."""

    code: FunctionCode | None = None
    package_type: str | None = None
    architectures: list[str | None] | None = None
    publish: bool | None = None
    publish_to: str | None = None
    tags: dict[str, str | None] | None = None
    code_signing_config_arn: str | None = None
    tenancy_config: dict[str, object] | None = None


class UpdateFunctionConfigurationRequest(Settings, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """UpdateFunctionConfiguration. Members left out stay; empty ones clear."""

    revision_id: str | None = None


class UpdateFunctionCodeRequest(FunctionCode, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """UpdateFunctionCode: the members of :class:`FunctionCode`, and how to go about it."""

    function_name: str | None = None
    architectures: list[str | None] | None = None
    publish: bool | None = None
    publish_to: str | None = None
    dry_run: bool | None = None
    revision_id: str | None = None


class PublishVersionRequest(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """PublishVersion."""

    function_name: str | None = None
    code_sha256: str | None = None
    description: str | None = None
    revision_id: str | None = None
    publish_to: str | None = None


class LayerVersionContentInput(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """Where a layer's content comes from: a zip file (bytes; base64 on the wire) or S3."""

    zip_file: bytes | None = None
    s3_bucket: str | None = None
    s3_key: str | None = None
    s3_object_version: str | None = None
    s3_object_storage_mode: str | None = None


class PublishLayerVersionRequest(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    """PublishLayerVersion."""

    layer_name: str | None = None
    description: str | None = None
    content: LayerVersionContentInput | None = None
    compatible_architectures: list[str | None] | None = None
    compatible_runtimes: list[str | None] | None = None
    license_info: str | None = None
