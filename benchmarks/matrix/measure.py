"""Measures the matrix: language by language, memory size by memory size."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from msgspec import Struct

from benchmarks.clients import CLIENTS, FAMILIES
from benchmarks.cold_start import BLOCKS, ColdRow, Contender, Emulator, Samples
from benchmarks.functions import Function, Missing
from benchmarks.load import LoadError, Target, run
from benchmarks.peers.cargo_lambda import CargoLambda
from benchmarks.peers.rie_classic import RieClassic
from benchmarks.peers.rie_lmi import RieManagedInstances
from benchmarks.plan import FULL, QUICK, Plan
from benchmarks.subjects import BUDGET_MB, EngineSubject, Server, Subject
from benchmarks.warm import Cell, Say, cell

PAYLOAD = 16
PEERS: tuple[Subject, ...] = (RieClassic(), RieManagedInstances(), CargoLambda())
#: The peer that is measured with every runtime, with one client, which is all that it takes; the others take turns with
#: native bootstraps only. With AWS's client it is the reference: what AWS gives to run a function outside of AWS.
EVERYWHERE = RieClassic.name
PROBE_S, PROBE_WARMUP_S = 0.2, 2.0  # its first answer may be that of a JVM


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        memory_mb: MemorySizes, smallest first.
        cold: samples per runtime, pool and size.
        clients: of warm cells.
        plan: turns and seconds of warm cells.
    """

    memory_mb: tuple[int, ...]
    cold: int
    clients: tuple[int, ...]
    plan: Plan


WHOLE = Sizes((128, 512, 1769), 24, (1, 4), replace(FULL, seconds=0.5, turns=3))
LOOK = Sizes((1769,), 8, (1, 4), replace(QUICK, seconds=0.25, turns=3))


class Block(Struct):
    """One language at one memory size.

    Attributes:
        runtimes: ours first, then AWS's client if it is here.
        cold: a row per runtime and pool, and per emulator that ran it.
        warm: a cell per number of clients; its subjects are the runtimes, and peers as ``peer: runtime``. Ratios are to
            AWS's client in the engine; with one client and the largest size to the same in the emulator, where it runs.
    """

    language: str
    memory_mb: int
    runtimes: list[str]
    cold: list[ColdRow] = []
    warm: list[Cell] = []


@dataclass
class Matrix:
    """One run."""

    sizes: Sizes
    isolation: str
    say: Say
    show: Callable[[str], None]
    languages: Sequence[str] = field(default_factory=lambda: tuple(FAMILIES))

    def measure(self) -> Iterator[Block]:
        """Block by block."""
        emulator = Emulator(self.say)
        with contextlib.ExitStack() as stack:
            full, empty = (
                stack.enter_context(EngineSubject(self.isolation, pool=pool).serve("--memory-budget", str(BUDGET_MB)))
                for pool in (True, False)
            )
            for language in self.languages:
                functions = list(self._functions(language))
                for memory_mb in self.sizes.memory_mb if functions else ():
                    block = Block(language, memory_mb, [one.name for one in functions])
                    self.show(f"{language}, {memory_mb} MB: {', '.join(block.runtimes)}")
                    try:
                        block.cold = self._cold(functions, memory_mb, full, empty, emulator)
                        block.warm = list(self._warm(functions, memory_mb, full))
                    except (LoadError, OSError) as error:
                        self.say(f"failed: {language} with {memory_mb} MB: {error}")
                    yield block

    def _functions(self, language: str) -> Iterator[Function]:
        for name in FAMILIES[language]:
            if name is not None:
                try:
                    yield CLIENTS[name]()
                except Missing as error:
                    self.say(f"skipped: {name}: {error}")

    def _cold(
        self, functions: Sequence[Function], memory_mb: int, full: Server, empty: Server, emulator: Emulator
    ) -> list[ColdRow]:
        """All runtimes of a language, both pools, in turns."""
        found = []
        for one in functions:
            pair = [Contender(self.isolation, server, full=server is full) for server in (full, empty)]
            for contender in pair:
                contender.block(one, [f"{one.name}-{memory_mb}-first"], Samples(), memory_mb)
            found.append((one, pair, Samples()))
        share = max(1, self.sizes.cold // BLOCKS)
        for number in range(BLOCKS):
            for one, pair, theirs in found if number % 2 == 0 else reversed(found):
                names = [f"{one.name}-{memory_mb}-{number}-{index}" for index in range(share)]
                for contender in pair if number % 2 == 0 else reversed(pair):
                    contender.block(one, names, contender.samples, memory_mb)
                emulator.block(one, max(1, share // 2), theirs)
        rows = []
        for one, pair, theirs in found:
            rows += [contender.row(one.name) for contender in pair]
            if theirs.phases["total"]:
                rows.append(theirs.row(one.name, RieClassic.name))
        return rows

    def _warm(self, functions: Sequence[Function], memory_mb: int, full: Server) -> Iterator[Cell]:
        for clients in self.sizes.clients:
            targets: dict[str, Target] = {}
            with contextlib.ExitStack() as stack:
                for one in reversed(functions):  # AWS's client is what ours is compared with: first among the turns
                    name = f"{one.name}-{memory_mb}-warm-{clients}"
                    full.create(one, name, memory_mb=memory_mb)
                    targets[one.name] = full.target(name)
                for one in functions if memory_mb == self.sizes.memory_mb[-1] else ():
                    for peer in PEERS:
                        # What says of itself that it cannot is not asked; what fails all the same is told.
                        able = clients == 1 if peer.name == EVERYWHERE else functions[0].name == "native"
                        if able and (target := self._peer(peer, one, clients, stack)):
                            targets[f"{peer.name}: {one.name}"] = target
                theirs = functions[-1].name
                reference = f"{EVERYWHERE}: {theirs}"
                yield cell(
                    targets, self.sizes.plan, loop="closed", name=functions[0].name, clients=clients,
                    payload=PAYLOAD, base=reference if reference in targets and len(functions) > 1 else theirs,
                )  # fmt: skip

    def _peer(self, peer: Subject, one: Function, clients: int, stack: contextlib.ExitStack) -> Target | None:
        """It has answered, or it is left out and that is said."""
        try:
            with contextlib.ExitStack() as its:
                target = its.enter_context(peer.start(one, clients))
                if run(target, clients=clients, payload=PAYLOAD, seconds=PROBE_S, warmup=PROBE_WARMUP_S).in_window:
                    stack.push(its.pop_all())
                    return target
                self.say(f"failed: {peer.name} with {one.name}, {clients} clients: no good answer")
        except Missing as error:
            self.say(f"skipped: {peer.name} with {one.name}, {clients} clients: {error}")
        except (LoadError, OSError) as error:
            self.say(f"failed: {peer.name} with {one.name}, {clients} clients: {error}")
        return None
