"""The duty cycle under a virtual clock: what is granted converges to what was asked, and idling is not punished."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.sandbox.monitor import DutyCycle
from engine.sandbox.monitor.duty import BURST, LONGEST_STOP, PERIOD

SHARES = {128: 128 / 1769, 512: 512 / 1769, 1769: 1.0, 2653: 1.5, 3538: 2.0}


class World:
    """A machine with a clock of its own: looks come late by up to `late` seconds, as they do."""

    def __init__(self, share: float, threads: int, *, late: float = 0.0, seed: int = 0, cores: int = 4) -> None:
        self.now = 0.0
        self.duty = DutyCycle(share, 0.0)
        self.parallel = float(min(cores, threads))
        self.granted = 0.0
        self.stopped_for = 0.0
        self.looks = 0
        self._late = late
        self._random = random.Random(seed)

    def run(self, seconds: float, demand=lambda _: 1.0) -> None:
        """`demand`: the part of its cores that the tree wants at a time."""
        end = self.now + seconds
        consumed = 0.0
        while self.now < end:
            step = self.duty.step(self.now, consumed, self.parallel)
            self.looks += 1
            pause = min(step.look_in, end - self.now) + self._random.uniform(0, self._late)
            consumed = 0.0 if step.stop else pause * self.parallel * self._mean(demand, pause)
            self.stopped_for += pause if step.stop else 0.0
            self.granted += consumed
            self.now += pause
        self.duty.step(self.now, consumed, self.parallel)

    def _mean(self, demand, pause: float) -> float:
        parts = math.ceil(pause / 0.0005)
        return sum(demand(self.now + pause * (part + 0.5) / parts) for part in range(parts)) / parts


@pytest.mark.parametrize("late", [0.0, 0.001, 0.01, 0.03], ids=lambda late: f"late-{late}")
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("share", SHARES.values(), ids=[f"{mb}MB" for mb in SHARES])
def test_a_spinner_gets_its_share(share: float, threads: int, late: float) -> None:
    world = World(share, threads, late=late)
    world.run(60.0)
    assert world.granted / world.now == pytest.approx(min(share, world.parallel), rel=0.05)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_spinner_that_cannot_exceed_its_share_is_never_stopped_or_looked_at(threads: int) -> None:
    world = World(float(threads), threads)
    world.run(60.0)
    assert world.stopped_for == 0.0
    assert world.looks == 1


@given(st.floats(0.05, 3.0), st.integers(1, 4), st.floats(0.0, 0.02), st.integers(0, 1000))
@settings(deadline=None, max_examples=60)
def test_nothing_gets_more_than_its_share_and_a_burst(share: float, threads: int, late: float, seed: int) -> None:
    world = World(share, threads, late=late, seed=seed)
    world.run(20.0, demand=lambda _: world._random.random())
    assert world.granted <= share * world.now + BURST * share * PERIOD + (late + 0.001) * world.parallel * 2 + 1e-9


@pytest.mark.parametrize("share", [SHARES[128], SHARES[512], 1.0], ids=["128MB", "512MB", "1769MB"])
def test_a_tree_within_its_share_is_never_stopped(share: float) -> None:
    """It wants half of its share on average, in bursts of one slice."""
    world = World(share, 1)
    world.run(30.0, demand=lambda now: 1.0 if now % (2 * PERIOD) < share * PERIOD * 0.99 else 0.0)
    assert world.stopped_for == 0.0


def test_idle_time_buys_a_burst_and_no_more() -> None:
    world = World(0.1, 1)
    world.run(100.0, demand=lambda _: 0.0)
    world.run(1.0)
    assert world.granted == pytest.approx(0.1 * 1.0, abs=BURST * 0.1 * PERIOD + 0.001)
    assert world.granted > 0.1 * 1.0 * 0.95


def test_a_burst_after_idling_runs_at_full_speed() -> None:
    world = World(0.1, 1)
    world.run(10.0, demand=lambda _: 0.0)
    world.run(BURST * 0.1 * PERIOD * 0.9)
    assert world.stopped_for == 0.0


def test_what_was_seen_too_late_is_paid_back_up_to_the_longest_stop() -> None:
    duty = DutyCycle(0.1, 0.0)
    step = duty.step(1.0, 50.0, 2.0)
    assert step.stop
    assert LONGEST_STOP <= step.look_in <= LONGEST_STOP + PERIOD + 1e-9


def test_a_late_look_at_a_stopped_tree_costs_it_nothing() -> None:
    duty = DutyCycle(0.1, 0.0)
    assert duty.step(0.1, 0.05, 1.0).stop
    step = duty.step(1.1, 0.0, 1.0)
    assert not step.stop
    assert step.cpu == pytest.approx(0.1 * BURST * PERIOD + 0.1 * 0.1 - 0.05 + 0.1 * 1.0)


def test_frozen_time_is_idle_time() -> None:
    duty = DutyCycle(0.1, 0.0)
    assert duty.step(0.1, 0.5, 1.0).stop
    duty.resumed(1000.0)
    step = duty.step(1000.0, 0.0, 1.0)
    assert not step.stop
    assert step.cpu == pytest.approx(BURST * 0.1 * PERIOD)


def test_no_look_is_asked_for_while_there_is_nothing_to_find() -> None:
    step = DutyCycle(2.0, 0.0).step(1.0, 0.9, 1.0)
    assert step.look_in == math.inf
