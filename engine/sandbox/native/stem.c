/* A child of the sandbox's first process, made ahead of need. It joins the sandbox's control groups by itself (moving
 * another process costs the kernel a grace period), gives up what it does not need to change its user, and waits. One order
 * tells it what to become: a program, the copy of a process (image.h), or an interpreter that waits for another order
 * (engine/sandbox/namespaces/standby.py). */
#define _GNU_SOURCE
#include "stem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "image.h"
#include "program.h"
#include "wire.h"

#define SOCKET 3
#define GATE 4

/* No program started from here on gains anything: not from the bounding set, not from ambient capabilities. */
static int give_up_capabilities(void)
{
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return errno;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return errno;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return errno;
    return 0;
}

/* Where user ids are not ours to change (a user namespace with one of them), capabilities go explicitly. */
static int drop_all_capabilities(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {{0}, {0}};
    return syscall(SYS_capset, &header, none) < 0 ? errno : 0;
}

static int load_filter(const struct confinement *confinement)
{
    struct sock_fprog program = {confinement->filter_length, confinement->filter};
    if (!confinement->filter)
        return 0;
    /* Without the flag, kernels before 5.16 slow down every filtered process against a speculation attack. */
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, &program) < 0 ? errno : 0;
}

/* What the template was waiting for: the answer to restore/next, whose body is its new environment. */
static int answered(struct order *order, char **environment, int *reader)
{
    static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: application/x-lambent-environment\r\n"
                               "Content-Length: %zu\r\n\r\n";
    char text[sizeof head + 24];
    int ends[2];
    size_t length = *environment ? (size_t)(order->data + order->length - *environment) : 0;
    int size = snprintf(text, sizeof text, head, length);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
        return errno;
    if (send(ends[0], text, (size_t)size, MSG_DONTWAIT) != size ||
        (length && send(ends[0], *environment, length, MSG_DONTWAIT) != (ssize_t)length))
        return E2BIG;
    close(ends[0]);
    *reader = ends[1];
    return 0;
}

/* Become a copy of a process (image.h): execute what makes it, with what it needs on descriptors of its own. */
static int restore(struct order *order, struct program *program)
{
    int reader = -1, failed;
    if (order->fd_count != 2)
        return EPROTO;
    if ((failed = answered(order, program->environment, &reader)))
        return failed;
    if (dup2(order->fds[0], IMAGE_FD) < 0 || dup2(SOCKET, ANSWER_FD) < 0 || dup2(reader, API_FD) < 0)
        return errno;
    syscall(SYS_execveat, order->fds[1], "", program->arguments, program->environment, AT_EMPTY_PATH);
    return errno;
}

static int carry_out(struct order *order, int *step)
{
    struct program program;
    char *cursor = order->data;
    int failed;
    *step = STEP_SETUP;
    if (order->kind != SPAWN && order->kind != STANDBY && order->kind != RESTORE)
        return EPROTO;
    if ((failed = parse_program(order, &cursor, &program)) || (failed = set_limits(program.limits)))
        return failed;
    if (*program.user && (failed = become_user(program.user)))
        return failed;
    if ((failed = drop_all_capabilities()))
        return failed;
    /* Its files may still be put in place, meanwhile. */
    char none;
    if (order->kind != STANDBY && read(GATE, &none, 1) != 0)
        return errno ? errno : EPROTO;
    *step = STEP_CWD;
    if (chdir(program.cwd) < 0)
        return errno;
    if (order->kind == RESTORE) {
        *step = STEP_RESTORE;
        return restore(order, &program);
    }
    *step = STEP_EXEC;
    if (order->kind == STANDBY && dup2(SOCKET, 0) < 0)
        return errno;
    execve(program.arguments[0], program.arguments, program.environment);
    return errno;
}

static int join(const int *tasks, int count)
{
    for (int i = 0; i < count; i++)
        if (write(tasks[i], "0", 1) < 0)
            return errno;
    return 0;
}

_Noreturn void stem(int sock, int output, int gate, const int *tasks, int count, const struct confinement *confinement)
{
    struct order order;
    int step = STEP_SETUP, failed = join(tasks, count);
    reset_signals();
    setsid();
    umask(022);
    /* These two last: their places may be taken until then, and everything above them goes. */
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(output, 1) < 0 || dup2(output, 2) < 0)
        failed = errno;
    gate = fcntl(gate, F_DUPFD_CLOEXEC, GATE + 1);
    if (sock != SOCKET && dup2(sock, SOCKET) < 0)
        failed = errno;
    if (gate < 0 || dup3(gate, GATE, O_CLOEXEC) < 0)
        failed = errno;
    if (dup2(1, LOG) < 0)
        failed = errno;
    close_range(LOG + 1, ~0U, 0);
    fcntl(SOCKET, F_SETFD, FD_CLOEXEC);
    if (!failed)
        failed = give_up_capabilities();
    /* Loading it takes 0.15 ms; what is still to be done here, it allows. */
    if (!failed)
        failed = load_filter(confinement);
    if (!failed) {
        int got = receive_order(SOCKET, &order);
        if (got == 0)
            _exit(0);
        failed = got < 0 ? errno : carry_out(&order, &step);
    }
    send_answer(SOCKET, failed, step);
    _exit(0);
}
