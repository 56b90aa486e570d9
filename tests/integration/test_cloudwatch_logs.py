"""CloudWatch Logs with an unmodified boto3, on what functions have said."""

from __future__ import annotations

import asyncio
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

import anyio.to_thread
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from engine import Engine
from tests.support.functions import bootstrap

pytest_plugins = ("tests.support.sandbox_fixtures",)
pytestmark = pytest.mark.anyio

GROUP = "/aws/lambda/talker"
STREAM = r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}"


class Logs:
    """boto3's client, called in a thread."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = boto3.client(
            "logs",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(retries={"max_attempts": 0}),
        )

    async def call(self, operation: str, **members):
        return await anyio.to_thread.run_sync(lambda: getattr(self.client, operation)(**members))

    async def messages(self, **members) -> list[str]:
        found = await self.call("filter_log_events", logGroupName=GROUP, **members)
        return [event["message"] for event in found["events"]]

    async def refused(self, operation: str, **members) -> tuple[str, str]:
        def attempt() -> tuple[str, str]:
            try:
                getattr(self.client, operation)(**members)
            except ClientError as error:
                return error.response["Error"]["Code"], error.response["Error"]["Message"]
            raise AssertionError("the call was not refused")

        return await anyio.to_thread.run_sync(attempt)


@contextmanager
def serving(server) -> Iterator[Logs]:
    """A client that is closed at the end."""
    logs = Logs(server.url)
    try:
        yield logs
    finally:
        logs.client.close()


@pytest.fixture
async def talking(anyio_backend, no_leaks, tmp_path):
    """An engine with a function that prints what it is sent, and CloudWatch Logs on it."""
    async with Engine(data_dir=tmp_path / "data") as engine:
        await create(engine, tmp_path)
        with serving(await engine.serve(port=0)) as logs:
            yield engine, logs


async def create(engine, tmp_path):
    code = bootstrap(
        tmp_path / "talker",
        """
        while True:
            request_id, event, headers = take()
            print(event, flush=True)
            give(request_id, event)
        """,
    )
    await engine.create_function("talker", code=code, timeout_s=10)


async def test_an_invocation_can_be_read(talking):
    engine, logs = talking
    result = await engine.invoke("talker", "a word")
    (group,) = (await logs.call("describe_log_groups", logGroupNamePrefix="/aws/lambda/"))["logGroups"]
    assert group["logGroupName"] == GROUP
    assert group["arn"] == f"arn:aws:logs:us-east-1:000000000000:log-group:{GROUP}:*"
    assert group["storedBytes"] > 0
    (stream,) = (await logs.call("describe_log_streams", logGroupName=GROUP))["logStreams"]
    assert re.fullmatch(STREAM, stream["logStreamName"])
    events = (await logs.call("get_log_events", logGroupName=GROUP, logStreamName=stream["logStreamName"]))["events"]
    assert [event["message"].split(" ")[0].split("\n")[0] for event in events] == [
        "INIT_START", "START", "a", "END", "REPORT",
    ]  # fmt: skip
    assert events[2]["message"] == "a word\n"
    assert f"REPORT RequestId: {result.request_id}\tDuration: " in events[4]["message"]
    assert events[4]["message"].endswith(" ms\t\n")
    assert stream["firstEventTimestamp"] == events[0]["timestamp"] <= events[4]["timestamp"]
    assert abs(events[4]["timestamp"] - time.time() * 1000) < 60_000


async def test_events_are_found_by_pattern_time_and_stream(talking):
    engine, logs = talking
    for word in ("red", "green", "blue"):
        await engine.invoke("talker", word)
    assert await logs.messages(filterPattern="?red ?blue -REPORT") == ["red\n", "blue\n"]
    found = (await logs.call("filter_log_events", logGroupName=GROUP, filterPattern="green"))["events"]
    assert len({event["eventId"] for event in found}) == len(found) == 1
    at, stream = found[0]["timestamp"], found[0]["logStreamName"]
    assert "green\n" in await logs.messages(startTime=at, endTime=at, logStreamNames=[stream])
    assert "green\n" not in await logs.messages(startTime=at + 1)
    assert "green\n" not in await logs.messages(endTime=at - 1)


async def test_boto3s_paginator_goes_through_all_pages(talking):
    engine, logs = talking
    for number in range(5):
        await engine.invoke("talker", f"number {number}")

    def pages():
        paginator = logs.client.get_paginator("filter_log_events")
        pages = [*paginator.paginate(logGroupName=GROUP, PaginationConfig={"PageSize": 2})]
        return len(pages), [event["message"] for page in pages for event in page["events"]]

    count, messages = await anyio.to_thread.run_sync(pages)
    assert count >= 8
    assert [message for message in messages if message.startswith("number")] == [f"number {n}\n" for n in range(5)]
    assert messages == await logs.messages()


async def test_tokens_of_get_log_events_lead_on_and_stay_at_the_end(talking):
    engine, logs = talking
    await engine.invoke("talker", "first")
    (stream,) = (await logs.call("describe_log_streams", logGroupName=GROUP))["logStreams"]
    place = {"logGroupName": GROUP, "logStreamName": stream["logStreamName"]}
    newest = await logs.call("get_log_events", **place, limit=2)
    assert [event["message"][:4] for event in newest["events"]] == ["END ", "REPO"]
    before = await logs.call("get_log_events", **place, limit=1, nextToken=newest["nextBackwardToken"])
    assert [event["message"] for event in before["events"]] == ["first\n"]
    end = await logs.call("get_log_events", **place, nextToken=newest["nextForwardToken"])
    assert end["events"] == []
    assert end["nextForwardToken"] == newest["nextForwardToken"]
    await engine.invoke("talker", "second")
    later = await logs.call("get_log_events", **place, nextToken=end["nextForwardToken"])
    assert [event["message"] for event in later["events"]][1] == "second\n"


async def test_polling_as_aws_logs_tail_follow_does_shows_each_event_once(talking):
    """AWS CLI v2, awscli/customizations/logs/tail.py: FilterLogEvents from the newest timestamp on, seen ids left out."""
    engine, logs = talking
    shown: list[str] = []
    seen: set[str] = set()
    start = 0
    for word in ("one", "two", "three"):
        await engine.invoke("talker", word)
        found = await logs.call("filter_log_events", logGroupName=GROUP, startTime=start, interleaved=True)
        for event in found["events"]:
            if event["eventId"] not in seen:
                seen.add(event["eventId"])
                shown.append(event["message"])
            start = max(start, event["timestamp"])
    assert [line.strip() for line in shown if line.strip() in {"one", "two", "three"}] == ["one", "two", "three"]
    assert sum(line.startswith("REPORT") for line in shown) == 3


async def test_logs_outlive_the_engine(anyio_backend, no_leaks, tmp_path):
    async with Engine(data_dir=tmp_path / "data") as engine:
        await create(engine, tmp_path)
        await engine.invoke("talker", "before")
    async with Engine(data_dir=tmp_path / "data") as engine:
        with serving(await engine.serve(port=0)) as logs:
            assert "before\n" in await logs.messages()
            await engine.invoke("talker", "after")
            streams = await logs.call(
                "describe_log_streams", logGroupName=GROUP, orderBy="LastEventTime", descending=True
            )
            assert len(streams["logStreams"]) == 2
            newest = streams["logStreams"][0]["logStreamName"]
            assert "after\n" in await logs.messages(logStreamNames=[newest])
            shown = await anyio.to_thread.run_sync(
                lambda: (
                    urllib.request.urlopen(f"{logs.url}/_lambent/logs/talker?limit=1000", timeout=20).read().decode()
                )
            )
            assert shown.index('"before"') < shown.index('"after"')


async def test_a_follower_has_the_backlog_and_what_comes_each_once(talking):
    engine, logs = talking
    await engine.invoke("talker", "early")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(logs.url.rpartition(":")[2]))
    writer.write(b"GET /_lambent/logs/talker?limit=100&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
    seen = b""
    async with asyncio.timeout(20):
        while b"early" not in seen or seen.count(b"REPORT") < 1:
            seen += await reader.read(65536)
        await engine.invoke("talker", "late")
        while seen.count(b"REPORT") < 2:
            seen += await reader.read(65536)
    assert seen.count(b'"early"') == seen.count(b'"late"') == 1
    writer.close()
    await writer.wait_closed()


async def test_groups_and_streams_of_ones_own(talking):
    _, logs = talking
    await logs.call("create_log_group", logGroupName="mine", tags={"a": "b"})
    assert await logs.refused("create_log_group", logGroupName="mine") == (
        "ResourceAlreadyExistsException",
        "The specified log group already exists",
    )
    await logs.call("put_retention_policy", logGroupName="mine", retentionInDays=7)
    (group,) = (await logs.call("describe_log_groups", logGroupNamePattern="MIN"))["logGroups"]
    assert group["retentionInDays"] == 7
    tags = await logs.call("list_tags_for_resource", resourceArn=group["logGroupArn"])
    assert tags["tags"] == {"a": "b"}
    await logs.call("create_log_stream", logGroupName="mine", logStreamName="s")
    now = int(time.time() * 1000)
    put = await logs.call(
        "put_log_events",
        logGroupName="mine",
        logStreamName="s",
        logEvents=[{"timestamp": now, "message": "x"}],
    )
    assert "rejectedLogEventsInfo" not in put
    found = await logs.call("filter_log_events", logGroupName="mine")
    assert [(event["timestamp"], event["message"]) for event in found["events"]] == [(now, "x")]
    await logs.call("delete_log_stream", logGroupName="mine", logStreamName="s")
    assert (await logs.call("filter_log_events", logGroupName="mine"))["events"] == []
    await logs.call("delete_retention_policy", logGroupName="mine")
    await logs.call("delete_log_group", logGroupName="mine")
    assert (await logs.call("describe_log_groups", logGroupNamePrefix="mine"))["logGroups"] == []


async def test_events_too_old_or_too_new_are_rejected_and_told(talking):
    _, logs = talking
    await logs.call("create_log_group", logGroupName="mine")
    await logs.call("create_log_stream", logGroupName="mine", logStreamName="s")
    now = int(time.time() * 1000)
    hour = 3_600_000
    put = await logs.call(
        "put_log_events",
        logGroupName="mine",
        logStreamName="s",
        logEvents=[{"timestamp": now, "message": "good"}, {"timestamp": now + 3 * hour, "message": "too new"}],
    )
    assert put["rejectedLogEventsInfo"] == {"tooNewLogEventStartIndex": 1}
    found = await logs.call("filter_log_events", logGroupName="mine")
    assert [event["message"] for event in found["events"]] == ["good"]


@pytest.mark.parametrize(
    ("operation", "members", "code"),
    [
        ("filter_log_events", {"logGroupName": "none"}, "ResourceNotFoundException"),
        ("describe_log_streams", {"logGroupName": "none"}, "ResourceNotFoundException"),
        ("get_log_events", {"logGroupName": GROUP, "logStreamName": "none"}, "ResourceNotFoundException"),
        ("filter_log_events", {"logGroupName": GROUP, "nextToken": "x"}, "InvalidParameterException"),
        ("filter_log_events", {"logGroupName": GROUP, "filterPattern": "[a]"}, "InvalidParameterException"),
        ("filter_log_events", {}, "InvalidParameterException"),
        ("put_retention_policy", {"logGroupName": GROUP, "retentionInDays": 2}, "InvalidParameterException"),
        ("describe_log_groups", {"nextToken": "x"}, "InvalidParameterException"),
        ("start_query", {"startTime": 0, "endTime": 1, "queryString": "x"}, "UnknownOperationException"),
    ],
)
async def test_what_cannot_be_is_refused_in_awss_words(talking, operation, members, code):
    engine, logs = talking
    await engine.invoke("talker", "x")
    refused, text = await logs.refused(operation, **members)
    assert refused == code
    assert text


async def test_a_body_that_is_no_json_is_refused(talking):
    _, logs = talking
    request = urllib.request.Request(
        logs.url + "/", b"{", {"X-Amz-Target": "Logs_20140328.DescribeLogGroups"}, method="POST"
    )

    def send():
        try:
            urllib.request.urlopen(request, timeout=20)
        except urllib.request.HTTPError as error:
            with error:
                return error.code, error.read()

    status, body = await anyio.to_thread.run_sync(send)
    assert status == 400
    assert b'"SerializationException"' in body
