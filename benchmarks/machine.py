"""The fingerprint of the machine and of what ran on it, printed with every result."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
from msgspec import Struct

from benchmarks.functions import ROOT


class Machine(Struct, frozen=True):
    """What a figure depends on besides the code.

    Attributes:
        cores: usable by this process; `cpu` is the model's name as the kernel prints it.
        governor: cpufreq governor; "not visible" in most virtual machines.
        load_before: 1-minute load average when the measurement began: other people's work on the same cores.
        steal_percent: CPU time that the hypervisor gave to others since boot.
        versions: of interpreters, libraries and compilers.
        commit: of this repository, with "+changes" when the tree was not clean.
    """

    cpu: str
    cores: int
    memory_mb: int
    kernel: str
    governor: str
    virtual: str
    load_before: float
    steal_percent: float
    versions: dict[str, str]
    commit: str

    def lines(self) -> list[str]:
        """For people."""
        versions = ", ".join(f"{name} {value}" for name, value in self.versions.items())
        return [
            f"{self.cpu}, {self.cores} cores, {self.memory_mb} MiB, {self.kernel}, {self.virtual}",
            f"governor {self.governor}, load before {self.load_before:.2f}, steal {self.steal_percent:.1f} %",
            f"commit {self.commit}, {versions}",
        ]


def _first_line(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "absent"
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return (done.stdout.strip().splitlines() or ["unknown"])[0]


def _read(path: str, otherwise: str) -> str:
    try:
        return Path(path).read_text().strip() or otherwise
    except OSError:
        return otherwise


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "absent"


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo", "").splitlines():
        if line.startswith(("model name", "CPU part", "Model")):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def fingerprint() -> Machine:
    """Looks at the machine now."""
    commit = _first_line("git", "rev-parse", "--short=12", "HEAD")
    changed = _first_line("git", "status", "--porcelain", "--untracked-files=no")
    times = psutil.cpu_times()
    steal = getattr(times, "steal", 0.0)
    flags = _read("/proc/cpuinfo", "")
    versions = {
        "python": platform.python_version(),
        "node": _first_line("node", "--version").lstrip("v"),
        "rustc": _first_line("rustc", "--version").removeprefix("rustc ").partition(" ")[0],
        **{name: _package(name) for name in ("uvloop", "httptools", "aiohttp", "awslambdaric")},
    }
    return Machine(
        cpu=_cpu_model(),
        cores=len(os.sched_getaffinity(0)),
        memory_mb=psutil.virtual_memory().total >> 20,
        kernel=f"{platform.system()} {platform.release()}",
        governor=_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "not visible"),
        virtual="virtual machine" if " hypervisor" in flags else "no hypervisor seen",
        load_before=os.getloadavg()[0],
        steal_percent=100.0 * steal / max(1.0, sum(times)),
        versions=versions,
        commit=commit if changed == "unknown" else f"{commit}+changes",
    )
