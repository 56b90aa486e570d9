"""The `sandbox` isolation mode: each environment in namespaces and control groups of its own.

::

    engine ───────── socket ─────────► first process (pid 1 of the sandbox, native, root; outside the control groups)
      │                                  │ forks ahead of need
      └── one order, when it is time ──► stem ──► execve ──► the function's runtime (its own user, filtered, limited)

A sandbox is made blank, ahead of need: its namespaces, its view of the host's system folders (`view`), its control
groups, its disk for /tmp, its Runtime API endpoint, and a *stem*, a process that has joined all of it and waits. A cold
start then tells the stem what to become, has the first process mount the function's code, and sets its limits. The stem
prepares itself meanwhile and waits at a gate, the end of a pipe, that the first process opens when all is in place; so
nothing waits for the engine in between. A blank serves one function and is closed afterwards; none is used twice.

Nothing has to be cleaned up that the kernel does not clean up by itself. The first process ends with its socket (the
engine's end) and with the spawner (PR_SET_PDEATHSIG); with it end all processes of its pid namespace, however many and
however they hide; with the last of them the mounts, the network and the disk go. Only the control groups' directories
stay, empty: the spawner removes them, or the next engine.

Beside its stem, a blank may hold interpreters that wait: ``zygotes`` for those that fork, ``standby`` for those that do
not.

``view`` is policy, as data, and ``native/mounts.c`` its mechanism; ``container`` is one sandbox, ``first_process`` the
conversation with its first process, ``pool`` how many blanks to keep, ``provider`` what all of them share.
"""

from __future__ import annotations

from .container import NamespaceSandbox
from .provider import NamespaceProvider, no_limits, why_not

__all__ = ["NamespaceProvider", "NamespaceSandbox", "no_limits", "why_not"]
