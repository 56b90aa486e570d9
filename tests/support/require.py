"""Tools of the machine that a test needs: skipped without them on a laptop, a failure where all must run (CI)."""

from __future__ import annotations

import os
import shutil

import pytest


def requires(*tools: str, because: str = "") -> None:
    """Skip the test when one of `tools` is not on PATH; fail instead when CI or LAMBENT_REQUIRE_ALL is set.

    Call it at the start of a test, of a fixture, or of a module (a skip at module level is allowed here).
    """
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        unavailable(f"needs {', '.join(missing)} on PATH" + (f" ({because})" if because else ""))


def unavailable(reason: str) -> None:
    """Skip with `reason`, or fail with it where everything has to run."""
    if os.environ.get("CI") or os.environ.get("LAMBENT_REQUIRE_ALL"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)
