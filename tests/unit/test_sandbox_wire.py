from __future__ import annotations

import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import ConfigurationError, SandboxError
from engine.sandbox import Exit, SandboxLimits, make_provider, rlimits, users
from engine.sandbox.addresses import Endpoints
from engine.sandbox.blanks import Answer, check
from engine.sandbox.namespaces.pool import PoolSize
from engine.sandbox.spawner import wire
from engine.sandbox.spawner.tree import Group

frames = st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**32 - 1), st.binary(max_size=200), st.integers(0, 3)))


@given(frames, st.randoms(use_true_random=False))
def test_frames_survive_any_cutting_of_the_stream(sent, random) -> None:
    stream, expected, arrivals, descriptor = b"", [], {}, 100
    for kind, number, payload, count in sent:
        passed = list(range(descriptor, descriptor + count))
        descriptor += count
        expected.append((kind, number, payload, passed))
        if passed:
            arrivals[len(stream)] = passed  # descriptors arrive with the first byte of their frame
        stream += wire.frame(kind, number, payload, count)
    reader, got, position = wire.FrameReader(), [], 0
    while position < len(stream):
        end = min(len(stream), position + random.randint(1, 64))
        passed = [d for start, ds in sorted(arrivals.items()) if position <= start < end for d in ds]
        got += reader.feed(stream[position:end], passed)
        position = end
    assert got == expected
    assert reader.abandon() == []


def test_descriptors_of_a_frame_that_never_came_whole_are_given_back() -> None:
    reader = wire.FrameReader()
    assert reader.feed(wire.frame(wire.BLANK, 1, b"payload", 2)[:-1], [7, 8]) == []
    assert reader.abandon() == [7, 8]


def test_an_answer_is_done_or_says_why_not() -> None:
    check(wire.ANSWER.pack(0, 0))
    with pytest.raises(Answer) as caught:
        check(wire.ANSWER.pack(2, wire.STEP_EXEC) + b"no such thing")
    assert (caught.value.number, caught.value.step, caught.value.text) == (2, wire.STEP_EXEC, "no such thing")


def test_groups_are_read_as_they_are_written() -> None:
    group = Group.parse(b"user:1900000002:1900000003")
    assert (group.user, group.sender, group.marker) == (1_900_000_002, 1_900_000_003, 0)
    group = Group.parse(b"marker:12345:-1")
    assert (group.user, group.marker, group.mask) == (0, 12345, -1)


def _limits(text: str) -> dict[int, tuple[int, ...]]:
    return {int(a): tuple(map(int, b.split(":"))) for a, b in (part.split("=") for part in text.split(","))}


def test_the_limits_are_lambdas() -> None:
    limits = SandboxLimits(memory_mb=128)
    table = _limits(rlimits.encode(limits, private_user=True, marker=None))
    assert table[resource.RLIMIT_NOFILE] == (1024, 1024)
    assert table[resource.RLIMIT_NPROC] == (1024, 1024)
    assert table[resource.RLIMIT_CORE] == (0, 0)
    assert table[resource.RLIMIT_STACK] == (8 * 1024 * 1024, resource.RLIM_INFINITY)


def test_a_shared_user_is_not_limited_in_processes_and_is_marked() -> None:
    table = _limits(rlimits.encode(SandboxLimits(memory_mb=128), private_user=False, marker=77))
    assert resource.RLIMIT_NPROC not in table
    assert table[rlimits.RLIMIT_RTTIME] == (77, 77)


def test_user_ids_come_in_pairs_and_return_only_after_all_others_were_used() -> None:
    block = users.UserBlock(1_900_000_000, -1)
    first = [block.take() for _ in range(users.BLOCK // 2)]
    assert first == list(range(1_900_000_000, 1_900_000_000 + users.BLOCK, 2))
    with pytest.raises(SandboxError, match="in use"):
        block.take()
    block.give_back(first[5])
    block.give_back(first[2])
    assert [block.take(), block.take()] == [first[5], first[2]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root claims user ids")
def test_a_claimed_block_is_not_claimed_twice_and_free_after_release() -> None:
    one = users.claim()
    two = users.claim()
    assert abs(one.base - two.base) >= users.BLOCK
    one.release()
    again = users.claim()
    assert again.base == one.base
    again.release()
    two.release()


def test_endpoints_are_distinct_loopback_addresses_and_skip_those_in_use() -> None:
    endpoints = Endpoints()
    start = endpoints._next
    taken, address = endpoints.listen()
    endpoints._next = start
    other, second = endpoints.listen()
    with taken, other:
        assert address != second
        assert {address.split(".")[0], second.split(".")[0]} == {"127"}
        assert address.endswith(":9001")
        assert 64 <= int(address.split(".")[1]) < 128
        assert not taken.getblocking()


def test_when_the_port_is_taken_everywhere_another_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    endpoints = Endpoints()
    monkeypatch.setattr("engine.sandbox.addresses._COUNT", 1)
    first, _ = endpoints.listen()
    second, address = endpoints.listen()
    with first, second:
        assert not address.endswith(":9001")


def test_the_mode_asked_for_is_the_mode_given(tmp_path) -> None:
    assert make_provider("process", tmp_path / "run", tmp_path).mode == "process"
    with pytest.raises(ConfigurationError, match="'jail' is not known"):
        make_provider("jail", tmp_path / "run", tmp_path)
    with pytest.raises(ConfigurationError, match="needs isolation 'sandbox'"):
        make_provider("process", tmp_path / "run", tmp_path, own_network=True)


def test_auto_takes_sandbox_mode_where_it_can_and_else_says_why_not(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("engine.sandbox.why_not", lambda **_: None)
    monkeypatch.setattr("engine.sandbox.no_limits", lambda: None)
    assert make_provider("auto", tmp_path / "run", tmp_path).mode == "sandbox"
    monkeypatch.setattr("engine.sandbox.why_not", lambda **_: "no namespaces today")
    provider = make_provider("auto", tmp_path / "run", tmp_path)
    assert provider.mode == "process"
    assert "isolation: process, not sandbox: no namespaces today" in provider.weaknesses()
    with pytest.raises(ConfigurationError, match="'sandbox' is not possible here: no namespaces today"):
        make_provider("sandbox", tmp_path / "run", tmp_path)


def test_the_pool_grows_with_misses_and_shrinks_in_calm_times() -> None:
    pool = PoolSize(2, 32)
    for _ in range(20):
        pool.missed(100.0)
    assert pool.size == 32
    pool.taken(100.0 + 4.9)
    assert pool.size == 32
    pool.taken(100.0 + 5.0)
    assert pool.size == 31
    pool.taken(1000.0)
    assert pool.size == 2


def test_weaknesses_name_each_thing_that_is_not_enforced(tmp_path) -> None:
    named = {line.split(":")[0] for line in make_provider("process", tmp_path / "run", tmp_path).weaknesses()}
    assert {"memory", "cpu", "disk", "files", "network"} <= named


def test_exits_are_described_in_awss_words() -> None:
    assert Exit(None, 9).describe() == "signal: killed"
    assert Exit(137).describe() == "exit status 137"
