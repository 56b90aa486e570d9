"""How much is measured: everything within a quarter of an hour, or a first look within two minutes."""

from __future__ import annotations

from dataclasses import dataclass

KB = 1024
MB = 1024 * 1024


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Attributes:
        warm: (function, numbers of clients, payload sizes in bytes) of the warm grid.
        seconds: measured seconds of one turn, after `warmup` seconds of the same load.
        turns: how often each subject has its turn in a cell.
        settle_seconds: unrecorded load before a cell.
        cold: (function, samples) of the cold grid.
        peer_clients: numbers of clients beside the peers.
        scheduler_functions: sizes of the scheduler's table.
    """

    warm: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    seconds: float
    warmup: float
    turns: int
    settle_seconds: float
    cold: tuple[tuple[str, int], ...]
    peer_clients: tuple[int, ...]
    scheduler_functions: tuple[int, ...] = (10, 1_000, 100_000)


FULL = Plan(
    warm=tuple((name, (1, 4, 16, 64), (16, 4 * KB, MB)) for name in ("native", "python", "node")),
    seconds=0.7,
    warmup=0.1,
    turns=3,
    settle_seconds=0.25,
    cold=(("native", 100), ("python", 100), ("awslambdaric", 30), ("node", 40), ("shell", 40)),
    peer_clients=(1, 4, 16),
)
QUICK = Plan(
    warm=(("native", (1, 4), (16,)), ("native", (16,), (4 * KB,)), ("python", (4,), (16,)), ("node", (4,), (16,))),
    seconds=0.4,
    warmup=0.1,
    turns=3,
    settle_seconds=0.15,
    cold=(("native", 20), ("python", 16), ("awslambdaric", 8), ("node", 8), ("shell", 8)),
    peer_clients=(1, 4),
)
HOT_PATH = Plan(
    warm=(("native", (1, 4), (16,)),),
    seconds=1.0,
    warmup=0.2,
    turns=5,
    settle_seconds=0.3,
    cold=(),
    peer_clients=(),
)
"""For tuning: throughput and CPU time per invocation with 1 and 4 environments."""
