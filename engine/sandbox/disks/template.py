"""The empty filesystem that every disk begins as: made once per size by mkfs.ext4, then kept in memory.

An empty ext4 filesystem of 512 MB has 44 kB that are not zero, one of 10 GB 64 kB. So a template is a list of those
pieces, and making a disk is a handful of writes into a sparse file: there is no template file that could be stale,
half written or shared, and cloning extents (FICLONE) would save nothing.

The filesystem has no journal, no reserved blocks, no backup superblocks, no room to grow, and inode tables that count
as zeroed because they are holes. All features are named here: the host's mke2fs.conf has no say.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from dataclasses import dataclass

from engine.errors import SandboxError

from . import loop, mounting
from .image import nameless

_BLOCK = loop.BLOCK
_BLOCKS_PER_MB = 1024 * 1024 // _BLOCK
_INODE_BYTES = 256
#: One inode per 8 kB: twice what ext4 gives by default. The tables are holes, so that they cost the host nothing.
_BYTES_PER_INODE = 8192
_FEATURES = (
    "none,extent,filetype,sparse_super2,large_file,huge_file,flex_bg,dir_index,extra_isize,uninit_bg,dir_nlink,ext_attr"
)
_MODE = 0o1777
_MKFS_SECONDS = 60.0
#: Where mkfs.ext4 lives when the PATH is that of a user.
_MORE_PATH = ":/usr/local/sbin:/usr/sbin:/sbin"


@dataclass(frozen=True)
class Template:
    """An empty filesystem.

    Attributes:
        size_mb: what a user of the filesystem can fill with one file, in MiB; at least that, at most 2 % more.
        image_bytes: the size of the image.
        pieces: what in it is not zero: offset and contents.
    """

    size_mb: int
    image_bytes: int
    pieces: tuple[tuple[int, bytes], ...]

    def write_to(self, file: int) -> None:
        """Make an empty file this filesystem. It stays sparse."""
        os.ftruncate(file, self.image_bytes)
        for offset, piece in self.pieces:
            if (written := os.pwrite(file, piece, offset)) != len(piece):
                raise OSError(errno.ENOSPC, f"only {written} of {len(piece)} bytes written")


def image_blocks(size_mb: int) -> int:
    """How many blocks an image needs so that `size_mb` MiB of it can be filled.

    Taken off a filesystem of N blocks: the inode tables; what the kernel keeps back for delayed allocation, 2 % but at
    most 4096 blocks (Documentation/ABI/testing/sysfs-fs-ext4, reserved_clusters); bitmaps, descriptors and the root
    directory, for which 1 MB and 3 blocks per group of 32,768 are plenty. Rounding up can only give more.
    """
    want = size_mb * _BLOCKS_PER_MB + _BLOCKS_PER_MB
    left = 1 - _INODE_BYTES / _BYTES_PER_INODE - 3 / 32768
    return int(min(want / (left - 0.02), (want + 4096) / left)) + 1


def find_mkfs() -> str:
    """The path of mkfs.ext4.

    Raises:
        SandboxError: it is not installed.
    """
    found = shutil.which("mkfs.ext4", path=os.environ.get("PATH", os.defpath) + _MORE_PATH)
    if found is None:
        raise SandboxError("mkfs.ext4 is not installed: install the package e2fsprogs")
    return found


def build(size_mb: int, folder: str) -> Template:
    """Make the template for disks of `size_mb` MiB; about 10 ms. Blocking.

    Raises:
        SandboxError: mkfs.ext4 is missing or failed, or its result cannot be attached or mounted.
        OSError: the host's disk would not hold it.
    """
    mkfs = find_mkfs()
    blocks, room = image_blocks(size_mb), 0
    for _ in range(3):
        file = nameless(folder)
        try:
            os.ftruncate(file, blocks * _BLOCK)
            _run_mkfs(mkfs, file)
            room = _furnish(file)
            if room >= size_mb * _BLOCKS_PER_MB:
                return Template(size_mb, blocks * _BLOCK, tuple(_pieces(file)))
        finally:
            os.close(file)
        # A kernel that keeps back more than those that we know.
        blocks += (size_mb * _BLOCKS_PER_MB - room) * 102 // 100 + 1
    raise SandboxError(f"an ext4 filesystem of {blocks * _BLOCK} bytes has only {room * _BLOCK} for {size_mb} MiB")


def _run_mkfs(mkfs: str, file: int) -> None:
    target = f"/proc/self/fd/{file}"
    options = f"-q -F -m 0 -b {_BLOCK} -I {_INODE_BYTES} -i {_BYTES_PER_INODE} -O {_FEATURES}".split()
    extended = "lazy_itable_init=0,num_backup_sb=0,root_owner=0:0"
    try:
        run = subprocess.run(
            [mkfs, *options, "-E", extended, target],
            env={"PATH": os.defpath + _MORE_PATH, "MKE2FS_CONFIG": "/dev/null", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            pass_fds=(file,),
            timeout=_MKFS_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SandboxError(f"{mkfs} did not make a filesystem: {error}") from error
    if run.returncode != 0:
        said = run.stderr.decode(errors="replace").split("\n\n")[-1].strip()
        raise SandboxError(f"{mkfs} {' '.join(options)} failed with exit code {run.returncode}: {said}")


def _furnish(file: int) -> int:
    """Make the root directory a /tmp: empty, for everybody. Returns how many blocks can be filled."""
    number, device = loop.attach(file, "lambent-template")
    try:
        mount = mounting.detached(loop.path(number))
    finally:
        os.close(device)
    try:
        root = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
        try:
            os.rmdir("lost+found", dir_fd=root)  # fsck's, and nobody will check these filesystems
            os.fchmod(root, _MODE)
            return os.fstatvfs(root).f_bavail
        finally:
            os.close(root)
    finally:
        os.close(mount)  # writes everything back


def _pieces(file: int) -> list[tuple[int, bytes]]:
    """What in a sparse file is not zero, by whole blocks, neighbours together."""
    pieces: list[tuple[int, bytes]] = []
    end = os.fstat(file).st_size
    position = 0
    while position < end:
        try:
            position = os.lseek(file, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # lseek(2): only a hole is left
                break
            raise
        hole = os.lseek(file, position, os.SEEK_HOLE)
        while position < hole:
            block = os.pread(file, _BLOCK, position)
            if block.count(0) != len(block):
                if pieces and pieces[-1][0] + len(pieces[-1][1]) == position:
                    pieces[-1] = (pieces[-1][0], pieces[-1][1] + block)
                else:
                    pieces.append((position, block))
            position += len(block)
    return pieces
