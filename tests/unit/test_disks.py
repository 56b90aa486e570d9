"""Disks: what is decided without a loop device."""

from __future__ import annotations

import ctypes
import os

import pytest

from engine.errors import SandboxError
from engine.sandbox.disks import Disks, image, kernel, template

MB_BLOCKS = 256


def room(blocks):
    """What can be filled in an ext4 filesystem of so many blocks, by what `image_blocks` says is taken off."""
    groups = -(-blocks // 32768)
    inode_tables = -(-blocks // 32)
    return blocks - inode_tables - min(blocks // 50, 4096) - 2 * groups - 16


@pytest.mark.parametrize("size_mb", [8, 16, 64, 511, 512, 513, 767, 1024, 3000, 10239, 10240])
def test_an_image_has_room_for_its_size_and_at_most_two_percent_more(size_mb):
    left = room(template.image_blocks(size_mb))
    assert left >= size_mb * MB_BLOCKS
    if size_mb >= 512:
        assert left <= size_mb * MB_BLOCKS * 1.02


def test_a_larger_disk_never_has_a_smaller_image():
    sizes = [template.image_blocks(size_mb) for size_mb in range(8, 10241)]
    assert sizes == sorted(sizes)


def test_structures_have_the_kernels_sizes():
    assert ctypes.sizeof(kernel.LoopInfo) == 232
    assert ctypes.sizeof(kernel.LoopConfig) == 304


def test_a_template_writes_its_pieces_into_a_file_that_stays_sparse(tmp_path):
    made = template.Template(64, 64 << 20, ((4096, b"a" * 8192), (32 << 20, b"b" * 4096)))
    file = image.nameless(str(tmp_path))
    try:
        made.write_to(file)
        assert os.fstat(file).st_size == 64 << 20
        assert template._pieces(file) == list(made.pieces)
        assert os.fstat(file).st_blocks * 512 < 1 << 20
    finally:
        os.close(file)


def test_blocks_of_zeros_are_not_part_of_a_template(tmp_path):
    file = image.nameless(str(tmp_path))
    try:
        os.pwrite(file, bytes(8192) + b"x" + bytes(4095) + bytes(4096), 0)
        os.ftruncate(file, 1 << 20)
        assert template._pieces(file) == [(8192, b"x" + bytes(4095))]
    finally:
        os.close(file)


@pytest.mark.parametrize("tmpfile", [True, False], ids=["O_TMPFILE", "a filesystem without O_TMPFILE"])
def test_an_image_has_no_name(tmp_path, monkeypatch, tmpfile):
    if not tmpfile:
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # what a kernel sees that does not know the flag
    file = image.nameless(str(tmp_path))
    try:
        assert os.fstat(file).st_nlink == 0
        assert not list(tmp_path.iterdir())
        assert not os.get_inheritable(file)
    finally:
        os.close(file)


def test_images_that_a_killed_engine_left_named_are_removed(tmp_path):
    left = tmp_path / f"{image._PREFIX}123-abc"
    left.write_bytes(b"x")
    other = tmp_path / "other"
    other.write_bytes(b"x")
    assert Disks(tmp_path).sweep() == [str(left)]
    assert list(tmp_path.iterdir()) == [other]
    assert Disks(tmp_path / "not there").sweep() == []


def test_without_mkfs_the_error_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(template, "_MORE_PATH", "")
    with pytest.raises(SandboxError, match="e2fsprogs"):
        template.build(512, str(tmp_path))


def test_a_failing_mkfs_is_quoted(tmp_path, monkeypatch):
    program = tmp_path / "mkfs.ext4"
    program.write_text("#!/bin/sh\necho 'no such feature' >&2\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match=r"mkfs\.ext4 -q .* failed with exit code 3: no such feature"):
        template.build(512, str(tmp_path))


def test_an_engine_that_is_not_root_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "not root" in (Disks(tmp_path).why_not() or "")


def test_a_disk_smaller_than_its_own_needs_is_refused(tmp_path):
    with pytest.raises(SandboxError, match="too small"):
        Disks(tmp_path).make(1)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SandboxError, match="file/disks"):
        Disks(tmp_path / "file" / "disks").make(512)
