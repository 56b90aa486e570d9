"""Functions on AWS's managed instances: each environment of theirs takes several invocations at a time.

On AWS a *capacity provider* says on which machines they run; here it is a name that is kept and shown, and this machine
is all there is. What counts is how many invocations an environment takes, and that it runs all the time (facts §12).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

if TYPE_CHECKING:
    from engine.model.function import FunctionVersion

OPEN_FILES: Final = 4_096
"""Of one process, instead of 1,024."""

_PER_VCPU: Final = (("nodejs", 64), ("java", 32), ("dotnet", 32), ("python", 16), ("provided", 8))
"""Invocations at a time per vCPU, where the function does not say (AWS: the runtimes' pages under "Lambda Managed
Instances"; of provided.* AWS names Rust)."""

_GIB_PER_VCPU: Final = 2.0


class ManagedInstances(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What makes a function one of this kind.

    Attributes:
        capacity_provider: its ARN.
        max_concurrency: invocations of one environment at a time, at most; None for what is usual with its runtime.
        gib_per_vcpu: how much memory one vCPU comes with.
    """

    capacity_provider: str
    max_concurrency: int | None = None
    gib_per_vcpu: float | None = None


def capacity_provider(region: str, account_id: str) -> str:
    """The ARN of the capacity provider that a function is given which did not name one."""
    return f"arn:aws:lambda:{region}:{account_id}:capacity-provider:lambent"


def vcpus(function: FunctionVersion) -> float:
    """The CPU share of one environment: never less than a whole one, as on AWS."""
    managed = function.managed_instances
    ratio = _GIB_PER_VCPU if managed is None else managed.gib_per_vcpu or _GIB_PER_VCPU
    return max(1.0, function.memory_mb / 1024 / ratio)


def concurrency(function: FunctionVersion) -> int | None:
    """How many invocations one environment takes at a time; None for a function of the ordinary kind."""
    managed = function.managed_instances
    if managed is None:
        return None
    if managed.max_concurrency is not None:
        return managed.max_concurrency
    family = function.runtime or ""
    usual = next((many for name, many in _PER_VCPU if family.startswith(name)), 8)
    return int(usual * vcpus(function))
