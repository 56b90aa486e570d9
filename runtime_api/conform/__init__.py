"""Does a runtime keep the Runtime API's contract? Clause by clause, with the bytes that broke it.

A runtime (a bootstrap) is the client side of the Runtime API. It is easy to write one that works, and hard to know
whether it will go on: with a payload of six megabytes, an id that is no UUID, a slow engine, a refused answer.
Here each demand that a runtime can break is a *clause*: an id, one sentence, where it is written, whether a runtime
must or should keep it, and a test that starts the runtime and plays the engine's part, byte by byte.

**The function.** To see what a runtime does with results and errors it must have a function that can be told what to
do. The convention: the event is an object, its ``do`` a verb::

    {"do": "verbs"}                      -> the list of the verbs that it knows, as texts
    {"do": "echo", "value": V}           -> V
    {"do": "fail", "message": M}         raises an error with that message
    {"do": "unserialisable"}             returns something that cannot be JSON
    {"do": "size", "bytes": N}           -> a text of N times "x"
    {"do": "count"}                      -> how many times "count" was asked for in this process: 1, 2, …
    {"do": "context"}                    -> {"requestId", "arn", "remainingMs", "traceId", "clientContext"}, what it has
    {"do": "exit", "code": N}            ends the process
    {"do": "stream", "pieces": [...], "pause_ms": N, "fail": M}   streams the pieces, with pauses, then fails

No verb is obligatory. A function that does not know ``verbs`` is taken to return its event as it is: then clauses about
what it cannot do are *not applicable*, which the report says of each.

**The judge is independent**: it shares no code with the server that Lambent runs functions with (`_wire`). It lets a
runtime do anything that the contract permits (end, or go on, after a refusal), and says what came and what should have.
"""

from __future__ import annotations

from ._clause import Clause
from ._report import Outcome, Report, Result, Weight
from ._run import conform
from ._session import Failed, NotApplicable, Session
from ._subject import LocalSubject, Started, Subject
from .clauses import CLAUSES

__all__ = [
    "CLAUSES",
    "Clause",
    "Failed",
    "LocalSubject",
    "NotApplicable",
    "Outcome",
    "Report",
    "Result",
    "Session",
    "Started",
    "Subject",
    "Weight",
    "conform",
]
