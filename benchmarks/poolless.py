"""``python -m benchmarks.poolless serve ...``: the engine, but with no blank sandboxes made ahead of need.

Every cold start then finds the pool empty, as a storm's late ones do. There is no such setting: nobody would want it.
"""

from __future__ import annotations

from functools import partial

from engine.cli.main import main
from engine.sandbox import process
from engine.sandbox.namespaces import pool, provider


def without_blanks() -> None:
    """From now on providers in this process keep none."""
    setattr(provider, "PoolSize", partial(pool.PoolSize, 0, 0))  # noqa: B010 - not an attribute that it exports
    process.SPARES = 0


if __name__ == "__main__":
    without_blanks()
    main()
