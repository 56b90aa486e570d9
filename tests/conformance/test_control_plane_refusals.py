"""Every refusal with its code, status and text, as AWS's own clients read them."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json

import anyio.to_thread
import pytest

from engine.store import shapes
from tests.support.control_plane import ARN, ROLE, control_plane
from tests.support.packages import package

DETECTED = "1 validation error detected: "
ELSEWHERE = ARN.replace("us-east-1", "eu-west-1")
STRANGER = ARN.replace("000000000000", "123456789012")
ENVIRONMENT = (
    "Lambda was unable to configure your environment variables because the environment variables you have provided "
)


@pytest.fixture
async def plane(tmp_path):
    async with control_plane(tmp_path / "data", max_unzipped=100_000) as opened:
        yield opened


def violation(value, path, constraint):
    shown = "null" if value is None else f"'{value}'"
    return (
        "ValidationException",
        400,
        f"{DETECTED}Value {shown} at '{path}' failed to satisfy constraint: {constraint}",
    )


def least(number):
    return f"Member must have value greater than or equal to {number}"


def most(number):
    return f"Member must have value less than or equal to {number}"


def shortest(number):
    return f"Member must have length greater than or equal to {number}"


def longest(number):
    return f"Member must have length less than or equal to {number}"


def pattern(shape):
    return f"Member must satisfy regular expression pattern: {shape.pattern}"


def invalid(text):
    return ("InvalidParameterValueException", 400, text)


BIG = {"Variables": {"BIG": "x" * 5000}}
SIX = [f"arn:aws:lambda:us-east-1:000000000000:layer:l{number}:1" for number in range(6)]

SETTINGS = [
    ({"MemorySize": 127}, violation(127, "memorySize", least(128))),
    ({"MemorySize": 32769}, violation(32769, "memorySize", most(32768))),
    ({"MemorySize": 10241}, invalid(f"'MemorySize' value failed to satisfy constraint: {most(10240)}")),
    ({"Timeout": 0}, violation(0, "timeout", least(1))),
    ({"Timeout": 5401}, violation(5401, "timeout", most(5400))),
    ({"Timeout": 901}, invalid(f"'Timeout' value failed to satisfy constraint: {most(900)}")),
    ({"EphemeralStorage": {"Size": 511}}, violation(511, "ephemeralStorage.size", least(512))),
    (
        {"EphemeralStorage": {"Size": 10241}},
        invalid(f"'EphemeralStorage' value failed to satisfy constraint: {most(10240)}"),
    ),
    ({"EphemeralStorage": {}}, violation(None, "ephemeralStorage.size", "Member must not be null")),
    ({"Description": "d" * 257}, violation("d" * 257, "description", longest(256))),
    ({"Handler": "h" * 129}, violation("h" * 129, "handler", longest(128))),
    ({"Handler": "a b"}, violation("a b", "handler", pattern(shapes.HANDLER))),
    ({"Role": "r1"}, violation("r1", "role", pattern(shapes.ROLE))),
    (
        {"Runtime": "PYTHON3.9"},
        invalid(
            "Value PYTHON3.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: "
            f"[{', '.join(shapes.RUNTIMES)}] or be a valid ARN"
        ),
    ),
    (
        {"TracingConfig": {"Mode": "on"}},
        violation("on", "tracingConfig.mode", "Member must satisfy enum value set: [Active, PassThrough]"),
    ),
    (
        {"SnapStart": {"ApplyOn": "invalidOption"}},
        violation(
            "invalidOption", "snapStart.applyOn", "Member must satisfy enum value set: [PublishedVersions, None]"
        ),
    ),
    (
        {"LoggingConfig": {"LogFormat": "xml"}},
        violation("xml", "loggingConfig.logFormat", "Member must satisfy enum value set: [JSON, Text]"),
    ),
    (
        {"LoggingConfig": {"LogFormat": "Text", "SystemLogLevel": "INFO"}},
        invalid(
            'LogLevel is not supported when LogFormat is set to "Text". '
            'Remove LogLevel from your request or change the LogFormat to "JSON" and try again.'
        ),
    ),
    (
        {"VpcConfig": {"SubnetIds": ["bad-subnet"], "SecurityGroupIds": []}},
        violation(
            "[bad-subnet]",
            "vpcConfig.subnetIds",
            f"Member must satisfy constraint: [{longest(1024)}, {shortest(0)}, "
            "Member must satisfy regular expression pattern: subnet-[0-9a-z]*]",
        ),
    ),
    (
        {"Environment": {"Variables": {"1BAD": "secret"}}},
        (
            "ValidationException",
            400,
            (
                f"{DETECTED}Value at 'environment.variables' failed to satisfy constraint: Map keys must satisfy "
                "constraint: [Member must satisfy regular expression pattern: [a-zA-Z]([a-zA-Z0-9_])+, "
                "Member must not be null]"
            ),
        ),
    ),
    (
        {"Environment": {"Variables": {"AWS_REGION": "x", "AWS_LAMBDA_RUNTIME_API": "evil:1", "FINE": "y"}}},
        invalid(
            f"{ENVIRONMENT}contains reserved keys that are currently not supported for modification. "
            "Reserved keys used in this request: AWS_LAMBDA_RUNTIME_API, AWS_REGION"
        ),
    ),
    (
        {"Environment": BIG},
        invalid(f'{ENVIRONMENT}exceeded the 4KB limit. String measured: {{"BIG":"{"x" * 5000}"}}'),
    ),
    (
        {"Environment": {"Variables": {"AB": "a\0b"}}},
        invalid(f"{ENVIRONMENT}contain a NUL character, which no process can be given: AB"),
    ),
    ({"Handler": "a\0b"}, invalid("The handler must not contain a NUL character: it is passed to a process")),
    ({"Layers": SIX}, invalid("Cannot reference more than 5 layers.")),
    ({"Layers": SIX[:1]}, invalid(f"Layer version {SIX[0]} does not exist.")),
    (
        {"Layers": ["l"]},
        violation(
            "[l]",
            "layers",
            f"Member must satisfy constraint: [{longest(2048)}, {shortest(1)}, {pattern(shapes.LAYER_VERSION_ARN)}, "
            "Member must not be null]",
        ),
    ),
    (
        {"DeadLetterConfig": {"TargetArn": "queue"}},
        violation("queue", "deadLetterConfig.targetArn", pattern(shapes.ARN_OR_NOTHING)),
    ),
    (
        {"FileSystemConfigs": [{"Arn": "x", "LocalMountPath": "/mnt/x"}]},
        violation("x", "fileSystemConfigs.1.member.arn", pattern(shapes.FILE_SYSTEM_ARN)),
    ),
    (
        {"DurableConfig": {"ExecutionTimeout": 10}},
        (
            "NotImplementedException",
            501,
            "{operation} with DurableConfig: Lambent does not implement DurableConfig yet; leave it out",
        ),
    ),
]


@pytest.mark.parametrize(("members", "expected"), SETTINGS, ids=[next(iter(members)) for members, _ in SETTINGS])
async def test_settings_are_refused_alike_by_create_and_update(plane, members, expected):
    await plane.create("there")
    code, status, text = expected
    for operation, attempt in (
        ("CreateFunction", lambda: plane.create(**members)),
        (
            "UpdateFunctionConfiguration",
            lambda: plane.call("update_function_configuration", loose=True, FunctionName="there", **members),
        ),
    ):
        assert await plane.refused(attempt) == (code, status, text.replace("{operation}", operation))
    assert [function.name for function in plane.registry.list()[0]] == ["there"]
    assert plane.registry.get("there").last_update_status == "Successful"


async def test_several_violations_are_counted_and_joined(plane):
    code, status, text = await plane.refused(
        lambda: plane.create("a b", Role="r1", MemorySize=1, Code=None, Architectures=["x86_64", "arm64"])
    )
    assert (code, status) == ("ValidationException", 400)
    assert text == "5 validation errors detected: " + "; ".join(
        (
            f"Value 'a b' at 'functionName' failed to satisfy constraint: {pattern(shapes.FUNCTION_NAME)}",
            f"Value 'r1' at 'role' failed to satisfy constraint: {pattern(shapes.ROLE)}",
            f"Value '1' at 'memorySize' failed to satisfy constraint: {least(128)}",
            "Value null at 'code' failed to satisfy constraint: Member must not be null",
            f"Value '[x86_64, arm64]' at 'architectures' failed to satisfy constraint: {longest(1)}",
        )
    )


SHA256 = base64.b64encode(hashlib.sha256(package()).digest()).decode()

CREATE = [
    ({"FunctionName": None}, violation(None, "functionName", "Member must not be null")),
    ({"Role": None}, violation(None, "role", "Member must not be null")),
    (
        {"FunctionName": "invalid:function:name"},
        violation("invalid:function:name", "functionName", pattern(shapes.FUNCTION_NAME)),
    ),
    (
        {"FunctionName": "a" * 65},
        invalid(f"{DETECTED}Value '{'a' * 65}' at 'functionName' failed to satisfy constraint: {longest(64)}"),
    ),
    ({"FunctionName": ARN + "a" * 100}, violation(ARN + "a" * 100, "functionName", longest(140))),
    (
        {"FunctionName": ELSEWHERE + "f"},
        ("ResourceNotFoundException", 404, "Functions from 'eu-west-1' are not reachable in this region ('us-east-1')"),
    ),
    (
        {"FunctionName": STRANGER + "f"},
        (
            "AccessDeniedException",
            403,
            f"The function {STRANGER}f belongs to account 123456789012; this engine serves account 000000000000",
        ),
    ),
    (
        {"Runtime": None},
        invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages."),
    ),
    (
        {"Handler": None},
        invalid("Runtime and Handler are mandatory parameters for functions created with deployment packages."),
    ),
    (
        {"Architectures": ["X86_64"]},
        violation(
            "[X86_64]",
            "architectures",
            "Member must satisfy constraint: [Member must satisfy enum value set: [x86_64, arm64], "
            "Member must not be null]",
        ),
    ),
    ({"Architectures": []}, violation("[]", "architectures", shortest(1))),
    (
        {"PackageType": "Tar"},
        violation("Tar", "packageType", "Member must satisfy enum value set: [Zip, Image]"),
    ),
    (
        {"PackageType": "Image"},
        (
            "NotImplementedException",
            501,
            "CreateFunction with PackageType Image: Lambent runs zip packages and folders, not container images",
        ),
    ),
    ({"Code": {}}, invalid("Please provide a source for function code.")),
    (
        {"Code": {"ZipFile": package(), "S3Bucket": "bucket"}},
        invalid("Please do not provide other FunctionCode parameters when providing a ZipFile."),
    ),
    (
        {"Code": {"S3Bucket": "bucket", "S3Key": "k"}},
        (
            "NotImplementedException",
            501,
            "Lambent cannot fetch code from S3 (S3Bucket 'bucket', S3Key 'k'): send the package itself as ZipFile",
        ),
    ),
    ({"Code": {"S3Bucket": "b", "S3Key": "k"}}, violation("b", "code.s3Bucket", shortest(3))),
    (
        {"Code": {"ZipFile": b"no zip"}},
        invalid("Could not unzip uploaded file. Please check your file, then try to upload again."),
    ),
    ({"Code": {"ZipFile": b""}}, invalid("Uploaded file must be a non-empty zip")),
    (
        {"Code": {"ZipFile": package({"zeros": b"\0" * 100_001})}},
        invalid("Unzipped size must be smaller than 100000 bytes"),
    ),
    (
        {"Tags": {f"t{number}": "v" for number in range(51)}},
        invalid("Number of tags exceeds resource tag limit."),
    ),
    (
        {"Tags": {"k": "!"}},
        violation(
            "{k=!}",
            "tags",
            f"Map value must satisfy constraint: [{longest(256)}, {shortest(0)}, {pattern(shapes.TAGS.value)}, "
            "Member must not be null]",
        ),
    ),
    (
        {"Tags": {"": "v"}},
        violation(
            "{=v}",
            "tags",
            f"Map keys must satisfy constraint: [{longest(128)}, {shortest(1)}, {pattern(shapes.TAGS.key)}, "
            "Member must not be null]",
        ),
    ),
]


@pytest.mark.parametrize(("members", "expected"), CREATE, ids=range(len(CREATE)))
async def test_create_is_refused(plane, members, expected):
    name = members.get("FunctionName", "f")
    rest = {key: value for key, value in members.items() if key != "FunctionName"}
    assert await plane.refused(lambda: plane.create(name, **rest)) == expected
    assert plane.registry.list() == ([], None)
    assert list(plane.registry._code.root.iterdir()) == []


async def test_a_name_is_taken_once(plane):
    await plane.create()
    with pytest.raises(plane.client.exceptions.ResourceConflictException) as caught:
        await plane.create()
    error = caught.value.response
    assert (error["Error"]["Message"], error["ResponseMetadata"]["HTTPStatusCode"], error["Type"]) == (
        "Function already exist: f",
        409,
        "User",
    )


MISSING = [
    ("get_function", {}, ""),
    ("get_function", {"Qualifier": "7"}, ":7"),
    ("get_function_configuration", {}, ""),
    ("update_function_code", {"ZipFile": package()}, ""),
    ("update_function_configuration", {"Timeout": 3}, ""),
    ("delete_function", {}, ""),
    ("delete_function", {"Qualifier": "7"}, ""),
    ("put_function_concurrency", {"ReservedConcurrentExecutions": 1}, ":$LATEST"),
    ("get_function_concurrency", {}, ""),
]


@pytest.mark.parametrize(("operation", "members", "suffix"), MISSING)
async def test_what_is_not_there_is_not_found(plane, operation, members, suffix):
    with pytest.raises(plane.client.exceptions.ResourceNotFoundException) as caught:
        await plane.call(operation, FunctionName="missing", **members)
    error = caught.value.response
    assert error["Message"] == error["Error"]["Message"] == f"Function not found: {ARN}missing{suffix}"
    assert (error["Type"], error["ResponseMetadata"]["HTTPStatusCode"]) == ("User", 404)


QUALIFIED = "This operation is permitted on Lambda functions only. Aliases and versions do not support this operation. "
QUALIFIED += "Please specify either a function name or an unqualified function ARN."

OTHERS = [
    (
        "get_function",
        {"FunctionName": "f:1", "Qualifier": "$LATEST"},
        invalid("The derived qualifier from the function name does not match the specified qualifier."),
    ),
    (
        "get_function",
        {"FunctionName": "f", "Qualifier": "not-?-valid"},
        violation("not-?-valid", "qualifier", pattern(shapes.QUALIFIER)),
    ),
    (
        "delete_function",
        {"FunctionName": "f", "Qualifier": "$LATEST"},
        invalid("$LATEST version cannot be deleted without deleting the function."),
    ),
    (
        "delete_function",
        {"FunctionName": "f", "Qualifier": "live"},
        invalid("Deletion of aliases is not currently supported."),
    ),
    (
        "list_functions",
        {"FunctionVersion": "invalid"},
        violation("invalid", "functionVersion", "Member must satisfy enum value set: [ALL]"),
    ),
    ("list_functions", {"MaxItems": 0}, violation(0, "maxItems", least(1))),
    ("list_functions", {"MaxItems": 10001}, violation(10001, "maxItems", most(10000))),
    ("list_functions", {"Marker": "?"}, invalid("The marker '?' is not one that ListFunctions returned")),
    (
        "update_function_code",
        {"FunctionName": "f", "ZipFile": b"bad"},
        invalid("Could not unzip uploaded file. Please check your file, then try to upload again."),
    ),
    ("update_function_code", {"FunctionName": "f"}, invalid("Please provide a source for function code.")),
    (
        "update_function_code",
        {"FunctionName": "f", "ImageUri": "x"},
        invalid("Please don't provide ImageUri when updating a function with packageType Zip."),
    ),
    ("update_function_code", {"FunctionName": "f:1", "ZipFile": package()}, invalid(QUALIFIED)),
    ("publish_version", {"FunctionName": "f:1"}, invalid(QUALIFIED)),
    ("publish_version", {"FunctionName": "g"}, ("ResourceNotFoundException", 404, f"Function not found: {ARN}g")),
    (
        "publish_version",
        {"FunctionName": "f", "Description": "x" * 257},
        violation("x" * 257, "description", longest(256)),
    ),
    (
        "publish_version",
        {"FunctionName": "f", "RevisionId": "x"},
        (
            "PreconditionFailedException",
            412,
            (
                "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
                "retrieve the latest Revision Id"
            ),
        ),
    ),
    (
        "publish_version",
        {"FunctionName": "f", "CodeSha256": "no"},
        invalid(
            f"CodeSHA256 (no) is different from current CodeSHA256 in $LATEST ({SHA256}). Please try again with the "
            "CodeSHA256 in $LATEST."
        ),
    ),
    (
        "publish_version",
        {"FunctionName": "f", "PublishTo": "LATEST_PUBLISHED"},
        (
            "NotImplementedException",
            501,
            "PublishVersion with PublishTo: Lambent does not implement PublishTo yet; leave it out",
        ),
    ),
    (
        "list_versions_by_function",
        {"FunctionName": "g"},
        ("ResourceNotFoundException", 404, f"Function not found: {ARN}g"),
    ),
    ("list_versions_by_function", {"FunctionName": "f", "MaxItems": 0}, violation(0, "maxItems", least(1))),
    (
        "list_versions_by_function",
        {"FunctionName": "f", "Marker": "?"},
        invalid("The marker '?' is not one that ListVersionsByFunction returned"),
    ),
    (
        "put_function_concurrency",
        {"FunctionName": "f", "ReservedConcurrentExecutions": -1},
        violation(-1, "reservedConcurrentExecutions", least(0)),
    ),
    (
        "put_function_concurrency",
        {"FunctionName": "f"},
        violation(None, "reservedConcurrentExecutions", "Member must not be null"),
    ),
    (
        "put_function_concurrency",
        {"FunctionName": "f", "ReservedConcurrentExecutions": 901},
        invalid(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution "
            "below its minimum value of [100]."
        ),
    ),
    ("put_function_concurrency", {"FunctionName": ARN + "f:1", "ReservedConcurrentExecutions": 1}, invalid(QUALIFIED)),
    (
        "tag_resource",
        {"Resource": "arn:aws:something", "Tags": {"a": "b"}},
        violation("arn:aws:something", "resource", pattern(shapes.TAGGABLE_RESOURCE)),
    ),
    (
        "tag_resource",
        {"Resource": ARN + "missing", "Tags": {"a": "b"}},
        ("ResourceNotFoundException", 404, f"Function not found: {ARN}missing"),
    ),
    (
        "tag_resource",
        {"Resource": ARN + "f:live", "Tags": {"a": "b"}},
        invalid("Tags on function aliases and versions are not supported. Please specify a function ARN."),
    ),
    (
        "tag_resource",
        {"Resource": ARN + "f", "Tags": {}},
        invalid("An error occurred and the request cannot be processed."),
    ),
    (
        "tag_resource",
        {"Resource": ARN + "f", "Tags": {f"t{number}": "v" for number in range(51)}},
        invalid("Number of tags exceeds resource tag limit."),
    ),
    ("tag_resource", {"Resource": ARN + "f"}, violation(None, "tags", "Member must not be null")),
    (
        "untag_resource",
        {"Resource": ARN + "f", "TagKeys": []},
        violation(None, "tagKeys", "Member must not be null"),
    ),
    (
        "list_tags",
        {"Resource": "arn:aws:lambda:us-east-1:000000000000:capacity-provider:x"},
        (
            "ResourceNotFoundException",
            404,
            "Capacity provider not found: arn:aws:lambda:us-east-1:000000000000:capacity-provider:x",
        ),
    ),
]


@pytest.mark.parametrize(("operation", "members", "expected"), OTHERS, ids=range(len(OTHERS)))
async def test_the_other_operations_are_refused(plane, operation, members, expected):
    await plane.create()
    before = plane.registry.get("f")
    assert await plane.refused(lambda: plane.call(operation, loose=True, **members)) == expected
    assert plane.registry.get("f") is before
    assert (plane.registry.tags("f"), plane.registry.reserved("f")) == ({}, None)


async def test_deleting_a_version_that_is_not_there_is_done_already(plane):
    await plane.create()
    assert (await plane.call("delete_function", FunctionName="f", Qualifier="7"))["StatusCode"] == 200
    assert plane.registry.get("f")


BODIES = [
    (b"{", "Could not parse request body into json: Input data was truncated"),
    (b"not json", "Could not parse request body into json: JSON is malformed: invalid character (byte 4)"),
    (b'"text"', "Expected structure or null"),
    (b"[]", "Start of list found where not expected"),
    (b'{"MemorySize": "big"}', "STRING_VALUE can not be converted to an Integer (at $.MemorySize)"),
    (b'{"Role": 5}', "NUMBER_VALUE can not be converted to a String (at $.Role)"),
    (b'{"Role": {}}', "Start of structure or map found where not expected. (at $.Role)"),
    (b'{"Layers": "x"}', "Expected list or null (at $.Layers)"),
    (b'{"Environment": "x"}', "Expected structure or null (at $.Environment)"),
    (b'{"Code": {"ZipFile": "!"}}', "Invalid base64 encoded string (at $.Code.ZipFile)"),
    (b'{"Code": ' + b"[" * 100_000, "Start of list found where not expected (at $.Code)"),
    (b'{"Unknown": ' + b"[" * 100_000, "Could not parse request body into json"),
    (b"\xff\xfe", "Could not parse request body into json"),
]


@pytest.mark.parametrize(("body", "text"), BODIES, ids=range(len(BODIES)))
async def test_bodies_of_the_wrong_kind_are_serialization_errors(plane, body, text):
    status, headers, answer = await plane.http("POST", "/2015-03-31/functions", body)
    assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException")
    assert headers["content-type"] == "application/json"
    assert json.loads(answer)["Message"].startswith(text)


async def test_a_query_that_is_no_number_is_a_serialization_error(plane):
    status, headers, answer = await plane.http("GET", "/2015-03-31/functions?MaxItems=many")
    assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException")
    assert json.loads(answer) == {"Message": "STRING_VALUE can not be converted to an Integer"}


async def test_null_members_are_absent_members(plane):
    body = {
        "FunctionName": "f",
        "Role": ROLE,
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Code": {"S3Bucket": None},
        "Timeout": None,
        "Unknown": {"deep": [1]},
    }
    status, _, answer = await plane.http("POST", "/2015-03-31/functions", json.dumps(body).encode())
    assert (status, json.loads(answer)["message"]) == (400, "Please provide a source for function code.")


async def test_an_error_of_ours_is_a_service_exception_and_the_server_goes_on(plane, monkeypatch, caplog):
    monkeypatch.setattr(plane.registry, "list", lambda *_, **__: 1 / 0)
    with pytest.raises(plane.client.exceptions.ServiceException) as caught:
        await plane.call("list_functions")
    error = caught.value.response
    request_id = error["ResponseMetadata"]["RequestId"]
    assert error["ResponseMetadata"]["HTTPStatusCode"] == 500
    assert request_id in error["Message"]
    assert request_id in caplog.text
    assert "ZeroDivisionError" in caplog.text
    monkeypatch.undo()
    assert (await plane.call("list_functions"))["Functions"] == []


TOO_LARGE = "Request must be smaller than 70167211 bytes for the CreateFunction operation"


async def test_a_package_over_fifty_megabytes_is_refused(plane):
    data = b"\0" * 52_428_800
    assert await plane.refused(lambda: plane.create(Code={"ZipFile": data})) == (
        "RequestEntityTooLargeException",
        413,
        "Zipped size must be smaller than 52428800 bytes",
    )


async def test_a_body_over_seventy_megabytes_is_refused(plane):
    data = b"\0" * 53_000_000
    assert await plane.refused(lambda: plane.create(Code={"ZipFile": data})) == (
        "RequestEntityTooLargeException",
        413,
        TOO_LARGE,
    )
    assert (await plane.call("list_functions"))["Functions"] == []


async def test_a_body_without_a_length_is_counted_while_it_comes(plane):
    host, port = plane.url.removeprefix("http://").split(":")

    def send():
        connection = http.client.HTTPConnection(host, int(port), timeout=30)
        try:
            chunks = (b"x" * 1_000_000 for _ in range(72))
            connection.request("POST", "/2015-03-31/functions", chunks, encode_chunked=True)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    assert await anyio.to_thread.run_sync(send) == (413, {"message": TOO_LARGE})
