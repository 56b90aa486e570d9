"""Images of processes: which can be made, where they are kept, what is passed along to make a process of one.

The mechanism is `native/snapshot.c` and `native/restore/restore.c`; its picture, and whom it trusts, is in
`native/image.h`. An image is a file without a name in the runtime directory: in the page cache while there is room, on
the disk otherwise, and gone with its last descriptor, so with the engine at the latest.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from typing import TYPE_CHECKING

from engine.errors import SandboxError
from engine.sandbox.api import Image, ProcessSpec

if TYPE_CHECKING:
    from .provider import NamespaceProvider

#: Half of what a restore may take with its hooks.
COPY_SECONDS = 5.0
#: Numbers that no other process of a sandbox will have for a long time: those are given from 2 on.
_PIDS = range(1024, 32000)


def can_be_copied(spec: ProcessSpec) -> bool:
    """Whether this process knows what to do when it finds itself a copy: the Python runtime that comes with Lambent."""
    argv = tuple(spec.argv)
    return argv[-3:-2] == ("-c",) and "import bootstrap" in argv[-2]


def template_pid() -> int:
    """A pid for what is to be written down. Libraries find out that they have been copied by a pid that has changed."""
    return _PIDS[secrets.randbelow(len(_PIDS))]


def new_file(provider: NamespaceProvider, most: int) -> int:
    """A descriptor of an empty file for an image of at most so many bytes. Blocking.

    Raises:
        SandboxError: it cannot be made, or there is no room.
    """
    if provider.restorer < 0:
        raise SandboxError("there is no program here that makes a process of a snapshot (x86-64 only)")
    folder = provider.runtime_dir
    try:
        room = os.statvfs(folder)
        if room.f_bavail * room.f_frsize < most:
            raise SandboxError(f"{folder} has less than {most >> 20} MB free")
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            return os.dup(file.fileno())
    except OSError as error:
        raise SandboxError(f"a file in {folder} for it: {error.strerror}") from error


def finished(file: int) -> Image:
    """The image that has been written to `file`, with a descriptor of its own that cannot change it."""
    return Image(os.open(f"/proc/self/fd/{file}", os.O_RDONLY | os.O_CLOEXEC))


def descriptors(spec: ProcessSpec, provider: NamespaceProvider) -> list[int]:
    """What comes with the order to become a copy.

    Raises:
        SandboxError: the image has been let go.
    """
    if spec.image is None or spec.image.fd < 0 or provider.restorer < 0:
        raise SandboxError("the image is gone")
    return [spec.image.fd, provider.restorer]
