"""SnapStart: a published version is initialised when it is published, and its environments begin where that ended.

A runtime that takes part (AWS_LAMBDA_INITIALIZATION_TYPE is ``snap-start``) runs its before-snapshot hooks after Init
and asks for ``restore/next`` instead of an invocation. There its snapshot is taken. When the answer comes, in it or in
a copy of it, it runs its after-restore hooks and goes on as ever (facts §4.5).

* `preparing` runs Init of a published version once, while its state is Pending: Active when it parks (or asks for an
  invocation, as runtimes do that know nothing of SnapStart), Failed with a StateReasonCode when it does not get there.
  Where it parks it is written down: its *image* is the `Deployment`'s from then on. Then it ends.
* A cold start of a version with an image (`engine.lifecycle`, event RESTORED) makes a copy of the image in a sandbox of
  its own, a few milliseconds whatever Init took. How, and whom that trusts, is in `engine/sandbox/native/image.h`.
* Without an image, *initialise, park, release*: Init runs anew, and the parked runtime is released at once. Hooks,
  states, errors and log lines are the same. So it is for other runtimes than the Python that comes with Lambent, in
  process mode, on other machines than x86-64, on kernels without CONFIG_CHECKPOINT_RESTORE, with extensions, and for a
  process that has what cannot be written down (a thread, a child, a file open for writing, shared memory, …). The
  reason is in the story of each environment.

An image lives as long as the engine and the version. An engine that starts has none: the first cold start of a version
initialises, and has the image made beside it. One whose copies die before they are ready is dropped; whoever waited for
that copy gets an initialised environment, and hears nothing. After the third none is made any more.
"""

from __future__ import annotations

from .preparing import Preparations

__all__ = ["Preparations"]
