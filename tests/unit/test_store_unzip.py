from __future__ import annotations

import contextlib
import io
import os
import stat
import struct
import tempfile
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvalidParameterValueException
from engine.store.folder import pack_folder
from engine.store.unzip import BAD_ZIP, EMPTY_ZIP, unzip
from tests.support.packages import entry, package, packed

LINK = stat.S_IFLNK | 0o777


def refuse(data, tmp_path, *, limit=262_144_000):
    """Unpack something bad; nothing may appear beside the target. Returns the text."""
    target = tmp_path / "inside" / "tree"
    target.mkdir(parents=True)
    with pytest.raises(InvalidParameterValueException) as caught:
        unzip(data, target, limit=limit)
    assert caught.value.status == 400
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert [path.name for path in (tmp_path / "inside").iterdir()] == ["tree"]
    return caught.value.text


@pytest.fixture
def strict_umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.usefixtures("strict_umask")
def test_a_package_becomes_a_tree_readable_by_everybody_with_exec_bits_kept(tmp_path):
    data = package({"bootstrap": "#!/bin/sh\n", "lib/deep/data.txt": b"\x00\xff" * 100}, executable=("bootstrap",))
    assert unzip(data, tmp_path) == 10 + 200
    assert (tmp_path / "lib/deep/data.txt").read_bytes() == b"\x00\xff" * 100
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*")}
    assert modes == {"bootstrap": 0o755, "lib": 0o755, "deep": 0o755, "data.txt": 0o644}


def test_set_uid_and_other_special_bits_are_dropped(tmp_path):
    unzip(packed((entry("tool", stat.S_IFREG | 0o6777), b"x")), tmp_path)
    assert stat.S_IMODE((tmp_path / "tool").stat().st_mode) == 0o755


def test_names_with_a_leading_dot_segment_and_explicit_folders_are_fine(tmp_path):
    folder = entry("./pkg/", stat.S_IFDIR | 0o700)
    unzip(packed((entry("./", stat.S_IFDIR | 0o755), b""), (entry("./pkg/a.py"), b"a"), (folder, b"")), tmp_path)
    assert (tmp_path / "pkg" / "a.py").read_bytes() == b"a"


def test_a_link_inside_the_tree_stays_a_link(tmp_path):
    unzip(packed((entry("lib/x.so.1"), b"elf"), (entry("lib/x.so", LINK), b"x.so.1")), tmp_path)
    assert (tmp_path / "lib/x.so").readlink().name == "x.so.1"
    assert (tmp_path / "lib/x.so").read_bytes() == b"elf"


def test_zip64_records_are_read(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive, archive.open(entry("big.bin"), "w", force_zip64=True) as sink:
        sink.write(b"x" * 1000)
    unzip(out.getvalue(), tmp_path)
    assert (tmp_path / "big.bin").stat().st_size == 1000


def test_something_before_the_zip_is_skipped_as_in_a_self_extractor(tmp_path):
    unzip(b"#!/usr/bin/env python3\n" + package(), tmp_path)
    assert (tmp_path / "app.py").exists()


@pytest.mark.parametrize("data", [b"not a zip", b"PK\x03\x04" + b"\0" * 100, package()[:-30]])
def test_what_is_no_zip_gets_the_text_of_aws_and_nothing_more(data, tmp_path):
    assert refuse(data, tmp_path) == BAD_ZIP


@pytest.mark.parametrize("data", [b"", packed()])
def test_an_empty_package_is_refused(data, tmp_path):
    assert refuse(data, tmp_path) == EMPTY_ZIP


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../up", "a/../../up", "..", "a\\b", "..\\up", "C:\\x", "//double", "x\0y"]
)
def test_names_that_leave_the_tree_are_refused(name, tmp_path):
    info = entry("placeholder")
    info.filename = info.orig_filename = name  # past the cleaning of ZipInfo's constructor
    assert refuse(packed((info, b"x")), tmp_path).startswith(BAD_ZIP)


@pytest.mark.parametrize(
    "links",
    [
        [("l", "/etc/passwd")],
        [("l", "../../etc/passwd")],
        [("a/b/l", "../../../x")],
        [("d", "."), ("l", "d/../y")],  # each harmless to the eye; together they climb
        [("d", "e/.."), ("e", "."), ("l", "d/../../x")],
        [("l", "")],
        [("l", "x" * 5000)],
    ],
)
def test_links_that_leave_the_tree_are_refused(links, tmp_path):
    data = packed((entry("a/b/file"), b""), *((entry(name, LINK), target.encode()) for name, target in links))
    assert refuse(data, tmp_path).startswith(BAD_ZIP)


def test_no_file_is_written_through_a_link(tmp_path):
    text = refuse(packed((entry("d", LINK), b"."), (entry("d/evil"), b"x")), tmp_path)
    assert "which is no folder" in text


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_pipes_and_sockets_are_refused(kind, tmp_path):
    assert "is a device, pipe or socket" in refuse(packed((entry("node", kind | 0o666), b"")), tmp_path)


@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("a", "a/"), ("a/b", "a"), ("a/", "a/")])
def test_a_name_twice_is_refused(names, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate that we want
        data = packed(*((entry(name), b"") for name in names))
    text = refuse(data, tmp_path)
    assert "is there twice" in text or "which is no folder" in text


def test_names_too_long_for_the_file_system_are_the_packages_fault(tmp_path):
    assert "cannot be stored" in refuse(packed((entry("x" * 300), b"")), tmp_path)


def test_an_encrypted_entry_is_refused(tmp_path):
    data = bytearray(package())
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 8] |= 1
    data[6] |= 1
    assert "is encrypted" in refuse(bytes(data), tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_beside_deflate_are_refused(method, tmp_path):
    info = entry("a")
    info.compress_type = method
    assert "use deflate" in refuse(packed((info, b"x" * 100)), tmp_path)


def test_a_bad_checksum_is_refused(tmp_path):
    data = bytearray(package({"a": b"hello hello hello"}))
    directory = data.rindex(b"PK\x01\x02")
    data[directory + 16] ^= 0xFF
    assert "Bad CRC-32" in refuse(bytes(data), tmp_path)


def test_damaged_content_is_refused(tmp_path):
    data = bytearray(package({"a": os.urandom(1000)}))
    data[100] ^= 0xFF
    assert refuse(bytes(data), tmp_path).startswith(BAD_ZIP)


def test_more_than_the_limit_by_declaration_is_refused_before_anything_is_read(tmp_path):
    data = package({"zeros": b"\0" * 1_000_001})
    assert refuse(data, tmp_path, limit=1_000_000) == "Unzipped size must be smaller than 1000000 bytes"
    assert not list((tmp_path / "inside" / "tree").iterdir())


def test_the_limit_counts_all_files_together(tmp_path):
    data = package({f"f{number}": b"\0" * 1000 for number in range(11)})
    assert refuse(data, tmp_path, limit=10_000) == "Unzipped size must be smaller than 10000 bytes"


def test_a_header_that_lies_about_the_size_does_not_get_more_than_it_says(tmp_path):
    """A bomb that declares 10 bytes and inflates to 10 MB: reading stops at what was declared, and the CRC is wrong."""
    data = bytearray(package({"bomb": b"\0" * 10_000_000}))
    directory = data.rindex(b"PK\x01\x02")
    struct.pack_into("<I", data, directory + 24, 10)
    refuse(bytes(data), tmp_path, limit=1_000_000)
    assert sum(path.stat().st_size for path in (tmp_path / "inside" / "tree").iterdir()) <= 10


def test_entries_that_share_their_data_are_refused(tmp_path):
    """Fifield's bomb: many directory entries, one compressed kernel."""
    data = package({"a": b"\0" * 100_000})
    directory = data.rindex(b"PK\x01\x02")
    end = data.rindex(b"PK\x05\x06")
    record = data[directory:end]
    records = b"".join(record.replace(b"a", bytes([97 + number]), 1) if number else record for number in range(5))
    tail = bytearray(data[end:])
    struct.pack_into("<HHII", tail, 8, 5, 5, len(records), directory)
    assert "overlaps" in refuse(data[:directory] + records + bytes(tail), tmp_path)


def test_data_that_quotes_the_next_header_is_refused(tmp_path):
    """The quoted-overlap bomb: the first entry's stored data is the second entry whole."""
    first, second = entry("a"), entry("b")
    first.compress_type = second.compress_type = zipfile.ZIP_STORED
    data = bytearray(packed((first, b"x" * 10), (second, b"y" * 10)))
    directory = data.index(b"PK\x01\x02")
    longer = 10 + 30 + 1 + 10
    struct.pack_into("<II", data, directory + 20, longer, longer)
    assert "overlaps" in refuse(bytes(data), tmp_path)


def test_too_many_entries_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("engine.store.unzip.MAX_ENTRIES", 10)
    assert "at most 10" in refuse(package({f"f{number}": b"" for number in range(11)}), tmp_path)


SEED = packed((entry("lib/a.py"), b"print(1)" * 50), (entry("lib/link", LINK), b"a.py"), (entry("d/"), b""))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(SEED) - 1), st.integers(0, 255)), min_size=1, max_size=6), st.data())
def test_whatever_is_damaged_is_refused_or_harmless(changes, data):
    """Mutated packages end in AWS's refusal or in a tree that stays inside; no other exception escapes."""
    damaged = bytearray(SEED)
    for place, value in changes:
        damaged[place] = value
    cut = data.draw(st.integers(0, len(damaged)) | st.just(len(damaged)))
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = Path(scratch, "tree")
        target.mkdir()
        with contextlib.suppress(InvalidParameterValueException):
            unzip(bytes(damaged[:cut]), target, limit=10_000)
        assert [path.name for path in Path(scratch).iterdir()] == ["tree"]
        assert all(path.resolve().is_relative_to(target) for path in target.rglob("*") if not path.is_symlink())


def test_a_folder_packs_to_the_same_bytes_whatever_its_times_and_order(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ["a", "b"]), (two, ["b", "a"])):
        (folder / "pkg").mkdir(parents=True)
        for name in names:
            (folder / "pkg" / name).write_text(name)
        (folder / "bootstrap").write_text("#!/bin/sh")
        (folder / "bootstrap").chmod(0o750)
    os.utime(two / "pkg" / "a", (0, 0))
    (two / "__pycache__").mkdir()
    (two / "__pycache__" / "x.pyc").write_bytes(os.urandom(10))
    assert pack_folder(one) == pack_folder(two)


def test_a_packed_folder_unpacks_to_itself(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "lib").mkdir(parents=True)
    target.mkdir()
    (source / "bootstrap").write_text("#!/bin/sh")
    (source / "bootstrap").chmod(0o700)
    (source / "lib" / "data").write_bytes(os.urandom(3_000_000))
    (source / "link").symlink_to("lib/data")
    unzip(pack_folder(source), target)
    assert (target / "lib/data").read_bytes() == (source / "lib/data").read_bytes()
    assert stat.S_IMODE((target / "bootstrap").stat().st_mode) == 0o755
    assert (target / "link").is_symlink()


def test_folders_that_cannot_be_code_are_refused(tmp_path):
    with pytest.raises(InvalidParameterValueException, match="is not a folder"):
        pack_folder(tmp_path / "missing")
    with pytest.raises(InvalidParameterValueException, match="has no files"):
        pack_folder(tmp_path)
    (tmp_path / "big").write_bytes(b"x" * 101)
    with pytest.raises(InvalidParameterValueException, match="must be smaller than 100 bytes"):
        pack_folder(tmp_path, limit=100)
    (tmp_path / "big").unlink()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidParameterValueException, match="pipe"):
        pack_folder(tmp_path)
