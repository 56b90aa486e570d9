"""CreateFunction and its family, by an unmodified boto3 on a real socket."""

from __future__ import annotations

import base64
import hashlib
import os
import re

import anyio.to_thread
import pytest

from engine.clock import VirtualClock
from tests.support.control_plane import ARN, ROLE, control_plane
from tests.support.packages import package

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.fixture
async def plane(tmp_path):
    async with control_plane(tmp_path / "data", hot_reload=True) as opened:
        yield opened


def bare(answer):
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


async def test_the_answer_of_create_is_the_recorded_one(plane):
    data = package()
    answer = await plane.create(Code={"ZipFile": data})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    answer = bare(answer)
    assert re.fullmatch(UUID, answer.pop("RevisionId"))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+0000", answer.pop("LastModified"))
    assert re.fullmatch(
        r"arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}", answer.pop("RuntimeVersionConfig")["RuntimeVersionArn"]
    )
    assert answer == {
        "FunctionName": "f",
        "FunctionArn": ARN + "f",
        "Runtime": "python3.12",
        "Role": ROLE,
        "Handler": "app.handler",
        "CodeSize": len(data),
        "CodeSha256": base64.b64encode(hashlib.sha256(data).digest()).decode(),
        "Description": "",
        "Timeout": 3,
        "MemorySize": 128,
        "Version": "$LATEST",
        "TracingConfig": {"Mode": "PassThrough"},
        "State": "Pending",
        "StateReason": "The function is being created.",
        "StateReasonCode": "Creating",
        "PackageType": "Zip",
        "Architectures": ["x86_64"],
        "EphemeralStorage": {"Size": 512},
        "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
        "LoggingConfig": {"LogFormat": "Text", "LogGroup": "/aws/lambda/f"},
    }


async def test_every_member_that_is_kept_comes_back(plane):
    members = {
        "Description": "d",
        "Timeout": 900,
        "MemorySize": 10240,
        "Architectures": ["arm64"],
        "EphemeralStorage": {"Size": 10240},
        "Environment": {"Variables": {"KEY_1": "v", "PATH": "/x", "EMPTY": ""}},
        "KMSKeyArn": "arn:aws:kms:us-east-1:000000000000:key/k",
        "DeadLetterConfig": {"TargetArn": "arn:aws:sqs:us-east-1:000000000000:q"},
        "VpcConfig": {"SubnetIds": ["subnet-1"], "SecurityGroupIds": ["sg-1"], "Ipv6AllowedForDualStack": True},
        "TracingConfig": {"Mode": "Active"},
        "FileSystemConfigs": [
            {
                "Arn": "arn:aws:elasticfilesystem:us-east-1:000000000000:access-point/fsap-0123456789abcdef0",
                "LocalMountPath": "/mnt/x",
            }
        ],
        "LoggingConfig": {
            "LogFormat": "JSON",
            "ApplicationLogLevel": "WARN",
            "SystemLogLevel": "DEBUG",
            "LogGroup": "g",
        },
    }
    await plane.create(**members, SnapStart={"ApplyOn": "PublishedVersions"}, Tags={"k": "v"})
    answer = await plane.call("get_function", FunctionName="f")
    assert {member: answer["Configuration"][member] for member in members} == members
    assert answer["Configuration"]["SnapStart"] == {"ApplyOn": "PublishedVersions", "OptimizationStatus": "Off"}
    assert answer["Tags"] == {"k": "v"}
    assert bare(await plane.call("get_function_configuration", FunctionName="f")) == answer["Configuration"]


async def test_the_waiters_of_the_client_see_the_function_exist_active_and_updated(plane):
    await plane.create()
    for waiter in ("function_exists", "function_active_v2", "function_active", "function_updated_v2"):
        await _wait(plane, waiter)
    answer = await plane.call("update_function_configuration", FunctionName="f", Timeout=9)
    assert (answer["State"], answer["LastUpdateStatus"]) == ("Active", "InProgress")
    assert answer["LastUpdateStatusReason"] == "The function is being created."
    assert answer["LastUpdateStatusReasonCode"] == "Creating"
    await _wait(plane, "function_updated_v2")
    answer = (await plane.call("get_function", FunctionName="f"))["Configuration"]
    assert (answer["State"], answer["LastUpdateStatus"], answer["Timeout"]) == ("Active", "Successful", 9)
    assert "LastUpdateStatusReason" not in answer
    assert "StateReason" not in answer


async def _wait(plane, name):
    waiter = plane.client.get_waiter(name)
    await anyio.to_thread.run_sync(lambda: waiter.wait(FunctionName="f", WaiterConfig={"Delay": 0, "MaxAttempts": 1}))


async def test_the_download_link_gives_the_uploaded_bytes(plane):
    data = package({"bootstrap": "#!/bin/sh", "data": "x" * 10_000})
    await plane.create(Code={"ZipFile": data})
    code = (await plane.call("get_function", FunctionName="f"))["Code"]
    assert code["RepositoryType"] == "S3"
    status, headers, body = await plane.http("GET", code["Location"])
    assert (status, headers["content-type"], body) == (200, "application/zip", data)
    await plane.call("update_function_configuration", FunctionName="f", Timeout=9)
    assert (await plane.http("GET", code["Location"]))[2] == data


async def test_a_download_link_cannot_be_forged_or_used_late(tmp_path):
    clock = VirtualClock()
    async with control_plane(tmp_path, clock=clock) as plane:
        await plane.create()
        link = (await plane.call("get_function", FunctionName="f"))["Code"]["Location"]
        digest = re.search(r"[0-9a-f]{64}", link)[0]
        for forged in (
            link.replace(digest, digest[::-1]),
            link.replace("expires=", "expires=9"),
            link.split("?")[0],
            link + "é".encode().hex(),
        ):
            status, headers, _ = await plane.http("GET", forged)
            assert (status, headers["x-amzn-errortype"]) == (403, "AccessDeniedException")
        clock.advance(601)
        status, _, body = await plane.http("GET", link)
        assert status == 403
        assert b"expired" in body


async def test_a_qualifier_makes_the_arn_qualified(plane):
    await plane.create()
    for members in ({"FunctionName": "f", "Qualifier": "$LATEST"}, {"FunctionName": "f:$LATEST"}):
        answer = await plane.call("get_function_configuration", **members)
        assert answer["FunctionArn"] == ARN + "f:$LATEST"
    assert (await plane.call("get_function_configuration", FunctionName=ARN + "f"))["FunctionArn"] == ARN + "f"


async def test_a_function_may_be_created_by_its_arn(plane):
    await plane.create(ARN + "by-arn")
    await plane.create("000000000000:function:by-partial-arn")
    names = [function["FunctionName"] for function in (await plane.call("list_functions"))["Functions"]]
    assert names == ["by-arn", "by-partial-arn"]


async def test_listing_is_paged_and_ordered(plane):
    for number in reversed(range(53)):
        await plane.create(f"f{number:02d}")
    first = await plane.call("list_functions", MaxItems=10_000)
    assert len(first["Functions"]) == 50
    pages = await anyio.to_thread.run_sync(
        lambda: list(plane.client.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 20}))
    )
    assert [len(page["Functions"]) for page in pages] == [20, 20, 13]
    names = [function["FunctionName"] for page in pages for function in page["Functions"]]
    assert names == [f"f{number:02d}" for number in range(53)]
    assert "NextMarker" not in pages[-1]
    every = await plane.call("list_functions", FunctionVersion="ALL", MaxItems=1)
    assert every["Functions"][0]["FunctionArn"] == ARN + "f00:$LATEST"


async def test_new_code_is_new_bytes_a_new_hash_and_a_new_revision(plane):
    await plane.create()
    before = (await plane.call("get_function", FunctionName="f"))["Configuration"]
    data = package({"other.py": "x = 1"})
    answer = await plane.call("update_function_code", FunctionName="f", ZipFile=data, Architectures=["arm64"])
    assert answer["LastUpdateStatus"] == "InProgress"
    after = await plane.call("get_function", FunctionName="f")
    assert (await plane.http("GET", after["Code"]["Location"]))[2] == data
    after = after["Configuration"]
    assert (after["CodeSize"], after["Architectures"]) == (len(data), ["arm64"])
    assert after["CodeSha256"] == answer["CodeSha256"] != before["CodeSha256"]
    assert after["RevisionId"] != before["RevisionId"]


async def test_a_dry_run_changes_nothing(plane):
    await plane.create()
    before = (await plane.call("get_function", FunctionName="f"))["Configuration"]
    answer = await plane.call("update_function_code", FunctionName="f", ZipFile=package({"b": "1"}), DryRun=True)
    assert answer["CodeSha256"] != before["CodeSha256"]
    assert (await plane.call("get_function", FunctionName="f"))["Configuration"] == before


async def test_a_revision_id_guards_updates(plane):
    await plane.create()
    revision = (await plane.call("get_function", FunctionName="f"))["Configuration"]["RevisionId"]
    await plane.call("update_function_configuration", FunctionName="f", Timeout=5, RevisionId=revision)
    for operation, members in (
        ("update_function_configuration", {"Timeout": 6}),
        ("update_function_code", {"ZipFile": package()}),
    ):
        with pytest.raises(plane.client.exceptions.PreconditionFailedException) as caught:
            await plane.call(operation, FunctionName="f", RevisionId=revision, **members)
        assert caught.value.response["Error"]["Message"] == (
            "The Revision Id provided does not match the latest Revision Id. "
            "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
        )


async def test_empty_members_clear_what_was_set(plane):
    await plane.create(Environment={"Variables": {"AB": "1"}}, Description="d", Timeout=7)
    await plane.call(
        "update_function_configuration", FunctionName="f", Environment={"Variables": {}}, Description="", Layers=[]
    )
    answer = await plane.call("get_function_configuration", FunctionName="f")
    assert "Environment" not in answer
    assert (answer["Description"], answer["Timeout"]) == ("", 7)


async def test_a_deleted_function_is_gone_and_its_name_free(plane):
    await plane.create()
    answer = await plane.call("delete_function", FunctionName="f")
    assert bare(answer) == {"StatusCode": 200}
    with pytest.raises(plane.client.exceptions.ResourceNotFoundException):
        await plane.call("get_function", FunctionName="f")
    await plane.create()


async def test_everything_is_there_after_a_restart(tmp_path):
    data = package({"kept.py": "x = 1"})
    async with control_plane(tmp_path) as plane:
        await plane.create(Code={"ZipFile": data}, Tags={"a": "b"}, Environment={"Variables": {"AB": "ü"}})
        await plane.call("put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=5)
        before = await plane.call("get_function", FunctionName="f")
    async with control_plane(tmp_path) as plane:
        after = await plane.call("get_function", FunctionName="f")
        assert (await plane.http("GET", after["Code"]["Location"]))[2] == data
        for member in ("Configuration", "Tags", "Concurrency"):
            assert after[member] == before[member]


async def test_a_folder_of_the_server_is_live_code_by_localstacks_convention(plane, tmp_path):
    folder = tmp_path / "live"
    folder.mkdir()
    (folder / "app.py").write_text("x = 1")
    await plane.create(Code={"S3Bucket": "hot-reload", "S3Key": str(folder)})
    function = plane.registry.get("f")
    assert plane.registry.code_root(function) == str(folder)
    location = (await plane.call("get_function", FunctionName="f"))["Code"]["Location"]
    status, _, body = await plane.http("GET", location)
    assert (status, body[:2]) == (200, b"PK")
    await plane.call("update_function_code", FunctionName="f", ZipFile=package())
    assert plane.registry.get("f").source_dir is None
    assert (await plane.http("GET", location))[0] == 404
    await plane.call("update_function_code", FunctionName="f", S3Bucket="hot-reload", S3Key=str(folder))
    assert plane.registry.get("f").source_dir == str(folder)


async def test_live_folders_are_refused_unless_the_server_permits_them(tmp_path):
    async with control_plane(tmp_path) as plane:
        code, status, text = await plane.refused(
            lambda: plane.create(Code={"S3Bucket": "hot-reload", "S3Key": str(tmp_path)})
        )
        assert (code, status) == ("InvalidParameterValueException", 400)
        assert "not started to permit that" in text


async def test_tags_are_put_replaced_and_removed(plane):
    await plane.create(Tags={"a": "1"})
    answer = await plane.call("tag_resource", Resource=ARN + "f", Tags={"a": "2", "b c": "3/4"})
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (await plane.call("list_tags", Resource=ARN + "f"))["Tags"] == {"a": "2", "b c": "3/4"}
    answer = await plane.call("untag_resource", Resource=ARN + "f", TagKeys=["b c", "missing"])
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert (await plane.call("list_tags", Resource=ARN + "f"))["Tags"] == {"a": "2"}
    await plane.call("untag_resource", Resource=ARN + "f", TagKeys=["a"])
    assert "Tags" not in await plane.call("get_function", FunctionName="f")


async def test_reserved_concurrency_is_put_shown_and_deleted(plane):
    await plane.create()
    assert bare(await plane.call("get_function_concurrency", FunctionName="f")) == {}
    for value in (0, 900):
        answer = await plane.call("put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=value)
        assert bare(answer) == {"ReservedConcurrentExecutions": value}
        shown = await plane.call("get_function", FunctionName="f")
        assert shown["Concurrency"] == {"ReservedConcurrentExecutions": value}
        assert bare(await plane.call("get_function_concurrency", FunctionName="f")) == bare(answer)
    answer = await plane.call("delete_function_concurrency", FunctionName="f")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert "Concurrency" not in await plane.call("get_function", FunctionName="f")


async def test_the_account_settings_count(plane):
    empty = await plane.call("get_account_settings")
    assert empty["AccountLimit"] == {
        "TotalCodeSize": 322122547200,
        "CodeSizeUnzipped": 262144000,
        "CodeSizeZipped": 52428800,
        "ConcurrentExecutions": 1000,
        "UnreservedConcurrentExecutions": 1000,
    }
    assert empty["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
    await plane.create()
    await plane.call("put_function_concurrency", FunctionName="f", ReservedConcurrentExecutions=10)
    used = await plane.call("get_account_settings")
    assert used["AccountUsage"] == {"TotalCodeSize": len(package()), "FunctionCount": 1}
    assert used["AccountLimit"]["UnreservedConcurrentExecutions"] == 990


async def test_a_package_near_the_limit_is_taken(plane):
    data = package({f"blob{number}": os.urandom(10_000_000) for number in range(5)})
    assert 50_000_000 < len(data) < 52_428_800
    answer = await plane.create(Code={"ZipFile": data})
    assert answer["CodeSize"] == len(data)
    location = (await plane.call("get_function", FunctionName="f"))["Code"]["Location"]
    assert (await plane.http("GET", location))[2] == data
