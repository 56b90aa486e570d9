"""Log groups on disk: what functions and the platform said, kept over restarts, bounded.

One folder per log group, of files called segments. A segment is a run of *blocks*; a block is what a group had to say
since the last one: a table of the log streams in it and their records (`engine.telemetry.records`), as msgpack behind a
header with a checksum and the times of its first and last event. Streams of a group share its segments: a thousand
environments that each say a little are one write and one open file, and the oldest segment of a group can be deleted as
a whole when the group has its size.

Three parts, which meet in `store.LogStore`:

* On the loop, `group.LogGroup` collects entries (the warm path appends two tuples and nothing else), and every 50 ms,
  or when there are many, makes blocks of them: some 0.7 us for an invocation. It alone decides which segment a block
  goes to and which segments are deleted; it does no I/O.
* One thread, `writer.Writer`, carries that out, in order. What waits for it is bounded per group: a function that
  prints faster than the disk takes it is made to wait in `write`, and if that is not enough, its lines are dropped and
  counted, its own and no other's.
* Readers (`reader`) run in worker threads, on the files as they are: a block is either there whole or not at all.

What is promised. A record is handed to the kernel at most 50 ms after it was said (later when the disk is slower than
that), and then survives the engine: SIGKILL loses at most what was said since. Nothing is synced to the device, so a
power cut may lose what the kernel had not written; a block torn by it is found by its checksum and
left out (no engine writes behind what another has left). When the
disk is full, that is told once in the engine's own log, lines are dropped and counted, and functions go on.

Positions. An event's place is a number: segment, offset of the block, place in it. It never changes, grows in the order
in which events were written, and is what tokens and event ids are made of. Within a stream that is the order in which
things happened, as one environment writes one stream; events put by other programs keep the order of their calls.
"""

from engine.telemetry.store.blocks import Stream
from engine.telemetry.store.group import LogGroup, StreamInfo, now_ms
from engine.telemetry.store.reader import Event, Page, Query
from engine.telemetry.store.store import LogStore

__all__ = ["Event", "LogGroup", "LogStore", "Page", "Query", "Stream", "StreamInfo", "now_ms"]
