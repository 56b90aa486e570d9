/* A blank of process mode: gets ready, waits for one order, and becomes the program that the order names.
 *
 * What spawner/blank.py does, in a program whose memory the kernel takes down in no time at execve. */
#define _GNU_SOURCE
#include "roles.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"
#include "wire.h"

/* Touch once, with no effect, what an order will need: page faults are dear in virtual machines. */
static void rehearse(void)
{
    static char *nothing[] = {NULL};
    struct rlimit now;
    getrlimit(RLIMIT_NOFILE, &now);
    free(calloc(64, sizeof(char *)));
    execve("", nothing, nothing);
}

static int carry_out(struct order *order, int spawner, int *step)
{
    struct program program;
    char *cursor = order->data;
    int failed;
    *step = STEP_SETUP;
    if (order->kind != SPAWN)
        return EPROTO;
    if ((failed = parse_program(order, &cursor, &program)) || (failed = set_limits(program.limits)))
        return failed;
    if (*program.user) {
        if ((failed = become_user(program.user)) || (failed = die_with_parent(spawner)))
            return failed;
    }
    *step = STEP_CWD;
    if (chdir(program.cwd) < 0)
        return errno;
    *step = STEP_EXEC;
    execve(program.arguments[0], program.arguments, program.environment);
    return errno;
}

int blank(int sock, int spawner)
{
    if (die_with_parent(spawner))
        return 1;
    reset_signals();
    setsid();
    umask(022);
    close_range((unsigned)sock + 1, ~0U, 0); /* the locks that the spawner inherited */
    fcntl(sock, F_SETFD, FD_CLOEXEC);
    if (dup2(1, LOG) < 0)
        return 1;
    rehearse();
    struct order order;
    int got = receive_order(sock, &order), step = STEP_SETUP;
    if (got == 0)
        return 0;
    int failed = got < 0 ? errno : carry_out(&order, spawner, &step);
    send_answer(sock, failed, step);
    return 0;
}
