"""The shapes of the requests that we take, from the API model (botocore, ``lambda/2015-03-31/service-2.json``).

A test compares every constraint here with the installed botocore, so that neither can drift from the other unseen.
"""

from __future__ import annotations

from typing import Final

from engine.store.constraints import TAG_PATTERN, Entries, Items, Members, Number, Shape, Text

RUNTIMES: Final = (
    "nodejs", "nodejs4.3", "nodejs6.10", "nodejs8.10", "nodejs10.x", "nodejs12.x", "nodejs14.x", "nodejs16.x",
    "nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x", "java8", "java8.al2", "java11", "java17", "java21",
    "java25", "python2.7", "python3.6", "python3.7", "python3.8", "python3.9", "python3.10", "python3.11",
    "python3.12", "python3.13", "python3.14", "dotnetcore1.0", "dotnetcore2.0", "dotnetcore2.1",
    "dotnetcore3.1", "dotnet6", "dotnet8", "dotnet10", "nodejs4.3-edge", "go1.x", "ruby2.5", "ruby2.7",
    "ruby3.2", "ruby3.3", "ruby3.4", "ruby4.0", "provided", "provided.al2", "provided.al2023", "nodejs26.x",
    "python3.15", "java8.al2023", "java11.al2023", "java17.al2023", "custom",
)  # fmt: skip

FUNCTION_NAME: Final = Text(
    min=1,
    max=140,
    pattern=(
        r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(f"
        r"unction:)?([a-zA-Z0-9-_]+)(:(\$LATEST|[a-zA-Z0-9-_]+))?"
    ),
)
NAMESPACED_FUNCTION_NAME: Final = Text(
    min=1,
    max=256,
    pattern=(
        r"(arn:(aws[a-zA-Z-]*)?:lambda:)?((eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:)?(\d{12}:)?(f"
        r"unction:)?([a-zA-Z0-9-_\.]+)(:(\$LATEST(\.PUBLISHED)?|[a-zA-Z0-9-_]+))?"
    ),
)
QUALIFIER: Final = Text(min=1, max=128, pattern=r"\$(LATEST(\.PUBLISHED)?)|[a-zA-Z0-9-_$]+")
ROLE: Final = Text(min=0, max=10_000, pattern=r"arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role/?[a-zA-Z_0-9+=,.@\-_/]+")
HANDLER: Final = Text(min=0, max=128, pattern=r"[^\s]+")
DESCRIPTION: Final = Text(min=0, max=256)
TIMEOUT: Final = Number(min=1, max=5_400)
MEMORY_SIZE: Final = Number(min=128, max=32_768)
ARN_OR_NOTHING: Final = Text(min=0, max=10_000, pattern=r"(arn:(aws[a-zA-Z-]*)?:[a-z0-9-.]+:.*)|()")
LAYER_VERSION_ARN: Final = Text(
    min=1,
    max=2_048,
    pattern=(
        r"((arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-"
        r"zA-Z0-9-_]+:[0-9]+)|(arn:[a-zA-Z0-9-]+:lambda:::awslayer:[a-zA-Z0-9-_]+))"
    ),
)
TAGGABLE_RESOURCE: Final = Text(
    min=1,
    max=10_000,
    pattern=(
        r"arn:(aws[a-zA-Z-]*):lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:(function:[a"
        r"-zA-Z0-9-_]+(:(\$LATEST|[a-zA-Z0-9-_]+))?|code-signing-config:csc-[a-z0-9]{17}|event-source-mapping:"
        r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}|(capacity-provider|netwo"
        r"rk-connector):[a-zA-Z0-9-_]{1,64})"
    ),
)
FILE_SYSTEM_ARN: Final = Text(
    min=0,
    max=256,
    pattern=(
        r"arn:aws[a-zA-Z-]*:elasticfilesystem:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:acc"
        r"ess-point/fsap-[a-f0-9]{17}$|^arn:aws[-a-z]*:s3files:[0-9a-z-:]+:file-system/fs-[0-9a-f]{17,40}/acce"
        r"ss-point/fsap-[0-9a-f]{17,40}"
    ),
)
CODE_SIGNING_CONFIG_ARN: Final = Text(
    min=0,
    max=200,
    pattern=(
        r"arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:code-signin"
        r"g-config:csc-[a-z0-9]{17}"
    ),
)
TAGS: Final = Entries(key=Text(min=1, max=128, pattern=TAG_PATTERN), value=Text(min=0, max=256, pattern=TAG_PATTERN))
ARCHITECTURES: Final = Items(of=Text(enum=("x86_64", "arm64")), min=1, max=1)
LATEST_PUBLISHED: Final = Text(enum=("LATEST_PUBLISHED",))

CODE: Final = Members(
    of={
        "S3Bucket": Text(min=3, max=63, pattern=r"[0-9A-Za-z\.\-_]*(?<!\.)"),
        "S3Key": Text(min=1, max=1_024, pattern=r".*"),
        "S3ObjectVersion": Text(min=1, max=1_024, pattern=r".*"),
        "S3ObjectStorageMode": Text(enum=("COPY", "REFERENCE")),
        "SourceKMSKeyArn": ARN_OR_NOTHING,
    }
)
ENVIRONMENT: Final = Members(
    of={
        "Variables": Entries(
            key=Text(pattern=r"[a-zA-Z]([a-zA-Z0-9_])+", sensitive=True), value=Text(sensitive=True), sensitive=True
        )
    }
)
VPC_CONFIG: Final = Members(
    of={
        "SubnetIds": Items(of=Text(min=0, max=1_024, pattern=r"subnet-[0-9a-z]*"), min=0, max=16, names_null=False),
        "SecurityGroupIds": Items(
            of=Text(min=0, max=1_024, pattern=r"sg-[0-9a-zA-Z]*"), min=0, max=5, names_null=False
        ),
    }
)
FILE_SYSTEM_CONFIGS: Final = Items(
    of=Members(
        of={
            "Arn": FILE_SYSTEM_ARN,
            "LocalMountPath": Text(min=0, max=160, pattern=r"/mnt/[a-zA-Z0-9-_.]+"),
            "S3FilesConfig": Members(of={"DirectS3Read": Text(enum=("ENABLED", "DISABLED", "AUTO"))}),
        },
        required=("Arn", "LocalMountPath"),
    ),
    min=0,
    max=1,
)
LOGGING_CONFIG: Final = Members(
    of={
        "LogFormat": Text(enum=("JSON", "Text")),
        "ApplicationLogLevel": Text(enum=("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")),
        "SystemLogLevel": Text(enum=("DEBUG", "INFO", "WARN")),
        "LogGroup": Text(min=1, max=512, pattern=r"[\.\-_/#A-Za-z0-9]+"),
    }
)

CAPACITY_PROVIDER_CONFIG: Final = Members(
    of={
        "LambdaManagedInstancesCapacityProviderConfig": Members(
            of={
                "CapacityProviderArn": Text(
                    min=1,
                    max=140,
                    pattern=(
                        r"arn:aws[a-zA-Z-]*:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:capacit"
                        r"y-provider:[a-zA-Z0-9-_]+"
                    ),
                ),
                "PerExecutionEnvironmentMaxConcurrency": Number(min=1, max=1_600),
                "ExecutionEnvironmentMemoryGiBPerVCpu": Number(min=2, max=8),
            },
            required=("CapacityProviderArn",),
        )
    },
    required=("LambdaManagedInstancesCapacityProviderConfig",),
)

#: Runtime is not among them: AWS answers a wrong one with InvalidParameterValueException and a text of its own.
SETTINGS: Final[dict[str, Shape]] = {
    "Role": ROLE,
    "Handler": HANDLER,
    "Description": DESCRIPTION,
    "Timeout": TIMEOUT,
    "MemorySize": MEMORY_SIZE,
    "VpcConfig": VPC_CONFIG,
    "DeadLetterConfig": Members(of={"TargetArn": ARN_OR_NOTHING}),
    "Environment": ENVIRONMENT,
    "KMSKeyArn": ARN_OR_NOTHING,
    "TracingConfig": Members(of={"Mode": Text(enum=("Active", "PassThrough"))}),
    "Layers": Items(of=LAYER_VERSION_ARN),
    "FileSystemConfigs": FILE_SYSTEM_CONFIGS,
    "EphemeralStorage": Members(of={"Size": Number(min=512, max=32_768)}, required=("Size",)),
    "SnapStart": Members(of={"ApplyOn": Text(enum=("PublishedVersions", "None"))}),
    "LoggingConfig": LOGGING_CONFIG,
    "CapacityProviderConfig": CAPACITY_PROVIDER_CONFIG,
}

CREATE_FUNCTION: Final = Members(
    of={
        "FunctionName": FUNCTION_NAME,
        **SETTINGS,
        "Code": CODE,
        "PackageType": Text(enum=("Zip", "Image")),
        "Architectures": ARCHITECTURES,
        "PublishTo": LATEST_PUBLISHED,
        "Tags": TAGS,
        "CodeSigningConfigArn": CODE_SIGNING_CONFIG_ARN,
    },
    required=("FunctionName", "Role", "Code"),
)
UPDATE_FUNCTION_CONFIGURATION: Final = Members(
    of={"FunctionName": FUNCTION_NAME, **SETTINGS}, required=("FunctionName",)
)
UPDATE_FUNCTION_CODE: Final = Members(
    of={
        "FunctionName": FUNCTION_NAME,
        **CODE.of,
        "Architectures": ARCHITECTURES,
        "PublishTo": LATEST_PUBLISHED,
    },
    required=("FunctionName",),
)
PUBLISH_VERSION: Final = Members(
    of={"FunctionName": FUNCTION_NAME, "Description": DESCRIPTION, "PublishTo": LATEST_PUBLISHED},
    required=("FunctionName",),
)
LIST_VERSIONS: Final = Members(
    of={"FunctionName": NAMESPACED_FUNCTION_NAME, "MaxItems": Number(min=1, max=10_000)}, required=("FunctionName",)
)
LAYER_NAME: Final = Text(
    min=1,
    max=2_048,
    pattern=(
        r"(arn:(aws[a-zA-Z-]*)?:lambda:(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}:\d{12}:layer:[a-z"
        r"A-Z0-9-_]{1,140}|[a-zA-Z0-9-_]{1,140})"
    ),
)
ARCHITECTURE: Final = Text(enum=("x86_64", "arm64"))
PUBLISH_LAYER_VERSION: Final = Members(
    of={
        "LayerName": LAYER_NAME,
        "Description": DESCRIPTION,
        "Content": Members(of={name: CODE.of[name] for name in CODE.of if name.startswith("S3")}),
        "CompatibleRuntimes": Items(of=Text(enum=RUNTIMES), min=0, max=15, bare=True),
        "CompatibleArchitectures": Items(of=ARCHITECTURE, min=0, max=2),
        "LicenseInfo": Text(min=0, max=512, pattern=r".*"),
    },
    required=("LayerName", "Content"),
)
LAYER_VERSION: Final = Members(of={"LayerName": LAYER_NAME}, required=("LayerName", "VersionNumber"))
LAYER_VERSION_BY_ARN: Final = Members(of={"Arn": LAYER_VERSION_ARN}, required=("Arn",))
_LISTED_LAYERS: Final[dict[str, Shape]] = {
    "CompatibleRuntime": Text(enum=RUNTIMES),
    "CompatibleArchitecture": ARCHITECTURE,
    "MaxItems": Number(min=1, max=50),
}
LIST_LAYERS: Final = Members(of=_LISTED_LAYERS)
LIST_LAYER_VERSIONS: Final = Members(of={"LayerName": LAYER_NAME, **_LISTED_LAYERS}, required=("LayerName",))
QUALIFIED_FUNCTION: Final = Members(
    of={"FunctionName": NAMESPACED_FUNCTION_NAME, "Qualifier": QUALIFIER}, required=("FunctionName",)
)
FUNCTION: Final = Members(of={"FunctionName": FUNCTION_NAME}, required=("FunctionName",))
LIST_FUNCTIONS: Final = Members(
    of={
        "MasterRegion": Text(min=1, max=50, pattern=r"ALL|(eusc-)?[a-z]{2}((-gov)|(-iso([a-z]?)))?-[a-z]+-\d{1}"),
        "FunctionVersion": Text(enum=("ALL",)),
        "MaxItems": Number(min=1, max=10_000),
    }
)
PUT_FUNCTION_CONCURRENCY: Final = Members(
    of={"FunctionName": FUNCTION_NAME, "ReservedConcurrentExecutions": Number(min=0)},
    required=("FunctionName", "ReservedConcurrentExecutions"),
)
LIST_TAGS: Final = Members(of={"Resource": TAGGABLE_RESOURCE}, required=("Resource",))
TAG_RESOURCE: Final = Members(of={"Resource": TAGGABLE_RESOURCE, "Tags": TAGS}, required=("Resource", "Tags"))
UNTAG_RESOURCE: Final = Members(
    of={"Resource": TAGGABLE_RESOURCE, "TagKeys": Items(of=TAGS.key)}, required=("Resource", "TagKeys")
)
