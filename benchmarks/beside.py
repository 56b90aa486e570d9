"""Beside the peers: floor, engine and peers in turns, native bootstrap, small payload, closed loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.load import LoadError
from benchmarks.peers.cargo_lambda import CargoLambda
from benchmarks.peers.rie_classic import RieClassic
from benchmarks.peers.rie_lmi import RieManagedInstances
from benchmarks.plan import Plan
from benchmarks.subjects import Subject
from benchmarks.warm import Cell, Say, cell, started

PEERS: tuple[Subject, ...] = (RieClassic(), RieManagedInstances(), CargoLambda())
PAYLOAD = 16


def measure(ours: Sequence[Subject], plan: Plan, say: Say, show: Callable[[Cell], None]) -> list[Cell]:
    """One cell per number of clients."""
    cells: list[Cell] = []
    for clients in plan.peer_clients:
        with started((*ours, *PEERS), "native", clients, say) as targets:
            if len(targets) <= len(ours) and clients > 1:
                continue
            try:
                one = cell(targets, plan, loop="closed", name="native", clients=clients, payload=PAYLOAD)
            except LoadError as error:
                say(f"failed: beside the peers with {clients} clients: {error}")
                continue
            cells.append(one)
            show(one)
    return cells
