"""Interpreters that cannot fork: one is started in a blank itself, and stands by there until its function comes.

A fork of a running Python takes two milliseconds (`zygotes`); a running Node.js or Ruby cannot be forked, but it can be
started early. So for a while after a function of such a runtime had a cold start, blanks get a process of that very
command, as the sandbox's own user, under its limits and its filter of system calls, in its control groups. It runs
nothing but the runtime's own bootstrap, which finds `MARK` in its environment, imports what it will need, and reads
standard input: a socket of ours. The order that a stem gets is what it reads there: environment and working directory.
It takes both on, answers, puts /dev/null in the socket's place, and goes on as if it had just been started.

What a function can tell of it: the process is older than its Init (``process.uptime()``), /proc/self/environ shows
`Key.env` and not its environment, and other processes may have ended in its sandbox before.

Settings that an interpreter takes note of when it starts are part of the `Key`: the process was started with them.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from engine.sandbox.api import ProcessSpec

from . import view

#: In the environment of a process that is to stand by.
MARK: Final = "LAMBENT_STANDBY"
#: A Node.js takes 20 MB that are its own: so many blanks, those next in turn, have one of each kind.
MOST_BLANKS: Final = 4
#: Kinds at a time.
MOST_KINDS: Final = 2
#: For how long after a cold start blanks are made with a process of its kind.
WARM_SECONDS: Final = 120.0
#: After one ended while it stood by.
RETRY_SECONDS: Final = 20.0

#: The runtime's bootstrap, and which variables its interpreter reads when it starts.
_SCRIPTS: Final = {
    f"{view.RUNTIME}/nodejs/bootstrap.js": ("NODE_", "UV_", "SSL_", "OPENSSL_"),
    f"{view.RUNTIME}/ruby/bootstrap.rb": ("RUBY", "GEM_", "BUNDLE_"),
}
_COMMON: Final = ("LC_", "LANG", "TZ", "LD_LIBRARY_PATH")
#: The dynamic loader and the C library act on these before there is an interpreter: such a function is executed.
_NEVER: Final = ("LD_PRELOAD", "LD_AUDIT", "MALLOC_", "GLIBC_", "LOCPATH", "GCONV_PATH")
_FOREIGN: Final = tuple(f"{folder}/" for folder in (view.TASK, view.OPT, view.TMP))


class Key(Struct, frozen=True):
    """What the processes of one kind have in common: their command, and the variables they had to be started with."""

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]


def key_of(spec: ProcessSpec) -> Key | None:
    """Which process could stand by for this one. None: none can.

    It is a runtime that comes with Lambent and knows how to: its program is the host's, and all between that and the
    bootstrap are the interpreter's own options.
    """
    argv = tuple(spec.argv)
    prefixes = _SCRIPTS.get(argv[-1])
    if prefixes is None or argv[0].startswith(_FOREIGN) or not all(word.startswith("--") for word in argv[1:-1]):
        return None
    if any(name.startswith(_NEVER) for name in spec.env):
        return None
    env = sorted((name, value) for name, value in spec.env.items() if name.startswith((*_COMMON, *prefixes)))
    return Key(argv, tuple(env))


class Standbys:
    """Which kinds are wanted. Pure: time is an argument."""

    def __init__(self) -> None:
        self._wanted: dict[Key, float] = {}
        self._not_before: dict[Key, float] = {}

    def want(self, key: Key, now: float) -> None:
        """A function of this kind has a cold start: another may come soon."""
        self._wanted.pop(key, None)
        self._wanted[key] = now
        while len(self._wanted) > MOST_KINDS:
            self._wanted.pop(next(iter(self._wanted)))

    def failed(self, key: Key, now: float) -> None:
        """One ended while it stood by: none for a while."""
        self._not_before = {one: until for one, until in self._not_before.items() if until > now}
        self._not_before[key] = now + RETRY_SECONDS

    def warm(self, now: float) -> list[Key]:
        """Those that a blank should have a process of."""
        return [
            key
            for key, wanted in self._wanted.items()
            if now - wanted <= WARM_SECONDS and now >= self._not_before.get(key, 0.0)
        ]
