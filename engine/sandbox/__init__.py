"""Sandboxes: the OS containers under execution environments.

A sandbox holds the processes of one environment of one function: the runtime, later its extensions, and whatever they
start. It gives them a Runtime API endpoint, a /tmp, limits and a user, and it can end them all at once. It outlives its
processes: after a time-out or a crash the lifecycle kills them and starts new ones in the same sandbox, with the same
/tmp. `api` is the contract, and all that the rest of the engine knows; two modes fulfil it:

``process``
    ordinary processes (`process`). Any Unix, no privilege needed; as root, each sandbox has a user of its own. What it
    cannot enforce it says: `SandboxProvider.weaknesses`.
``sandbox``
    namespaces, control groups, a user of its own, a disk of its own, a filter of system calls (`namespaces`).

How a process comes to be (`spawner` has the figures)::

    engine                         spawner                      blank (forked ahead of need)
      │ ◄── blank: socket, pipe, pidfd ──┤ ───── fork ──────────────► │ waits
      │                                  │                            │
      │ ─── order: argv, env, cwd, user, limits ────────────────────► │ limits, user, cwd
      │ ◄── end of file (or: errno and cause) ─────────────────────── ┤ execve
      │ ◄── output ────────────────────────────────────────────────── ┤ …
      │ ◄── exit: code or signal ────────┤ ◄──────── SIGCHLD ──────── ┘

The hard idea is the ending, not the starting. A function may fork twice, call setsid, ignore every signal, fork without
end, close its descriptors and clear its environment; "the process has exited" then says nothing. So each sandbox has a
mark that its processes cannot take off, a user id of its own when the engine is root and a resource limit's value when
it is not, and ending a sandbox means: signal by that mark until the kernel knows no process with it (`spawner.tree`).

Three ends are provided for, each tested by doing it:

* the engine stops, or closes a sandbox: the order goes to a blank, which kills, waits, and removes the folder;
* the engine is killed: the spawner sees it, ends every sandbox that it was told of, removes their folders, exits;
* the spawner is killed: its children die with it (PR_SET_PDEATHSIG), the engine reports their exits, starts a new
  spawner at the next use, and that one sweeps up descendants that had left.

If engine and spawner are both killed, the next engine on the same runtime directory finds and removes the rest.
"""

from __future__ import annotations

from pathlib import Path

from engine.errors import ConfigurationError

from .api import (
    Exit,
    Process,
    ProcessSpec,
    Sandbox,
    SandboxLimits,
    SandboxPaths,
    SandboxProvider,
    SpawnFailed,
)
from .namespaces import NamespaceProvider, no_limits, why_not
from .process import ProcessProvider

__all__ = [
    "Exit",
    "NamespaceProvider",
    "Process",
    "ProcessProvider",
    "ProcessSpec",
    "Sandbox",
    "SandboxLimits",
    "SandboxPaths",
    "SandboxProvider",
    "SpawnFailed",
    "make_provider",
]

MODES = ("auto", "process", "sandbox")


def make_provider(
    isolation: str, runtime_dir: Path, runtimes: Path, *, own_network: bool = False
) -> ProcessProvider | NamespaceProvider:
    """The provider for an isolation mode. Blocking, some milliseconds.

    Args:
        isolation: ``auto`` (the strongest that this host offers), ``process`` or ``sandbox``.
        runtime_dir: a directory for this engine alone; /tmp folders and disks of functions live in it.
        runtimes: the folder of the managed runtimes' bootstraps.
        own_network: in sandbox mode, whether each environment gets a network of its own with nothing but loopback.

    Raises:
        ConfigurationError: no such mode, or the host cannot offer it; says what is missing.
    """
    if isolation not in MODES:
        raise ConfigurationError(f"isolation {isolation!r} is not known: allowed are {', '.join(MODES)}")
    reason = None if isolation == "process" else why_not(own_network=own_network)
    if isolation == "auto" and not own_network:
        # Without root and without control groups of our own there are namespaces, but no limits: process mode has some.
        reason = reason or no_limits()
    if isolation == "sandbox" and reason is not None:
        raise ConfigurationError(f"isolation 'sandbox' is not possible here: {reason}")
    if isolation == "process" or reason is not None:
        if own_network:
            raise ConfigurationError("a network of its own for each environment needs isolation 'sandbox'")
        return ProcessProvider(runtime_dir, runtimes, instead_of_sandbox=reason)
    return NamespaceProvider(runtime_dir, runtimes, own_network=own_network)
