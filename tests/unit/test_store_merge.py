"""Layers merged into one tree: as if they were unpacked one after the other into /opt."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidParameterValueException
from engine.store.merge import content_size, merge, merged_digest, without_covered
from engine.store.unzip import remove_tree


def tree(folder: Path, files: dict[str, str]) -> Path:
    """A folder with these files; a name that ends in "/" is an empty folder, a content "-> X" a symbolic link."""
    folder.mkdir()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        elif content.startswith("-> "):
            path.symlink_to(content[3:])
        else:
            path.write_text(content)
    return folder


def contents(folder: Path) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_dir():
            found[f"{name}/"] = ""
        else:
            found[name] = path.read_text()
    return found


def merged(tmp_path: Path, *layers: dict[str, str]) -> dict[str, str]:
    target = tmp_path / "merged"
    target.mkdir()
    merge([tree(tmp_path / f"layer{number}", files) for number, files in enumerate(layers)], target)
    return contents(target)


def test_folders_join_and_later_files_cover_earlier_ones(tmp_path):
    assert merged(
        tmp_path,
        {"python/a.py": "1", "python/b.py": "1", "bin/tool": "1", "empty/": ""},
        {"python/b.py": "2", "python/c.py": "2", "lib/x.so": "2"},
        {"python/c.py": "3"},
    ) == {
        "python/": "", "python/a.py": "1", "python/b.py": "2", "python/c.py": "3", "bin/": "", "bin/tool": "1",
        "lib/": "", "lib/x.so": "2", "empty/": "",
    }  # fmt: skip


def test_what_is_of_another_kind_takes_the_place_of_all_that_was_there(tmp_path):
    assert merged(
        tmp_path,
        {"a/deep/er/file": "1", "b": "1", "c": "-> b", "d/x": "1"},
        {"a": "2", "b/inside": "2", "c/inside": "2", "d": "-> b"},
    ) == {"a": "2", "b/": "", "b/inside": "2", "c/": "", "c/inside": "2", "d": "-> b"}


def test_a_folder_does_not_follow_the_link_of_an_earlier_layer(tmp_path):
    (tmp_path / "outside").mkdir()
    assert merged(tmp_path, {"python": "-> ../outside"}, {"python/evil.py": "x"}) == {
        "python/": "",
        "python/evil.py": "x",
    }
    assert list((tmp_path / "outside").iterdir()) == []


def test_links_that_only_together_lead_out_are_refused(tmp_path):
    """Each layer's own stays within: "x/y/../.." is the top, as long as "x/y" is a folder."""
    with pytest.raises(InvalidParameterValueException, match="symbolic link 'out' of one of them leads out of /opt"):
        merged(tmp_path, {"x/y/": "", "out": "-> x/y/../../keep", "keep": ""}, {"x": "-> .", "y": "-> ."})


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A layer of 1,500 folders in each other. Removed here: pytest's own cleaning up would fail over it."""
    (folder := tmp_path / "deep").mkdir()
    monkeypatch.chdir(folder)
    for _ in range(1500):
        Path("d").mkdir()
        os.chdir("d")
    Path("file").write_text("x")
    monkeypatch.chdir(tmp_path)
    yield folder
    subprocess.run(["rm", "-rf", *tmp_path.iterdir()], check=True)


def test_folders_nested_deeper_than_python_recurses_are_merged_and_removed(tmp_path, deep):
    (target := tmp_path / "merged").mkdir()
    merge([deep], target)
    assert content_size(target) == 1
    for folder in (deep, target):
        remove_tree(folder)
        assert not folder.exists()


def test_files_are_links_to_the_layers_files_with_their_modes(tmp_path):
    layer = tree(tmp_path / "layer", {"bin/tool": "x"})
    (layer / "bin/tool").chmod(0o755)
    target = tmp_path / "merged"
    target.mkdir()
    merge([layer], target)
    assert (target / "bin/tool").stat().st_ino == (layer / "bin/tool").stat().st_ino
    assert stat.S_IMODE((target / "bin").stat().st_mode) == 0o755
    shutil.rmtree(layer)
    assert (target / "bin/tool").read_text() == "x"


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_files_that_cannot_be_linked_are_copied(tmp_path, monkeypatch, number):
    def refuse(*_args, **_options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuse)
    assert merged(tmp_path, {"a/x": "1", "l": "-> a"}, {"a/y": "2"}) == {
        "a/": "",
        "a/x": "1",
        "a/y": "2",
        "l": "-> a",
    }


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(OSError, match="No space"):
        merged(tmp_path, {"x": "1"})


def test_a_list_of_layers_is_known_by_what_counts_and_its_order():
    assert merged_digest([]) == merged_digest([""]) == ""
    assert merged_digest(["a"]) == "a"
    assert merged_digest(["a", "a"]) == "a"
    assert without_covered(["a", "b", "a"]) == ["b", "a"]
    assert merged_digest(["a", "b", "a"]) == merged_digest(["b", "a"]) != merged_digest(["a", "b"])
    assert len(merged_digest(["a", "b"])) == 64


NAMES = st.sampled_from(["a", "b", "a/b", "b/a", "a/b/c", "c"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(NAMES, st.text("xyz", max_size=2), max_size=4), min_size=1, max_size=4))
def test_merging_is_unpacking_one_after_the_other(layers):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        expected: dict[str, str] = {}
        sources = []
        for number, files in enumerate(layers):
            # A name and one below it cannot both be files: the shorter one is left out, as no zip has both.
            possible = {n: c for n, c in files.items() if not any(other.startswith(f"{n}/") for other in files)}
            sources.append(tree(folder / str(number), possible))
            for path, content in possible.items():
                for covered in [e for e in expected if e.startswith(f"{path}/") or path.startswith(f"{e}/")]:
                    del expected[covered]
                expected[path] = content
        target = folder / "merged"
        target.mkdir()
        merge(sources, target)
        assert {n: c for n, c in contents(target).items() if not n.endswith("/")} == expected
        assert content_size(target) == sum(map(len, expected.values()))
