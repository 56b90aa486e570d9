"""Disks on real loop devices: the limit, the way into a sandbox, and that nothing is ever left."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import random
import socket
import stat
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.errors import SandboxError
from engine.sandbox.disks import Disks, image, kernel, loop, template
from tests.support.leaks import eventually, leak_check
from tests.support.require import requires

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
LIBC = ctypes.CDLL(None, use_errno=True)


def devices_in(folder):
    """Loop devices with a backing file that is or was in `folder`."""
    found = {}
    for entry in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if (backing := entry.read_text()).startswith(f"{folder}/"):
                found[entry.parts[3]] = backing.strip()
    return found


def mounts():
    return {line.split(" - ")[1] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


@contextlib.contextmanager
def root_of(made):
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=made.mount_fd)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def listing(root):
    return os.listdir(root)  # noqa: PTH208 - a descriptor, not a path


def fill(root, name="filler"):
    """Write a file until not one block more fits: how many bytes, and which error."""
    file = os.open(name, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=root)
    written = 0
    try:
        for chunk in (MIB, 4096, MIB, 4096):  # what is set aside for data on its way is known only when it has arrived
            with contextlib.suppress(OSError):
                while True:
                    written += os.write(file, b"x" * chunk)
            os.fsync(file)
        written += os.write(file, b"x")
    except OSError as error:
        return written, error.errno
    finally:
        os.close(file)
    return written, 0


@pytest.fixture
def folder(tmp_path):
    """A folder for disks; afterwards no file in it, no device from it, no mount, no descriptor is left."""
    if os.geteuid() != 0:
        pytest.skip("only root may attach loop devices and mount")
    requires("mkfs.ext4", because="package e2fsprogs")
    place = tmp_path / "disks"
    place.mkdir()
    mounted = mounts()
    with leak_check(place):
        yield place
    eventually(lambda: not devices_in(place), "a loop device is left")
    assert mounts() <= mounted


@pytest.fixture
def disks(folder):
    made = Disks(folder)
    if (reason := made.why_not()) is not None:
        pytest.skip(reason)
    return made


@pytest.fixture
def small_host(disks):
    """A host whose disk has 32 MiB: its root's descriptor, the disk itself, and `Disks` there."""
    with disks.make(32) as host, root_of(host) as root:
        yield host, root, Disks(Path(f"/proc/self/fd/{root}"))


@pytest.mark.parametrize("size_mb", [16, 512, 513, 1769, 10240])
def test_what_df_shows_is_the_size_asked_for(disks, size_mb):
    with disks.make(size_mb) as made, root_of(made) as root:
        usage = made.usage()
        assert usage.free >= size_mb * MIB
        if size_mb >= 512:
            assert usage.free <= size_mb * MIB * 1.02
            assert usage.total <= size_mb * MIB * 1.02
        assert usage.used <= 4096
        assert not usage.failed
        assert os.fstatvfs(root).f_bavail * 4096 == usage.free


def test_a_new_disk_is_a_tmp(disks):
    with disks.make(16) as made, root_of(made) as root:
        assert listing(root) == []
        found = os.fstat(root)
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o1777, 0)
        assert os.fstatvfs(root).f_flag & (os.ST_NOSUID | os.ST_NODEV) == os.ST_NOSUID | os.ST_NODEV
        assert not os.get_inheritable(made.mount_fd)
        write = f"import os; os.setgid(65534); os.setuid(65534); os.open('mine', os.O_CREAT | os.O_EXCL, dir_fd={root})"
        subprocess.run([sys.executable, "-c", write], pass_fds=[root], check=True, timeout=30)
        assert os.stat("mine", dir_fd=root).st_uid == 65534


def test_a_full_disk_is_enospc_after_all_of_its_size_and_hurts_no_neighbour(disks):
    with disks.make(16) as made, disks.make(16) as neighbour, root_of(made) as root, root_of(neighbour) as beside:
        written, error = fill(root)
        assert error == errno.ENOSPC
        assert 16 * MIB <= written <= 18 * MIB
        assert made.usage().free == 0
        assert not made.usage().failed
        assert fill(root, "more")[1] == errno.ENOSPC
        assert fill(beside)[0] >= 16 * MIB
        os.unlink("filler", dir_fd=root)
        assert fill(root, "again")[0] >= 15 * MIB


def test_inodes_run_out_as_enospc_too(disks):
    with disks.make(8) as made, root_of(made) as root:
        with pytest.raises(OSError, match="No space left") as raised:
            for number in range(100_000):
                os.close(os.open(f"{number}", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root))
        assert raised.value.errno == errno.ENOSPC
        usage = made.usage()
        assert usage.files_free == 0
        assert usage.free > MIB
        assert usage.files >= 1024
        os.unlink("0", dir_fd=root)
        os.close(os.open("fits", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root))


def test_disks_share_nothing(disks):
    with disks.make(16) as one, root_of(one) as root:
        os.mkdir("secret", dir_fd=root)
        with disks.make(16) as other, root_of(other) as beside:
            assert listing(beside) == []
            assert one.device != other.device


def test_the_device_bypasses_the_hosts_page_cache_and_clears_itself(disks, folder):
    with disks.make(16) as made:
        state = Path(f"/sys/block/{made.device.removeprefix('/dev/')}/loop")
        assert (state / "autoclear").read_text().strip() == "1"
        assert "(deleted)" in (state / "backing_file").read_text()
        host = subprocess.run(["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True).stdout
        if host.strip() in {"ext2/ext3", "xfs"}:
            assert (state / "dio").read_text().strip() == "1"


SANDBOX = """
import ctypes, os, signal, socket, sys
from engine.sandbox.disks import mounting
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x00020000) == 0  # CLONE_NEWNS
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0  # MS_REC | MS_PRIVATE
channel = socket.socket(fileno=int(sys.argv[1]))
_, (mount,), _, _ = socket.recv_fds(channel, 1, 1)
mounting.attach(mount, sys.argv[2])
os.close(mount)
with open(os.path.join(sys.argv[2], "hello"), "w") as file:
    file.write("from inside")
    file.flush()
    channel.send(b"." if os.path.ismount(sys.argv[2]) else b"!")
    signal.pause()
"""


@contextlib.contextmanager
def sandbox(made, mountpoint):
    """A process in a mount namespace of its own, with the disk on `mountpoint`."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", SANDBOX, str(theirs.fileno()), str(mountpoint)]
    process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
    try:
        theirs.close()
        ours.settimeout(30)
        socket.send_fds(ours, [b"."], [made.mount_fd])
        assert ours.recv(1) == b"."
        yield process
    finally:
        process.kill()
        process.wait(30)
        ours.close()


def test_a_sandbox_in_its_own_namespace_takes_the_disk_and_both_vanish_with_it(disks, folder, tmp_path):
    mountpoint = tmp_path / "tmp"
    mountpoint.mkdir()
    made = disks.make(16)
    with sandbox(made, mountpoint) as process:
        inside = Path(f"/proc/{process.pid}/mountinfo").read_text()
        line = next(line for line in inside.splitlines() if f" {mountpoint} " in line)
        assert f"- ext4 {made.device} rw" in line
        assert "nosuid,nodev,noatime" in line
        assert str(mountpoint) not in Path("/proc/self/mountinfo").read_text()
        assert list(mountpoint.iterdir()) == []
        with root_of(made) as root:
            assert listing(root) == ["hello"]
        os.close(made.mount_fd)  # as when the engine dies: the namespace alone holds it
        made.mount_fd = -1
        assert devices_in(folder)
        process.kill()
        process.wait(30)
        eventually(lambda: not devices_in(folder), "the loop device is still attached")
    assert made.close()


def test_close_says_when_a_namespace_still_holds_the_disk(disks, folder, tmp_path):
    mountpoint = tmp_path / "tmp"
    mountpoint.mkdir()
    made = disks.make(16)
    with sandbox(made, mountpoint):
        assert not made.close()
        assert made.mount_fd == -1
        assert devices_in(folder)
    eventually(made.close, "the disk did not go with its namespace")


ENGINE = """
import os, sys, threading
from pathlib import Path
from engine.sandbox.disks import Disks
disks = Disks(Path(sys.argv[1]))
def work():
    while True:
        made = [disks.make(16) for _ in range(3)]
        print(len(made), flush=True)
        for disk in made[:2]:
            disk.close()
for _ in range(2):
    threading.Thread(target=work).start()
"""


@pytest.mark.slow
def test_an_engine_killed_at_any_moment_leaves_nothing(disks, folder):
    dice = random.Random()
    for _ in range(8):
        engine = subprocess.Popen([sys.executable, "-c", ENGINE, folder], cwd=ROOT, stdout=subprocess.PIPE)
        try:
            assert engine.stdout is not None
            for _ in range(dice.randint(1, 12)):
                assert engine.stdout.readline()
            time.sleep(dice.uniform(0, 0.01))  # the moment is the point, nothing is waited for
        finally:
            engine.kill()
            engine.wait(30)
            engine.stdout.close()
        eventually(lambda: not devices_in(folder), "loop devices of a killed engine are left")
        assert list(folder.iterdir()) == []
        assert disks.sweep() == []


def test_many_threads_get_a_device_each(disks):
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(disks.make, [16] * 40))
        assert len({one.device for one in made}) == 40
        assert all(threads.map(lambda one: one.close(), made))


def test_deleting_files_gives_space_back_to_the_host(small_host):
    host, _, there = small_host
    with there.make(64) as made, root_of(made) as root:
        before = host.usage().free
        file = os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root)
        os.write(file, os.urandom(8 * MIB))
        os.fsync(file)
        os.close(file)
        assert host.usage().free < before - 7 * MIB
        os.unlink("file", dir_fd=root)
        eventually(lambda: host.usage().free > before - MIB, "the host did not get its space back")


def test_an_empty_disk_of_any_size_takes_next_to_nothing_from_the_host(small_host):
    host, _, there = small_host
    there.prepare(10240)
    before = host.usage().free
    with there.make(10240), there.make(10240):
        assert host.usage().free > before - MIB


def test_on_a_full_host_fsync_fails_and_the_disk_works_on_when_there_is_room_again(small_host):
    host, beside, there = small_host
    with there.make(512) as made, root_of(made) as root:
        file = os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root)
        try:
            with pytest.raises(OSError) as raised:
                for _ in range(64):
                    os.write(file, os.urandom(MIB))
                    os.fsync(file)
            assert raised.value.errno in {errno.ENOSPC, errno.EIO}
            assert not host.usage().failed
            os.ftruncate(file, 0)
            os.pwrite(file, os.urandom(MIB), 0)
            os.fsync(file)
        finally:
            os.close(file)
        assert not made.usage().failed
        assert fill(beside)[0] > 16 * MIB


def test_a_disk_that_lost_its_metadata_on_a_full_host_refuses_writes_and_is_reported_as_failed(small_host):
    host, beside, there = small_host
    made = there.make(512)
    with root_of(made) as root:
        assert fill(beside)[1] == errno.ENOSPC
        refused = 0
        for number in range(400):
            try:
                os.mkdir(f"{number}", dir_fd=root)
            except OSError as error:
                refused = error.errno
                break
            if number % 20 == 19:
                LIBC.syncfs(root)  # unlike fsync it writes what all the new directories need
        assert refused == errno.EROFS
        assert made.usage().failed
        assert not host.usage().failed
    assert made.close()
    os.unlink("filler", dir_fd=beside)
    assert host.usage().free > 30 * MIB
    with there.make(512) as fresh, root_of(fresh) as root:
        os.mkdir("works", dir_fd=root)


def test_without_room_for_the_empty_filesystem_a_disk_is_refused_with_the_reason(small_host):
    _, beside, there = small_host
    there.prepare(10240)
    assert fill(beside)[1] == errno.ENOSPC
    with pytest.raises(SandboxError, match=r"No space left|Input/output error"):
        there.make(10240)
    os.unlink("filler", dir_fd=beside)
    there.make(10240).close()


def test_what_was_not_written_yet_is_never_written(small_host):
    host, _, there = small_host
    made = there.make(512)
    with root_of(made) as root:
        file = os.open("file", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=root)
        os.write(file, os.urandom(8 * MIB))
        os.close(file)
    counters = Path(f"/sys/block/{host.device.removeprefix('/dev/')}/stat")
    before = int(counters.read_text().split()[6])
    assert made.close()
    os.sync()
    assert (int(counters.read_text().split()[6]) - before) * 512 < 4 * MIB


def test_before_linux_5_8_a_device_is_set_up_in_two_steps(disks, folder):
    file = image.nameless(str(folder))
    try:
        disks._template(16).write_to(file)
        number, device = loop.attach(file, "two-steps", configure=False)
        try:
            state = Path(f"/sys/block/loop{number}/loop")
            assert (state / "autoclear").read_text().strip() == "1"
            assert loop.holds(number, "two-steps")
            assert not loop.holds(number, "another")
        finally:
            os.close(device)
        eventually(lambda: not loop.holds(number, "two-steps"), "the device did not clear itself")
    finally:
        os.close(file)


def test_a_device_caught_between_the_two_steps_is_swept_up(disks, folder):
    file = image.nameless(str(folder))
    os.ftruncate(file, MIB)
    number, device = loop.attach(file, "caught")
    try:
        info = loop._status(device)
        info.lo_flags &= ~kernel.LO_FLAGS_AUTOCLEAR
        fcntl.ioctl(device, kernel.LOOP_SET_STATUS64, info)
    finally:
        os.close(device)
        os.close(file)
    assert loop.holds(number, "caught")
    swept = disks.sweep()
    assert [line.split()[0] for line in swept] == [f"/dev/loop{number}"]
    assert not loop.holds(number, "caught")


BARE_DEV = """
import ctypes, os, sys
from pathlib import Path
libc = ctypes.CDLL(None, use_errno=True)
assert libc.unshare(0x00020000) == 0
assert libc.mount(b"none", b"/", None, 0x44000, None) == 0
assert libc.mount(b"none", b"/dev", b"tmpfs", 0, None) == 0
os.mknod("/dev/null", 0o20666, os.makedev(1, 3))
from engine.sandbox.disks import Disks
with Disks(Path(sys.argv[1])).make(16) as made:
    found = set(os.listdir("/dev")) - {"null"}
    # Besides, at most nodes of devices that another engine of this host was faster to take.
    print({"loop-control", made.device[5:]} <= found and all(name.startswith("loop") for name in found))
"""


def test_where_dev_has_no_nodes_they_are_made(disks, folder):
    command = [sys.executable, "-c", BARE_DEV, folder]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert run.stdout == "True\n", run.stderr


def test_a_broken_image_is_a_clear_error_and_leaves_no_device(disks, monkeypatch):
    broken = template.Template(16, 24 * MIB, ((0, b"not ext4"),))
    monkeypatch.setitem(disks._templates, 16, broken)
    with pytest.raises(SandboxError, match=r"/dev/loop\d+ cannot be mounted as ext4: Invalid argument"):
        disks.make(16)


def test_a_disk_is_closed_once_however_often_it_is_asked(disks):
    made = disks.make(16)
    assert made.close()
    assert made.close()
