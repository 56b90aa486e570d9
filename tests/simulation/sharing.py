"""Environments of the simulated host that take several invocations at a time: workers that ask, answer, hang and vanish."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.scheduler import BUSY, READY, STARTING, Pool, SharedSlot

if TYPE_CHECKING:
    from .world import Invocation, World


class Workers:
    """What the world knows of such an environment. `asking`: workers that wait for an invocation."""

    __slots__ = ("alive", "asking", "number", "running")

    def __init__(self, number: int) -> None:
        self.number = number
        self.alive = True
        self.asking = 0
        self.running: set[Invocation] = set()


class Sharing:
    """What happens to them, for one world. The dice are the world's."""

    def __init__(self, world: World) -> None:
        self.world = world

    def start(self, slot: SharedSlot[Any], invocation: Invocation) -> None:
        """A worker that asked is given its invocation."""
        world, workers = self.world, slot.environment
        if not workers.asking or not workers.alive or slot.state != BUSY or slot.draining:
            raise world.violation(f"{invocation!r} was given to an environment that cannot take it", slot)
        workers.asking -= 1
        workers.running.add(invocation)
        if len(workers.running) > slot.home.capacity:
            raise world.violation(f"{len(workers.running)} invocations are more than its capacity", slot)
        dice, plan, function = world.dice, world.plan, invocation.function
        chance = dice.random()
        takes = dice.lognormvariate(0.0, 0.7) * function.median_s
        if chance < plan.p_crash / 4:
            world.after(takes * dice.random(), self.die, slot)
        elif chance < plan.p_crash + plan.p_hangs or takes > function.timeout_s:
            world.after(function.timeout_s, self.time_out, slot, invocation)
        else:
            world.after(takes, self.respond, slot, invocation)

    def launch(self, slot: SharedSlot[Any]) -> None:
        """Its workers come one by one, some late, some never; or it does not initialise at all. `environment` is set."""
        world = self.world
        if slot.home.open:
            raise world.violation("launched though an environment is open", slot)
        dice, plan = world.dice, world.plan
        function = world.functions[int(slot.pool.function[1:])]
        init = world._init_time(function)
        if dice.random() < plan.p_init_fails:
            world.after(init, self.init_fails, slot)
            return
        for number in range(slot.home.capacity):
            chance = dice.random()
            if number == 0 or chance > plan.p_lingers:
                world.after(init, self.ask, slot)
                init += dice.expovariate(500.0) if chance < 0.97 else dice.uniform(0.0, 1.0)

    def ask(self, slot: SharedSlot[Any]) -> Pool[Any] | None:
        """A worker asks for an invocation; now and then it is gone again."""
        world, workers = self.world, slot.environment
        if workers.alive and slot.state in {STARTING, READY, BUSY}:
            if workers.asking + len(workers.running) < slot.home.capacity:
                workers.asking += 1
                world.scheduler.place_free(world.now, slot)
            chance = world.dice.random()
            if chance < world.plan.p_idle_dies:
                world.after(world.dice.expovariate(1.0), self.vanish, slot)
            elif chance < 2 * world.plan.p_idle_dies:
                world.after(world.dice.expovariate(1.0), self.die, slot)
        return slot.pool

    def vanish(self, slot: SharedSlot[Any]) -> Pool[Any] | None:
        workers = slot.environment
        if workers.alive and workers.asking and slot.state in {READY, BUSY}:
            workers.asking -= 1
            self.world.scheduler.place_withdrawn(self.world.now, slot)
            self.world.report.withdrawn += 1
        return slot.pool

    def respond(self, slot: SharedSlot[Any], invocation: Invocation) -> Pool[Any] | None:
        """The answer; its caller may be back before its worker, which takes a moment longer, or stays away."""
        world, workers = self.world, slot.environment
        if invocation in workers.running:
            dice, plan = world.dice, world.plan
            workers.running.remove(invocation)
            world.scheduler.place_answered(world.now, slot)
            world.outcome(invocation, "answered")
            chance = dice.random()
            if chance > 1 - plan.p_dies_returning:
                world.after(invocation.function.timeout_s, self.stay_away, slot)
            else:
                gap = dice.uniform(0.0, 0.5) if chance < plan.p_lingers else 1e-4 * dice.lognormvariate(0.0, 1.0)
                world.after(gap, self.ask, slot)
            if dice.random() < plan.p_again and world.submitted < plan.invocations:
                again = world.call(invocation.function)
                world.after(plan.patience_s + 1e-9, world.has_been_patient, again)
        return slot.pool

    def stay_away(self, slot: SharedSlot[Any]) -> Pool[Any] | None:
        if slot.environment.alive and slot.returning:
            self.world.scheduler.place_abandoned(self.world.now, slot)
            self.world.report.abandoned += 1
        return slot.pool

    def time_out(self, slot: SharedSlot[Any], invocation: Invocation) -> Pool[Any] | None:
        """The caller is told; its worker goes on with it, for ever or for a while."""
        world, workers = self.world, slot.environment
        if invocation in workers.running:
            workers.running.remove(invocation)
            world.outcome(invocation, "timed out")
            world.scheduler.place_answered(world.now, slot, returns=False)
            if world.dice.random() < 0.7:
                world.after(world.dice.expovariate(1.0), self.ask, slot)
        return slot.pool

    def init_fails(self, slot: SharedSlot[Any]) -> Pool[Any] | None:
        world, workers = self.world, slot.environment
        if workers.alive and slot.state == STARTING:
            for failed in world.scheduler.init_failed(world.now, slot):
                world.outcome(failed, "init failed")
            world.after(0.005, self.die, slot)
        return slot.pool

    def die(self, slot: SharedSlot[Any]) -> Pool[Any] | None:
        """The environment is gone, and what ran on it has crashed."""
        world, workers = self.world, slot.environment
        if workers.alive:
            world._release(slot)
            running, workers.running = workers.running, set()
            for invocation in sorted(running, key=lambda one: one.number):
                world.outcome(invocation, "crashed")
            world.scheduler.gone(world.now, slot)
        return slot.pool
