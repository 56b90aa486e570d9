"""Where on cgroup v2 our subtree can stand: decided from facts, without touching the host.

The kernel's rule ("no internal processes", Documentation/admin-guide/cgroup-v2.rst): a cgroup other than the
hierarchy's root can hand controllers on to its children only while it has no processes itself. We are in our own
cgroup, so to make ours under it, its processes must move into a leaf beside ours first. Whether we may do that to it:

* it has been delegated to us: it belongs to our user, who is not root, or it has the extended attribute
  ``user.delegate``, by which systemd marks units with ``Delegate=yes``;
* it is the root of our cgroup namespace: a container, everything in it belongs together;
* only processes of our own are in it.

Otherwise (root in an SSH session) our subtree goes to the top of the hierarchy, as Docker's cgroupfs driver does; and
when we may not write there either, these limits cannot be had, and the reason says how they could.
"""

from __future__ import annotations

from collections.abc import Collection

from msgspec import Struct

#: The leaf that takes the engine's own processes. An engine started from within it stands beside it.
LEAF = "lambent-supervisor"


class Facts(Struct, frozen=True, kw_only=True):
    """What is known of one v2 cgroup.

    Attributes:
        directory: its absolute path.
        real_root: it is the hierarchy's root, which the rule exempts (it has no ``cgroup.type``).
        namespace_root: it is what our cgroup namespace shows as ``/``.
        delegated: it has been handed to us.
        writable: we may make cgroups in it.
        available: its ``cgroup.controllers``.
        enabled: its ``cgroup.subtree_control``.
        processes: its ``cgroup.procs``; 0 stands for one outside of our pid namespace.
    """

    directory: str
    real_root: bool = False
    namespace_root: bool = False
    delegated: bool = False
    writable: bool = False
    available: frozenset[str] = frozenset()
    enabled: frozenset[str] = frozenset()
    processes: frozenset[int] = frozenset()


class Place(Struct, frozen=True):
    """Where to make our subtree.

    Attributes:
        directory: the cgroup to make it in.
        controllers: which of those wanted it can hand on.
        move: its processes have to move into `LEAF` first, or have been moved there.
    """

    directory: str
    controllers: frozenset[str]
    move: bool = False


def place(own: Facts, top: Facts | None, ours: Collection[int], wanted: Collection[str]) -> Place | str:
    """Choose the cgroup for our subtree; the one nearer to us when it offers as much.

    Args:
        own: our own cgroup (its parent, when we are in `LEAF`).
        top: the cgroup at the top of the mount, when that is another.
        ours: the engine and its descendants.
        wanted: the controllers that v2 should serve; none on a host that has them all on v1.

    Returns:
        The place, or the reason why there is none.
    """
    candidates = []
    here = _under(own, ours, frozenset(wanted))
    if isinstance(here, Place):
        candidates.append(here)
    if top is not None and top.real_root and top.writable:
        candidates.append(Place(top.directory, frozenset(wanted) & top.available))
    if not candidates:
        assert isinstance(here, str)
        return here
    return max(candidates, key=lambda candidate: len(candidate.controllers))  # the first of the best


def _under(own: Facts, ours: Collection[int], wanted: frozenset[str]) -> Place | str:
    if not own.writable:
        return (
            f"this user may not make cgroups in {own.directory}: start as root, "
            "or with a delegated cgroup (systemd-run --user --scope -p Delegate=yes)"
        )
    useful = wanted & own.available
    if own.real_root or not own.processes or useful <= own.enabled:
        return Place(own.directory, useful)
    if 0 in own.processes:
        return f"{own.directory} has processes of another pid namespace, which cannot be moved out of the way"
    if own.delegated or own.namespace_root or own.processes <= frozenset(ours):
        return Place(own.directory, useful, move=True)
    others = sorted(own.processes - frozenset(ours))
    return (
        f"{own.directory} is shared with other processes ({', '.join(map(str, others[:5]))}"
        f"{', ...' if len(others) > 5 else ''}) and has not been delegated to the engine: "
        "start it with systemd-run --scope -p Delegate=yes (or --user), or as a service with Delegate=yes"
    )
