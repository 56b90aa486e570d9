"""The tracing header: made, passed on, and sampled."""

from __future__ import annotations

import re

import pytest

from engine.ids import IdSource
from engine.telemetry.tracing import Sampler, header

ROOT = "1-5759e988-bd862e3fe1be46a994272793"
PARENT = "53995c3f42cd8ad8"
WHOLE = re.compile(r"Root=(1-[0-9a-f]{8}-[0-9a-f]{24});Parent=([0-9a-f]{16});Sampled=([01])")
ids = IdSource()


def parts(text: str) -> tuple[str, str, str]:
    match = WHOLE.fullmatch(text)
    assert match, text
    return match[1], match[2], match[3]


def spent() -> Sampler:
    """A sampler that has sampled in this second and in the next ones, and is left to chance."""
    return type("Never", (Sampler,), {"decide": lambda *_: False})()


@pytest.mark.parametrize("sampler", [None, Sampler()])
@pytest.mark.parametrize(
    "given",
    [None, b"", b"nonsense", b";;;=", b"Root=5759e988", b"Root=" + b"x" * 5000, b"Root=1-5759e988-\xe9", b"a\x01b"],
    ids=repr,
)
def test_without_a_usable_root_a_trace_is_begun(given, sampler):
    first, second = parts(header(given, sampler, ids)), parts(header(given, sampler, ids))
    assert first[0] != second[0]
    assert first[1] != second[1]


@pytest.mark.parametrize("sampled", "01")
@pytest.mark.parametrize("more", ["", ";Lineage=1:061379e8:0", ";Self=1-67891234-12456789abcdef012345678"])
def test_pass_through_leaves_a_header_with_a_decision_as_it_is(sampled, more):
    given = f"Root={ROOT};Parent={PARENT};Sampled={sampled}{more}"
    assert header(given.encode(), None, ids) == given
    without_parent = f"Root={ROOT};Sampled={sampled}{more}"
    assert header(without_parent.encode(), None, ids) == without_parent


@pytest.mark.parametrize("given", [f"Root={ROOT}", f"Root={ROOT};Sampled=?", f"root={ROOT}; sampled=maybe"])
def test_pass_through_does_not_sample_what_nobody_has_decided(given):
    root, _, sampled = parts(header(given.encode(), None, ids))
    assert (root, sampled) == (ROOT, "0")


def test_pass_through_keeps_the_parent_of_an_undecided_one():
    assert parts(header(f"Root={ROOT};Parent={PARENT}".encode(), None, ids)) == (ROOT, PARENT, "0")


@pytest.mark.parametrize("sampled", "01")
def test_active_keeps_the_root_and_the_callers_decision_and_is_a_parent_itself(sampled):
    given = f"Root={ROOT};Parent={PARENT};Sampled={sampled}".encode()
    for sampler in (Sampler(), spent()):
        root, parent, decided = parts(header(given, sampler, ids))
        assert (root, decided) == (ROOT, sampled)
        assert parent != PARENT


def test_active_keeps_the_lineage():
    given = f"Root={ROOT};Parent={PARENT};Sampled=1;Lineage=1:061379e8:0".encode()
    assert header(given, Sampler(), ids).endswith(";Sampled=1;Lineage=1:061379e8:0")


@pytest.mark.parametrize("given", [None, f"Root={ROOT}".encode(), f"Root={ROOT};Parent={PARENT};Sampled=?".encode()])
def test_active_decides_when_nobody_has(given):
    assert parts(header(given, Sampler(), ids))[2] == "1"
    assert parts(header(given, spent(), ids))[2] == "0"


def test_the_first_in_each_second_is_sampled_and_one_in_twenty_of_the_others():
    sampler = Sampler()
    chances = [number / 100 for number in range(100)]
    assert sampler.decide(7.0, 0.99)
    assert sum(sampler.decide(7.5, chance) for chance in chances) == 5
    assert sampler.decide(8.1, 0.99)
    assert not sampler.decide(8.9, 0.99)
