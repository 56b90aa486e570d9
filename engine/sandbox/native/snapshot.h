/* Writing the image of a process; image.h says what for. */
#ifndef LAMBENT_SNAPSHOT_H
#define LAMBENT_SNAPSHOT_H

#include <stdint.h>
#include <sys/types.h>

#define SNAPSHOT_REASON 256

/* Write the image of `pid`, a process of our pid namespace that waits in recv(2), to `file`: at most `most` bytes of
 * pages. The process goes on afterwards. Returns 0, or an errno with a sentence in `reason`. Takes as long as copying
 * its memory does, at most some seconds; a child of ours does it. */
int snapshot(pid_t pid, int file, uint64_t most, char reason[SNAPSHOT_REASON]);

#endif
