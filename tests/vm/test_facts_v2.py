"""What the engine relies on in a cgroup v2 host, as root and as a user with a delegated subtree: see facts_v2.py."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.vm.machine import PROJECT, Machine, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

_KILLED, _FINE = -9, ""
_GROUP_KILLED = [[_KILLED, _KILLED], 1, True, True, True]
#: fact -> what root finds, what the user finds.
EXPECTED: dict[str, tuple[Any, ...]] = {
    "processes_are_only_in_leaves": (["EBUSY", ["cpu", "memory", "pids"]],) * 2,
    "memory_limit_kills_the_whole_group": (_GROUP_KILLED,) * 2,
    "memory_limit_spares_the_neighbours": ([_KILLED, None],) * 2,
    "cpu_share": ([pytest.approx(0.25, abs=0.06), True],) * 2,
    "pids_limit": ([["9", "EAGAIN"], 1],) * 2,
    "freezer": ([True, _KILLED],) * 2,
    "kill_reaches_all": (_KILLED, _KILLED),
    "own_limits_are_the_parents": (_FINE, "EACCES"),
    "moving_out": (_FINE, "EACCES"),
    # 137 is how unshare passes on that its child, process 1 of the namespace, was killed.
    "namespaces_with_limits": ([["1", "0"], _KILLED, 1],) * 2,
    "overlay": ([0, "below", "below"],) * 2,
    # An ordinary user gets no loop device: a quota on files has to be made of something else there.
    "disk_quota": ("ENOSPC", "refused"),
}


@pytest.fixture(scope="module", params=["service", "delegated"])
def found(machine: Machine, request: pytest.FixtureRequest) -> tuple[Place, dict[str, Any]]:
    place: Place = request.param
    shown = machine.run(
        [PROJECT / ".venv/bin/python", "-I", "-S", PROJECT / "tests/vm/facts_v2.py"], limit=150, place=place
    )
    assert shown.code == 0, shown.output
    # Its own leaf is all that it leaves: every other cgroup, process, mount and loop device is gone.
    assert [one.rpartition("/")[2] for one in shown.left_behind] == ["engine"], shown.left_behind
    return place, json.loads(shown.output)


@pytest.mark.parametrize("fact", EXPECTED)
def test_fact(found: tuple[Place, dict[str, Any]], fact: str) -> None:
    place, facts = found
    assert facts[fact] == EXPECTED[fact][place == "delegated"]


def test_no_fact_is_missing_here(found: tuple[Place, dict[str, Any]]) -> None:
    assert list(found[1]) == list(EXPECTED)
