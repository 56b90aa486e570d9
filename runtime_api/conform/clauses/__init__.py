"""Every clause, topic by topic, in the order in which a report lists them."""

from __future__ import annotations

from typing import Final

from runtime_api.conform._clause import Clause

from .answering import ANSWERING
from .concurrency import CONCURRENCY
from .context import CONTEXT
from .ending import ENDING
from .errors import ERRORS, INIT
from .polling import POLLING
from .restoring import RESTORING
from .streaming import STREAMING

__all__ = ["CLAUSES"]

CLAUSES: Final[tuple[Clause, ...]] = tuple(
    clause
    for topic in (POLLING, ANSWERING, ERRORS, INIT, CONTEXT, STREAMING, RESTORING, CONCURRENCY, ENDING)
    for clause in topic.clauses
)
