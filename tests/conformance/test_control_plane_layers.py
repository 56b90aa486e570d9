"""Layers, by an unmodified boto3 on a real socket. Shapes and texts are those recorded from AWS."""

from __future__ import annotations

import base64
import hashlib
import re

import anyio.to_thread
import pytest

from engine.store import shapes
from tests.support.control_plane import ARN as FUNCTION_ARN
from tests.support.control_plane import control_plane
from tests.support.packages import package

ARN = "arn:aws:lambda:us-east-1:000000000000:layer:"
ELSEWHERE = ARN.replace("us-east-1", "eu-west-1") + "l:1"
STRANGER = ARN.replace("000000000000", "123456789012") + "l:1"
ZIP = package({"python/thing.py": "x = 1"})
NOT_THERE = ("ResourceNotFoundException", 404, "The resource you requested does not exist.")
LESS_THAN_ONE = ("InvalidParameterValueException", 400, "Layer Version Cannot be less than 1")
RUNTIMES = f"Member must satisfy enum value set: [{', '.join(shapes.RUNTIMES)}]"
ARCHITECTURES = "Member must satisfy enum value set: [x86_64, arm64]"


@pytest.fixture
async def plane(tmp_path):
    async with control_plane(tmp_path / "data", max_unzipped=100_000) as opened:
        yield opened


def bare(answer):
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


async def publish(plane, name="l", data=ZIP, **members):
    return await plane.call("publish_layer_version", LayerName=name, Content={"ZipFile": data}, **members)


async def test_the_answer_of_publish_is_the_recorded_one(plane):
    answer = await publish(
        plane,
        CompatibleRuntimes=["python3.12", "python3.11"],
        CompatibleArchitectures=["arm64", "x86_64"],
        Description="d",
        LicenseInfo="MIT",
    )
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    answer = bare(answer)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", answer.pop("CreatedDate"))
    location = answer["Content"].pop("Location")
    assert answer == {
        "Content": {"CodeSha256": base64.b64encode(hashlib.sha256(ZIP).digest()).decode(), "CodeSize": len(ZIP)},
        "LayerArn": ARN + "l",
        "LayerVersionArn": ARN + "l:1",
        "Description": "d",
        "Version": 1,
        "CompatibleArchitectures": ["arm64", "x86_64"],
        "CompatibleRuntimes": ["python3.12", "python3.11"],
        "LicenseInfo": "MIT",
    }
    assert (await plane.http("GET", location))[2] == ZIP


async def test_what_was_not_given_is_absent_and_what_was_empty_is_empty(plane):
    plain = bare(await publish(plane))
    assert plain.keys() == {"Content", "LayerArn", "LayerVersionArn", "Description", "CreatedDate", "Version"}
    assert plain["Description"] == ""
    empty = await publish(plane, "e", CompatibleRuntimes=[], CompatibleArchitectures=[])
    assert (empty["CompatibleRuntimes"], empty["CompatibleArchitectures"]) == ([], [])


async def test_a_layer_version_is_read_by_name_and_arn(plane):
    published = bare(await publish(plane))
    for operation, members in (
        ("get_layer_version", {"LayerName": "l", "VersionNumber": 1}),
        ("get_layer_version", {"LayerName": ARN + "l", "VersionNumber": 1}),
        ("get_layer_version_by_arn", {"Arn": ARN + "l:1"}),
    ):
        read = bare(await plane.call(operation, **members))
        for answer in (read, published):
            answer["Content"].pop("Location", None)
        assert read == published


async def test_lists_leave_out_content_and_are_in_their_order(plane):
    await publish(plane, "b", CompatibleRuntimes=["python3.12"])
    await publish(plane, "a", CompatibleRuntimes=["python3.12"], LicenseInfo="MIT")
    await publish(plane, "a", CompatibleRuntimes=["python3.13"], CompatibleArchitectures=["arm64"])
    layers = (await plane.call("list_layers"))["Layers"]
    assert [(one["LayerName"], one["LayerArn"], one["LatestMatchingVersion"]["Version"]) for one in layers] == [
        ("a", ARN + "a", 2),
        ("b", ARN + "b", 1),
    ]
    versions = bare(await plane.call("list_layer_versions", LayerName="a"))
    assert [one["Version"] for one in versions["LayerVersions"]] == [2, 1]
    oldest = versions["LayerVersions"][1]
    assert {name: oldest[name] for name in oldest if name != "CreatedDate"} == {
        "LayerVersionArn": ARN + "a:1",
        "Version": 1,
        "Description": "",
        "CompatibleRuntimes": ["python3.12"],
        "LicenseInfo": "MIT",
    }
    assert layers[0]["LatestMatchingVersion"] == versions["LayerVersions"][0]
    fitting = await plane.call("list_layers", CompatibleRuntime="python3.12")
    assert [one["LatestMatchingVersion"]["LayerVersionArn"] for one in fitting["Layers"]] == [ARN + "a:1", ARN + "b:1"]
    arm = await plane.call("list_layer_versions", LayerName="a", CompatibleArchitecture="arm64")
    assert [one["Version"] for one in arm["LayerVersions"]] == [2]
    assert bare(await plane.call("list_layer_versions", LayerName="nothing")) == {"LayerVersions": []}
    paginator = plane.client.get_paginator("list_layer_versions")
    pages = await anyio.to_thread.run_sync(
        lambda: list(paginator.paginate(LayerName="a", PaginationConfig={"PageSize": 1}))
    )
    assert [[one["Version"] for one in page["LayerVersions"]] for page in pages] == [[2], [1]]


async def test_deleting_is_idempotent_and_numbers_are_not_used_again(plane):
    await publish(plane)
    for _ in range(2):
        answer = await plane.call("delete_layer_version", LayerName="l", VersionNumber=1)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    await plane.call("delete_layer_version", LayerName="nothing", VersionNumber=1)
    assert bare(await plane.call("list_layers")) == {"Layers": []}
    assert (await publish(plane))["Version"] == 2


async def test_a_function_shows_its_layers_with_arn_and_size_also_when_they_are_deleted(plane):
    await publish(plane)
    await publish(plane, "m")
    created = await plane.create(Layers=[ARN + "m:1", ARN + "l:1"])
    shown = [{"Arn": ARN + "m:1", "CodeSize": len(ZIP)}, {"Arn": ARN + "l:1", "CodeSize": len(ZIP)}]
    assert created["Layers"] == shown
    await plane.call("delete_layer_version", LayerName="l", VersionNumber=1)
    assert (await plane.call("get_function_configuration", FunctionName="f"))["Layers"] == shown
    version = await plane.call("publish_version", FunctionName="f")
    assert version["Layers"] == shown
    updated = await plane.call("update_function_configuration", FunctionName="f", Layers=[ARN + "m:1"])
    assert updated["Layers"] == shown[:1]
    cleared = await plane.call("update_function_configuration", FunctionName="f", Layers=[])
    assert "Layers" not in cleared
    assert (await plane.call("get_function_configuration", FunctionName="f:1"))["Layers"] == shown
    listed = (await plane.call("list_versions_by_function", FunctionName="f"))["Versions"]
    assert [one.get("Layers") for one in listed] == [None, shown]


async def test_the_account_pays_for_layers(plane):
    await publish(plane)
    await publish(plane)
    usage = (await plane.call("get_account_settings"))["AccountUsage"]
    assert usage == {"TotalCodeSize": 2 * len(ZIP), "FunctionCount": 0}


def violation(value, path, constraint):
    shown = "null" if value is None else f"'{value}'"
    text = f"1 validation error detected: Value {shown} at '{path}' failed to satisfy constraint: {constraint}"
    return ("ValidationException", 400, text)


def invalid(text):
    return ("InvalidParameterValueException", 400, text)


REFUSED = [
    ("get_layer_version", {"LayerName": "nothing", "VersionNumber": 1}, NOT_THERE),
    ("get_layer_version", {"LayerName": "l", "VersionNumber": 9}, NOT_THERE),
    ("get_layer_version", {"LayerName": STRANGER[:-2], "VersionNumber": 1}, NOT_THERE),
    ("get_layer_version", {"LayerName": ELSEWHERE[:-2], "VersionNumber": 1}, NOT_THERE),
    ("get_layer_version", {"LayerName": "l", "VersionNumber": 0}, LESS_THAN_ONE),
    ("get_layer_version", {"LayerName": "l", "VersionNumber": -1}, LESS_THAN_ONE),
    ("delete_layer_version", {"LayerName": "l", "VersionNumber": -1}, LESS_THAN_ONE),
    (
        "get_layer_version",
        {"LayerName": "l", "VersionNumber": "one"},
        ("SerializationException", 400, "STRING_VALUE can not be converted to a Long"),
    ),
    ("get_layer_version_by_arn", {"Arn": ARN + "l:9"}, NOT_THERE),
    ("get_layer_version_by_arn", {"Arn": STRANGER}, NOT_THERE),
    (
        "get_layer_version_by_arn",
        {"Arn": ARN + "l"},
        violation(
            ARN + "l",
            "arn",
            f"Member must satisfy regular expression pattern: {shapes.LAYER_VERSION_ARN.pattern}",
        ),
    ),
    ("list_layers", {"CompatibleRuntime": "none"}, violation("none", "compatibleRuntime", RUNTIMES)),
    ("list_layers", {"CompatibleArchitecture": "none"}, violation("none", "compatibleArchitecture", ARCHITECTURES)),
    (
        "list_layers",
        {"MaxItems": 51},
        violation(51, "maxItems", "Member must have value less than or equal to 50"),
    ),
    ("list_layers", {"Marker": "?"}, invalid("The marker '?' is not one that ListLayers returned")),
    (
        "list_layer_versions",
        {"LayerName": "l", "Marker": "?"},
        invalid("The marker '?' is not one that ListLayerVersions returned"),
    ),
    (
        "publish_layer_version",
        {"LayerName": "a b", "Content": {"ZipFile": ZIP}},
        violation("a b", "layerName", f"Member must satisfy regular expression pattern: {shapes.LAYER_NAME.pattern}"),
    ),
    ("publish_layer_version", {"LayerName": "l"}, violation(None, "content", "Member must not be null")),
    ("publish_layer_version", {"LayerName": STRANGER[:-2], "Content": {"ZipFile": ZIP}}, NOT_THERE),
    (
        "publish_layer_version",
        {"LayerName": "l", "Content": {}},
        invalid("Please provide a source for function code."),
    ),
    (
        "publish_layer_version",
        {"LayerName": "l", "Content": {"ZipFile": b"no zip"}},
        invalid("Could not unzip uploaded file. Please check your file, then try to upload again."),
    ),
    (
        "publish_layer_version",
        {"LayerName": "l", "Content": {"ZipFile": package({"bomb": "0" * 100_001})}},
        invalid("Unzipped size must be smaller than 100000 bytes"),
    ),
    (
        "publish_layer_version",
        {"LayerName": "l", "Content": {"ZipFile": package({"../escape": "x"})}},
        invalid(
            "Could not unzip uploaded file. Please check your file, then try to upload again. "
            "(the entry '../escape' would leave the package's folder)"
        ),
    ),
    (
        "publish_layer_version",
        {"LayerName": "l", "Content": {"S3Bucket": "bucket", "S3Key": "key"}},
        (
            "NotImplementedException",
            501,
            ("Lambent cannot fetch code from S3 (S3Bucket 'bucket', S3Key 'key'): send the package itself as ZipFile"),
        ),
    ),
    (
        "publish_layer_version",
        {
            "LayerName": "l",
            "Content": {"ZipFile": ZIP},
            "CompatibleRuntimes": ["none", "python3.12"],
            "CompatibleArchitectures": ["none", "x86_64"],
        },
        (
            "ValidationException",
            400,
            (
                "2 validation errors detected: Value '[none, python3.12]' at 'compatibleRuntimes' failed to satisfy "
                f"constraint: {RUNTIMES}; Value '[none, x86_64]' at 'compatibleArchitectures' failed to satisfy "
                f"constraint: Member must satisfy constraint: [{ARCHITECTURES}, Member must not be null]"
            ),
        ),
    ),
]


@pytest.mark.parametrize(("operation", "members", "expected"), REFUSED, ids=range(len(REFUSED)))
async def test_requests_are_refused_in_awss_words(plane, operation, members, expected):
    await publish(plane)
    before = bare(await plane.call("list_layers"))
    assert await plane.refused(lambda: plane.call(operation, loose=True, **members)) == expected
    assert bare(await plane.call("list_layers")) == before
    assert len(list(plane.registry._code.root.iterdir())) == 1


TWICE = "Two different versions of the same layer are not allowed to be referenced in the same function. "

IN_FUNCTIONS = [
    ([ARN + "l:9"], f"Layer version {ARN}l:9 does not exist."),
    ([ARN + "l:1", ARN + "nothing:1"], f"Layer version {ARN}nothing:1 does not exist."),
    ([STRANGER], f"Layer version {STRANGER} does not exist."),
    (["arn:aws:lambda:::awslayer:Some"], "Layer version arn:aws:lambda:::awslayer:Some does not exist."),
    (
        [ELSEWHERE],
        ("Layers are not in the same region as the function. Layers are expected to be in region us-east-1."),
    ),
    ([ARN + "l:1", ARN + "l:2"], f"{TWICE}{ARN}l:1 and {ARN}l:2 are versions of the same layer."),
    ([ARN + "l:1", ARN + "l:1"], f"{TWICE}{ARN}l:1 and {ARN}l:1 are versions of the same layer."),
    ([ARN + f"{n}:1" for n in "abcdef"], "Cannot reference more than 5 layers."),
    (
        [ARN + "big:1"],
        (
            "Function code combined with layers exceeds the maximum allowed size of 100000 bytes. "
            "The actual size is 100046 bytes."
        ),
    ),
]


@pytest.mark.parametrize(("layers", "text"), IN_FUNCTIONS, ids=range(len(IN_FUNCTIONS)))
async def test_functions_with_such_layers_are_refused_alike_by_create_and_update(plane, layers, text):
    for _ in range(2):
        await publish(plane)
    await publish(plane, "big", package({"data": "0" * 100_000}))
    await plane.create("there", Layers=[ARN + "l:1"])
    for attempt in (
        lambda: plane.create("f", Layers=layers),
        lambda: plane.call("update_function_configuration", FunctionName="there", Layers=layers),
    ):
        assert await plane.refused(attempt) == ("InvalidParameterValueException", 400, text)
    shown = (await plane.call("get_function_configuration", FunctionName="there"))["Layers"]
    assert [one["Arn"] for one in shown] == [ARN + "l:1"]
    assert (await plane.refused(lambda: plane.call("get_function", FunctionName="f")))[2].endswith(FUNCTION_ARN + "f")
