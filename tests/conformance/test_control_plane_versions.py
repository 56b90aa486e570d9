"""Versions of functions, by an unmodified boto3 on a real socket. The texts and shapes are those recorded from AWS."""

from __future__ import annotations

import io
import re
import zipfile

import anyio.to_thread
import pytest

from tests.support.control_plane import ARN, control_plane
from tests.support.packages import package

LATEST = "$LATEST"


@pytest.fixture
async def plane(tmp_path):
    async with control_plane(tmp_path / "data", hot_reload=True) as opened:
        yield opened


def bare(answer):
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


async def versions_of(plane, name="f"):
    return (await plane.call("list_versions_by_function", FunctionName=name))["Versions"]


async def test_a_published_version_is_a_copy_with_an_arn_a_number_and_a_description_of_its_own(plane):
    await plane.create(Description="of the function")
    answer = await plane.call("publish_version", FunctionName="f", Description="of the version")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 201
    version = bare(answer)
    assert (version["Version"], version["FunctionArn"], version["Description"]) == ("1", ARN + "f:1", "of the version")
    assert (version["State"], version["LastUpdateStatus"]) == ("Active", "Successful")
    for read in (
        {"FunctionName": "f", "Qualifier": "1"},
        {"FunctionName": "f:1"},
        {"FunctionName": ARN + "f:1", "Qualifier": "1"},
    ):
        assert (await plane.call("get_function", **read))["Configuration"] == version
        assert bare(await plane.call("get_function_configuration", **read)) == version
    latest = (await plane.call("get_function", FunctionName="f"))["Configuration"]
    assert latest["RevisionId"] != version["RevisionId"]
    differs = {name for name in latest if latest[name] != version[name]}
    assert differs == {"Version", "FunctionArn", "Description", "RevisionId"}
    assert latest.keys() == version.keys()


async def test_nothing_of_a_version_changes_when_the_function_does(plane):
    await plane.create(Environment={"Variables": {"STAGE": "one"}}, Code={"ZipFile": package({"app.py": "one"})})
    version = bare(await plane.call("publish_version", FunctionName="f"))
    code = (await plane.call("get_function", FunctionName="f:1"))["Code"]["Location"]
    await plane.call("update_function_configuration", FunctionName="f", Environment={"Variables": {"STAGE": "two"}})
    await plane.call("update_function_code", FunctionName="f", ZipFile=package({"app.py": "two"}))
    assert bare(await plane.call("get_function_configuration", FunctionName="f:1")) == version
    assert (await plane.http("GET", code))[2] == package({"app.py": "one"})
    second = bare(await plane.call("publish_version", FunctionName="f"))
    assert (second["Version"], second["Environment"]) == ("2", {"Variables": {"STAGE": "two"}})
    assert second["CodeSha256"] != version["CodeSha256"]


async def test_publishing_again_without_a_change_gives_the_same_version(plane):
    await plane.create(Publish=True)
    first = bare(await plane.call("get_function_configuration", FunctionName="f:1"))
    for members in ({}, {"Description": "another"}, {"CodeSha256": first["CodeSha256"]}):
        again = await plane.call("publish_version", FunctionName="f", **members)
        assert again["ResponseMetadata"]["HTTPStatusCode"] == 201
        assert bare(again) == first
    await plane.call("update_function_code", FunctionName="f", ZipFile=package())  # the same code is no change
    assert bare(await plane.call("publish_version", FunctionName="f")) == first
    await plane.call("update_function_configuration", FunctionName="f", Description="a description is one")
    second = await plane.call("publish_version", FunctionName="f")
    assert (second["Version"], second["Description"]) == ("2", "a description is one")
    assert [version["Version"] for version in await versions_of(plane)] == [LATEST, "1", "2"]


async def test_create_with_publish_answers_as_recorded(plane):
    answer = bare(await plane.create(Publish=True))
    assert (answer["Version"], answer["FunctionArn"], answer["State"]) == ("1", ARN + "f", "Pending")
    assert "LastUpdateStatus" not in answer
    latest = (await plane.call("get_function", FunctionName="f"))["Configuration"]
    assert (latest["Version"], latest["FunctionArn"]) == (LATEST, ARN + "f")
    version = (await plane.call("get_function", FunctionName="f", Qualifier="1"))["Configuration"]
    assert (version["Version"], version["FunctionArn"], version["State"]) == ("1", ARN + "f:1", "Active")
    qualified = (await plane.call("get_function", FunctionName="f", Qualifier=LATEST))["Configuration"]
    assert qualified["FunctionArn"] == ARN + "f:$LATEST"


async def test_update_code_with_publish_answers_with_the_new_version(plane):
    await plane.create()
    answer = bare(await plane.call("update_function_code", FunctionName="f", ZipFile=package({"b": "2"}), Publish=True))
    assert (answer["Version"], answer["FunctionArn"]) == ("1", ARN + "f:1")
    assert (answer["State"], answer["StateReasonCode"]) == ("Pending", "Creating")
    assert "LastUpdateStatus" not in answer
    await anyio.to_thread.run_sync(
        lambda: plane.client.get_waiter("published_version_active").wait(
            FunctionName="f", Qualifier="1", WaiterConfig={"Delay": 0, "MaxAttempts": 1}
        )
    )
    latest, version = await versions_of(plane)
    assert latest["CodeSha256"] == version["CodeSha256"] == answer["CodeSha256"]


async def test_a_list_of_versions_has_neither_states_nor_the_runtimes_version(plane):
    await plane.create(Publish=True)
    latest, version = await versions_of(plane)
    assert (latest["FunctionArn"], version["FunctionArn"]) == (ARN + "f:$LATEST", ARN + "f:1")
    everything = bare(await plane.call("get_function_configuration", FunctionName="f:1"))
    assert everything.keys() - version.keys() == {"State", "LastUpdateStatus", "RuntimeVersionConfig"}
    assert version == {name: everything[name] for name in version}
    listed = (await plane.call("list_functions"))["Functions"]
    assert [item.keys() for item in listed] == [latest.keys()]


async def test_pages_of_versions_and_of_every_version_of_all_functions(plane):
    for name in ("a", "b"):
        await plane.create(name)
        for number in range(12):
            await plane.call("update_function_configuration", FunctionName=name, Description=str(number))
            await plane.call("publish_version", FunctionName=name)
    numbers = [LATEST, *map(str, range(1, 13))]

    def pages(operation, size, **members):
        paginator = plane.client.get_paginator(operation)
        return list(paginator.paginate(PaginationConfig={"PageSize": size}, **members))

    found = await anyio.to_thread.run_sync(lambda: pages("list_versions_by_function", 5, FunctionName="a"))
    assert [len(page["Versions"]) for page in found] == [5, 5, 3]
    assert [version["Version"] for page in found for version in page["Versions"]] == numbers
    found = await anyio.to_thread.run_sync(lambda: pages("list_functions", 7, FunctionVersion="ALL"))
    assert [len(page["Functions"]) for page in found] == [7, 7, 7, 5]
    assert [item["FunctionArn"] for page in found for item in page["Functions"]] == [
        f"{ARN}{name}:{number}" for name in ("a", "b") for number in numbers
    ]
    assert len((await plane.call("list_functions"))["Functions"]) == 2


async def test_deleted_versions_are_gone_and_their_numbers_are_not_used_again(plane):
    await plane.create(Publish=True)
    await plane.call("delete_function", FunctionName="f", Qualifier="1")
    code, status, text = await plane.refused(lambda: plane.call("get_function", FunctionName="f", Qualifier="1"))
    assert (code, status, text) == ("ResourceNotFoundException", 404, f"Function not found: {ARN}f:1")
    await plane.call("delete_function", FunctionName="f:1")  # again, as on AWS: no error
    assert (await plane.call("publish_version", FunctionName="f"))["Version"] == "2"
    await plane.call("delete_function", FunctionName=ARN + "f:2")
    assert [version["Version"] for version in await versions_of(plane)] == [LATEST]


async def test_deleting_the_function_deletes_its_versions_and_a_new_one_begins_anew(plane):
    await plane.create(Publish=True)
    await plane.call("update_function_code", FunctionName="f", ZipFile=package({"b": "2"}), Publish=True)
    await plane.call("delete_function", FunctionName="f")
    for qualifier in ("1", "2"):
        refusal = await plane.refused(lambda q=qualifier: plane.call("get_function", FunctionName="f", Qualifier=q))
        assert refusal[0] == "ResourceNotFoundException"
    assert bare(await plane.create(Publish=True))["Version"] == "1"


async def test_the_account_pays_for_the_code_of_every_version(plane):
    await plane.create(Publish=True)
    usage = (await plane.call("get_account_settings"))["AccountUsage"]
    assert usage == {"TotalCodeSize": 2 * len(package()), "FunctionCount": 1}


async def test_a_live_folder_is_packed_when_it_is_published(plane, tmp_path):
    folder = tmp_path / "live"
    folder.mkdir()
    (folder / "app.py").write_text("one")
    await plane.create(Code={"S3Bucket": "hot-reload", "S3Key": str(folder)}, Publish=True)
    first = (await plane.call("get_function", FunctionName="f:1"))["Configuration"]
    assert re.fullmatch(r"[A-Za-z0-9+/]{43}=", first["CodeSha256"])
    assert (await plane.call("publish_version", FunctionName="f"))["Version"] == "1"
    (folder / "app.py").write_text("two")
    assert (await plane.call("publish_version", FunctionName="f"))["Version"] == "2"
    location = (await plane.call("get_function", FunctionName="f:1"))["Code"]["Location"]
    with zipfile.ZipFile(io.BytesIO((await plane.http("GET", location))[2])) as archive:
        assert archive.read("app.py") == b"one"
    assert bare(await plane.call("get_function_configuration", FunctionName="f"))["CodeSha256"] == ""
