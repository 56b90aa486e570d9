/* A stem: the process inside a sandbox that waits to become the runtime. */
#ifndef LAMBENT_STEM_H
#define LAMBENT_STEM_H

#include <stddef.h>

/* What every stem of a sandbox is given. */
struct confinement {
    void *filter; /* struct sock_filter[], or NULL */
    unsigned short filter_length;
};

/* Be a stem, in a child of the sandbox's first process. Orders come on `sock`, output goes to `output`; `tasks` are the
 * files that put whoever writes 0 to them into a control group. A program is not started before `gate` is at its end.
 * Never returns. */
_Noreturn void stem(int sock, int output, int gate, const int *tasks, int count, const struct confinement *confinement);

#endif
