/* Where a zygote begins: a process with its own view of files, the same as in a sandbox, that becomes an interpreter.
 *
 * The interpreter finds the runtime at the path at which functions have it, and later enters sandboxes by itself
 * (engine/sandbox/zygote). For that it stays in the host's pid namespace, root, and keeps the engine's socket. */
#define _GNU_SOURCE
#include "roles.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mounts.h"
#include "program.h"
#include "wire.h"

/* The form of a SPAWN for a stem; the descriptor is its output. Returns only when it could not be done: an errno. */
static int become(int sock, struct order *order)
{
    struct program program;
    char *cursor = order->data;
    int failed;
    if ((failed = parse_program(order, &cursor, &program)) || (failed = set_limits(program.limits)))
        return failed;
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (order->fd_count != 1 || nothing < 0)
        return EPROTO;
    if (dup2(nothing, 0) < 0 || dup2(order->fds[0], 1) < 0 || dup2(order->fds[0], 2) < 0)
        return errno;
    if (chdir(program.cwd) < 0 || fcntl(sock, F_SETFD, 0) < 0)
        return errno;
    execve(program.arguments[0], program.arguments, program.environment);
    return errno;
}

int zygote(int sock, int spawner)
{
    struct order order;
    if (die_with_parent(spawner))
        return 1;
    reset_signals();
    setsid();
    umask(022);
    close_range((unsigned)sock + 1, ~0U, 0); /* the locks that the spawner inherited */
    fcntl(sock, F_SETFD, FD_CLOEXEC);
    int failed = unshare(CLONE_NEWNS) < 0 ? errno : 0;
    int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    int32_t answer[2] = {pidfd < 0 ? errno : 0, STEP_SETUP};
    if (send_frame(sock, INIT, (uint32_t)getpid(), answer, sizeof answer, &pidfd, pidfd >= 0))
        return 1;
    if (pidfd >= 0)
        close(pidfd);
    if (send_done(sock, failed, STEP_SETUP, failed ? "a mount namespace" : NULL, -1))
        return 1;
    while (receive_order(sock, &order) > 0) {
        const char *words = NULL;
        char *cursor = order.data;
        if (order.kind == ARRANGE && next_string(&order, &cursor)) /* no filter here: it stays with the interpreter */
            failed = carry_out_instructions(&order, &cursor, &words);
        else
            failed = order.kind == SPAWN ? become(sock, &order) : EPROTO;
        for (int i = 0; i < order.fd_count; i++)
            if (order.fds[i] >= 0)
                close(order.fds[i]);
        if (send_done(sock, failed, order.kind == SPAWN ? STEP_EXEC : STEP_SETUP, words, -1))
            return 1;
        release_order(&order);
    }
    return 0;
}
