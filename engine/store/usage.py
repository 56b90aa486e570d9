"""Who needs which package: the functions and layers that name it, and the environments that run it.

Pure: digests in, decisions out; removing is the registry's business. A package that no function names any more is
*idle*. It may go when its last pin goes, or, when nobody pins (an embedder without environments), after a while.
"""

from __future__ import annotations

import base64
from collections import Counter

from engine.model.function import FunctionVersion
from engine.model.layer import LayerUse, LayerVersion
from engine.store.merge import merged_digest


def digest_of(what: FunctionVersion | LayerVersion | LayerUse) -> str:
    """The SHA-256 of its package in hex; "" for a function with a live folder."""
    return base64.b64decode(what.code_sha256).hex()


def layers_of(function: FunctionVersion) -> list[str]:
    """The digests of its layers, in order."""
    return [digest_of(layer) for layer in function.layers]


def opt_of(function: FunctionVersion) -> str:
    """By what the tree of its merged layers is known; "" without layers."""
    return merged_digest(layers_of(function))


def packages_of(function: FunctionVersion) -> set[str]:
    """Everything in the code store that it names."""
    return {digest_of(function), *layers_of(function), opt_of(function)} - {""}


class PackageUsage:
    """The count. Functions with a live folder (digest "") are not counted."""

    __slots__ = ("_idle", "_names", "_pins")

    def __init__(self) -> None:
        self._names: Counter[str] = Counter()
        self._pins: Counter[str] = Counter()
        self._idle: dict[str, float] = {}

    def named(self) -> set[str]:
        """The packages that functions name."""
        return set(self._names)

    def needed(self, digest: str) -> bool:
        """Whether a function names it or an environment runs it."""
        return digest in self._names or digest in self._pins

    def name(self, digest: str) -> None:
        """A function names it from now on."""
        if digest:
            self._names[digest] += 1
            self._idle.pop(digest, None)

    def unname(self, digest: str, now: float) -> None:
        """One function less names it."""
        if digest:
            self._names[digest] -= 1
            if self._names[digest] <= 0:
                del self._names[digest]
                self._idle[digest] = now

    def pin(self, digest: str) -> None:
        """An environment runs it from now on."""
        if digest:
            self._pins[digest] += 1

    def unpin(self, digest: str) -> bool:
        """One environment less runs it. Returns whether the package is to go."""
        if not digest:
            return False
        self._pins[digest] -= 1
        if self._pins[digest] <= 0:
            del self._pins[digest]
        return digest in self._idle and not self.needed(digest)

    def known(self, digest: str) -> bool:
        """Whether it is needed, or idle and waiting to go."""
        return self.needed(digest) or digest in self._idle

    def idle(self, before: float) -> list[str]:
        """What nobody needs and has been idle since `before` or earlier."""
        return [digest for digest, since in self._idle.items() if since <= before and digest not in self._pins]

    def forget(self, digest: str) -> None:
        """It is being removed."""
        self._idle.pop(digest, None)
