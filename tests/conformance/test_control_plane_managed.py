"""CapacityProviderConfig, by an unmodified boto3: functions whose environments take several invocations at a time."""

from __future__ import annotations

import base64
import json

import pytest

from tests.support.control_plane import ROLE, control_plane
from tests.support.packages import package

PROVIDER = "arn:aws:lambda:us-east-1:000000000000:capacity-provider:mine"
JSON = {"LogFormat": "JSON", "ApplicationLogLevel": "INFO", "SystemLogLevel": "INFO", "LogGroup": "/aws/lambda/f"}


def config(**members):
    return {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": PROVIDER, **members}}


def many(number: int):
    return config(PerExecutionEnvironmentMaxConcurrency=number)


@pytest.fixture
async def plane(tmp_path):
    async with control_plane(tmp_path / "data", hot_reload=True) as opened:
        yield opened


@pytest.mark.parametrize(
    "asked", [config(), many(1600), {**many(1)}, config(ExecutionEnvironmentMemoryGiBPerVCpu=4.5)], ids=str
)
async def test_it_is_kept_as_it_was_given_and_shown_wherever_a_function_is(plane, asked):
    created = await plane.create(CapacityProviderConfig=asked)
    version = await plane.call("publish_version", FunctionName="f")
    shown = [
        created,
        version,
        await plane.call("get_function_configuration", FunctionName="f"),
        (await plane.call("get_function", FunctionName="f:1"))["Configuration"],
        (await plane.call("list_functions"))["Functions"][0],
    ]
    assert [one["CapacityProviderConfig"] for one in shown] == [asked] * 5


async def test_an_ordinary_function_shows_none(plane):
    assert "CapacityProviderConfig" not in await plane.create()


async def test_its_log_format_is_json_and_stays_so(plane):
    created = await plane.create(CapacityProviderConfig=config())
    assert created["LoggingConfig"] == JSON
    levels = {"SystemLogLevel": "WARN"}
    updated = await plane.call("update_function_configuration", FunctionName="f", LoggingConfig=levels)
    assert updated["LoggingConfig"] == {**JSON, **levels}


async def test_numbers_change_and_those_that_are_left_out_stay(plane):
    await plane.create(CapacityProviderConfig=config(PerExecutionEnvironmentMaxConcurrency=5))
    for asked, expected in (
        (config(ExecutionEnvironmentMemoryGiBPerVCpu=8.0), 5),
        (config(PerExecutionEnvironmentMaxConcurrency=6), 6),
    ):
        answer = await plane.call("update_function_configuration", FunctionName="f", CapacityProviderConfig=asked)
        shown = answer["CapacityProviderConfig"]["LambdaManagedInstancesCapacityProviderConfig"]
        assert shown == {
            "CapacityProviderArn": PROVIDER,
            "PerExecutionEnvironmentMaxConcurrency": expected,
            "ExecutionEnvironmentMemoryGiBPerVCpu": 8.0,
        }
    untouched = await plane.call("update_function_configuration", FunctionName="f", Timeout=9)
    assert untouched["CapacityProviderConfig"] == answer["CapacityProviderConfig"]


async def test_the_kind_of_a_function_is_decided_when_it_is_created(plane):
    await plane.create()
    code, status, text = await plane.refused(
        lambda: plane.call("update_function_configuration", FunctionName="f", CapacityProviderConfig=config())
    )
    assert (code, status) == ("InvalidParameterValueException", 400)
    assert text.startswith("CapacityProviderConfig isn't supported for Lambda Default functions.")


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"SnapStart": {"ApplyOn": "PublishedVersions"}}, "SnapStart isn't supported for Lambda Managed Instances"),
        ({"LoggingConfig": {"LogFormat": "Text"}}, "LogFormat Text isn't supported for Lambda Managed Instances"),
    ],
)
async def test_what_does_not_go_with_it_is_refused(plane, members, words):
    code, status, text = await plane.refused(lambda: plane.create(CapacityProviderConfig=config(), **members))
    assert (code, status) == ("InvalidParameterValueException", 400)
    assert text.startswith(words)
    await plane.create(CapacityProviderConfig=config())
    refusal = await plane.refused(
        lambda: plane.call("update_function_configuration", FunctionName="f", **members),
    )
    assert refusal == (code, status, text)


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ({}, "lambdaManagedInstancesCapacityProviderConfig"),
        ({"LambdaManagedInstancesCapacityProviderConfig": {}}, "capacityProviderArn"),
        (many(0), "Member must have value greater than or equal to 1"),
        (many(1601), "Member must have value less than or equal to 1600"),
        (config(ExecutionEnvironmentMemoryGiBPerVCpu=1.5), "Member must have value greater than or equal to 2"),
        (config(ExecutionEnvironmentMemoryGiBPerVCpu=8.5), "Member must have value less than or equal to 8"),
        (
            {"LambdaManagedInstancesCapacityProviderConfig": {"CapacityProviderArn": "mine"}},
            "Member must satisfy regular expression pattern",
        ),
    ],
    ids=str,
)
async def test_what_is_out_of_bounds_is_a_validation_error(plane, asked, fault):
    refusal = await plane.refused(lambda: plane.create(CapacityProviderConfig=asked))
    assert refusal[:2] == ("ValidationException", 400)
    assert fault in refusal[2]
    assert (await plane.call("list_functions"))["Functions"] == []


@pytest.mark.parametrize(
    "asked",
    [[], "x", {"LambdaManagedInstancesCapacityProviderConfig": 1}, many("three"), many(1.5), many(True)],  # type: ignore[arg-type]
    ids=str,
)
async def test_what_is_of_another_type_is_a_serialization_error_and_harms_nothing(plane, asked):
    body = {
        "FunctionName": "f",
        "Runtime": "python3.12",
        "Handler": "app.handler",
        "Role": ROLE,
        "Code": {"ZipFile": base64.b64encode(package()).decode()},
        "CapacityProviderConfig": asked,
    }
    status, headers, _ = await plane.http("POST", "/2015-03-31/functions", json.dumps(body).encode())
    assert (status, headers["x-amzn-errortype"]) == (400, "SerializationException")
    assert (await plane.call("list_functions"))["Functions"] == []
