"""Sandboxes: the OS containers under execution environments.

A sandbox holds the processes of one environment of one function: the runtime, later its extensions, and whatever they
start. It gives them a Runtime API endpoint, a /tmp, limits and a user, and it can end them all at once. It outlives its
processes: after a time-out or a crash the lifecycle kills them and starts new ones in the same sandbox, with the same
/tmp. `api` is the contract, and all that the rest of the engine knows; two modes fulfil it:

``process``
    ordinary processes (`process`). Any Unix, no privilege needed; as root, each sandbox has a user of its own. What it
    cannot enforce it says: `SandboxProvider.weaknesses`.
``sandbox``
    namespaces and control groups. Not available in this version.

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
from .process import ProcessProvider

__all__ = [
    "Exit",
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


def make_provider(isolation: str, runtime_dir: Path, *, lambda_runtime_dir: str = "/var/runtime") -> ProcessProvider:
    """The provider for an isolation mode.

    Args:
        isolation: ``auto`` (the strongest this version and host offer), ``process`` or ``sandbox``.
        runtime_dir: a directory for this engine alone; /tmp folders of functions live in it.
        lambda_runtime_dir: what functions get as LAMBDA_RUNTIME_DIR in process mode.

    Raises:
        ConfigurationError: no such mode, or not in this version.
    """
    if isolation == "sandbox":
        raise ConfigurationError(
            "isolation 'sandbox' (namespaces and control groups) is not available yet in this version of Lambent: "
            "use 'process', or 'auto' to get it as soon as it is there"
        )
    if isolation not in MODES:
        raise ConfigurationError(f"isolation {isolation!r} is not known: allowed are {', '.join(MODES)}")
    return ProcessProvider(runtime_dir, lambda_runtime_dir=lambda_runtime_dir)
