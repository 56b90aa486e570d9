"""Operations on log groups and log streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from engine.control.cloudwatch import requests
from engine.control.cloudwatch.errors import AlreadyExists, InvalidParameter, stream_missing
from engine.control.cloudwatch.service import LogsService
from engine.telemetry.store import LogGroup, Stream, StreamInfo, now_ms

_DAYS: Final = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip
_MOST_TAGS: Final = 50

_Item = TypeVar("_Item")


def page(items: Sequence[_Item], keys: Sequence[str], token: str | None, limit: int) -> tuple[list[_Item], str | None]:
    """A page of a sorted list, and the token of the next one: the key of the last item shown."""
    start = 0
    if token is not None:
        start = next((place + 1 for place, key in enumerate(keys) if key == token), -1)
        if start < 0:
            raise InvalidParameter("The specified nextToken is invalid.")
    shown = list(items[start : start + limit])
    more = start + limit < len(items)
    return shown, keys[start + limit - 1] if more else None


def _paged(name: str, shown: list[dict[str, object]], token: str | None) -> dict[str, object]:
    return {name: shown, "nextToken": token} if token is not None else {name: shown}


# ---- groups ----------------------------------------------------------------------------------------------------------


async def describe_log_groups(service: LogsService, asked: requests.DescribeLogGroups) -> dict[str, object]:
    """DescribeLogGroups."""
    if asked.log_group_name_prefix is not None and asked.log_group_name_pattern is not None:
        raise InvalidParameter("logGroupNamePrefix and logGroupNamePattern are mutually exclusive parameters.")
    named = asked.log_group_identifiers
    wanted = {service.name(identifier) for identifier in named} if named else None
    part = (asked.log_group_name_pattern or "").lower()
    found = [
        group
        for group in service.store.groups()
        if (wanted is None or group.name in wanted)
        and group.name.startswith(asked.log_group_name_prefix or "")
        and part in group.name.lower()
    ]
    shown, token = page(found, [group.name for group in found], asked.next_token, asked.limit)
    return _paged("logGroups", [_group(service, group) for group in shown], token)


def _group(service: LogsService, group: LogGroup) -> dict[str, object]:
    assert group.meta is not None
    arn = service.arn(group.name)
    out: dict[str, object] = {
        "logGroupName": group.name,
        "creationTime": group.meta.created_ms,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "logGroupArn": arn,
        "storedBytes": group.plan.size,
        "logGroupClass": "STANDARD",
    }
    if group.meta.retention_days is not None:
        out["retentionInDays"] = group.meta.retention_days
    return out


async def create_log_group(service: LogsService, asked: requests.CreateLogGroup) -> dict[str, object]:
    """CreateLogGroup."""
    if service.store.get(asked.log_group_name) is not None:
        raise AlreadyExists("The specified log group already exists")
    group = service.store.sink(asked.log_group_name)
    meta = group.exist()
    if asked.tags:
        meta.tags = _tagged({}, asked.tags)
        group.describe()
    return {}


async def delete_log_group(service: LogsService, asked: requests.NamedGroup) -> dict[str, object]:
    """DeleteLogGroup."""
    service.group(asked.log_group_name).delete()
    return {}


async def put_retention_policy(service: LogsService, asked: requests.PutRetentionPolicy) -> dict[str, object]:
    """PutRetentionPolicy."""
    group = service.group(asked.log_group_name)
    if asked.retention_in_days not in _DAYS:
        raise InvalidParameter(
            f"1 validation error detected: Value '{asked.retention_in_days}' at 'retentionInDays' failed to satisfy "
            f"constraint: Member must satisfy enum value set: [{', '.join(map(str, _DAYS))}]"
        )
    _retain(service, group, asked.retention_in_days)
    return {}


async def delete_retention_policy(service: LogsService, asked: requests.NamedGroup) -> dict[str, object]:
    """DeleteRetentionPolicy."""
    _retain(service, service.group(asked.log_group_name), None)
    return {}


def _retain(service: LogsService, group: LogGroup, days: int | None) -> None:
    group.exist().retention_days = days
    group.describe()
    service.store.retention_changed(group)


async def list_tags(service: LogsService, asked: requests.Resource) -> dict[str, object]:
    """ListTagsForResource."""
    return {"tags": service.group(asked.resource_arn).exist().tags}


async def tag_resource(service: LogsService, asked: requests.TagResource) -> dict[str, object]:
    """TagResource."""
    group = service.group(asked.resource_arn)
    meta = group.exist()
    meta.tags = _tagged(meta.tags, asked.tags)
    group.describe()
    return {}


async def untag_resource(service: LogsService, asked: requests.UntagResource) -> dict[str, object]:
    """UntagResource."""
    group = service.group(asked.resource_arn)
    meta = group.exist()
    meta.tags = {key: value for key, value in meta.tags.items() if key not in asked.tag_keys}
    group.describe()
    return {}


def _tagged(tags: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    out = {**tags, **more}
    if len(out) > _MOST_TAGS:
        raise InvalidParameter(f"A log group can have {_MOST_TAGS} tags")
    return out


# ---- streams ---------------------------------------------------------------------------------------------------------


async def describe_log_streams(service: LogsService, asked: requests.DescribeLogStreams) -> dict[str, object]:
    """DescribeLogStreams."""
    group = service.named(asked)
    prefix, by_time = asked.log_stream_name_prefix, asked.order_by == "LastEventTime"
    if prefix and by_time:
        raise InvalidParameter("Cannot order by LastEventTime with a logStreamNamePrefix.")
    cutoff = group.cutoff_ms(now_ms())
    found = [
        info
        for info in (await service.store.streams(group)).values()
        if info.name.startswith(prefix or "") and (not info.last_ms or info.last_ms >= cutoff)
    ]
    found.sort(key=(lambda info: (info.last_ms or 0, info.name)) if by_time else (lambda info: info.name))
    if asked.descending:
        found.reverse()
    shown, token = page(found, [info.name for info in found], asked.next_token, asked.limit)
    return _paged("logStreams", [_stream(service.arn(group.name), info) for info in shown], token)


def _stream(arn: str, info: StreamInfo) -> dict[str, object]:
    out: dict[str, object] = {
        "logStreamName": info.name,
        "creationTime": info.created_ms,
        "arn": f"{arn}:log-stream:{info.name}",
        "storedBytes": 0,  # as AWS, since 2019
    }
    if info.last_ms is not None:
        out["firstEventTimestamp"] = info.first_ms
        out["lastEventTimestamp"] = info.last_ms
        out["lastIngestionTime"] = info.written_ms
    return out


async def create_log_stream(service: LogsService, asked: requests.NamedStream) -> dict[str, object]:
    """CreateLogStream."""
    group = service.group(asked.log_group_name)
    if asked.log_stream_name in await service.store.streams(group):
        raise AlreadyExists("The specified log stream already exists")
    group.put(Stream(asked.log_stream_name, now_ms()), [])
    return {}


async def delete_log_stream(service: LogsService, asked: requests.NamedStream) -> dict[str, object]:
    """DeleteLogStream."""
    group = service.group(asked.log_group_name)
    if asked.log_stream_name not in await service.store.streams(group):
        raise stream_missing()
    group.delete_stream(asked.log_stream_name)
    return {}


OPERATIONS: Final[dict[str, tuple[Any, Any]]] = {
    "DescribeLogGroups": (requests.DescribeLogGroups, describe_log_groups),
    "CreateLogGroup": (requests.CreateLogGroup, create_log_group),
    "DeleteLogGroup": (requests.NamedGroup, delete_log_group),
    "PutRetentionPolicy": (requests.PutRetentionPolicy, put_retention_policy),
    "DeleteRetentionPolicy": (requests.NamedGroup, delete_retention_policy),
    "ListTagsForResource": (requests.Resource, list_tags),
    "TagResource": (requests.TagResource, tag_resource),
    "UntagResource": (requests.UntagResource, untag_resource),
    "DescribeLogStreams": (requests.DescribeLogStreams, describe_log_streams),
    "CreateLogStream": (requests.NamedStream, create_log_stream),
    "DeleteLogStream": (requests.NamedStream, delete_log_stream),
}
