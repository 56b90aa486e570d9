"""The size of a hostile /tmp: counted once, bounded, and never outside of it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from engine.sandbox.monitor.storage import ENTRY_BYTES, Measure, StorageThread, walk


def blocks(path: Path) -> int:
    return max(ENTRY_BYTES, os.lstat(path).st_blocks * 512)


def test_it_is_the_space_on_disk_of_all_entries(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "b").write_bytes(b"x" * 50_000)
    expected = sum(blocks(path) for path in tmp_path.rglob("*"))
    assert Measure(str(tmp_path)).look() == expected
    assert expected >= 150_000


def test_a_sparse_file_is_what_it_takes_and_an_empty_one_is_not_free(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 30)
    for number in range(10):
        (tmp_path / f"empty{number}").touch()
    assert Measure(str(tmp_path)).look() == 11 * ENTRY_BYTES


def test_hard_links_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    for number in range(5):
        os.link(tmp_path / "a", tmp_path / f"link{number}")
    assert Measure(str(tmp_path)).look() == blocks(tmp_path / "a")


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "large").write_bytes(b"x" * 1_000_000)
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "folder").symlink_to(outside)
    (inside / "loop").symlink_to(inside)
    assert Measure(str(inside)).look() == 2 * ENTRY_BYTES


def test_a_folder_swapped_for_a_link_during_the_walk_does_not_lead_outside(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    (outside / "sub").mkdir(parents=True)
    for number in range(50):
        (outside / "sub" / f"file{number}").touch()
    inside = tmp_path / "inside"
    (inside / "a" / "sub").mkdir(parents=True)
    steps = walk(str(inside))
    next(steps)  # "a" is listed
    next(steps)  # "a/sub" is listed, and is next
    (inside / "a" / "sub").rmdir()
    (inside / "a").rmdir()
    (inside / "a").symlink_to(outside)
    assert list(steps) == []


def test_a_look_is_bounded_and_the_next_goes_on_from_there(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"file{number}").touch()
    measure = Measure(str(tmp_path))
    assert [measure.look(10) // ENTRY_BYTES for _ in range(3)] == [10, 20, 25]
    (tmp_path / "file0").unlink()
    assert measure.look() == 24 * ENTRY_BYTES


def test_a_walk_that_is_given_up_leaves_no_descriptor(tmp_path: Path) -> None:
    for number in range(25):
        (tmp_path / f"file{number}").touch()
    before = len(list(Path("/proc/self/fd").iterdir()))
    measure = Measure(str(tmp_path))
    measure.look(10)
    measure.close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_folder_that_is_gone_is_empty(tmp_path: Path) -> None:
    assert Measure(str(tmp_path / "nowhere")).look() == 0


def test_an_unreadable_folder_is_counted_as_far_as_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert Measure(str(tmp_path)).look() >= ENTRY_BYTES


@pytest.mark.parametrize("depth", [200])
def test_deep_nesting_is_no_recursion(tmp_path: Path, depth: int) -> None:
    (tmp_path / "/".join(["d"] * depth)).mkdir(parents=True)
    assert Measure(str(tmp_path)).look() >= depth * ENTRY_BYTES


def test_the_thread_looks_and_ends(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100_000)
    found: list[int] = []
    told = threading.Event()

    def done(used: int, cost: float) -> None:
        found.append(used)
        told.set()

    thread = StorageThread()
    thread.start()
    measure = Measure(str(tmp_path))
    thread.look(measure, done)
    assert told.wait(10)
    thread.close(measure)
    thread.end()
    thread.join(10)
    assert found == [blocks(tmp_path / "a")]
