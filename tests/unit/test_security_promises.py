"""SECURITY.md names the test that shows each promise; each of them is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PROMISES = (TESTS.parent / "SECURITY.md").read_text()
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PROMISES)))


def test_promises_have_tests():
    assert len(NAMED) > 30


@pytest.mark.parametrize(("file", "name"), NAMED, ids=[name for _, name in NAMED])
def test_the_test_that_a_promise_names_is_there(file: str, name: str):
    assert re.search(rf"^(async )?def {name}\(", (TESTS / file).read_text(), re.MULTILINE)


def test_every_attack_shows_a_promise():
    """A test of the hostile suite that SECURITY.md does not name says something that nobody was told."""
    written = {
        name
        for file in TESTS.glob("hostile/test_*.py")
        for name in re.findall(r"^async def (test_\w+)", file.read_text(), re.MULTILINE)
    }
    assert written - {name for _, name in NAMED} == set()
