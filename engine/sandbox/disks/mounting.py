"""An ext4 filesystem as a detached mount: a descriptor, not a place in anybody's folder tree.

The engine makes it, and passes it (SCM_RIGHTS) to the one process whose private mount namespace it is meant for. It
is never visible in the engine's own mount table, so there is nothing to unmount: without a descriptor and without a
namespace that holds it, it is gone (fsmount(2), move_mount(2); Linux 5.2).
"""

from __future__ import annotations

import contextlib
import os

from engine.errors import SandboxError

from . import kernel

#: No set-user-ID and no devices from /tmp. Programs may run: on Lambda they do. Reading a file writes nothing.
_ATTRIBUTES = kernel.MOUNT_ATTR_NOSUID | kernel.MOUNT_ATTR_NODEV | kernel.MOUNT_ATTR_NOATIME

#: Documentation/admin-guide/ext4.rst. What is on such a disk need not survive the machine, so:
_FLAGS = (
    "nobarrier",  # fsync inside never flushes the host's disk (the neighbours would wait for it)
    "noauto_da_alloc",  # nor does replacing a file by rename write it out
    "noinit_itable",  # no kernel thread that goes through the inode tables,
    "no_prefetch_block_bitmaps",  # nor one that reads all bitmaps at mount
    "discard",  # deleting a file gives its space back to the host
)
#: When the host's disk is full or broken, metadata may be lost. Then say so at every further write (EROFS) instead of
#: going on with a filesystem that is not what the function believes: it only costs this sandbox.
_ERRORS = "remount-ro"


def detached(device: str) -> int:
    """Mount the ext4 filesystem on a device, attached nowhere; a descriptor (O_PATH, close-on-exec).

    Raises:
        SandboxError: the kernel would not; says its reason.
    """
    try:
        configuration = kernel.fsopen("ext4")
    except OSError as error:
        raise SandboxError(
            f"the kernel cannot mount ext4 by fsopen(2): {error.strerror} (Linux 5.2 and CAP_SYS_ADMIN are needed)"
        ) from error
    try:
        try:
            kernel.fsconfig_string(configuration, "source", device)
            kernel.fsconfig_string(configuration, "errors", _ERRORS)
            for flag in _FLAGS:
                kernel.fsconfig_flag(configuration, flag)
            kernel.fsconfig_create(configuration)
            return kernel.fsmount(configuration, _ATTRIBUTES)
        except OSError as error:
            said = _messages(configuration)
            raise SandboxError(f"{device} cannot be mounted as ext4: {error.strerror}{said}") from error
    finally:
        os.close(configuration)


def attach(mount: int, folder: str) -> None:
    """Attach a detached mount to a folder, in the mount namespace of the calling thread.

    What the first process of a sandbox does, in C; here for tests and tools. Its namespace must not share this
    folder's mount with another one (MS_PRIVATE), or the disk appears there too.
    """
    kernel.move_mount(mount, folder)


def _messages(configuration: int) -> str:
    """What the filesystem said about the failure (fsopen(2): one message per read, ENODATA when there is no more)."""
    lines: list[str] = []
    with contextlib.suppress(OSError):
        while len(lines) < 4:
            lines.append(os.read(configuration, 1024).decode(errors="replace").strip())
    return f" ({'; '.join(lines)})" if lines else ""
