"""How many blank sandboxes to keep ready. Pure: time is an argument."""

from __future__ import annotations

#: A blank costs some 1 MB (its first process, its mounts and network, its control groups, its disk).
LEAST, MOST = 2, 32
#: After so long without a cold start that found no blank, one less is kept.
CALM_SECONDS = 5.0


class PoolSize:
    """Grows by half, at least one, with each cold start that found the pool empty; shrinks by one in calm times.

    A burst of n first invocations within the time it takes to make a blank finds n - size of them missing; the next
    such burst finds them there.
    """

    __slots__ = ("_calm_since", "least", "most", "size")

    def __init__(self, least: int = LEAST, most: int = MOST) -> None:
        self.least = least
        self.most = most
        self.size = least
        self._calm_since = 0.0

    def missed(self, now: float) -> None:
        """A sandbox was wanted and no blank was there."""
        self._calm_since = now
        self.size = min(self.most, self.size + max(1, self.size // 2))

    def taken(self, now: float) -> None:
        """A blank was taken."""
        self._settle(now)

    def _settle(self, now: float) -> None:
        calm = now - self._calm_since
        if calm >= CALM_SECONDS and self.size > self.least:
            self.size = max(self.least, self.size - int(calm / CALM_SECONDS))
            self._calm_since = now
