"""The system calls that disks need and Python does not offer: mounting by descriptor, and the loop driver's requests.

Numbers and layouts: include/uapi/linux/mount.h, include/uapi/linux/loop.h, fs/ext4/ext4.h; system calls above 423 have
one number on every architecture that Lambent runs on. ctypes and `fcntl.ioctl` let other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
import os
import sys

_FSOPEN = 430
_FSCONFIG = 431
_FSMOUNT = 432
_MOVE_MOUNT = 429

_CLOEXEC = 1  # FSOPEN_CLOEXEC, FSMOUNT_CLOEXEC
_SET_FLAG = 0  # FSCONFIG_SET_FLAG
_SET_STRING = 1  # FSCONFIG_SET_STRING
_CMD_CREATE = 6  # FSCONFIG_CMD_CREATE
_F_EMPTY_PATH = 4  # MOVE_MOUNT_F_EMPTY_PATH
_AT_FDCWD = -100

MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOATIME = 0x10

#: linux/loop.h
LOOP_SET_FD = 0x4C00
LOOP_CLR_FD = 0x4C01
LOOP_SET_STATUS64 = 0x4C04
LOOP_GET_STATUS64 = 0x4C05
LOOP_SET_DIRECT_IO = 0x4C08
LOOP_SET_BLOCK_SIZE = 0x4C09
LOOP_CONFIGURE = 0x4C0A
LOOP_CTL_GET_FREE = 0x4C82
LO_FLAGS_AUTOCLEAR = 4
LO_FLAGS_DIRECT_IO = 16

#: linux/fs.h: _IOWR('X', 121, struct fstrim_range)
FITRIM = 0xC0185879
#: fs/ext4/ext4.h: _IOR('X', 125, __u32), and "drop everything at once"
EXT4_IOC_SHUTDOWN = 0x8004587D
EXT4_GOING_FLAGS_NOLOGFLUSH = 2

_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class LoopInfo(ctypes.Structure):
    """struct loop_info64."""

    _fields_ = (
        ("lo_device", ctypes.c_uint64),
        ("lo_inode", ctypes.c_uint64),
        ("lo_rdevice", ctypes.c_uint64),
        ("lo_offset", ctypes.c_uint64),
        ("lo_sizelimit", ctypes.c_uint64),
        ("lo_number", ctypes.c_uint32),
        ("lo_encrypt_type", ctypes.c_uint32),
        ("lo_encrypt_key_size", ctypes.c_uint32),
        ("lo_flags", ctypes.c_uint32),
        ("lo_file_name", ctypes.c_char * 64),
        ("lo_crypt_name", ctypes.c_char * 64),
        ("lo_encrypt_key", ctypes.c_uint8 * 32),
        ("lo_init", ctypes.c_uint64 * 2),
    )


class LoopConfig(ctypes.Structure):
    """struct loop_config."""

    _fields_ = (
        ("fd", ctypes.c_uint32),
        ("block_size", ctypes.c_uint32),
        ("info", LoopInfo),
        ("reserved", ctypes.c_uint64 * 8),
    )


def fsopen(filesystem: str) -> int:
    """A new, empty configuration of a filesystem of this type. The caller closes the descriptor."""
    return _call(_FSOPEN, filesystem.encode(), _CLOEXEC)


def fsconfig_string(configuration: int, key: str, value: str) -> None:
    """Set an option with a value."""
    _call(_FSCONFIG, configuration, _SET_STRING, key.encode(), value.encode(), 0)


def fsconfig_flag(configuration: int, key: str) -> None:
    """Set an option without a value."""
    _call(_FSCONFIG, configuration, _SET_FLAG, key.encode(), None, 0)


def fsconfig_create(configuration: int) -> None:
    """Read the superblock: what mount(8) can fail with happens here."""
    _call(_FSCONFIG, configuration, _CMD_CREATE, None, None, 0)


def fsmount(configuration: int, attributes: int) -> int:
    """A mount that is attached nowhere, as a descriptor (O_PATH); it is gone when the last reference to it is."""
    return _call(_FSMOUNT, configuration, _CLOEXEC, attributes)


def move_mount(mount: int, path: str) -> None:
    """Attach a detached mount to a folder in the mount namespace of the calling thread."""
    _call(_MOVE_MOUNT, mount, b"", _AT_FDCWD, os.fsencode(path), _F_EMPTY_PATH)


def _call(number: int, *arguments: int | bytes | None) -> int:
    if _libc is None:
        raise OSError(38, os.strerror(38))
    # The C library declares no prototype for syscall(): every integer must be passed as a long.
    words = [ctypes.c_long(word) if isinstance(word, int) else ctypes.c_char_p(word) for word in arguments]
    result: int = _libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
