"""Loop devices: a file without a name as a block device that frees itself.

Every device is set up with LO_FLAGS_AUTOCLEAR: the kernel takes it down when its last user goes, by whatever death
(loop(4)). So a killed engine leaves no device, in one case excepted: before Linux 5.8 there is no LOOP_CONFIGURE, a
device is attached first and made autoclear next, and `sweep` clears what was caught between the two.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from pathlib import Path

from engine.errors import SandboxError

from . import kernel

_CONTROL = "/dev/loop-control"
_CONTROL_NUMBER = os.makedev(10, 237)  # Documentation/admin-guide/devices.txt
_MAJOR = 7
#: The block of the filesystems on the devices: direct I/O then suits host disks with sectors of 4096 bytes too.
BLOCK = 4096
_PATIENCE = 5.0
#: LOOP_CONFIGURE is unknown: EINVAL from the loop driver before 5.8, ENOTTY from something that is no loop driver.
_UNKNOWN = (errno.EINVAL, errno.ENOTTY)
#: Another process was quicker (EBUSY), or took the unused device away (ENXIO, ENODEV).
_RACES = (errno.EBUSY, errno.ENXIO, errno.ENODEV)


def path(number: int) -> str:
    """The device's path."""
    return f"/dev/loop{number}"


def attach(file: int, name: str, *, configure: bool = True) -> tuple[int, int]:
    """Make a file a block device: the device's number, and a descriptor that keeps the device until it is closed.

    The file is read and written by direct I/O where its filesystem can, else through the page cache; `engine.sandbox.
    disks` has the figures behind this choice.

    Args:
        file: the backing file, open for reading and writing. It may be closed afterwards.
        name: at most 63 bytes, for `holds` to tell this device's life from a later one of the same number.
        configure: False does it as before Linux 5.8.

    Raises:
        SandboxError: no device could be had; says at which step and why.
    """
    control = _open_node(_CONTROL, stat.S_IFCHR, _CONTROL_NUMBER)
    try:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                number = fcntl.ioctl(control, kernel.LOOP_CTL_GET_FREE)
            except OSError as error:
                raise SandboxError(f"the kernel has no loop device left ({_CONTROL}: {error.strerror})") from error
            try:
                return number, _claim(number, file, name, configure=configure)
            except OSError as error:
                if error.errno not in _RACES or time.monotonic() > deadline:
                    raise SandboxError(f"a disk cannot be attached to {path(number)}: {error.strerror}") from error
    finally:
        os.close(control)


def holds(number: int, name: str) -> bool:
    """Whether the device is (still) the one that `attach` set up under this name."""
    try:
        device = os.open(path(number), os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return bool(_status(device).lo_file_name == name.encode())
    except OSError:
        return False  # ENXIO: nothing is attached
    finally:
        os.close(device)


def sweep(folder: Path) -> list[str]:
    """Clear devices whose file is (or was) in `folder` and that would not clear themselves; says which.

    A device in use is not hurt: LOOP_CLR_FD then only makes it clear itself after its last user.
    """
    cleared = []
    inside = os.path.realpath(folder) + "/"
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        device = f"/dev/{entry.parts[3]}"
        with contextlib.suppress(OSError):
            backing = entry.read_text()
            if not backing.startswith(inside) or entry.with_name("autoclear").read_text().strip() != "0":
                continue
            descriptor = os.open(device, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.ioctl(descriptor, kernel.LOOP_CLR_FD)
            finally:
                os.close(descriptor)
            cleared.append(f"{device} ({backing.strip()})")
    return cleared


def _claim(number: int, file: int, name: str, *, configure: bool) -> int:
    device = _open_node(path(number), stat.S_IFBLK, os.makedev(_MAJOR, number))
    try:
        config = kernel.LoopConfig(fd=file, block_size=BLOCK)
        config.info.lo_flags = kernel.LO_FLAGS_AUTOCLEAR | kernel.LO_FLAGS_DIRECT_IO
        config.info.lo_file_name = name.encode()
        try:
            if configure:
                fcntl.ioctl(device, kernel.LOOP_CONFIGURE, config)
                return device
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
        fcntl.ioctl(device, kernel.LOOP_SET_FD, file)
        try:
            fcntl.ioctl(device, kernel.LOOP_SET_STATUS64, config.info)
        except OSError:
            fcntl.ioctl(device, kernel.LOOP_CLR_FD)
            raise
        for request, value in ((kernel.LOOP_SET_BLOCK_SIZE, BLOCK), (kernel.LOOP_SET_DIRECT_IO, 1)):
            with contextlib.suppress(OSError):  # each makes it better, neither is needed
                fcntl.ioctl(device, request, value)
    except BaseException:
        os.close(device)
        raise
    return device


def _status(device: int) -> kernel.LoopInfo:
    info = kernel.LoopInfo()
    fcntl.ioctl(device, kernel.LOOP_GET_STATUS64, info)
    return info


def _open_node(node: str, kind: int, number: int) -> int:
    """Open a device, making its node first where nobody did: in a container, /dev does not follow the kernel."""
    try:
        try:
            return os.open(node, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mknod(node, kind | 0o600, number)
            return os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in _RACES and kind == stat.S_IFBLK:
            raise
        what = f"{os.major(number)}:{os.minor(number)}"
        raise SandboxError(
            f"loop devices cannot be used: {node} ({what}): {error.strerror}; load the module (modprobe loop), or in a "
            "container allow its devices (major 7, and 10:237)"
        ) from error
