"""Ids are what their formats say, and never twice the same."""

from __future__ import annotations

import re
import uuid

from engine.ids import IdSource


def test_request_ids_are_distinct_random_uuids():
    ids = IdSource()
    made = [ids.request_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    for one in made:
        parsed = uuid.UUID(one)
        assert str(parsed) == one
        assert (parsed.version, parsed.variant) == (4, uuid.RFC_4122)


def test_kinds_of_ids_may_be_mixed_without_repeating():
    ids = IdSource()
    made = [make() for _ in range(500) for make in (ids.request_id, ids.token, ids.trace_id)]
    assert len(set(made)) == 1500


def test_trace_ids_follow_the_tracing_header():
    pattern = re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=0")
    ids = IdSource()
    assert all(pattern.fullmatch(ids.trace_id()) for _ in range(200))


def test_tokens_are_thirty_two_hexadecimal_digits():
    ids = IdSource()
    assert all(re.fullmatch(r"[0-9a-f]{32}", ids.token()) for _ in range(200))
