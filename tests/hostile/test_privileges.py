"""Everything that takes a privilege, or that has broken sandboxes before."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from engine import Engine
from engine.errors import AwsError
from engine.sandbox.spawner.wire import LOG_FD
from tests.hostile.kit import Attackers, Neighbour

pytest_plugins = ("tests.support.sandbox_fixtures",)

#: What the kernel refuses to anybody without a capability: promised in both modes.
PRIVILEGED = """
def attack(event):
    zeros = ctypes.create_string_buffer(256)
    words = {}
    words["mount tmpfs"] = called("mount", b"none", tmp.encode(), b"tmpfs", 0, None)
    words["mount proc"] = called("mount", b"none", tmp.encode(), b"proc", 0, None)
    words["bind"] = called("mount", b"/", tmp.encode(), None, 4096, None)
    words["remount"] = called("mount", None, b"/", None, 32, None)
    words["umount"] = called("umount2", b"/proc", 2)
    words["chroot"] = called("chroot", tmp.encode())
    words["pivot_root"] = syscall("pivot_root", tmp.encode(), tmp.encode())
    words["device"] = tried(os.mknod, tmp + "/disk", 0o600 | stat.S_IFBLK, os.makedev(254, 0))
    words["memory device"] = tried(os.mknod, tmp + "/mem", 0o600 | stat.S_IFCHR, os.makedev(1, 1))
    words["unshare mounts"] = called("unshare", 0x00020000)
    words["unshare network"] = called("unshare", 0x40000000)
    words["host name"] = called("sethostname", b"mine", 4)
    words["domain name"] = called("setdomainname", b"mine", 4)
    words["clock"] = tried(time.clock_settime, time.CLOCK_REALTIME, 0)
    words["clock, the old way"] = called("settimeofday", zeros, None)
    words["clock, slowly"] = called("adjtimex", struct.pack("=I4xq", 1, 1000) + bytes(256))
    words["reboot"] = called("reboot", 0)  # no such command, should it be permitted
    words["swap"] = called("swapon", b"/tmp/none", 0)
    words["accounting"] = called("acct", b"/tmp/none")
    words["module"] = syscall("init_module", zeros, 0, zeros)
    words["another kernel"] = syscall("kexec_load", 0, 0, zeros, 0)
    words["become root"] = tried(os.setresuid, 0, 0, 0)
    words["become the next"] = tried(os.setuid, os.getuid() + 2)
    words["groups"] = tried(os.setgroups, [0])
    write(tmp + "/own")
    words["give away"] = tried(os.chown, tmp + "/own", 0, 0)
    words["raw socket"] = tried(socket.socket, socket.AF_INET, socket.SOCK_RAW, 1)
    words["packet socket"] = tried(socket.socket, 17, socket.SOCK_RAW, 0)
    words["port 80"] = tried(socket.socket().bind, ("127.0.0.1", 80))
    words["nice"] = tried(os.setpriority, os.PRIO_PROCESS, 0, -20)
    words["real time"] = tried(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(50))
    for name, limit in (("files", 7), ("locked memory", 8), ("core", 4)):
        words["raise " + name] = called("setrlimit", limit, struct.pack("QQ", 1 << 30, 1 << 30))
    words["lock memory"] = called("mlock", mmap_address(64 << 20), ctypes.c_size_t(64 << 20))
    for path in (
        "/proc/sys/kernel/hostname", "/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe",
        "/proc/sys/vm/drop_caches", "/proc/sys/vm/overcommit_memory", "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger", "/proc/irq/default_smp_affinity",
        "/sys/kernel/uevent_helper", "/sys/power/state", "/sys/fs/cgroup/cgroup.procs", "/dev/kmsg", "/dev/mem",
        "/dev/loop-control", "/dev/vda", "/dev/sda",
    ):
        words["write " + path] = tried(os.open, path, os.O_WRONLY)
    words["the next process id"] = tried(write, "/proc/sys/kernel/ns_last_pid", "1000")  # anybody may open it
    words["less likely to be killed"] = tried(write, "/proc/self/oom_score_adj", "-1000")
    words["map users"] = tried(write, "/proc/self/uid_map", "0 0 1")
    words["own program"] = tried(os.open, "/proc/self/exe", os.O_WRONLY)
    return words

def mmap_address(size):
    libc.mmap.restype = ctypes.c_void_p
    return ctypes.c_void_p(libc.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, 0))
"""
REFUSALS = {"EPERM", "EACCES", "EROFS", "ENOENT", "ENXIO", "ENOMEM", "ETXTBSY", "ENOSYS", "EINVAL", "ENODEV"}

#: What the filter of system calls keeps away besides: large parts of the kernel that faults are found in.
FILTERED = """
def attack(event):
    zeros = ctypes.create_string_buffer(256)
    words = {}
    for name, flag in (("user", 0x10000000), ("pid", 0x20000000), ("ipc", 0x08000000), ("time", 0x80)):
        words["unshare " + name] = called("unshare", flag)
    words["unshare -U"] = "ok" if not subprocess.run(["/usr/bin/unshare", "-U", "/bin/true"], stderr=-3).returncode else "EPERM"
    words["unshare -Ur"] = "ok" if not subprocess.run(["/usr/bin/unshare", "-Ur", "/bin/true"], stderr=-3).returncode else "EPERM"
    words["setns"] = called("setns", os.open("/proc/self/ns/net", os.O_RDONLY), 0)
    words["bpf"] = syscall("bpf", 0, zeros, 128)
    words["perf"] = syscall("perf_event_open", zeros, 0, -1, -1, 0)
    words["io_uring"] = syscall("io_uring_setup", 8, zeros)
    words["userfaultfd"] = syscall("userfaultfd", 1)
    words["keyctl"] = syscall("keyctl", 0, -3, 1)
    words["add_key"] = syscall("add_key", b"user", b"x", b"x", 1, -3)
    words["file by handle"] = called("open_by_handle_at", -100, zeros, 0)
    words["new mount interface"] = syscall("fsopen", b"tmpfs", 0)
    words["open_tree"] = syscall("open_tree", -100, b"/", 1)
    words["mount_setattr"] = syscall("mount_setattr", -100, b"/", 0, zeros, 32)
    words["kernel log"] = called("klogctl", 3, zeros, 256)
    words["personality"] = called("personality", 0x0040000)
    words["secret memory"] = syscall("memfd_secret", 0)
    words["trace a child"] = called("ptrace", 0, 0, 0, 0)  # PTRACE_TRACEME
    words["whiteout"] = tried(os.mknod, tmp + "/whiteout", 0o600 | stat.S_IFCHR, 0)
    for name, family in (("AF_ALG", 38), ("AF_VSOCK", 40), ("AF_KEY", 15), ("AF_TIPC", 30), ("AF_CAN", 29), ("AF_XDP", 44)):
        words[name] = tried(socket.socket, family, socket.SOCK_DGRAM, 0)
    words["SCTP"] = tried(socket.socket, socket.AF_INET, socket.SOCK_STREAM, 132)
    words["netlink audit"] = tried(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 9)
    words["netfilter"] = tried(socket.socket, socket.AF_NETLINK, socket.SOCK_RAW, 12)
    return words
"""


@pytest.mark.parametrize(("mode", "network"), [("sandbox", "host"), ("sandbox", "own"), ("process", "host")])
async def test_nothing_that_takes_a_privilege_is_permitted(
    engine: Engine, mode: str, attackers: Attackers, neighbour: Neighbour
) -> None:
    before = (socket.gethostname(), Path("/proc/self/oom_score_adj").read_text())
    words = await attackers.run(PRIVILEGED)
    words = {what: word for what, word in words.items() if word not in REFUSALS}
    assert words == {}
    assert (socket.gethostname(), Path("/proc/self/oom_score_adj").read_text()) == before


@pytest.mark.parametrize(("mode", "network"), [("sandbox", "host"), ("sandbox", "own")])
async def test_the_dangerous_parts_of_the_kernel_are_out_of_reach(
    engine: Engine, attackers: Attackers, neighbour: Neighbour
) -> None:
    words = await attackers.run(FILTERED)
    assert {what: word for what, word in words.items() if word not in {"EPERM", "ENOSYS"}} == {}


async def test_set_user_id_programs_give_no_other_user(
    engine: Engine, attackers: Attackers, neighbour: Neighbour, with_programs: Path
) -> None:
    """One of root's in the function's own code, as an operator's mistake would have it, and those of the system."""
    function = await attackers.make(
        """
        def attack(event):
            os.chdir(os.environ["LAMBDA_TASK_ROOT"])
            kept = tmp + "/own"
            with open("./identity", "rb") as source, open(kept, "wb") as target:
                target.write(source.read())
            out = {"bit on own file": tried(os.chmod, kept, 0o6755)}
            for program in ("./identity", kept):
                out[program == kept] = subprocess.run([program], capture_output=True, text=True).stdout.split()
            status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
            out["new privileges"] = status["NoNewPrivs"].strip()
            out["capabilities"] = [int(status[name], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")]
            out["me"] = [str(os.getuid()), str(os.geteuid())]
            return out
        """,
        package=with_programs,
    )
    deployed = list((Path(engine.data_dir) / "code").glob("*/tree/identity"))
    assert len(deployed) == 1
    os.chown(deployed[0], 0, 0)
    deployed[0].chmod(0o6755)
    seen = (await function.invoke(None)).json()
    assert seen["true"] == seen["false"] == seen["me"]
    assert seen["me"][0] == seen["me"][1] != "0"
    assert seen["new privileges"] == "1"
    assert seen["capabilities"] == [0, 0, 0, 0]


async def test_no_descriptor_is_inherited(engine: Engine, attackers: Attackers, neighbour: Neighbour) -> None:
    seen = await attackers.run(
        """
        def attack(event):
            out = {}
            for number in os.listdir("/proc/self/fd"):
                with_suffix = "/proc/self/fd/" + number
                try:
                    out[number] = os.readlink(with_suffix)
                except OSError:
                    pass  # the listing's own
            return [out, sorted(os.environ)]
        """
    )
    descriptors, variables = seen
    assert descriptors.pop("0") in {"/dev/null", descriptors["1"]}
    assert len({descriptors.pop(number) for number in ("1", "2", str(LOG_FD))}) == 1, "one pipe, of its own"
    assert [what.partition(":")[0] for what in descriptors.values()] == ["socket"], "the connection to its Runtime API"
    assert not [name for name in variables if "LAMBENT" in name]


@pytest.mark.parametrize("mode", ["sandbox"])
async def test_the_view_is_small(engine: Engine, attackers: Attackers, neighbour: Neighbour) -> None:
    """No control groups, no host processes, no host names; the user and the host's name are Lambda's."""
    seen = await attackers.run(
        """
        def attack(event):
            return {
                "cgroup mounts": [line for line in open("/proc/mounts") if "cgroup" in line],
                "sys": os.path.exists("/sys"),
                "processes": sorted(int(n) for n in os.listdir("/proc") if n.isdigit()),
                "name": os.uname().nodename,
                "dev": sorted(os.listdir("/dev")),
                "users": [line.split(":")[0] for line in open("/etc/passwd")],
                "homes": [look("/root"), look("/home")],
                "ipc": open("/proc/sysvipc/shm").read().count("\\n"),
                "settings": tried(os.open, "/proc/sys/kernel/ns_last_pid", os.O_WRONLY),
            }
        """
    )
    assert seen["cgroup mounts"] == []
    assert not seen["sys"]
    assert seen["processes"][0] == 1
    assert len(seen["processes"]) <= 3
    assert seen["name"] == "lambent"
    assert set(seen["dev"]) <= {"fd", "full", "null", "random", "stderr", "stdin", "stdout", "urandom", "zero"}
    assert seen["users"] == ["root", "sbx_user1051"]
    assert seen["homes"] == ["EACCES", "ENOENT"]
    assert seen["ipc"] == 1
    assert seen["settings"] == "EROFS", "the one that anybody may open for writing"


async def test_a_huge_environment_is_refused_before_anything_runs(engine: Engine, mode: str) -> None:
    with pytest.raises(AwsError, match=r"4096|4KB|environment"):
        await engine.create_function(
            "attacker", code=b"PK", environment={f"NAME_{number}": "x" * 1000 for number in range(2000)}
        )
