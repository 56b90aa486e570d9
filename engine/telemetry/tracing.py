"""The X-Ray tracing header of an invocation: made when there is none, passed on, and the decision whether to sample.

``Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1`` (AWS X-Ray: "Tracing header"): which
trace it is, which part of it the caller is, and whether it is recorded. It comes with the request (X-Amzn-Trace-Id),
goes to the runtime (Lambda-Runtime-Trace-Id, and from there to _X_AMZN_TRACE_ID), and is in the reply.

What Lambda does with it depends on the function's TracingConfig (AWS: "Visualize Lambda function invocations using AWS
X-Ray"; CDK reference of `Tracing`):

- PassThrough: the caller's is passed on as it is. Without one, or without a decision in it, it is not sampled.
- Active: Lambda is a part of the trace itself, so the function has a new Parent. The caller's decision holds; if there
  is none, one is made: the first request in each second is sampled, and five of a hundred of the others.

Nothing is recorded here: there is no X-Ray to send to. The decision is for the function's own instrumentation, which
follows it.
"""

from __future__ import annotations

import re
import time
from random import random
from typing import Final

from engine.ids import IdSource

_SHARE: Final = 0.05
_LONGEST: Final = 1_024
"""Bytes; a longer header is taken for none."""
_ROOT: Final = re.compile(r"1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}")
_PARENT: Final = re.compile(r"[0-9a-fA-F]{16}")


class Sampler:
    """Decides which requests of one function are sampled."""

    __slots__ = ("_second",)

    def __init__(self) -> None:
        self._second = -1

    def decide(self, now: float, chance: float) -> bool:
        """Whether to sample the request that came at `now` (seconds); `chance` is a random number from 0 to 1."""
        second = int(now)
        if second == self._second:
            return chance < _SHARE
        self._second = second
        return True


def header(given: bytes | None, sampler: Sampler | None, ids: IdSource) -> str:
    """The header that the function is given.

    Args:
        given: what came with the request; None without.
        sampler: of a function whose tracing is Active; None for PassThrough.
        ids: where new ids come from.
    """
    text = given.decode("latin-1") if given is not None and len(given) <= _LONGEST else ""
    if not text.isascii() or not text.isprintable():  # no line breaks, whatever the parser let through
        text = ""
    fields = {
        name.strip().lower(): value.strip() for name, _, value in (part.partition("=") for part in text.split(";"))
    }
    root, parent, sampled = fields.get("root", ""), fields.get("parent", ""), fields.get("sampled", "")
    if not _ROOT.fullmatch(root):
        root, parent = f"1-{int(time.time()):08x}-{ids.token()[:24]}", ""
    elif sampler is None and sampled in {"0", "1"}:
        return text
    if sampler is not None or not _PARENT.fullmatch(parent):
        parent = ids.token()[:16]
    if sampled not in {"0", "1"}:
        sampled = "1" if sampler is not None and sampler.decide(time.monotonic(), random()) else "0"
    made = f"Root={root};Parent={parent};Sampled={sampled}"
    return f"{made};Lineage={fields['lineage']}" if fields.get("lineage") else made
