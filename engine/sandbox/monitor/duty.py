"""The share of CPU as a duty cycle of SIGSTOP and SIGCONT. Pure: time and consumption in, a decision out.

A token bucket: CPU time comes in at `share` seconds per second, what the tree consumed is taken out. Empty: stop.
Filled to one slice again: run. What was consumed too much, because a stop came late, is a debt that the next stop is
longer by; so the granted share converges to what was asked whatever the errors of single steps are. A tree that was
idle may save up two slices and no more: a short burst runs at full speed, a long one at its share.
"""

from __future__ import annotations

from dataclasses import dataclass

#: A slice is the share of this many seconds; also the period of a tree that never waits. The default of CFS bandwidth
#: control (Documentation/scheduler/sched-bwc.rst).
PERIOD = 0.1
#: What may be saved up, in slices.
BURST = 2.0
#: A debt is forgotten beyond what a stop of this many seconds pays back.
LONGEST_STOP = 1.0
SHORTEST_LOOK = 0.001


@dataclass(frozen=True, slots=True)
class Step:
    """A decision: whether the tree is to be stopped now.

    `look_in`: seconds of the clock until the next look; infinite when none is needed as long as `parallel` does not
    grow. `cpu`: seconds of CPU time that the tree may consume before the next look.
    """

    stop: bool
    look_in: float
    cpu: float


class DutyCycle:
    """The controller of one tree.

    Args:
        share: CPU seconds per second, for example 0.072 for 128 MB.
        now: the time, seconds.
    """

    __slots__ = ("_slice", "_then", "_tokens", "share", "stopped")

    def __init__(self, share: float, now: float) -> None:
        self.share = share
        self.stopped = False
        self._slice = share * PERIOD
        self._tokens = BURST * self._slice
        self._then = now

    def step(self, now: float, consumed: float, parallel: float) -> Step:
        """Account for the time since the last step, and decide.

        Args:
            now: the time, seconds.
            consumed: CPU seconds that the tree consumed since the last step.
            parallel: how many cores it could use at once: its threads, at most the machine's cores.
        """
        tokens = self._tokens + (now - self._then) * self.share - consumed
        self._then = now
        if not self.stopped:  # a tree that is stopped saves nothing up, but a late look must not cost it anything
            tokens = min(tokens, BURST * self._slice)
        self._tokens = tokens = max(tokens, -LONGEST_STOP * self.share)
        self.stopped = tokens < self._slice if self.stopped else tokens <= 0
        if self.stopped:
            return Step(True, max(SHORTEST_LOOK, (self._slice - tokens) / self.share), float("inf"))
        if parallel <= self.share:
            return Step(False, float("inf"), float("inf"))
        return Step(False, max(SHORTEST_LOOK, tokens / (parallel - self.share)), max(SHORTEST_LOOK, tokens))

    def resumed(self, now: float) -> None:
        """It was frozen and thawed, so it runs now: a debt remains, the time in the freezer counts as idle."""
        self._tokens = min(self._tokens + (now - self._then) * self.share, BURST * self._slice)
        self._then = now
        self.stopped = False
