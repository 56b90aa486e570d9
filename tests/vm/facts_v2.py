"""What cgroup v2 does on this kernel, found out by doing it: run in the guest by test_facts_v2.py, standard library only.

Prints one JSON object, fact -> finding; a fact that could not be established has its error as text. Runs in a cgroup
that is its own; as root, or as an ordinary user in a delegated one, where some findings are "no" on purpose.
"""

from __future__ import annotations

import contextlib
import errno
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

HERE = Path("/sys/fs/cgroup" + Path("/proc/self/cgroup").read_text().split("::")[1].strip())
PATIENCE = 20.0
SPIN = ("sh", "-c", "while :; do :; done")
#: It looks for the end of the last line, and keeps what it has seen.
GREEDY = ("tail", "/dev/zero")
SLEEP = ("sleep", "1000")


@contextlib.contextmanager
def group(name: str, **limits: str) -> Iterator[Path]:
    """A cgroup beside the leaf that this program is in; its processes are killed at the end."""
    path = HERE / name
    path.mkdir()
    try:
        for key, value in limits.items():
            (path / key.replace("_", ".")).write_text(value)
        yield path
    finally:
        (path / "cgroup.kill").write_text("1")
        wait(lambda: "populated 0" in (path / "cgroup.events").read_text(), "the killed cgroup is empty")
        path.rmdir()


def start(argv: Sequence[str], cgroup: Path) -> subprocess.Popen[str]:
    """A program that is in `cgroup` from its first instruction."""
    join = partial((cgroup / "cgroup.procs").write_text, "0")
    return subprocess.Popen(argv, preexec_fn=join, stdout=subprocess.PIPE, text=True)  # noqa: PLW1509 - one thread


def wait(condition: Callable[[], object], what: str) -> None:
    """Until `condition()` holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PATIENCE} s")
        time.sleep(0.005)


def values(path: Path) -> dict[str, int]:
    """A flat keyed file."""
    return {key: int(value) for key, value in (line.split() for line in path.read_text().splitlines())}


def cause(action: Callable[[], object]) -> str:
    """The name of the error that `action` ends with, "" if it succeeds."""
    try:
        action()
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def processes_are_only_in_leaves() -> object:
    """Enabling controllers over one's own process is refused; after moving to a leaf it is not. Must come first."""
    enable = partial((HERE / "cgroup.subtree_control").write_text, "+cpu +memory +pids")
    refused = cause(enable)
    (HERE / "engine").mkdir()
    (HERE / "engine" / "cgroup.procs").write_text("0")
    enable()
    return [refused, (HERE / "cgroup.subtree_control").read_text().split()]


def memory_limit_kills_the_whole_group() -> object:
    """One process over the limit takes its idle neighbour with it; both see SIGKILL.

    The events tell it from another SIGKILL: oom_group_kill is 1. (oom_kill is 3 here: the one chosen counts twice.)
    """
    with group("memory", memory_max=str(48 << 20), memory_swap_max="0", memory_oom_group="1") as cgroup:
        idle, greedy = start(SLEEP, cgroup), start(GREEDY, cgroup)
        codes = [greedy.wait(PATIENCE), idle.wait(PATIENCE)]
        events = values(cgroup / "memory.events")
        peak = int((cgroup / "memory.peak").read_text())
        return [codes, events["oom_group_kill"], events["oom_kill"] >= 2, peak <= 48 << 20, peak > 40 << 20]


def memory_limit_spares_the_neighbours() -> object:
    """Without memory.oom.group only the greedy one dies."""
    with group("memory", memory_max=str(48 << 20), memory_swap_max="0") as cgroup:
        idle, greedy = start(SLEEP, cgroup), start(GREEDY, cgroup)
        return [greedy.wait(PATIENCE), idle.poll()]


def cpu_share() -> object:
    """A spinner under cpu.max 25 %: the share of a core that it had over about a second, and whether it was held back."""
    with group("cpu", cpu_max="25000 100000") as cgroup:
        start(SPIN, cgroup)
        before, at = values(cgroup / "cpu.stat"), time.monotonic()
        time.sleep(1)
        after, seconds = values(cgroup / "cpu.stat"), time.monotonic() - at
        used = (after["usage_usec"] - before["usage_usec"]) / 1e6
        return [round(used / seconds, 3), after["nr_throttled"] > before["nr_throttled"]]


def pids_limit() -> object:
    """The fork beyond pids.max is refused, and counted."""
    code = """
import os, errno, time
made = 0
try:
    while made < 50:
        if os.fork() == 0:
            time.sleep(1000)
        made += 1
except OSError as error:
    print(made, errno.errorcode[error.errno], flush=True)
time.sleep(1000)
"""
    with group("pids", pids_max="10") as cgroup:
        process = start([sys.executable, "-I", "-S", "-c", code], cgroup)
        assert process.stdout is not None
        return [process.stdout.readline().split(), values(cgroup / "pids.events")["max"]]


def freezer() -> object:
    """A frozen spinner uses no CPU; thawed it goes on; killed while frozen it dies."""
    with group("freezer") as cgroup:
        process = start(SPIN, cgroup)
        (cgroup / "cgroup.freeze").write_text("1")
        wait(lambda: values(cgroup / "cgroup.events")["frozen"] == 1, "the cgroup is frozen")
        frozen_at = values(cgroup / "cpu.stat")["usage_usec"]
        time.sleep(0.3)
        still = values(cgroup / "cpu.stat")["usage_usec"] == frozen_at
        (cgroup / "cgroup.freeze").write_text("0")
        wait(lambda: values(cgroup / "cpu.stat")["usage_usec"] > frozen_at, "the thawed spinner runs")
        (cgroup / "cgroup.freeze").write_text("1")
        wait(lambda: values(cgroup / "cgroup.events")["frozen"] == 1, "the cgroup is frozen again")
        (cgroup / "cgroup.kill").write_text("1")
        return [still, process.wait(PATIENCE)]


def kill_reaches_all() -> object:
    """One write ends a tree that has left its session, ignores signals and sits in a nested cgroup."""
    with group("kill") as cgroup:
        inner = cgroup / "inner"
        inner.mkdir()
        script = (
            f"trap '' TERM INT HUP; setsid sleep 1000 & (echo 0 > {inner}/cgroup.procs; exec sleep 1000) & echo; wait"
        )
        process = subprocess.Popen(
            ["sh", "-c", f"echo $$ > {cgroup}/cgroup.procs; {script}"], stdout=subprocess.DEVNULL
        )
        wait((inner / "cgroup.procs").read_text, "the nested cgroup has its process")
        (cgroup / "cgroup.kill").write_text("1")
        code = process.wait(PATIENCE)
        wait(lambda: values(cgroup / "cgroup.events")["populated"] == 0, "the killed cgroup is empty")
        inner.rmdir()
        return code


def own_limits_are_the_parents() -> object:
    """Whether one can change the limit of one's own top cgroup: yes for root, no for whom it was delegated to."""
    return cause(lambda: (HERE / "memory.max").write_text("max"))


def moving_out() -> object:
    """Whether a process can leave the subtree."""
    target = Path("/sys/fs/cgroup/cgroup.procs")
    process = subprocess.Popen(["sleep", "1000"])
    try:
        return cause(lambda: target.write_text(str(process.pid)))
    finally:
        process.kill()
        process.wait()


def namespaces_with_limits() -> object:
    """User, mount and pid namespaces inside a limited cgroup: process 1 there dies of the limit as anywhere."""
    new = ["unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    shown = subprocess.run(
        [*new, "sh", "-c", "mount -t tmpfs none /mnt && touch /mnt/x && echo $$ $(id -u)"],
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    with group("space", memory_max=str(48 << 20), memory_swap_max="0", memory_oom_group="1") as cgroup:
        greedy = start([*new, *GREEDY], cgroup)
        return [shown.stdout.split(), greedy.wait(PATIENCE), values(cgroup / "memory.events")["oom_group_kill"]]


def overlay() -> object:
    """An overlay in a user namespace of one's own: what is written goes up, what is below stays."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        for name in ("low", "up", "work", "all"):
            Path(folder, name).mkdir()
        Path(folder, "low/file").write_text("below")
        script = "mount -t overlay -o lowerdir=low,upperdir=up,workdir=work none all && cat all/file && echo above > all/file"
        shown = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        low = Path(folder, "low/file").read_text()
        # The overlay's own folder under work/ belongs to nobody but the namespace's root, with no permissions.
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=False)
        return [shown.returncode, shown.stdout, low]


def disk_quota() -> object:
    """A loop device with ext4: full is ENOSPC; gone with its mount."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        image, mounted = Path(folder, "image"), Path(folder, "mounted")
        mounted.mkdir()
        with image.open("wb") as file:
            file.truncate(16 << 20)
        # mkfs is where an ordinary user's PATH does not lead.
        subprocess.run(["/sbin/mkfs.ext4", "-q", "-m", "0", image], check=True, timeout=PATIENCE)
        shown = subprocess.run(["mount", "-o", "loop", image, mounted], capture_output=True, text=True, check=False)
        if shown.returncode:
            return "refused"
        try:
            full = cause(lambda: (mounted / "file").write_bytes(bytes(20 << 20)))
        finally:
            subprocess.run(["umount", mounted], check=True, timeout=PATIENCE)
        wait(lambda: not list(Path("/sys/block").glob("loop*/loop/backing_file")), "the loop device is free")
        return full


def main() -> None:
    """Establish all facts, in the order in which they stand here."""
    facts: dict[str, object] = {}
    for fact in FACTS:
        try:
            facts[fact.__name__] = fact()
        except Exception as error:  # noqa: BLE001 - it is the finding
            facts[fact.__name__] = f"{type(error).__name__}: {error}"
    print(json.dumps(facts))


FACTS: tuple[Callable[[], object], ...] = (
    processes_are_only_in_leaves,
    memory_limit_kills_the_whole_group,
    memory_limit_spares_the_neighbours,
    cpu_share,
    pids_limit,
    freezer,
    kill_reaches_all,
    own_limits_are_the_parents,
    moving_out,
    namespaces_with_limits,
    overlay,
    disk_quota,
)

if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    main()
