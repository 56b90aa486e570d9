"""Removing a folder that hostile code has filled: any depth, any permissions, any names, symbolic links to anywhere."""

from __future__ import annotations

import errno
import os
import stat

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove(path: bytes) -> None:
    """Remove the folder `path` and all below. No error when it is not there.

    Symbolic links are removed, never followed. Depth does not matter: a folder found inside another is first moved up
    to the top, so that neither recursion nor a chain of descriptors nor a path longer than PATH_MAX is needed. All
    processes that could interfere have ended before.

    Raises:
        OSError: what could not be removed and why.
    """
    try:
        top = _open(path, None)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
        os.unlink(path)  # noqa: PTH108 - a file or a link stands in its place
        return
    try:
        serial = 0
        while names := _names(top):
            for name in names:
                serial = _remove_entry(top, name, serial)
    finally:
        os.close(top)
    os.rmdir(path)  # noqa: PTH106


def _remove_entry(top: int, name: str, serial: int) -> int:
    """Remove one entry of `top`; its subfolders move up into `top`. Returns the next free serial for new names."""
    if not _is_directory(top, name):
        os.unlink(name, dir_fd=top)
        return serial
    folder = _open(name, top)
    try:
        for inner in _names(folder):
            if _is_directory(folder, inner):
                serial = _move_up(folder, inner, top, serial)
            else:
                os.unlink(inner, dir_fd=folder)
    finally:
        os.close(folder)
    os.rmdir(name, dir_fd=top)
    return serial


def _move_up(folder: int, name: str, top: int, serial: int) -> int:
    while True:
        serial += 1
        try:
            os.rename(name, f"{serial}~", src_dir_fd=folder, dst_dir_fd=top)
        except OSError as error:
            if error.errno in {errno.EACCES, errno.EPERM}:  # a folder's own write permission is needed to move it
                os.chmod(name, 0o700, dir_fd=folder)
                serial -= 1
            elif error.errno not in {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}:
                raise
        else:
            return serial


def _open(name: str | bytes, parent: int | None) -> int:
    try:
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=parent)
        descriptor = os.open(name, _DIRECTORY, dir_fd=parent)
    if os.geteuid() != 0:
        os.fchmod(descriptor, 0o700)
    return descriptor


def _names(folder: int) -> list[str]:
    return os.listdir(folder)


def _is_directory(folder: int, name: str) -> bool:
    return stat.S_ISDIR(os.lstat(name, dir_fd=folder).st_mode)
