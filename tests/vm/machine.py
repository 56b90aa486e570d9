"""A virtual machine with Debian's kernel, cgroup v2 only, and this machine's files: to test what the host cannot show.

`scripts/setup-vm.sh` provides qemu, the kernel and an initramfs. The guest has the host's files as its root filesystem,
read-only over 9p (qemu serves it by itself: no daemon, no privilege), under a layer in memory: everything is at the
path that it has outside, what is written is gone with the machine. No disk, no network but loopback::

    pytest -> Machine.boot ─ qemu ──── kernel ─ init (busybox: modules, mounts) ─ guest.py (process 1)
           <- {"ready"} ────── virtio serial port over a socket pair ────────────── │
    run    ─> {"argv", ...} ───────────────────────────────────────────────────────► │ a command in a cgroup of its own
           <- {"output"}..., {"exit"} ◄───────────────────────────────────────────── │

Machines share nothing but files that they read, so any number may run side by side. A machine ends with its `close`,
and with the thread that booted it, even by SIGKILL.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

PROJECT = Path(__file__).resolve().parents[2]
FILES = PROJECT / ".tools" / "vm"
#: Where a command runs: see guest.py.
Place = Literal["service", "delegated", "root"]

MEMORY_MB = 1536
CPUS = 2
#: How long a machine may take to boot, seconds: about ten times of what it takes when nothing else runs.
BOOT_LIMIT = {"kvm": 20.0, "tcg": 120.0}
#: What the guest needs to end a command that has reached its limit (guest.py), and then some.
GRACE = 30.0


class MachineError(Exception):
    """The machine did not boot, or ended, or does not answer; with the end of its console."""


@dataclass(frozen=True)
class Finished:
    """How a command in the guest ended."""

    code: int
    """Exit code; the negative signal number when a signal ended it."""
    output: str
    """Standard output and error, in the order written."""
    timed_out: bool
    """It was killed because it reached its limit."""
    left_behind: tuple[str, ...]
    """Processes, cgroups, mounts and loop devices that were there after it and not before."""
    seconds: float


def wrong_platform() -> str | None:
    """Why no machine can be booted on this kind of computer, or None."""
    if platform.system() == "Linux" and platform.machine() == "x86_64":
        return None
    return f"virtual machines are provided for on Linux on x86-64, this is {platform.system()} {platform.machine()}"


def what_is_missing() -> str | None:
    """Why no machine can be booted here although it could be, or None."""
    if shutil.which("qemu-system-x86_64") is None:
        return "there is no qemu-system-x86_64: run scripts/setup-vm.sh as root"
    if not (FILES / "stamp").exists():
        return f"there is no kernel in {FILES}: run scripts/setup-vm.sh"
    return None


#: Why KVM is not tried again, once it has failed.
_refused: list[str] = []


@functools.cache
def accelerator() -> tuple[Literal["kvm", "tcg"], str]:
    """How qemu is to run the guest, and why: hardware virtualisation where the processor has it, else emulation.

    /dev/kvm alone does not say it: a host may offer a KVM that only runs kernels made for it (PVM), which Debian's is
    not. Such a host does not pass the processor's flag on.
    """
    if _refused:
        return "tcg", _refused[0]
    flags = Path("/proc/cpuinfo").read_text().partition("flags")[2].partition("\n")[0].split()
    if not {"vmx", "svm"} & set(flags):
        return "tcg", "the processor shows no hardware virtualisation (neither vmx nor svm in /proc/cpuinfo)"
    try:
        os.close(os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return "tcg", f"/dev/kvm cannot be opened: {error.strerror}"
    return "kvm", "/dev/kvm can be opened"


@dataclass
class Machine:
    """A running machine. One command at a time; get one from `boot`."""

    accelerator: str
    release: str = ""
    """Of the guest's kernel."""
    boot_seconds: float = 0.0
    _qemu: subprocess.Popen[bytes] = field(kw_only=True)
    _port: socket.socket = field(kw_only=True)
    _console: IO[bytes] = field(kw_only=True)
    _received: bytearray = field(default_factory=bytearray)

    @property
    def pid(self) -> int:
        """Of qemu."""
        return self._qemu.pid

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        limit: float,
        place: Place = "service",
        env: Mapping[str, str] | None = None,
        cwd: Path = PROJECT,
        echo: Callable[[str], object] = lambda _: None,
    ) -> Finished:
        """Run a command in the guest; killed after `limit` seconds, with everything it started.

        `echo` gets the output as it comes. A program that cannot be executed ends with 127, as in a shell.

        Raises:
            MachineError: the machine ended meanwhile, or did not come back `GRACE` seconds after the limit.
        """
        start = time.monotonic()
        order = {"argv": [str(one) for one in argv], "place": place, "limit": limit, "env": dict(env or {})}
        self._port.sendall(json.dumps({**order, "cwd": str(cwd)}).encode() + b"\n")
        output = []
        for message in self._messages(start + limit + GRACE, f"run {order['argv']} within {limit:g} s"):
            if "output" in message:
                output.append(message["output"])
                echo(message["output"].encode("latin-1").decode(errors="replace"))
            elif "exit" in message:
                text = "".join(output).encode("latin-1").decode(errors="replace")
                left = tuple(message["left_behind"])
                return Finished(message["exit"], text, message["timed_out"], left, time.monotonic() - start)
            else:
                self.close()
                raise MachineError(f"the guest could not run {order['argv']}: {message}")
        raise AssertionError

    def console(self) -> str:
        """What the kernel and init have printed."""
        self._console.seek(0)
        return self._console.read().decode(errors="replace")

    def close(self) -> None:
        """End the machine at once; nothing in it is kept."""
        self._qemu.kill()
        self._qemu.wait()
        self._port.close()
        self._console.close()

    def _messages(self, deadline: float, purpose: str) -> Iterator[dict[str, Any]]:
        while True:
            line, found, rest = self._received.partition(b"\n")
            if found:
                self._received = rest
                yield json.loads(line)
                continue
            self._port.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._port.recv(1 << 16)
            except TimeoutError:
                data, problem = b"", "does not answer"
            except ConnectionError as error:
                data, problem = b"", f"hung up ({error})"
            else:
                problem = "ended"
            if not data:
                tail = "\n".join(self.console().splitlines()[-25:])
                self.close()
                raise MachineError(f"the virtual machine ({self.accelerator}) {problem}, asked to {purpose}:\n{tail}")
            self._received += data


@contextlib.contextmanager
def boot(*, limit: float | None = None) -> Iterator[Machine]:
    """Boot a machine and end it on leaving: with KVM where `accelerator` says so and it does boot, else emulated.

    Raises:
        MachineError: it is not up after `limit` seconds (by default `BOOT_LIMIT`).
    """
    accel = accelerator()[0]
    try:
        machine = _boot(accel, limit or BOOT_LIMIT[accel])
    except MachineError as error:
        if accel == "tcg" or limit is not None:
            raise
        reason = f"it does not boot with KVM although there is one: {error}"
        _refused.append(reason)
        accelerator.cache_clear()
        machine = _boot("tcg", BOOT_LIMIT["tcg"])
    with contextlib.closing(machine):
        yield machine


def _boot(accel: Literal["kvm", "tcg"], limit: float) -> Machine:
    start = time.monotonic()
    ours, theirs = socket.socketpair()
    console = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the machine
    with theirs:
        qemu = subprocess.Popen(
            _command_line(accel, theirs.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=(theirs.fileno(),),
        )
    machine = Machine(accel, _qemu=qemu, _port=ours, _console=console)
    try:
        ready = next(machine._messages(start + limit, f"boot within {limit:g} s"))
    except BaseException:
        machine.close()
        raise
    machine.release = ready["ready"]["release"]
    machine.boot_seconds = time.monotonic() - start
    return machine


def _command_line(accel: str, port: int) -> list[str]:
    kept = sorted({str(PROJECT), str(Path(sys.base_prefix).resolve())})
    # No KASLR nor mitigations: nothing to be protected in there, and emulation is slow enough. A panic ends qemu.
    kernel = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off cgroup_no_v1=all"
    for name, value in {
        "VM_PYTHON": str(Path(sys.executable).resolve()),
        "VM_AGENT": str(PROJECT / "tests" / "vm" / "guest.py"),
        "VM_KEEP": ":".join(kept),
    }.items():
        kernel += f' "{name}={value}"'
    # An emulated machine without five-level page tables: no 64-bit program here needs them.
    hardware = {
        "kvm": ("-accel", "kvm", "-cpu", "host"),
        "tcg": ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", "max,la57=off"),
    }[accel]
    return [
        # The kernel kills qemu should this process be killed.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35,usb=off,smbus=off,sata=off", *hardware),
        *("-m", f"{MEMORY_MB}M", "-smp", str(CPUS), "-nic", "none", "-serial", "stdio"),
        *("-kernel", str(FILES / "kernel"), "-initrd", str(FILES / "initramfs"), "-append", kernel),
        *("-virtfs", "local,path=/,mount_tag=host,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-serial-pci", "-chardev", f"socket,id=commands,fd={port}"),
        *("-device", "virtserialport,chardev=commands,name=commands"),
    ]
