"""An environment with several invocations in flight: AWS's Lambda Managed Instances, "multi-concurrency" (facts §12).

The same two halves as for the ordinary kind, on the same shared parts: `core.ConcurrentCore` decides, on the table in
`states`; `environment.ConcurrentEnvironment` acts, with `processes` and `records` of the package above.

What is different is whose life it is. An ordinary environment *is in* an invocation; this one *serves*, and invocations
come and go on it, each with an answer, a time limit and an end of its own:

* The environment serves from the first worker's `next` on. A worker that waits is a *place*: it is offered to the
  scheduler, and an invocation that comes is given to a worker in the same call. Nothing is ever queued here.
* An invocation is over when it is answered. START, END and REPORT of several are interleaved in the log; what the
  function prints belongs to an invocation only if the line carries its request id, as no clock can tell them apart.
* An invocation that times out fails alone. Its worker is not ended: AWS leaves it to the function to notice, and so it
  works on, a place less, until it asks again. Its late answer is refused (410).
* There is no freeze: something is in flight most of the time, and AWS's managed instances run all the time.
* There is no reset. A process that ends takes everything in flight with it, the scheduler hears that the environment is
  lost, and whoever waits gets a new one. (The *process* is the one that the engine started: a worker that dies below it
  is the runtime's to replace. AWS: "the execution environment continues with its remaining workers".)
* There is no second Init inside an invocation: an Init that fails fails those that the environment was started for.
* Extensions are told of the end, and of no invocation. Init is over when the first worker and all of them have asked.
* After its answer a worker is *returning* until it asks again, which tells the scheduler to be patient; one that has
  not after the function's time limit is given up. A worker may also ask again while it has an invocation (AWS's client
  for Node.js does): then it is a place all the time, and what is in flight is bounded by the capacity alone.
"""
