"""The spawner: a small program beside the engine that makes, watches and ends every process of every sandbox.

The engine never forks. A large process forks slowly (each mapped page costs), stalls its event loop while it does, and
hands its children a copy of everything it knows. So it starts this program once, with an empty environment, and talks
to it over a Unix socket. The program is one thread, imports only a few modules of the standard library, and lives in
files that import nothing of the engine (it runs under ``python -I -S``):

==============  ======================================================================================================
``wire``        framing: what crosses the sockets
``program``     the loop: makes blanks, reaps children, cleans up when the engine is gone
``blank``       what a forked child does: waits for one order, then becomes the program, or does the work and ends
``tree``        ending all processes of a sandbox, whatever they did to hide
``remove``      removing a hostile /tmp
``system``      prctl, through ctypes
==============  ======================================================================================================

Blanks. A *blank* is a child that has been forked ahead of need: own session, stdout and stderr on a fresh pipe, every
other descriptor closed, ready to be told what to become. The spawner passes the engine its control socket, the read end
of its pipe and a pidfd. To start a process the engine writes one message to a blank; nothing else is on the way. The
blank changes user, sets its limits and calls execve. Its socket is close-on-exec: end of file means that execve
succeeded, bytes are the errno and what is known about the cause. Killing a tree and removing a /tmp are orders to a
blank too, so that they run beside each other and the spawner's loop never waits for a disk or for a dying process.

Measured (2 shared virtual cores, Python 3.11, a C program that writes one byte; medians of 250, from the call of
`Sandbox.spawn` with 30 variables, limits and a user of its own to that byte in the engine's event loop): 1.6 ms one
after the other, 2.2 ms when the processors had slept for 15 ms in between; the same with a fork on request instead of
a blank 5.2 ms. Bare figures beside it, after the same sleep: exec in a child that a C program forked ahead 1.1 ms, in
one that a small Python forked ahead 1.5 ms (the difference is the kernel giving back Python's memory), posix_spawn
from a small Python 1.1 ms, fork and exec from it 2.2 ms. posix_spawn can set neither the user nor the parent-death
signal; from inside a blank, which can set the user first, it was not faster than exec.

Life and death. The spawner is a *child subreaper*: what a function daemonises becomes its child and is reaped here.
Each process carries ``PR_SET_PDEATHSIG``, so it does not outlive the spawner. The spawner sees the engine's end as end
of file (and through a pidfd, should a forked copy of the engine hold the socket open), ends all sandboxes that it was
told of, removes their folders, and exits.
"""
