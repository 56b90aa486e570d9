"""SnapStart: a published version is initialised when it is published, and says that it is ready for a snapshot.

A runtime that takes part (AWS_LAMBDA_INITIALIZATION_TYPE is ``snap-start``) runs its before-snapshot hooks after Init
and asks for ``restore/next`` instead of an invocation. There a snapshot could be taken. When the answer comes it runs
its after-restore hooks and goes on as ever (facts §4.5).

What there is: *initialise, park, release*, for any runtime.

* `preparing` runs Init of a published version once, while its state is Pending: Active when it parks (or asks for an
  invocation, as runtimes do that know nothing of SnapStart), Failed with a StateReasonCode when it does not get there.
* A cold start of such a version (`engine.lifecycle`, phase RESTORE) runs Init anew and releases the parked runtime at
  once. So hooks, states, errors and log lines are Lambda's, and the time of Init is not saved.
"""

from __future__ import annotations

from .preparing import Preparations

__all__ = ["Preparations"]
