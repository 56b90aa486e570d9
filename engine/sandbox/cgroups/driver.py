"""All cgroups of one engine: finding the hierarchies, making and removing the engine's subtree in each."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from engine.errors import SandboxError
from engine.sandbox.spawner import groups

from . import files, host
from .group import Cgroup, make
from .layout import CONTROLLERS, Found, Hierarchy, Layout, find, lay_out
from .limits import CgroupLimits
from .placing import Place

#: What every cgroup of ours is called by, directly under the cgroup that we were given.
PREFIX = "lambent-"

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CONSEQUENCES = {
    "memory": "memory: a function may take more than its MemorySize",
    "cpu": "cpu: a function may use every core, whatever its MemorySize",
    "pids": "processes: the number of processes and threads of a function is not limited by a cgroup",
    "freezer": "freeze: a function's background work goes on between invocations",
}


class Cgroups:
    """The hierarchies of this host, and the engine's subtree ``lambent-<name>`` in each that it uses.

    But in a v1 hierarchy for the CPU alone there is no subtree: an environment's cgroup is ``lambent-<name>.<child>``.
    The scheduler of the kernel does its work once for each level, whenever a process wakes or sleeps: one level less is
    5 % more invocations per second.

    ::

        cgroups = Cgroups.detect()          # looks, changes nothing
        cgroups.weaknesses()                # what cannot be enforced here
        cgroups.prepare("3f2a", earlier)    # removes what a dead engine left, makes the subtree
        group = cgroups.create("17", CgroupLimits(memory_bytes=128 << 20, pids=1024, cores=0.0723))
        ...
        group.remove()
        cgroups.remove()

    All methods block, for up to tens of milliseconds: call them in a thread. `create` may run in several at once.

    Attributes:
        layout: which hierarchy serves what.
        directories: the subtree's directories, once prepared: for the spawner to end and remove, and to be written down
            so that the next engine can pass them to `prepare` or `sweep`. One that ends with a dot stands for all that
            begin so.
    """

    def __init__(self, found: Found) -> None:
        """Decide where things go (see `detect`)."""
        self.directories: list[str] = []
        self._found = found
        self._groups: dict[str, str] = {}
        self._lost: dict[str, str] = {}
        self._notes: list[str] = []
        self._place: Place | None = None
        self.layout = self._decide()

    @classmethod
    def detect(cls) -> Cgroups:
        """Look at this host. Never raises: a host without cgroups is one with weaknesses only."""
        try:
            return cls(find(host.read_proc("mountinfo"), host.read_proc("cgroup")))
        except SandboxError as error:
            return cls(Found({}, None, {"unified": str(error)}))

    def _decide(self) -> Layout:
        v1: dict[str, Hierarchy] = {}
        missing = dict(self._found.missing)
        for controller, hierarchy in self._found.v1.items():
            reason = host.may_make_in(hierarchy)
            if reason is None:
                v1[controller] = hierarchy
            else:
                missing[controller] = reason
        unified = self._found.v2
        if unified is not None:
            wanted = [name for name in CONTROLLERS if name not in self._found.v1]
            chosen = host.choose(unified, wanted)
            if isinstance(chosen, Place):
                self._place = chosen
            else:
                unified, missing["unified"] = None, chosen
        return lay_out(Found(v1, unified, missing), self._place.controllers if self._place is not None else ())

    @property
    def enforced(self) -> frozenset[str]:
        """What is enforced: of ``memory``, ``cpu``, ``pids``, ``freezer``. Final once prepared."""
        return frozenset(self.layout.homes) - frozenset(self._lost)

    def weaknesses(self) -> list[str]:
        """One line per limit that cannot be enforced here, and why. Complete once prepared."""
        reasons = {**self.layout.missing, **self._lost}
        lines = [f"{text}; {reasons[name]}" for name, text in _CONSEQUENCES.items() if name in reasons]
        return lines + self._notes

    def prepare(self, name: str, earlier: Sequence[str] = ()) -> None:
        """Make the engine's subtree, after removing what a dead engine of the same name left.

        On v2 this may move the engine's own processes into a leaf beside it (see `placing`): call it before the spawner
        is started, so that it is born there. A hierarchy that refuses is given up, which `weaknesses` tells.

        Args:
            name: unique to the data directory, the same at each start; up to 64 letters, digits, ``_``, ``-``.
            earlier: `directories` of the last engine, in case it ran under another cgroup than we.

        Raises:
            SandboxError: leftovers cannot be removed, or no cgroup can be made and limited for another reason than the
                permission to; the subtree is gone then.
        """
        self.sweep(name, earlier)
        if self._place is not None:
            self._lose(self._place.directory, host.hand_on(self._place))
        for hierarchy in dict.fromkeys(self.layout.homes.values()):
            directory = f"{self._home(hierarchy)}/{PREFIX}{name}"
            served = [key for key, home in self.layout.homes.items() if home == hierarchy]
            if hierarchy.version == 1 and served == ["cpu"]:
                self.directories.append(f"{directory}.")
                self._groups["cpu"] = f"{directory}."
                continue
            try:
                Path(directory).mkdir(mode=0o755)
            except OSError as error:
                reason = str(files.refused("make the engine's cgroup", directory, error))
                self._lost.update(dict.fromkeys(served, reason))
                continue
            self.directories.append(directory)
            if hierarchy.version == 2:
                wanted = [key for key in served if key in CONTROLLERS and key not in self._lost]
                self._lose(directory, host.enable(directory, wanted))
            self._groups.update({key: directory for key in served if key not in self._lost})
        try:
            self._probe()
        except BaseException:
            self.remove()
            raise

    def _lose(self, directory: str, refused: dict[str, OSError]) -> None:
        for controller, error in refused.items():
            self._lost[controller] = str(files.refused(f"enable {controller}", directory, error))

    def _probe(self) -> None:
        """Make one cgroup and take it away: what does not work on this kernel is known now, not at the first call."""
        group = self.create("probe", CgroupLimits(memory_bytes=1 << 27, pids=64, cores=0.1))
        try:
            if "memory" not in self._groups:
                return
            if group.memory_peak() is None:
                self._notes.append("memory peak: this kernel does not tell it (cgroup v2 does since Linux 5.19)")
            elif not group.reset_peak():
                self._notes.append(
                    "memory peak: told for the whole life of a sandbox, not per generation of its processes "
                    "(cgroup v2 can begin it anew since Linux 6.12)"
                )
            if not _swap_is_limited(self.layout.homes["memory"], self._groups["memory"] + "/probe"):
                self._notes.append("swap: this kernel does not count it (swapaccount=1 on its command line makes it)")
        finally:
            group.remove()

    def create(self, child: str, limits: CgroupLimits) -> Cgroup:
        """Make a cgroup in the engine's subtree: 1 ms or so on a hybrid host (4 directories, 6 settings).

        Args:
            child: unique within the engine; up to 64 letters, digits, ``_``, ``-``.
            limits: what it is allowed.

        Raises:
            SandboxError: the kernel refused; nothing is left of it.
        """
        if not _NAME.fullmatch(child):
            raise SandboxError(f"{child!r} cannot name a cgroup: letters, digits, '_', '-', at most 64")
        homes = {
            key: directory + child if directory.endswith(".") else f"{directory}/{child}"
            for key, directory in self._groups.items()
        }
        return make(child, self.layout, homes, limits)

    def sweep(self, name: str, earlier: Sequence[str] = ()) -> list[str]:
        """End and remove everything that a dead engine of this name left in its subtree.

        Args:
            name: as for `prepare`.
            earlier: more directories that it wrote down; such as are no ``lambent-<name>`` in a cgroup hierarchy of
                this host are ignored.

        Returns:
            What of these there was, in the form of `directories`.

        Raises:
            SandboxError: something would not die or go.
        """
        if not _NAME.fullmatch(name):
            raise SandboxError(f"{name!r} cannot name an engine's cgroups: letters, digits, '_', '-', at most 64")
        hierarchies = {*self._found.v1.values(), *([self._found.v2] if self._found.v2 is not None else [])}
        names = (PREFIX + name, f"{PREFIX}{name}.")
        wanted = {f"{self._home(hierarchy)}/{name}" for hierarchy in hierarchies for name in names}
        for path in earlier:
            inside = any(path.startswith(f"{hierarchy.mount}/") for hierarchy in hierarchies)
            if inside and ".." not in path.split("/") and path.rpartition("/")[2] in names:
                wanted.add(path)
        left = sorted(path for path in wanted if groups.below(os.fsencode(path)))
        try:
            groups.end_and_remove([os.fsencode(path) for path in left])
        except OSError as error:
            raise SandboxError(
                f"cannot remove the cgroups that an earlier engine left ({', '.join(left)}): {error.strerror}; "
                "end these processes, or restart the machine"
            ) from error
        return left

    def remove(self) -> None:
        """End whatever is left in the subtree and remove it; undo what `prepare` changed around it. Idempotent.

        Raises:
            SandboxError: something would not die or go; `directories` still tells where.
        """
        try:
            groups.end_and_remove([os.fsencode(path) for path in self.directories])
        except OSError as error:
            raise SandboxError(f"cannot remove {', '.join(self.directories)}: {error.strerror}") from error
        had_any, self.directories, self._groups = bool(self.directories), [], {}
        if had_any and self._place is not None:
            host.move_back(self._place)

    def _home(self, hierarchy: Hierarchy) -> str:
        """The cgroup to make our subtree in."""
        if hierarchy.version == 2 and self._place is not None:
            return self._place.directory
        return hierarchy.own


def _swap_is_limited(hierarchy: Hierarchy, directory: str) -> bool:
    file = "memory.swap.max" if hierarchy.version == 2 else "memory.memsw.limit_in_bytes"
    return Path(f"{directory}/{file}").exists() or not _has_swap()


def _has_swap() -> bool:
    with contextlib.suppress(OSError):
        return len(files.read("/proc/swaps").splitlines()) > 1
    return False
