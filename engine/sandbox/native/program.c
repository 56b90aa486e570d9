#define _GNU_SOURCE
#include "program.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

int parse_program(struct order *order, char **cursor, struct program *program)
{
    program->user = next_string(order, cursor);
    program->limits = next_string(order, cursor);
    program->cwd = next_string(order, cursor);
    char *number = next_string(order, cursor);
    if (!number)
        return EPROTO;
    size_t arguments = strtoul(number, NULL, 10), room = arguments + 2, used = 0;
    for (char *byte = *cursor; byte <= order->data + order->length; byte++)
        room += !*byte;
    char **pointers = calloc(room, sizeof *pointers);
    if (!pointers)
        return ENOMEM;
    program->arguments = pointers;
    while (used < arguments) {
        if (!(pointers[used] = next_string(order, cursor)))
            return EPROTO;
        used++;
    }
    program->environment = pointers + ++used;
    for (char *entry; (entry = next_string(order, cursor));)
        pointers[used++] = entry;
    return arguments ? 0 : EPROTO;
}

static rlim_t number_of(const char **text)
{
    char *end;
    errno = 0;
    long long value = strtoll(*text, &end, 10);
    *text = *end ? end + 1 : end;
    return value < 0 ? RLIM_INFINITY : (rlim_t)value;
}

int set_limits(const char *limits)
{
    while (*limits) {
        int resource = (int)number_of(&limits);
        struct rlimit wanted, now;
        wanted.rlim_cur = number_of(&limits);
        wanted.rlim_max = number_of(&limits);
        if (getrlimit(resource, &now) < 0)
            return errno;
        /* RLIM_INFINITY is the largest number. */
        if (wanted.rlim_max > now.rlim_max)
            wanted.rlim_max = now.rlim_max;
        if (wanted.rlim_cur > wanted.rlim_max)
            wanted.rlim_cur = wanted.rlim_max;
        if (setrlimit(resource, &wanted) < 0)
            return errno;
    }
    return 0;
}

int become_user(const char *user)
{
    uid_t id = (uid_t)strtoul(user, NULL, 10);
    if (setgroups(0, NULL) < 0 || setresgid(id, id, id) < 0 || setresuid(id, id, id) < 0)
        return errno;
    return 0;
}

int die_with_parent(int parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return errno;
    return getppid() == parent ? 0 : ESRCH;
}

void reset_signals(void)
{
    struct sigaction normal = {.sa_handler = SIG_DFL};
    for (int number = 1; number < NSIG; number++)
        sigaction(number, &normal, NULL); /* the few that cannot be set need not be */
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}
