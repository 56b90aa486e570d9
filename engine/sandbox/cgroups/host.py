"""Looking at the host for `placing`, and doing on cgroup v2 what it decided: leaves, controllers. All blocking."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection
from pathlib import Path

import psutil
from msgspec import structs

from . import files
from .layout import Hierarchy
from .placing import LEAF, Facts, Place, place

#: How long to go on moving processes out of a cgroup in which new ones keep appearing.
_PATIENCE_SECONDS = 5.0


def look(directory: str, *, namespace_root: bool) -> Facts:
    """What there is to know of a v2 cgroup. Never raises: what cannot be read is not there."""
    return Facts(
        directory=directory,
        real_root=_is_file(f"{directory}/cgroup.procs") and not _is_file(f"{directory}/cgroup.type"),
        namespace_root=namespace_root,
        delegated=_delegated(directory),
        writable=_writable(directory),
        available=files.words(f"{directory}/cgroup.controllers"),
        enabled=files.words(f"{directory}/cgroup.subtree_control"),
        processes=frozenset(map(int, files.words(f"{directory}/cgroup.procs"))),
    )


def choose(unified: Hierarchy, wanted: Collection[str]) -> Place | str:
    """Where in the v2 hierarchy our subtree goes, or why nowhere."""
    directory, namespace_root = unified.own, unified.top
    parent, _, name = directory.rpartition("/")
    if name == LEAF:  # an engine started us, or the shell that we come from, there
        directory, namespace_root = parent, parent == unified.mount
    if not _is_file(f"{directory}/cgroup.procs"):
        return f"our own cgroup {directory} cannot be seen: it was removed, or something is mounted over it"
    own = look(directory, namespace_root=namespace_root)
    top = None if directory == unified.mount else look(unified.mount, namespace_root=True)
    chosen = place(own, top, _ours(), wanted)
    if name == LEAF and isinstance(chosen, Place) and chosen.directory == directory:
        return structs.replace(chosen, move=True)  # so that `move_back` undoes what a killed engine did
    return chosen


def may_make_in(hierarchy: Hierarchy) -> str | None:
    """None when our subtree can be made in our own v1 cgroup, else why not."""
    names = ",".join(sorted(hierarchy.controllers))
    if not _is_file(f"{hierarchy.own}/cgroup.procs"):
        return (
            f"our own cgroup {hierarchy.own} ({names}) cannot be seen: it was removed, or something is mounted over it"
        )
    if not _writable(hierarchy.own):
        return f"this user may not make cgroups in {hierarchy.own} ({names}, cgroup v1): start as root"
    return None


def hand_on(chosen: Place) -> dict[str, OSError]:
    """Have the cgroup hand its controllers on to its children, moving its processes into a leaf when that is needed.

    Returns:
        The controllers that it refused to hand on, and why.
    """
    if chosen.move and not chosen.controllers <= files.words(f"{chosen.directory}/cgroup.subtree_control"):
        try:
            _vacate(chosen.directory)
        except OSError as error:
            return dict.fromkeys(chosen.controllers, error)
    return enable(chosen.directory, chosen.controllers)


def enable(directory: str, controllers: Collection[str]) -> dict[str, OSError]:
    """Enable controllers for the children of a cgroup, one by one. Returns those refused, and why."""
    failed: dict[str, OSError] = {}
    path = f"{directory}/cgroup.subtree_control"
    for controller in sorted(frozenset(controllers) - files.words(path)):
        try:
            files.write(path, f"+{controller}")
        except OSError as error:
            failed[controller] = error
    return failed


def move_back(chosen: Place) -> None:
    """Undo `hand_on` after a move, when nobody else has come to need it: best effort, never raises."""
    if not chosen.move:
        return
    leaf = f"{chosen.directory}/{LEAF}"
    with contextlib.suppress(OSError):
        if any(entry.is_dir() and entry.name != LEAF for entry in os.scandir(chosen.directory)):
            return  # another engine's subtree, or somebody else's: the controllers are theirs too
        for controller in sorted(chosen.controllers):
            files.write(f"{chosen.directory}/cgroup.subtree_control", f"-{controller}")
        for pid in files.words(f"{leaf}/cgroup.procs"):
            with contextlib.suppress(ProcessLookupError):
                files.write(f"{chosen.directory}/cgroup.procs", pid)
        Path(leaf).rmdir()


def _vacate(directory: str) -> None:
    """Move all processes of a cgroup into its leaf. Raises OSError."""
    leaf = f"{directory}/{LEAF}"
    Path(leaf).mkdir(exist_ok=True)
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while pids := files.read(f"{directory}/cgroup.procs").split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # it has ended
                files.write(f"{leaf}/cgroup.procs", pid)
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes keep appearing in {directory}")


def read_proc(name: str) -> str:
    """A file of /proc/self.

    Raises:
        SandboxError: it cannot be read.
    """
    path = f"/proc/self/{name}"
    try:
        return files.read(path)
    except OSError as error:
        raise files.refused("read where the cgroups are", path, error) from error


def _ours() -> set[int]:
    """This process and its descendants."""
    me = psutil.Process()
    return {me.pid, *(child.pid for child in me.children(recursive=True))}


def _delegated(directory: str) -> bool:
    """Whether somebody handed this cgroup to us: systemd by its mark, anybody by giving it to our (non-root) user."""
    with contextlib.suppress(OSError):
        if os.geteuid() and Path(directory).stat().st_uid == os.geteuid():
            return True
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(directory, name) == b"1":
                return True
    return False


def _writable(directory: str) -> bool:
    return os.access(directory, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def _is_file(path: str) -> bool:
    return Path(path).is_file()
