"""How an environment comes to be initialised: on demand, ahead of it, or once for all (facts §4.1, §5.1)."""

from __future__ import annotations

from typing import Final, Literal

InitializationType = Literal["on-demand", "provisioned-concurrency", "snap-start", "lambda-managed-instances"]
"""AWS's words: what AWS_LAMBDA_INITIALIZATION_TYPE says, and the telemetry events of Init."""

LONG_LIMIT_S: Final = 130.0


def limit_s(kind: InitializationType, timeout_s: float, on_demand_s: float) -> float:
    """How long Init may take, in seconds.

    On demand a caller waits, and what takes longer is tried again within the invocation's own time. Otherwise nobody
    does: 130 seconds, or the function's time limit if that is longer.

    Args:
        kind: how it comes to be initialised.
        timeout_s: the function's time limit.
        on_demand_s: the limit on demand, 10 on AWS.
    """
    return on_demand_s if kind == "on-demand" else max(LONG_LIMIT_S, timeout_s)
