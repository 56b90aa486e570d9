"""A zip package to a tree, believing nothing that the package says about itself.

Refused, each before or while it is read, never after: not a zip, no entries, too many of them, encrypted, compressed by
other methods than stored and deflate (LZMA's header may ask for gigabytes of dictionary), more than 250 MB unzipped by
declaration *or* by fact, entries whose data overlap (Fifield, "A better zip bomb"), absolute or climbing names, names
with backslashes or NUL, a name twice, a file where a folder must be, symbolic links out of the tree, devices, pipes and
sockets.

AWS answers every damaged package with the one text :data:`BAD_ZIP`. Where we know more, it follows in parentheses.
"""

from __future__ import annotations

import errno
import io
import os
import stat
import struct
import zipfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

from engine.errors import InvalidParameterValueException
from engine.model.limits import MAX_UNZIPPED

BAD_ZIP: Final = "Could not unzip uploaded file. Please check your file, then try to upload again."
EMPTY_ZIP: Final = "Uploaded file must be a non-empty zip"
TOO_LARGE: Final = "Unzipped size must be smaller than {limit} bytes"

MAX_ENTRIES: Final = 100_000
"""Ours: AWS names no number, but a 50 MB zip can hold half a million empty files, and inodes are finite."""
MAX_LINK: Final = 4_096
"""Bytes of a symbolic link's target (PATH_MAX)."""

_CHUNK: Final = 256 * 1024
_LOCAL_HEADER: Final = struct.Struct("<4s22xHH")
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED: Final = 0x1
_FOLDER, _FILE, _LINK = "folder", "file", "link"


def bad_zip(detail: str = "") -> InvalidParameterValueException:
    """AWS's refusal of a package, with what we know in addition."""
    return InvalidParameterValueException(f"{BAD_ZIP} ({detail})" if detail else BAD_ZIP)


def unzip(package: bytes, target: Path, *, limit: int = MAX_UNZIPPED) -> int:
    """Unpack `package` into the existing empty folder `target`. Blocking: run it in a thread.

    Folders become 0755, files 0644, or 0755 when the entry has any execute bit. At most `_CHUNK` bytes of content are
    in memory at a time. After an error `target` holds an unspecified part of the tree: throw it away.

    Args:
        package: the zip file.
        target: an empty folder.
        limit: bytes that the content may take (exclusive of file-system overhead).

    Returns:
        the bytes of content written.

    Raises:
        InvalidParameterValueException: AWS's text for the package's fault.
        OSError: the file system refused (full, quota).
    """
    if not package:
        raise InvalidParameterValueException(EMPTY_ZIP)
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as archive:
            entries = archive.infolist()
            if not entries:
                raise InvalidParameterValueException(EMPTY_ZIP)
            if len(entries) > MAX_ENTRIES:
                raise bad_zip(f"it has {len(entries)} entries; at most {MAX_ENTRIES} are unpacked")
            plan = _plan(entries, limit)
            _refuse_overlaps(package, entries, archive.start_dir)
            return _write(archive, plan, target, limit)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeError, struct.error) as error:
        raise bad_zip(str(error) if "not a zip file" not in str(error) else "") from error


def _plan(entries: list[zipfile.ZipInfo], limit: int) -> dict[tuple[str, ...], tuple[str, zipfile.ZipInfo | None]]:
    """What is made where: path parts to (kind, entry); None for folders that are only implied."""
    if sum(entry.file_size for entry in entries) > limit:
        raise InvalidParameterValueException(TOO_LARGE.format(limit=limit))
    plan: dict[tuple[str, ...], tuple[str, zipfile.ZipInfo | None]] = {}
    for entry in entries:
        kind = _kind(entry)
        parts = _parts(entry)
        if not parts:  # "./", the root itself
            if kind is _FOLDER:
                continue
            raise bad_zip(f"the entry {entry.filename!r} has no name")
        there = plan.get(parts)
        if there is not None and not (kind is _FOLDER and there == (_FOLDER, None)):
            raise bad_zip(f"the entry {entry.filename!r} is there twice")
        plan[parts] = (kind, entry)
        for depth in range(1, len(parts)):
            parent = plan.setdefault(parts[:depth], (_FOLDER, None))
            if parent[0] is not _FOLDER:
                raise bad_zip(
                    f"the entry {entry.filename!r} lies under {'/'.join(parts[:depth])!r}, which is no folder"
                )
    return plan


def _kind(entry: zipfile.ZipInfo) -> str:
    if entry.flag_bits & _ENCRYPTED:
        raise bad_zip(f"the entry {entry.filename!r} is encrypted")
    if entry.compress_type not in _METHODS:
        raise bad_zip(f"the entry {entry.filename!r} is compressed by method {entry.compress_type}; use deflate")
    mode = entry.external_attr >> 16
    file_type = stat.S_IFMT(mode)
    if entry.is_dir():
        return _FOLDER
    if file_type == stat.S_IFLNK:
        return _LINK
    if file_type in {0, stat.S_IFREG}:
        return _FILE
    raise bad_zip(f"the entry {entry.filename!r} is a device, pipe or socket")


def _parts(entry: zipfile.ZipInfo) -> tuple[str, ...]:
    name = entry.orig_filename
    if "\0" in name or "\\" in name:
        raise bad_zip(f"the name of the entry {name!r} has a backslash or a NUL; use forward slashes")
    if name.startswith("/") or ".." in name.split("/"):
        raise bad_zip(f"the entry {name!r} would leave the package's folder")
    return tuple(part for part in name.split("/") if part not in {"", "."})


def _refuse_overlaps(package: bytes, entries: list[zipfile.ZipInfo], directory_at: int) -> None:
    """Each entry's local header and data must end before the next one begins, and the last before the directory."""
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    ends = [entry.header_offset for entry in ordered[1:]] + [directory_at]
    for entry, end in zip(ordered, ends, strict=True):
        start = entry.header_offset
        signature, name_length, extra_length = _LOCAL_HEADER.unpack_from(package, start)
        data_ends = start + _LOCAL_HEADER.size + name_length + extra_length + entry.compress_size
        if signature != b"PK\x03\x04" or data_ends > end:
            raise bad_zip(f"the entry {entry.filename!r} overlaps its neighbour")


def _write(
    archive: zipfile.ZipFile,
    plan: dict[tuple[str, ...], tuple[str, zipfile.ZipInfo | None]],
    target: Path,
    limit: int,
) -> int:
    written = 0
    links: list[tuple[Path, zipfile.ZipInfo]] = []
    for parts in sorted(plan):  # a folder sorts before what is in it
        kind, entry = plan[parts]
        path = target.joinpath(*parts)
        if entry is None or kind is _FOLDER:
            _make_folder(path)
        elif kind is _LINK:
            links.append((path, entry))
        else:
            written = _make_file(archive, entry, path, written, limit)
    # Links last, so that no file can be written through one.
    for path, entry in links:
        written += _make_link(archive, entry, path)
    # Each alone may look harmless ("d -> .", "x -> d/../y"): resolve them as the kernel would, once all are there.
    root = Path(os.path.realpath(target))
    for path, entry in links:
        if not Path(os.path.realpath(path)).is_relative_to(root):
            raise bad_zip(f"the symbolic link {entry.filename!r} leaves the package's folder")
    return written


def _make_folder(path: Path) -> None:
    try:
        path.mkdir()
        path.chmod(0o755)
    except OSError as error:
        raise _name_fault(path, error) from error


def _make_file(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, written: int, limit: int) -> int:
    executable = (entry.external_attr >> 16) & 0o111
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _name_fault(path, error) from error
    with os.fdopen(fd, "wb", buffering=0) as out, archive.open(entry) as source:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > limit:
                raise InvalidParameterValueException(TOO_LARGE.format(limit=limit))
            view = memoryview(chunk)
            while view:
                view = view[out.write(view) :]
        os.fchmod(out.fileno(), 0o755 if executable else 0o644)
    return written


def _make_link(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path) -> int:
    if not 0 < entry.file_size <= MAX_LINK:
        raise bad_zip(f"the symbolic link {entry.filename!r} has a target of {entry.file_size} bytes")
    with archive.open(entry) as source:
        target = source.read(MAX_LINK)
    if target.startswith(b"/") or b"\0" in target:
        raise bad_zip(f"the symbolic link {entry.filename!r} has an absolute target")
    try:
        path.symlink_to(os.fsdecode(target))
    except OSError as error:
        raise _name_fault(path, error) from error
    return len(target)


def _name_fault(path: Path, error: OSError) -> Exception:
    """A name that the file system does not take is the package's fault; a full disk is not."""
    if error.errno in {errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.EEXIST}:
        return bad_zip(f"the name {path.name[:80]!r}… cannot be stored: {error.strerror}")
    return error


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, if it is there. What cannot be removed stays.

    Not shutil.rmtree: that recurses, and a package may nest its folders deeper than Python does its calls.
    """
    folders = [os.fspath(path)]
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    with suppress(OSError):
                        os.unlink(entry.path)  # noqa: PTH108
    for folder in reversed(folders):
        with suppress(OSError):
            os.rmdir(folder)  # noqa: PTH106
