"""The machine itself: it boots, is what it claims to be, runs commands faithfully, and leaves nothing on the host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest

from tests.support.leaks import eventually, gone
from tests.vm import machine as machines
from tests.vm.machine import PROJECT, Machine, MachineError

#: Booting alone may take that long where the machine is emulated and busy (`machines.BOOT_LIMIT`).
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_there_is_cgroup_v2_and_nothing_else(machine: Machine) -> None:
    shown = machine.run(
        [
            "sh",
            "-c",
            "stat -fc %T /sys/fs/cgroup; cat /sys/fs/cgroup/cgroup.controllers; grep -c cgroup /proc/mounts; cat /proc/self/cgroup",
        ],
        limit=30,
    )
    kind, controllers, mounts, mine = shown.output.splitlines()
    assert kind == "cgroup2fs"
    assert {"memory", "cpu", "pids", "io"} <= set(controllers.split())
    assert mounts == "1"
    assert mine.startswith("0::/system.slice/vm-")


def test_the_file_systems_that_sandboxes_use_are_there(machine: Machine) -> None:
    shown = machine.run(["cat", "/proc/filesystems"], limit=30)
    assert {"overlay", "ext4", "tmpfs", "cgroup2", "proc"} <= {line.split()[-1] for line in shown.output.splitlines()}


def test_the_project_runs_on_its_own_interpreter(machine: Machine) -> None:
    code = "import os, msgspec, engine; print(engine.__file__, os.getcwd(), os.geteuid())"
    shown = machine.run([PROJECT / ".venv/bin/python", "-c", code], limit=60)
    assert (shown.code, shown.output.split()) == (0, [str(PROJECT / "engine/__init__.py"), str(PROJECT), "0"])


def test_an_ordinary_user_can_run_it_too(machine: Machine) -> None:
    code = "import os, msgspec; print(os.getresuid(), os.getgroups(), open('/proc/self/cgroup').read())"
    shown = machine.run([PROJECT / ".venv/bin/python", "-c", code], place="delegated", limit=60)
    assert shown.code == 0, shown.output
    assert shown.output.startswith("(1000, 1000, 1000) [] 0::/user.slice/vm-")


def test_the_root_cgroup_is_a_place_to_run_in(machine: Machine) -> None:
    shown = machine.run(["cat", "/proc/self/cgroup"], place="root", limit=30)
    assert shown.output == "0::/\n"


def test_output_comes_through_as_it_is_written(machine: Machine) -> None:
    seen: list[tuple[float, str]] = []
    script = r"printf 'out\n'; printf 'err \303\244\n' >&2; sleep 0.5; printf 'last'; exit 3"
    shown = machine.run(["sh", "-c", script], limit=30, echo=lambda text: seen.append((time.monotonic(), text)))
    assert (shown.code, shown.output) == (3, "out\nerr ä\nlast")
    assert "".join(text for _, text in seen) == shown.output
    assert seen[-1][0] - seen[0][0] > 0.2, "the output came only at the end"


def test_much_output_comes_through_whole(machine: Machine) -> None:
    shown = machine.run(["seq", "200000"], limit=60)
    assert shown.output == "".join(f"{n}\n" for n in range(1, 200001))


@pytest.mark.parametrize(
    ("argv", "code"),
    [(["true"], 0), (["sh", "-c", "exit 42"], 42), (["sh", "-c", "kill -TERM $$"], -15), (["no-such-program"], 127)],
    ids=["success", "failure", "signal", "not executable"],
)
def test_exit_codes_come_through(machine: Machine, argv: list[str], code: int) -> None:
    assert machine.run(argv, limit=30).code == code


def test_nothing_written_inside_reaches_the_host(machine: Machine) -> None:
    marker = PROJECT / "tests" / "vm" / f"marker-{os.getpid()}"
    shown = machine.run(["sh", "-c", f"echo inside > {marker} && cat {marker} && echo x >> {__file__}"], limit=30)
    assert (shown.code, shown.output) == (0, "inside\n")
    assert not marker.exists()
    assert not Path(__file__).read_text().endswith("x\n")


@pytest.mark.parametrize("place", ["service", "delegated", "root"])
def test_a_hanging_command_is_ended_with_all_it_started(machine: Machine, place: machines.Place) -> None:
    script = "trap '' TERM INT HUP; setsid sleep 1000 & sleep 1001 & echo started; while :; do sleep 100; done"
    shown = machine.run(["sh", "-c", script], limit=3, place=place)
    assert (shown.timed_out, shown.code, shown.output) == (True, -signal.SIGKILL, "started\n")
    assert shown.seconds < 3 + machines.GRACE
    after = machine.run(["sh", "-c", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"], limit=30)
    assert "sleep" not in after.output.replace("'", "")


def test_what_a_command_leaves_behind_is_reported_and_removed(machine: Machine) -> None:
    script = """
    here=/sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup); mkdir -p $here/left/inner
    sleep 1000 & echo $! > $here/left/inner/cgroup.procs; echo 1 > $here/left/cgroup.freeze
    mkdir -p /tmp/mounted; mount -t tmpfs none /tmp/mounted; echo $here
    """
    shown = machine.run(["sh", "-c", script], limit=30)
    here = shown.output.strip()
    assert {f"cgroup {here}/left", f"cgroup {here}/left/inner", "mount /tmp/mounted"} < set(shown.left_behind)
    assert sum(one.startswith("process ") for one in shown.left_behind) == 1
    after = machine.run(["sh", "-c", f"umount /tmp/mounted; ls -d {here}"], limit=30)
    assert after.code != 0


def test_kill_minus_one_does_not_end_the_machine(machine: Machine) -> None:
    # From a subshell: kill spares its own caller.
    ended = machine.run(["sh", "-c", "(kill -9 -1); sleep 100"], limit=30, place="root")
    assert (ended.code, ended.timed_out) == (-signal.SIGKILL, False)
    assert machine.run(["echo", "alive"], limit=30).output == "alive\n"


def test_machines_run_side_by_side_and_end_without_a_trace(machine: Machine, can_boot: None) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with machines.boot() as other:
        for one, text in ((machine, "shared"), (other, "other")):
            assert one.run(["sh", "-c", f"echo {text} > /tmp/name"], limit=30).code == 0
        with ThreadPoolExecutor(2) as pool:
            ask = partial(Machine.run, argv=["sh", "-c", "sleep 1; cat /tmp/name"], limit=30)
            assert [one.output for one in pool.map(ask, (machine, other))] == ["shared\n", "other\n"]
        # One of them panics: that is reported with its console, and nothing to the other one.
        crash = "echo 9 > /proc/sysrq-trigger; echo c > /proc/sysrq-trigger"
        with pytest.raises(MachineError, match=r"(?s)ended, asked to run.*sysrq"):
            other.run(["sh", "-c", crash], limit=60, place="root")
        assert gone(other.pid)
    assert machine.run(["cat", "/tmp/name"], limit=30).output == "shared\n"
    assert {child.pid for child in psutil.Process().children()} == before


def test_a_machine_that_does_not_boot_in_time_is_ended(can_boot: None) -> None:
    before = {child.pid for child in psutil.Process().children()}
    with pytest.raises(MachineError, match=r"does not answer, asked to boot within 0\.3 s"), machines.boot(limit=0.3):
        pass
    assert {child.pid for child in psutil.Process().children()} == before


def test_a_machine_does_not_outlive_the_process_that_booted_it(can_boot: None) -> None:
    code = "from tests.vm import machine\nwith machine.boot():\n pass"
    with subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT) as process:
        try:
            eventually(lambda: _qemus(process.pid), "qemu is started", patience=30)
            [qemu] = _qemus(process.pid)
        finally:
            process.kill()
    eventually(lambda: gone(qemu), "qemu ends with its starter")


def _qemus(parent: int) -> list[int]:
    return [child.pid for child in psutil.Process(parent).children() if child.name().startswith("qemu")]
