"""The first process of the guest (init hands over to it): runs the commands that the host sends, one at a time.

Standard library only, started with ``python -I -S``. It talks JSON lines over a virtio serial port named ``commands``:

* it says ``{"ready": {...}}`` once;
* the host sends ``{"argv", "env", "cwd", "limit", "place"}``;
* it answers any number of ``{"output": text}`` (bytes as latin-1) and one ``{"exit": ...}``.

A command gets a cgroup of its own under a parent like those that systemd makes, in one of three `place`s:

``service``
    as root in ``/system.slice/vm-N.service``, where nobody else will touch what is below;
``delegated``
    as user 1000 in ``/user.slice/vm-N.scope``, which is handed to that user as systemd does it with ``Delegate=yes``;
``root``
    as root in the root cgroup, as on a machine whose init uses no cgroups.

What a command leaves behind is reported; processes and cgroups are removed, so that the next finds a clean machine.
Being process 1, the agent outlives even ``kill -9 -1``; if it fails the kernel panics, which ends the machine.
"""

import contextlib
import json
import os
import select
import signal
import sys
import time
from pathlib import Path
from typing import Any

CGROUPS = Path("/sys/fs/cgroup")
CONTROLLERS = "+cpu +io +memory +pids"
USER = 1000
HOME = "/home/vm-user"
#: How long what was killed may take to go, seconds.
PATIENCE = 20.0
#: Written to by Python when a child ends.
WAKEUP = os.pipe2(os.O_CLOEXEC)


def main() -> None:
    """Prepare the machine, then serve commands until the host hangs up."""
    for end in WAKEUP:
        os.set_blocking(end, False)
    signal.set_wakeup_fd(WAKEUP[1], warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    prepare(os.environ["VM_KEEP"].split(":"))
    port = os.open(port_named("commands"), os.O_RDWR | os.O_CLOEXEC)
    send(port, {"ready": {"release": os.uname().release, "uptime": time.clock_gettime(time.CLOCK_BOOTTIME)}})
    with os.fdopen(os.dup(port), "rb", buffering=0) as lines:
        for number, line in enumerate(iter(lines.readline, b"")):
            send(port, run(port, number, json.loads(line)))
    # Process 1 ends: the kernel panics, and with panic=-1 and -no-reboot that ends qemu.


def prepare(kept: list[str]) -> None:
    """Controllers for everybody, a user, and paths to what is used that this user can walk."""
    (CGROUPS / "cgroup.subtree_control").write_text(CONTROLLERS)
    for name in ("system.slice", "user.slice"):
        (CGROUPS / name).mkdir()
        (CGROUPS / name / "cgroup.subtree_control").write_text(CONTROLLERS)
    with Path("/etc/passwd").open("a") as file:
        file.write(f"vm-user:x:{USER}:{USER}::{HOME}:/bin/sh\n")
    with Path("/etc/group").open("a") as file:
        file.write(f"vm-user:x:{USER}:\n")
    Path(HOME).mkdir(parents=True, exist_ok=True)
    os.chown(HOME, USER, USER)
    # Changed in the guest's layer of memory only: an interpreter under /root is out of this user's sight on the host.
    for path in {parent for one in kept for parent in (Path(one), *Path(one).parents)}:
        path.chmod(path.stat().st_mode | 0o055)


def run(port: int, number: int, order: dict[str, Any]) -> dict[str, Any]:
    """Run one command to its end, passing on what it prints; what has become of it."""
    place = order["place"]
    cgroup = {
        "root": CGROUPS,
        "service": CGROUPS / f"system.slice/vm-{number}.service",
        "delegated": CGROUPS / f"user.slice/vm-{number}.scope",
    }[place]
    before = traces()
    if place != "root":
        cgroup.mkdir()
    if place == "delegated":
        delegate(cgroup)
    read, write = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(read, False)
    pid = start(order, cgroup, write)
    os.close(write)
    status, timed_out = None, False
    deadline = time.monotonic() + order["limit"]
    events = select.poll()
    events.register(read, select.POLLIN)
    events.register(WAKEUP[0], select.POLLIN)
    while status is None:
        left = deadline - time.monotonic()
        if left <= 0:
            timed_out = True
            kill(traces() - before)
        events.poll(left * 1000 if left > 0 else 10)
        pass_on(read, port)
        status = reap(pid)
        if left < -PATIENCE:
            return {"failed": f"process {pid} did not die within {PATIENCE} s of SIGKILL"}
    left_behind = traces() - before - {("cgroup", str(cgroup))}
    remove(before)
    pass_on(read, port)
    os.close(read)
    return {
        "exit": os.waitstatus_to_exitcode(status),
        "timed_out": timed_out,
        "left_behind": sorted(" ".join(one) for one in left_behind),
    }


def start(order: dict[str, Any], cgroup: Path, output: int) -> int:
    """Fork the command into its cgroup."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        (cgroup / "cgroup.procs").write_text("0")
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        env = {"PATH": os.environ["PATH"], "HOME": "/root", "LANG": "C.UTF-8", **order["env"]}
        if order["place"] == "delegated":
            os.setgroups([])
            os.setresgid(USER, USER, USER)
            os.setresuid(USER, USER, USER)
            env |= {"HOME": HOME, "USER": "vm-user"}
        os.chdir(order["cwd"])
        os.execvpe(order["argv"][0], order["argv"], env)
    except BaseException as error:  # noqa: BLE001 - a forked child must not return
        os.write(2, f"{order['argv'][0]}: {error}\n".encode())
    os._exit(127)


def delegate(cgroup: Path) -> None:
    """Give `cgroup` to the user, as systemd does it: marked, with the files that the kernel names as those to hand over."""
    for name in ("trusted.delegate", "user.delegate"):
        os.setxattr(cgroup, name, b"1")
    names = Path("/sys/kernel/cgroup/delegate").read_text().split()
    for path in (cgroup, *(cgroup / name for name in names)):
        with contextlib.suppress(FileNotFoundError):
            os.chown(path, USER, USER)


def traces() -> set[tuple[str, str]]:
    """What commands leave behind: processes, cgroups, mounts, loop devices."""
    found = {("mount", line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()}
    found |= {("cgroup", folder) for folder, _, _ in os.walk(CGROUPS)}
    found |= {("loop", str(path.parents[1])) for path in Path("/sys/block").glob("loop*/loop/backing_file")}
    for path in Path("/proc").glob("[0-9]*"):
        # A kernel thread has no executable; nor has a zombie, which is for its parent to collect, or for us.
        with contextlib.suppress(OSError):
            (path / "exe").readlink()
            found.add(("process", path.name))
    return found


def kill(found: set[tuple[str, str]]) -> None:
    """Kill the processes in `found`, and all in its cgroups, even the frozen ones and those not forked yet."""
    for kind, what in found:
        with contextlib.suppress(OSError):
            if kind == "process":
                os.kill(int(what), signal.SIGKILL)
            elif kind == "cgroup":
                Path(what, "cgroup.kill").write_text("1")


def remove(before: set[tuple[str, str]]) -> None:
    """Kill processes and remove cgroups until there is none that was not there `before`."""
    deadline = time.monotonic() + PATIENCE
    while found := {one for one in traces() - before if one[0] in {"process", "cgroup"}}:
        kill(found)
        for _, folder in sorted((one for one in found if one[0] == "cgroup"), reverse=True):
            with contextlib.suppress(OSError):
                Path(folder).rmdir()
        reap(0)
        if time.monotonic() > deadline:
            sys.exit(f"left behind and not to be removed: {found}")  # The kernel panics, and the machine ends.
        time.sleep(0.002)


def reap(wanted: int) -> int | None:
    """Collect all children that have ended, adopted ones too; the wait status of `wanted`, if it is among them."""
    with contextlib.suppress(BlockingIOError):
        while os.read(WAKEUP[0], 4096):
            pass
    status = None
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == wanted:
                status = ended[1]
    return status


def pass_on(output: int, port: int) -> None:
    """Send on what there is to read."""
    with contextlib.suppress(BlockingIOError):
        while data := os.read(output, 65536):
            send(port, {"output": data.decode("latin-1")})


def send(port: int, message: dict[str, Any]) -> None:
    """Send one line, whole."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(port, data) :]


def port_named(name: str) -> str:
    """The device of the virtio serial port with this name."""
    for path in Path("/sys/class/virtio-ports").iterdir():
        if (path / "name").read_text().strip() == name:
            return f"/dev/{path.name}"
    sys.exit(f"there is no virtio serial port named {name}")


if __name__ == "__main__":
    main()
