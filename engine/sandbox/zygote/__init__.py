"""The zygote: an interpreter that has imported the runtime's bootstrap, and forks processes into sandboxes.

A Python interpreter takes 10 ms to start and as much again to import what nearly every function imports; a fork of one
that has done so takes two. So for a Python runtime the process that waits in a blank sandbox is such a fork, and a cold
start needs no execve at all.

This folder is what runs under the function's interpreter: the standard library only, CPython 3.9 and later, shown
in the zygote's own view of files (`engine.sandbox.namespaces.view.zygote`) under `FOLDER`. The engine's side is
`engine.sandbox.namespaces.zygotes`.

==============  ======================================================================================================
``entry``       found as ``bootstrap`` by the runtime's own command line, in place of the real one, which takes its
                place in turn: so ``__main__``, the stack and the flags are those of an interpreter that was executed
``program``     the loop: imports ahead, forks into sandboxes
``enter``       what the fork does to be inside: namespaces, control groups, descriptors, privileges, system calls
``rehearse``    a cold start with nobody there: a fork has its own copy then of the memory that a real one writes to
``become``      one order: user, limits, environment, and everything that the interpreter derived from those it had
``orders``      receiving orders
``calls``       the system calls that Python does not offer, through ctypes
==============  ======================================================================================================

How a process gets in. The zygote is in the host's pid namespace; it points ``pid_for_children`` at the sandbox's and
forks. The child is in the sandbox's pid namespace, joins its other namespaces and control groups, forks again and
ends: the grandchild is inherited by the sandbox's first process, which adopts it (`wire.ADOPT`) and tells of its end as
of any other. It has parent 1, dies with the sandbox, and nothing has to be tidied when zygote, spawner or engine die.

What a function can tell of it:

* more modules are in ``sys.modules``. A package with a module of its own by one of those names is executed instead,
  as there its module would have come first;
* all processes of one zygote share the layout of their memory (ASLR) and, unless the function sets PYTHONHASHSEED, the
  secret of ``hash(str)``. Who can read one function's memory layout knows that of its neighbours'; Android's zygote has
  the same weakness. `random` is seeded anew by each fork;
* objects made ahead are frozen (``gc.get_freeze_count()``);
* memory: what is still shared with the zygote is charged to the engine, not to the function. A function's figure is
  what it added or changed, some megabytes less than with execve.

``/proc/self/cmdline`` and ``environ`` are put right where the kernel can (CONFIG_CHECKPOINT_RESTORE).
"""

from __future__ import annotations

#: Where the zygote's own view has these files; no sandbox has them.
FOLDER = "/var/lambent"

#: What the processes of one interpreter cannot be given later, as it or the dynamic loader read it when they start. A
#: function with other values of the first gets a zygote of its own; one with any of the second is executed.
START_VARIABLES = ("LANG", "LANGUAGE", "LD_LIBRARY_PATH", "PYTHONPATH")
START_PREFIXES = ("LC_", "LD_", "PYTHON", "MALLOC_", "GLIBC_", "LOCPATH", "GCONV_PATH")
