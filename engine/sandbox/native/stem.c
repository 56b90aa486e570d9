/* A child of the sandbox's first process, made ahead of need. It joins the sandbox's control groups by itself (moving
 * another process costs the kernel a grace period), gives up what it does not need to change its user, and waits. One order
 * tells it what to become; or one to become an interpreter that waits for the other (engine/sandbox/namespaces/standby.py). */
#define _GNU_SOURCE
#include "stem.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

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

static int carry_out(struct order *order, int *step)
{
    struct program program;
    char *cursor = order->data;
    int failed;
    *step = STEP_SETUP;
    if (order->kind != SPAWN && order->kind != STANDBY)
        return EPROTO;
    if ((failed = parse_program(order, &cursor, &program)) || (failed = set_limits(program.limits)))
        return failed;
    if (*program.user && (failed = become_user(program.user)))
        return failed;
    if ((failed = drop_all_capabilities()))
        return failed;
    /* Its files may still be put in place, meanwhile. */
    char none;
    if (order->kind == SPAWN && read(GATE, &none, 1) != 0)
        return errno ? errno : EPROTO;
    *step = STEP_CWD;
    if (chdir(program.cwd) < 0)
        return errno;
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
    close_range(GATE + 1, ~0U, 0);
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
