"""When to look again at something that grows towards a limit. Pure: figures in, seconds out.

The seconds are seconds of CPU time: nothing grows while nothing runs. On one core they are also seconds of the clock.
"""

from __future__ import annotations

SHORTEST = 0.002
LONGEST = 1.0
#: Memory: what one core can take per second, bytes. Touching fresh 4 KiB pages reaches 1 to 2 GiB/s here, huge pages 4.
MEMORY_RATE = 4 << 30
#: Disk: what one core can write into the page cache per second, bytes.
STORAGE_RATE = 2 << 30
STORAGE_SHORTEST = 0.05
#: Looking costs time: after a look, at least so many times what it took passes on the clock before the next.
REST = 20
#: The same for a tree that shares so much memory among its processes that only the dear figures decide.
REST_DEAR = 5


def next_sample_in(used: int, limit: int, growth_rate: float, *, fastest: float = MEMORY_RATE) -> float:
    """How long a tree may run unseen, seconds of CPU time, between `SHORTEST` and `LONGEST`.

    So long that it cannot have reached the limit: growing at the fastest rate there is, or at twice the rate that was
    seen if that is even more. A tree that comes nearer is looked at ever more often, until every `SHORTEST`.

    Args:
        used: bytes in use now.
        limit: bytes allowed.
        growth_rate: bytes per second seen since the last look; negative when it shrank.
        fastest: bytes per second that are assumed possible.
    """
    headroom = limit - used
    if headroom <= 0:
        return SHORTEST
    return min(LONGEST, max(SHORTEST, headroom / max(fastest, 2 * growth_rate)))


def next_walk_in(used: int, limit: int) -> float:
    """How long a tree may run before its /tmp is walked again, seconds of CPU time.

    Args:
        used: bytes found by the last walk.
        limit: bytes allowed.
    """
    return max(STORAGE_SHORTEST, min(LONGEST, max(0, limit - used) / STORAGE_RATE))
