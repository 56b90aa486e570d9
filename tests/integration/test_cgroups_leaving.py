"""What is found on this host, where cgroups are made, and that nothing is left of them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.errors import SandboxError
from engine.sandbox.cgroups import CgroupLimits, Cgroups, files
from engine.sandbox.cgroups.host import read_proc
from engine.sandbox.cgroups.layout import find
from engine.sandbox.spawner import groups
from tests.support.cgroups import MB, NAME, PATIENCE, cgroup_directories, present

pytest_plugins = ("tests.support.cgroup_fixtures",)


ROOT = Path(__file__).resolve().parents[2]


class TestLeaving:
    def test_remove_ends_what_runs_and_leaves_no_directory(self, cgroups, inside):
        group = cgroups.create("two", CgroupLimits(pids=5))
        assert present(group) == group.directories
        program = inside(group, "time.sleep(100)").go()
        group.remove()
        assert program.end() == -signal.SIGKILL
        assert present(group) == []
        group.remove()
        assert (group.memory_peak(), group.oom_kills(), group.pids(), group.kill()) == (None, 0, [], [])
        with pytest.raises(SandboxError, match="cannot freeze cgroup two"):
            group.freeze()

    def test_a_dead_engines_leftovers_go_with_all_that_runs_in_them(self, host, nothing_left, inside):
        dead = host()
        dead.prepare(NAME)
        group = dead.create("one", CgroupLimits(memory_bytes=64 * MB))
        program = inside(group, "time.sleep(100)").go()
        group.freeze()
        group.close()
        next_engine = host()
        assert sorted(next_engine.sweep(NAME)) == sorted(dead.directories)
        assert program.end() == -signal.SIGKILL
        assert next_engine.sweep(NAME) == []
        next_engine.prepare(NAME)
        next_engine.remove()

    def test_leftovers_under_another_cgroup_are_found_by_what_was_written_down(self, cgroups):
        elsewhere = Path(cgroups.directories[0]).parent / "lambent-elsewhere"
        left = elsewhere / f"lambent-{NAME}"
        (left / "one").mkdir(parents=True)
        try:
            assert str(left) in cgroups.sweep(NAME, [str(left), "/etc", str(elsewhere), f"/tmp/lambent-{NAME}"])
            assert not left.exists()
        finally:
            for path in (left / "one", left, elsewhere):
                if path.exists():
                    path.rmdir()

    def test_a_name_in_use_is_an_error_and_its_owner_stays(self, cgroups, group):
        with pytest.raises(SandboxError, match=r"cannot make cgroup one .*File exists"):
            cgroups.create("one", CgroupLimits())
        assert present(group) == group.directories

    def test_what_the_kernel_refuses_leaves_nothing(self, cgroups):
        with pytest.raises(SandboxError, match=r"cannot set pids.max to -3 \(.*/two/pids.max\): Invalid argument"):
            cgroups.create("two", CgroupLimits(pids=-3))
        assert not [path for path in cgroup_directories() if path.endswith("/two")]

    @pytest.mark.parametrize("name", ["", "a/b", "..", "a.b", "x" * 65])
    def test_only_plain_names_are_taken(self, cgroups, name):
        with pytest.raises(SandboxError, match="cannot name"):
            cgroups.create(name, CgroupLimits())
        with pytest.raises(SandboxError, match="cannot name"):
            cgroups.sweep(name)

    def test_the_spawners_helper_needs_only_the_directories_and_the_standard_library(self, cgroups, inside):
        group = cgroups.create("two", CgroupLimits())
        program = inside(group, "time.sleep(100)").go()
        group.freeze()
        group.close()
        code = Path(groups.__file__).read_text()
        code += (
            "\nimport sys\nbefore = set(sys.modules)\nend_and_remove([os.fsencode(path) for path in sys.argv[1:]])\n"
        )
        code += "print(sorted(set(sys.modules) & {'pathlib', 'contextlib', 'subprocess', 'engine'}))"
        run = subprocess.run(
            [sys.executable, "-I", "-S", "-c", code, *group.directories, f"{group.directories[0]}/gone"],
            capture_output=True, text=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
        assert run.stdout == "[]\n"
        assert program.end() == -signal.SIGKILL
        assert present(group) == []


class TestDetection:
    def test_as_root_nothing_is_weak_here(self, cgroups):
        assert cgroups.enforced == {"memory", "cpu", "pids", "freezer"}
        assert [line for line in cgroups.weaknesses() if not line.startswith(("memory peak:", "swap:"))] == []

    def test_without_privileges_there_are_weaknesses_instead_of_errors(self, nothing_left):
        if os.geteuid() != 0:
            pytest.skip("giving up root needs to have it")
        answer, say = os.pipe()
        pid = os.fork()
        if pid == 0:  # pragma: no cover - another process
            try:
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
                cgroups = Cgroups.detect()
                cgroups.prepare(NAME)
                group = cgroups.create("one", CgroupLimits(memory_bytes=MB, pids=1, cores=0.1))
                lines = [*cgroups.weaknesses(), str((group.directories, group.memory_peak(), sorted(cgroups.enforced)))]
                cgroups.remove()
            except BaseException as error:  # noqa: BLE001
                lines = [repr(error)]
            os.write(say, "\n".join(lines).encode())
            os._exit(0)
        os.close(say)
        with os.fdopen(answer) as file:
            lines = file.read().splitlines()
        os.waitpid(pid, 0)
        assert [line.partition(":")[0] for line in lines[:4]] == ["memory", "cpu", "processes", "freeze"], lines
        assert lines[4] == "([], None, [])"
        for line in lines[:4]:
            assert "this user may not make cgroups in /" in line

    def test_a_host_that_tells_nothing_has_weaknesses_only(self, monkeypatch, nothing_left):
        def absent(name):
            raise SandboxError(f"cannot read /proc/self/{name}")

        monkeypatch.setattr("engine.sandbox.cgroups.host.read_proc", absent)
        cgroups = Cgroups.detect()
        assert cgroups.enforced == set()
        assert len(cgroups.weaknesses()) == 4
        assert all("cannot read /proc/self/mountinfo" in line for line in cgroups.weaknesses())


PLACED = """
import os, pathlib, sys
from engine.sandbox.cgroups import host
from engine.sandbox.cgroups.placing import place

directory, controller = sys.argv[1:]
def own():
    return pathlib.Path("/proc/self/cgroup").read_text().rpartition("0::")[2].strip().rpartition("/")[2]
def members(path):
    return len(pathlib.Path(path, "cgroup.procs").read_text().split())
pathlib.Path(directory, "cgroup.procs").write_text("0")
chosen = place(host.look(directory, namespace_root=False), None, {os.getpid()}, {controller})
print(chosen.move, host.hand_on(chosen), own(), members(directory), members(directory + "/lambent-supervisor"))
ours = pathlib.Path(directory, "lambent-x")
ours.mkdir()
print(host.enable(str(ours), {controller}), (ours / "cgroup.controllers").read_text().split() == [controller])
host.move_back(chosen)
print(members(directory + "/lambent-supervisor"), "still needed")
ours.rmdir()
host.move_back(chosen)
print(own() == os.path.basename(directory), members(directory), os.listdir(directory).count("lambent-supervisor"))
"""


@pytest.fixture
def delegated(nothing_left: None) -> Iterator[tuple[str, str]]:
    """A v2 cgroup marked as systemd marks those with Delegate=yes, and a controller that it may hand on."""
    unified = find(read_proc("mountinfo"), read_proc("cgroup")).v2
    if os.geteuid() != 0 or unified is None:
        pytest.skip("needs root and a cgroup v2 hierarchy")
    top = Path(unified.mount)
    enabled = set((top / "cgroup.subtree_control").read_text().split())
    for controller in ("memory", *(top / "cgroup.controllers").read_text().split()):
        with contextlib.suppress(OSError):
            files.write(str(top / "cgroup.subtree_control"), f"+{controller}")
            break
    else:
        pytest.skip("this host's cgroup v2 has no controller to hand on")
    directory = top / f"lambent-{NAME}-delegated"
    try:
        directory.mkdir()
        os.setxattr(directory, "user.delegate", b"1")
        yield str(directory), controller
    finally:
        groups.end_and_remove([os.fsencode(directory)])
        if controller not in enabled:
            files.write(str(top / "cgroup.subtree_control"), f"-{controller}")


class TestDelegation:
    def test_a_delegated_cgroup_is_vacated_for_its_controllers_and_restored(self, delegated):
        directory, controller = delegated
        neighbour = subprocess.Popen(["sleep", "100"])
        try:
            files.write(f"{directory}/cgroup.procs", neighbour.pid)
            run = subprocess.run(
                [sys.executable, "-c", PLACED, directory, controller],
                capture_output=True, text=True, timeout=PATIENCE * 2, cwd=ROOT, check=False,
            )  # fmt: skip
        finally:
            neighbour.kill()
            neighbour.wait()
        assert run.stderr == ""
        assert run.stdout.splitlines() == [
            "True {} lambent-supervisor 0 2",
            "{} True",
            "2 still needed",
            "True 2 0",
        ]
