"""The /tmp of sandbox mode: disks of a hard size that nobody has to clean up.

A disk is an ext4 filesystem in a sparse file without a name, on a loop device that clears itself, mounted where only
its holder sees it::

    image without a name      O_TMPFILE, 28 kB written; the host's disk is used as the function uses the disk
      └─ loop device          LO_FLAGS_AUTOCLEAR, direct I/O
           └─ detached mount  fsmount(2): a descriptor, in no mount table
                └─ /tmp       of one sandbox: its first process gets the descriptor and calls move_mount(2)

Each holds the one above it and nothing else does, so the last holder's death, by whatever signal, takes all of it: no
file, no device, no mount. ::

    disks = Disks(folder)
    disk = await asyncio.to_thread(disks.make, 512)
    ... pass disk.mount_fd to the sandbox (SCM_RIGHTS), keep it open here ...
    released = await asyncio.to_thread(disk.close)

A disk serves one tenant and is then dropped; nothing is wiped, because nothing is used again.

Full means ENOSPC, for blocks and for inodes (one per 8 kB), to the sandbox alone. All disks together may promise more
than the host has. If the *host's* disk fills up, data that finds no room is lost as on any failing disk: write(2) has
succeeded already, fsync says ENOSPC or EIO, and with room again the disk works on. If ext4 loses metadata, it refuses
all writes from then on (EROFS) and `Usage.failed` says so: that sandbox is to be retired. `make` needs 50 kB and says
when they are not there. So whoever hands out disks does well to watch the host's free space and to hand out fewer.

Decisions, and the figures behind them (2 cores, a virtual disk of 1 GB/s, Linux 6.18; 512 MiB unless said):

* `make` 1.5 ms: image 0.1, loop device 0.65, mount 0.5 to 0.9. 10 GiB: 2 ms. `close` 1 ms, with 64 MB on it 9 ms.
  With both cores busy otherwise 10 to 15 ms each: 1 ms (`close` 0.5) of it is CPU, the rest waiting in the kernel. So
  make disks ahead, in several threads: four made 420 a second.
* Direct I/O, not the page cache of the host. A function of 128 MB that fills its /tmp three times holds 124 MB of
  cache, all charged to it. Through the host's page cache it was 604 MB, 480 of them charged to nobody (cgroup v1; on
  v2 the loop driver means to charge the writer: not measured), 470 MB dirty. Throughput is the same here (500 MB in
  0.3 to 0.7 s). The price: data goes to the disk within seconds, so beside such a filler a neighbour's fsync takes 8 ms
  in the median instead of 0.7. The writer is slowed to the disk's speed.
* No barriers and no journal: fsync waits for the disk's cache at most. Nothing on a disk outlives its sandbox anyway.
* Online discard: deleting 400 MB takes 120 ms instead of 30, and the host has its space back.
* `close` shuts the filesystem down first, so that what was not written yet never is: 9 instead of 66 ms with 64 MB.
* Each disk costs the kernel 80 to 250 kB and one idle thread (ext4's rescuer). Devices are not limited in number, and
  stay, empty, for the next use, as with losetup(8).
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
from pathlib import Path

from engine.errors import SandboxError

from . import image, loop, mounting, template
from .disk import Disk, Usage

__all__ = ["Disk", "Disks", "Usage"]

#: Below it the filesystem's own needs are no longer small change. Lambda begins at 512.
_SMALLEST_MB = 8
#: At 28 to 50 kB each.
_MOST_TEMPLATES = 64
_serial = itertools.count(1)


class Disks:
    """Makes disks. All methods block; all may be called from several threads at once.

    Args:
        folder: where the images are (nameless, but they take its filesystem's space); made, 0700. It belongs to this
            engine alone: `sweep` clears what it finds there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._templates: dict[int, template.Template] = {}
        self._building = threading.Lock()

    def why_not(self) -> str | None:
        """One line why there are no hard quotas here, None when there are: a disk was made. About 20 ms."""
        if sys.platform != "linux":
            return "loop devices and ext4 need Linux"
        if os.geteuid() != 0:
            return "the engine is not root: it may not attach loop devices nor mount"
        try:
            self.make(512).close()
        except SandboxError as error:
            return str(error)
        return None

    def prepare(self, size_mb: int = 512) -> None:
        """Make the template for a size, so that the first `make` of it is as fast as the others. About 10 ms.

        Raises:
            SandboxError: as for `make`.
        """
        self._template(size_mb)

    def make(self, size_mb: int) -> Disk:
        """A new empty disk: `size_mb` MiB can be written to it, then ENOSPC. About 1.5 ms.

        Its root directory belongs to root, mode 1777, as on Lambda (facts §5.2).

        Raises:
            SandboxError: not possible here, or not now; names the step, the path and the cause.
        """
        ready = self._template(size_mb)
        try:
            file = image.nameless(str(self.folder))
        except OSError as error:
            raise SandboxError(f"no image for a disk of {size_mb} MiB in {self.folder}: {error.strerror}") from error
        try:
            try:
                ready.write_to(file)
            except OSError as error:
                raise SandboxError(f"no room for a disk of {size_mb} MiB in {self.folder}: {error.strerror}") from error
            name = f"lambent-{os.getpid()}-{next(_serial)}"
            number, device = loop.attach(file, name)
        finally:
            os.close(file)
        try:
            mount_fd = mounting.detached(loop.path(number))
        finally:
            os.close(device)  # from here on the mount alone holds the device; without one it clears itself
        return Disk(size_mb, number, name, mount_fd)

    def sweep(self) -> list[str]:
        """Remove what a killed engine may have left in this folder; says what that was. At start, before `make`."""
        return [*image.sweep(self.folder), *loop.sweep(self.folder)]

    def _template(self, size_mb: int) -> template.Template:
        if (ready := self._templates.get(size_mb)) is not None:
            return ready
        if size_mb < _SMALLEST_MB:
            raise SandboxError(f"a disk of {size_mb} MiB is too small: at least {_SMALLEST_MB}")
        with self._building:
            if (ready := self._templates.get(size_mb)) is not None:
                return ready
            try:
                self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                ready = template.build(size_mb, str(self.folder))
            except OSError as error:
                raise SandboxError(f"no filesystem of {size_mb} MiB in {self.folder}: {error}") from error
            if len(self._templates) >= _MOST_TEMPLATES:
                del self._templates[next(iter(self._templates))]
            self._templates[size_mb] = ready
            return ready
