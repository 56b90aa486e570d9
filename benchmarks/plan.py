"""How much is measured: everything within half an hour, or a first look within some minutes."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
        storm: first invocations at once, of each of `storm_functions`; `rain_seconds`: how long the steady rain lasts.
        density: idle environments; `idle_seconds`: how long their engine is watched.
        cpu_sizes: MB, each with `cpu_samples` of `cpu_seconds`; `memory_sizes` and `disk_sizes` are MB too.
        timeouts: samples of each kind of hanging.
        frozen_seconds: how long a frozen environment is watched.
        streams: first bytes of streamed responses; `stream_megabytes`: how much flows in each of `turns`.
        beside_warm: like `warm`, for sandbox mode beside process mode.
        seldom: functions that are asked ten times per second, with freezing and without.
    """

    warm: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]
    seconds: float
    warmup: float
    turns: int
    settle_seconds: float
    cold: tuple[tuple[str, int], ...]
    peer_clients: tuple[int, ...]
    scheduler_functions: tuple[int, ...] = (10, 1_000, 100_000)
    storm: int = 200
    storm_functions: tuple[str, ...] = ("native", "python")
    rain_seconds: float = 10.0
    density: int = 1_000
    idle_seconds: float = 10.0
    cpu_sizes: tuple[int, ...] = (128, 256, 512, 1024, 1769, 3538)
    cpu_samples: int = 3
    cpu_seconds: float = 5.0
    memory_sizes: tuple[int, ...] = (128, 256, 512, 1024)
    timeouts: int = 20
    disk_sizes: tuple[int, ...] = (512, 1024)
    frozen_seconds: float = 5.0
    streams: int = 1_000
    stream_megabytes: int = 160
    beside_warm: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = (
        ("native", (1, 4, 16), (16, 4 * KB)),
        ("python", (1, 4), (16,)),
        ("node", (1, 4), (16,)),
    )
    seldom: tuple[str, ...] = ("native", "python", "node")

    def beside(self) -> Plan:
        """The same plan with the grid of sandbox mode beside process mode."""
        return replace(self, warm=self.beside_warm)


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
    storm_functions=("native",),
    rain_seconds=3.0,
    density=100,
    idle_seconds=3.0,
    cpu_sizes=(128, 512, 1769, 3538),
    cpu_samples=1,
    cpu_seconds=2.0,
    memory_sizes=(128, 512),
    timeouts=3,
    disk_sizes=(512,),
    frozen_seconds=1.0,
    streams=200,
    stream_megabytes=64,
    beside_warm=(("native", (1, 4), (16,)),),
    seldom=("native",),
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
