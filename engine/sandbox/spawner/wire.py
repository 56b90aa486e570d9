"""What crosses the sockets between engine, spawner and blanks. Imported by both sides; standard library only.

Three conversations, each with its own little form:

* engine to spawner, and back: *frames*, a fixed header and a payload; frames from the spawner may carry descriptors.
* engine to blank: one *order*, a header and a payload; a payload too large for a socket buffer travels in a memory file
  whose descriptor is passed instead.
* blank to engine: one *answer*, bytes up to the end of the stream; none at all when the blank became a program.

Lists of strings are joined by NUL, which no path, argument or environment entry can contain.
"""

from __future__ import annotations

import struct

# Engine to spawner.
MORE = 1  #: make `number` more blanks that become programs
OPEN = 2  #: a sandbox exists: make its folder, and end it when the engine is gone. Payload: Sandbox strings
FORGET = 3  #: the sandbox `number` is closed
WORKERS = 4  #: make `number` more blanks that do work
FIRST = 5  #: start the first process of a sandbox; payload: the CLONE_NEW flags of its namespaces
ZYGOTE = 6  #: start what becomes a zygote

# Spawner to engine.
BLANK = 16  #: an answer to MORE: `number` is its pid; carries its socket, the pipe's read end and (Linux) its pidfd
EXIT = 17  #: the child with pid `number` ended; payload: EXIT_STATUS
OPENED = 18  #: the answer to OPEN `number`; payload: ANSWER
NO_BLANK = 19  #: a blank that was ordered by MORE could not be made; `number` is the errno
READY = 20  #: the spawner has started
WORKER = 21  #: as BLANK, an answer to WORKERS
NO_WORKER = 22  #: as NO_BLANK, of a worker
STARTED = 23  #: an answer to FIRST or ZYGOTE: `number` is 0 or an errno; carries its socket

# Engine to blank.
SPAWN = 32  #: become a program; a program that stands by takes it too, as its second order, on standard input
KILL = 33  #: end every process of a sandbox
CLOSE = 34  #: end every process of a sandbox and remove its folder
STOP = 35  #: SIGSTOP to every process of a sandbox; the answer's text is their pids
SWEEP = 36  #: end and remove what an earlier engine left behind
STANDBY = 38  #: to a stem only: become a program whose standard input is this socket, which waits for a SPAWN there
RESTORE = 39  #: to a stem only: become the copy of a process; a SPAWN's payload, with the image and what makes it
EXPLAIN = 37  #: say why a user cannot execute or enter a path

# Engine to the first process of a sandbox (KILL too) and to a zygote (SPAWN too), in the form of orders.
ARRANGE = 48  #: carry out instructions about files and names
STEM = 49  #: make a stem, a process that waits for a SPAWN; strings: "v2" or "", the pid that it is to have
LISTEN = 50  #: listen at 127.0.0.1:9001 of the sandbox's own network
ADOPT = 51  #: tell the end of a process that a zygote made; string: its pid in there
CONNECT = 52  #: a socket that connects to 127.0.0.1 of the sandbox's own network; string: the port
SNAPSHOT = 53  #: write the image of a process to the file that comes along; strings: its number, the most bytes
ASSIGN = 54  #: as ARRANGE, the last of them: what stems were ordered to become, they become from now on

# The first process of a sandbox (EXIT too) or a zygote to the engine, in the form of frames.
INIT = 64  #: `number` is its pid; payload: ANSWER; carries its pidfd
DONE = 65  #: the answer to an order; payload: ANSWER and a text; may carry a descriptor

FRAME = struct.Struct("<IIBB")  #: bytes of payload, number, kind, descriptors
ORDER = struct.Struct("<IB")  #: bytes of payload (0xFFFFFFFF: in the file passed along), kind
ANSWER = struct.Struct("<ii")  #: errno (0: done), step (below); followed by a text
EXIT_STATUS = struct.Struct("<iq")  #: exit code (negative: signal), peak resident memory in bytes

#: Standard output once more, in every program that is started: what clients of the framed log are told to write to.
LOG_FD = 5

IN_FILE = 0xFFFFFFFF
#: Orders up to this many bytes go through the socket: they fit an empty socket buffer on every system.
MAX_INLINE = 60_000 if struct.calcsize("P") == 8 else 4_000

# Steps at which an order can fail.
STEP_SETUP = 1  #: limits, user, folder
STEP_CWD = 2  #: the working directory
STEP_EXEC = 3  #: execve
STEP_TREE = 4  #: processes that would not die; the text names them
STEP_REMOVE = 5  #: removing files
STEP_PRELOADED = 7  #: not a failure: the program runs, and no execve was needed
STEP_RESTORE = 8  #: making the copy of a process
STEP_EXPLAINED = 6  #: not a failure: the text is the explanation that was asked for


def join(*strings: bytes) -> bytes:
    """Join strings that contain no NUL."""
    return b"\0".join(strings)


def split(payload: bytes) -> list[bytes]:
    """The strings of `join`."""
    return payload.split(b"\0")


def frame(kind: int, number: int = 0, payload: bytes = b"", descriptors: int = 0) -> bytes:
    """The bytes of a frame; `descriptors` says how many travel with it."""
    return FRAME.pack(len(payload), number, kind, descriptors) + payload


class FrameReader:
    """Cuts a byte stream with descriptors into frames."""

    __slots__ = ("_data", "_descriptors")

    def __init__(self) -> None:
        self._data = bytearray()
        self._descriptors: list[int] = []

    def feed(self, data: bytes, descriptors: list[int]) -> list[tuple[int, int, bytes, list[int]]]:
        """Take in what arrived; return whole frames as (kind, number, payload, descriptors).

        A descriptor arrives with the first byte of its frame at the earliest, so their order is enough to match them.
        """
        self._data += data
        self._descriptors += descriptors
        frames = []
        while len(self._data) >= FRAME.size:
            length, number, kind, count = FRAME.unpack_from(self._data)
            end = FRAME.size + length
            if len(self._data) < end or len(self._descriptors) < count:
                break
            frames.append((kind, number, bytes(self._data[FRAME.size : end]), self._descriptors[:count]))
            del self._data[:end]
            del self._descriptors[:count]
        return frames

    def abandon(self) -> list[int]:
        """Descriptors that arrived but belong to no whole frame; the caller closes them."""
        left, self._descriptors = self._descriptors, []
        return left
