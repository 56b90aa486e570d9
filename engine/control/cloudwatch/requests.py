"""What the operations are asked, typed. Members that mean nothing here (`unmask`, `interleaved`, …) are not read."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

GroupName = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[.\-_/#A-Za-z0-9]+$")]
StreamName = Annotated[str, Meta(min_length=1, max_length=512, pattern=r"^[^:*]*$")]
Identifier = Annotated[str, Meta(min_length=1, max_length=2048)]
Few = Annotated[int, Meta(ge=1, le=50)]
Many = Annotated[int, Meta(ge=1, le=10_000)]
Time = Annotated[int, Meta(ge=0)]


class _Request(Struct, frozen=True, kw_only=True, rename="camel"):
    pass


class DescribeLogGroups(_Request, frozen=True, kw_only=True, rename="camel"):
    """`log_group_name_pattern` is a part of the name, in any case of letters."""

    log_group_name_prefix: str | None = None
    log_group_name_pattern: str | None = None
    log_group_identifiers: list[Identifier] | None = None
    next_token: str | None = None
    limit: Few = 50


class CreateLogGroup(_Request, frozen=True, kw_only=True, rename="camel"):
    """A new group."""

    log_group_name: GroupName
    tags: dict[str, str] | None = None


class NamedGroup(_Request, frozen=True, kw_only=True, rename="camel"):
    """DeleteLogGroup, DeleteRetentionPolicy."""

    log_group_name: GroupName


class PutRetentionPolicy(_Request, frozen=True, kw_only=True, rename="camel"):
    """Events go after so many days."""

    log_group_name: GroupName
    retention_in_days: int


class NamedStream(_Request, frozen=True, kw_only=True, rename="camel"):
    """CreateLogStream, DeleteLogStream."""

    log_group_name: GroupName
    log_stream_name: StreamName


class Resource(_Request, frozen=True, kw_only=True, rename="camel"):
    """ListTagsForResource."""

    resource_arn: Identifier


class TagResource(_Request, frozen=True, kw_only=True, rename="camel"):
    """More tags."""

    resource_arn: Identifier
    tags: dict[str, str]


class UntagResource(_Request, frozen=True, kw_only=True, rename="camel"):
    """Fewer."""

    resource_arn: Identifier
    tag_keys: list[str]


class OfGroup(_Request, frozen=True, kw_only=True, rename="camel"):
    """Names a group in one of two ways."""

    log_group_name: GroupName | None = None
    log_group_identifier: Identifier | None = None


class DescribeLogStreams(OfGroup, frozen=True, kw_only=True, rename="camel"):
    """The streams of a group."""

    log_stream_name_prefix: str | None = None
    order_by: Literal["LogStreamName", "LastEventTime"] = "LogStreamName"
    descending: bool = False
    next_token: str | None = None
    limit: Few = 50


class GetLogEvents(OfGroup, frozen=True, kw_only=True, rename="camel"):
    """The events of one stream; `end_time` is not included."""

    log_stream_name: StreamName
    start_time: Time = 0
    end_time: Time | None = None
    next_token: str | None = None
    limit: Many = 10_000
    start_from_head: bool = False


class FilterLogEvents(OfGroup, frozen=True, kw_only=True, rename="camel"):
    """The events of a group; `end_time` is included."""

    log_stream_names: Annotated[list[StreamName], Meta(min_length=1, max_length=100)] | None = None
    log_stream_name_prefix: str | None = None
    start_time: Time = 0
    end_time: Time | None = None
    filter_pattern: Annotated[str, Meta(max_length=1024)] = ""
    next_token: str | None = None
    limit: Many = 10_000
    start_from_head: bool = True


class InputEvent(_Request, frozen=True, kw_only=True, rename="camel"):
    """An event to be put."""

    timestamp: Time
    message: Annotated[str, Meta(min_length=1)]


class PutLogEvents(_Request, frozen=True, kw_only=True, rename="camel"):
    """Events of another program's, in the order of time."""

    log_group_name: GroupName
    log_stream_name: StreamName
    log_events: Annotated[list[InputEvent], Meta(min_length=1, max_length=10_000)]
