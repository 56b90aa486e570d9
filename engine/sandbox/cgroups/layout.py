"""Where the cgroup hierarchies are and which controller lives in which: read from texts, without touching the host.

Two files of the kernel say it (cgroups(7), proc(5)):

``/proc/self/mountinfo``
    where each hierarchy is mounted, and which of its directories is at the top of that mount (the *root* field: not
    ``/`` for a bind mount of a part, as container managers make them).
``/proc/self/cgroup``
    which cgroup of each hierarchy we are in. This is our own cgroup: what we make, we make under it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from msgspec import Struct

#: What limits are made of. The freezer is no controller on v2: every v2 cgroup has one.
CONTROLLERS = ("memory", "cpu", "pids")

_ESCAPED = re.compile(r"\\([0-7]{3})")


class Hierarchy(Struct, frozen=True):
    """One mounted cgroup hierarchy, and our own cgroup in it.

    Attributes:
        version: 1 or 2.
        controllers: the v1 controllers (and ``name=...``) of the hierarchy; empty for v2, where it varies by cgroup.
        mount: where it is mounted.
        own: the directory of our own cgroup.
        top: whether our own cgroup is called ``/``: the hierarchy's root, or the root of our cgroup namespace.
    """

    version: int
    controllers: frozenset[str]
    mount: str
    own: str
    top: bool


class Found(Struct, frozen=True):
    """All hierarchies with a writable mount in which our own cgroup can be seen, and for the rest why not.

    Attributes:
        v1: by controller; co-mounted controllers have the same hierarchy.
        v2: the unified hierarchy, if any.
        missing: why a v1 controller, or ``unified``, cannot be used though this process is in such a hierarchy.
    """

    v1: Mapping[str, Hierarchy]
    v2: Hierarchy | None
    missing: Mapping[str, str]


class Layout(Struct, frozen=True):
    """Which hierarchy serves what.

    Attributes:
        homes: by controller, and ``freezer``.
        missing: for those of `CONTROLLERS` and ``freezer`` that no hierarchy serves: why.
    """

    homes: Mapping[str, Hierarchy]
    missing: Mapping[str, str]


class _Mount(Struct, frozen=True):
    number: str
    parent: str
    root: str
    point: str
    kind: str
    options: frozenset[str]
    super_options: frozenset[str]

    @property
    def read_only(self) -> bool:
        return "ro" in self.options or "ro" in self.super_options


def find(mountinfo: str, cgroup: str) -> Found:
    """Read the two files of the kernel.

    Args:
        mountinfo: the text of ``/proc/self/mountinfo``.
        cgroup: the text of ``/proc/self/cgroup``.
    """
    mounts = _visible(list(_mounts(mountinfo)))
    v1: dict[str, Hierarchy] = {}
    v2: Hierarchy | None = None
    missing: dict[str, str] = {}
    for line in cgroup.splitlines():
        number, names, path = line.split(":", 2)
        if number == "0" and not names:
            candidates = [mount for mount in mounts if mount.kind == "cgroup2"]
            found = _own("cgroup2", path, candidates, 2, frozenset())
            if isinstance(found, str):
                missing["unified"] = found
            else:
                v2 = found
            continue
        controllers = frozenset(names.split(","))
        candidates = [mount for mount in mounts if mount.kind == "cgroup" and controllers <= mount.super_options]
        found = _own(f"cgroup v1 {names}", path, candidates, 1, controllers)
        for controller in controllers:
            if isinstance(found, str):
                missing[controller] = found
            else:
                v1[controller] = found
    return Found(v1, v2, missing)


def lay_out(found: Found, v2_controllers: Collection[str]) -> Layout:
    """Choose a hierarchy for each controller and for freezing.

    A controller is in one hierarchy at a time. Freezing (and killing at once) goes through v2 wherever there is one,
    even when it has no controller: 30 us instead of 200 us for the v1 freezer, and a frozen cgroup can be killed.

    Args:
        found: from `find`.
        v2_controllers: what our place in the v2 hierarchy may hand on (``cgroup.controllers`` there).
    """
    homes: dict[str, Hierarchy] = {}
    missing: dict[str, str] = {}
    for controller in CONTROLLERS:
        if controller in found.v1:
            homes[controller] = found.v1[controller]
        elif controller in found.missing:
            missing[controller] = found.missing[controller]
        elif found.v2 is not None and controller in v2_controllers:
            homes[controller] = found.v2
        elif found.v2 is not None:
            missing[controller] = (
                f"the {controller} controller is neither mounted as cgroup v1 nor available in {found.v2.own} "
                "(see cgroup.controllers there)"
            )
        else:
            missing[controller] = found.missing.get("unified", f"no cgroup hierarchy with {controller} is mounted")
    if found.v2 is not None:
        homes["freezer"] = found.v2
    elif "freezer" in found.v1:
        homes["freezer"] = found.v1["freezer"]
    else:
        missing["freezer"] = found.missing.get(
            "unified", found.missing.get("freezer", "neither cgroup v2 nor the v1 freezer is mounted")
        )
    return Layout(homes, missing)


def _own(what: str, path: str, mounts: list[_Mount], version: int, names: frozenset[str]) -> Hierarchy | str:
    """The hierarchy as seen through the best of its mounts, or why none will do."""
    if not mounts:
        return f"{what} is not mounted"
    reason = ""
    for mount in mounts:
        below = _below(path, mount.root)
        if below is None:
            reason = reason or f"{what}: the mount at {mount.point} shows only {mount.root}, and we are in {path}"
        elif mount.read_only:
            reason = f"{what} is mounted read-only at {mount.point}"
        else:
            return Hierarchy(version, names, mount.point, mount.point.rstrip("/") + below, path == "/")
    return reason


def _below(path: str, root: str) -> str | None:
    """`path` relative to `root`, beginning with a slash or empty; None when it is not below, or not visible to us."""
    if ".." in path.split("/") or ".." in root.split("/"):  # outside of our cgroup namespace
        return None
    root = root.rstrip("/")
    if path.rstrip("/") == root:
        return ""
    return path[len(root) :] if path.startswith(root + "/") else None


def _mounts(mountinfo: str) -> Iterator[_Mount]:
    for line in mountinfo.splitlines():
        fields = line.split(" ")
        try:
            separator = fields.index("-", 6)
            kind, super_options = fields[separator + 1], fields[separator + 3]
        except (ValueError, IndexError):
            continue
        yield _Mount(
            fields[0],
            fields[1],
            _unescape(fields[3]),
            _unescape(fields[4]),
            kind,
            frozenset(fields[5].split(",")),
            frozenset(_unescape(super_options).split(",")),
        )


def _visible(mounts: list[_Mount]) -> list[_Mount]:
    """The cgroup mounts that nothing mounted later on the same directory, or above it, covers."""
    parents = {mount.number: mount.parent for mount in mounts}

    def inside(number: str, ancestor: str) -> bool:
        for _ in range(len(parents)):
            if number == ancestor:
                return True
            number = parents.get(number, "")
        return False

    return [
        mount
        for position, mount in enumerate(mounts)
        if mount.kind in {"cgroup", "cgroup2"}
        and not any(
            _below(mount.point, later.point) is not None and not inside(mount.number, later.number)
            for later in mounts[position + 1 :]
        )
    ]


def _unescape(field: str) -> str:
    r"""Undo the kernel's \040 for a space and the like. The texts come with surrogateescape, so bytes survive."""
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)), field)
