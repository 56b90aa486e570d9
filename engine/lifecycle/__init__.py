"""The life of ONE execution environment: Init, Invoke, reset, Shutdown.

An *environment* is Lambda's notion: one function revision, one runtime process at a time, one invocation at a time, a
/tmp that survives resets. Under it lies a *sandbox* (`engine.sandbox`), the OS container; in front of it lies a Runtime
API server (`runtime_api`). This package joins the two and decides what each event means.

It is cut in two, as everywhere in this engine:

* `states` and `core` decide. `core.EnvironmentCore` is fed events (the runtime asked for `next`, it answered, it died,
  a deadline passed) with the time as an argument, and calls the few verbs of `actions.Actions` in return. It does no
  I/O, reads no clock, logs nothing. Which event is legal in which phase is one table in `states`.
* `environment.Environment` acts: it turns what its Runtime API server, its processes and its timer report into events
  for the core, and carries the core's `actions` out. `processes` is the part of it that takes time (the sandbox, and
  what runs in it, one step after the other), `extended` what is there for extensions only, `records` the part that
  writes down, `owner` what it needs from above.

The hard idea is who answers the caller, and when (AWS: "Lambda execution environment lifecycle"; facts §4):

* The caller has its answer as soon as the runtime posted it. The environment is free only when the runtime asks for
  `next` again; until then it is in `RESPONDED`, still on the clock of that invocation.
* A failed Init is not the caller's answer. The environment becomes `BROKEN`, and the *next invocation* runs Init again
  inside itself (`REINIT`, AWS's "suppressed init"), on the function's own time limit. Only that second failure is told.
* Timeout and crash answer the caller at once, then the whole process tree is killed (`RESETTING`), then the environment
  is `BROKEN`: the same sandbox, the same /tmp, no process. It counts as available; healthy ones are preferred to it.

One timer per environment, not per invocation: it is armed once and, when it fires early because a later invocation
moved the deadline, armed again for the rest. Back-to-back invocations therefore never touch a timer.

The same timer freezes: between invocations the "deadline" is when the environment has been idle for the linger
(`freeze_after_ms`). 50 ms is longer than a caller takes who calls in a loop, across a network even, so such a one never
pays for a thaw; and short enough that a background thread gets nothing to speak of. Then every process is stopped
(`FROZEN`). The next invocation thaws first (`THAWING`) and begins when the processes run: START, Duration and the time
limit all count from the delivery, because the thaw is our doing; it has a limit of its own, that of Init. A host that
will not freeze is noted, and the environment goes on as it is; one that will not thaw fails that invocation with
Sandbox.Failure, and the environment is given up. A freeze or thaw that is under way is never interrupted: what comes
meanwhile waits for its turn in `Environment._order`.

Extensions make three of these moments a matter of several: `extending` has the table of that, `extended` the shell
around it. Without extensions there is neither, and an environment ends by SIGKILL, without a word, as on Lambda; with
them its processes are told, and have up to two seconds (`_kill` and `_close` first `_part`, in `_order` like the rest).

What cannot be destroyed is not forgotten. A sandbox whose processes will not die, or which something holds, is
`QUARANTINED`: the scheduler counts it as LOST, so it keeps its memory and gives its function's concurrency back; the
engine's log and `lambent ps` say why, with the pids; and destroying it is tried again, after half a second at first and
every 30 seconds in the end, until it is gone. An engine that stops tries once more and leaves the rest to the spawner.
"""
