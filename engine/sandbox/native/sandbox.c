/* The first process of a sandbox: makes its namespaces and view of files, makes stems, reaps, and ends everything.
 *
 * It runs no code of the function, keeps the engine's socket to itself, and is outside the sandbox's control groups: it
 * is not frozen, not throttled and not killed with what it holds. When it ends, by order, with the engine or with the
 * spawner, the kernel ends every process of its pid namespace, and with the last one the mounts and the network go.
 *
 * The engine is told: INIT (its pidfd), then DONE or an error for each order, and EXIT for each stem that ended, also for
 * those that a zygote made and that it adopted. */
#define _GNU_SOURCE
#include "roles.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "mounts.h"
#include "program.h"
#include "snapshot.h"
#include "stem.h"
#include "wire.h"

#define KILL_MILLISECONDS 5000
#define RUNTIME_API_PORT 9001
#define BACKLOG 128
#define USER 1051 /* as view.py has it */

#define STEMS 32

static int engine;
static pid_t stems[STEMS]; /* those that live; 0: free */
static struct confinement confinement;
static int gate[2]; /* closed for writing: what stems were told to become, they become */

static void tell(int number, int step, const char *text, int fd)
{
    if (send_done(engine, number, step, text, fd))
        _exit(0);
}

/* ---- stems ---- */

static pid_t *stem_numbered(pid_t pid)
{
    for (int i = 0; i < STEMS; i++)
        if (stems[i] == pid)
            return &stems[i];
    return NULL;
}

/* fork(2) with a descriptor of the child on top, and the child born in the v2 control group `group` unless that is -1,
 * with the pid `number` unless that is 0. */
static pid_t fork_into(int group, pid_t number, int *pidfd)
{
    struct clone_args arguments = {.flags = CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = (uint64_t)(uintptr_t)pidfd};
    if (group >= 0) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = (unsigned)group;
    }
    if (number) {
        arguments.set_tid = (uint64_t)(uintptr_t)&number;
        arguments.set_tid_size = 1;
    }
    return (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);
}

/* Strings: "v2" when the third descriptor is a v2 control group's directory; which pid it is to have in here, if that
 * matters. Descriptors: the stem's socket, its output, and what puts it into its control groups: that directory, then
 * v1's "tasks" files. The answer carries its pidfd; its text is the number by which its end will be told, its pid in
 * here. */
static void make_stem(struct order *order)
{
    int pidfd = -1, *tasks = order->fds + 2, count = order->fd_count - 2, group = -1;
    pid_t *place = stem_numbered(0);
    if (count < 0 || !place) {
        tell(EPROTO, STEP_SETUP, "a stem needs a socket and an output, and there may not be too many", -1);
        return;
    }
    char *cursor = order->data, *kind = next_string(order, &cursor), *number = next_string(order, &cursor);
    if (kind && *kind && count) {
        group = *tasks++;
        count--;
    }
    pid_t pid = fork_into(group, number ? (pid_t)strtol(number, NULL, 10) : 0, &pidfd);
    if (pid == 0)
        stem(order->fds[0], order->fds[1], gate[0], tasks, count, &confinement);
    int failed = pid < 0 ? errno : 0;
    if (!failed)
        *place = pid;
    for (int i = 0; i < order->fd_count; i++)
        close(order->fds[i]);
    char text[24];
    snprintf(text, sizeof text, "%d", (int)pid);
    tell(failed, STEP_SETUP, text, pidfd);
    if (pidfd >= 0)
        close(pidfd);
}

/* String: the pid in here of a process that became our child when its parent ended (a zygote makes such). From now on it
 * is a stem: its end will be told. */
static void adopt(struct order *order)
{
    char *cursor = order->data, *text = next_string(order, &cursor);
    pid_t pid = text ? (pid_t)strtol(text, NULL, 10) : 0;
    pid_t *place = stem_numbered(0);
    siginfo_t how;
    if (pid <= 1 || !place)
        tell(EPROTO, STEP_SETUP, "which process is to be adopted, or there are too many", -1);
    else if (waitid(P_PID, (id_t)pid, &how, WEXITED | WNOHANG | WNOWAIT) < 0)
        tell(errno, STEP_SETUP, "there is no such child", -1);
    else {
        *place = pid;
        tell(0, 0, NULL, -1);
    }
}

/* Strings: the number of a stem that has become a program, and how many bytes the image of it may have. Descriptor: the
 * file that it is written to. */
static void make_image(struct order *order)
{
    char *cursor = order->data, *text = next_string(order, &cursor), *most = next_string(order, &cursor);
    char reason[SNAPSHOT_REASON] = "";
    pid_t pid = text ? (pid_t)strtol(text, NULL, 10) : 0;
    int failed = EPROTO;
    if (pid > 1 && most && order->fd_count == 1 && stem_numbered(pid))
        failed = snapshot(pid, order->fds[0], strtoull(most, NULL, 10), reason);
    for (int i = 0; i < order->fd_count; i++)
        close(order->fds[i]);
    tell(failed, STEP_SETUP, reason, -1);
}

/* Everything that has ended. 0 when no child is left. */
static int reap(void)
{
    int status;
    struct rusage usage;
    for (;;) {
        pid_t pid = wait4(-1, &status, WNOHANG, &usage);
        if (pid < 0)
            return errno != ECHILD;
        if (pid == 0)
            return 1;
        pid_t *place = stem_numbered(pid);
        if (!place)
            continue; /* an orphan: nobody asks for it */
        *place = 0;
        struct {
            int32_t code;
            int64_t peak;
        } __attribute__((packed)) how = {WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status),
                                         (int64_t)usage.ru_maxrss * 1024};
        if (send_frame(engine, EXIT, (uint32_t)pid, &how, sizeof how, NULL, 0))
            _exit(0);
    }
}

static int64_t milliseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* End all other processes of this pid namespace: one walk of the kernel's, which no fork can slip through. */
static void kill_all(int signals)
{
    int64_t deadline = milliseconds() + KILL_MILLISECONDS;
    struct pollfd ended = {signals, POLLIN, 0};
    struct signalfd_siginfo news;
    for (;;) {
        kill(-1, SIGKILL);
        if (!reap()) {
            tell(0, 0, NULL, -1);
            return;
        }
        if (milliseconds() > deadline) {
            tell(EBUSY, STEP_TREE, "processes in the kernel would not die", -1);
            return;
        }
        if (poll(&ended, 1, 20) > 0 && read(signals, &news, sizeof news) < 0 && errno != EAGAIN)
            _exit(1);
    }
}

/* ---- the Runtime API's endpoint, when the network is our own ---- */

static void make_listener(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(RUNTIME_API_PORT)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0 || bind(sock, (struct sockaddr *)&address, sizeof address) < 0 || listen(sock, BACKLOG) < 0)
        tell(errno, STEP_SETUP, "listen 127.0.0.1:9001", -1);
    else
        tell(0, 0, NULL, sock);
    if (sock >= 0)
        close(sock);
}

/* String: a port. A socket that connects to it, from in here; it may not be connected yet. */
static void make_connection(struct order *order)
{
    char *cursor = order->data, *text = next_string(order, &cursor);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(text ? (uint16_t)strtoul(text, NULL, 10) : 0)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (sock < 0 || (connect(sock, (struct sockaddr *)&address, sizeof address) < 0 && errno != EINPROGRESS))
        tell(errno, STEP_SETUP, "connect", -1);
    else
        tell(0, 0, NULL, sock);
    if (sock >= 0)
        close(sock);
}

/* ---- orders ---- */

/* The first string says how many bytes of system call filter come as the last descriptor's file; instructions follow.
 * ASSIGN: nothing more is to be arranged; the stem may go while the engine is being told. */
static void arrange(struct order *order)
{
    char *cursor = order->data, *size = next_string(order, &cursor);
    const char *words = NULL;
    int failed = size ? 0 : EPROTO;
    size_t bytes = size ? strtoul(size, NULL, 10) : 0;
    if (bytes) {
        void *filter = MAP_FAILED;
        if (order->fd_count && !confinement.filter)
            filter = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE, order->fds[order->fd_count - 1], 0);
        if (filter == MAP_FAILED) {
            failed = errno ? errno : EPROTO;
        } else {
            confinement.filter = filter;
            confinement.filter_length = (unsigned short)(bytes / 8);
            close(order->fds[--order->fd_count]);
        }
    }
    if (!failed)
        failed = carry_out_instructions(order, &cursor, &words);
    if (!failed && order->kind == ASSIGN && gate[1] >= 0) {
        close(gate[1]);
        gate[1] = -1;
    }
    tell(failed, STEP_SETUP, words, -1);
}

static void obey(struct order *order, int signals)
{
    switch (order->kind) {
    case ARRANGE:
    case ASSIGN:
        arrange(order);
        break;
    case LISTEN:
        make_listener();
        break;
    case CONNECT:
        make_connection(order);
        break;
    case STEM:
        make_stem(order);
        break;
    case ADOPT:
        adopt(order);
        break;
    case SNAPSHOT:
        make_image(order);
        break;
    case KILL:
        kill_all(signals);
        break;
    default:
        tell(EPROTO, STEP_SETUP, "no such order", -1);
    }
}

_Noreturn static void serve(void)
{
    struct signalfd_siginfo news;
    struct order order;
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, NULL);
    int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    if (pipe2(gate, O_CLOEXEC) < 0)
        _exit(1);
    struct pollfd sources[2] = {{engine, POLLIN, 0}, {signals, POLLIN, 0}};
    for (;;) {
        if (poll(sources, 2, -1) < 0 && errno != EINTR)
            _exit(1);
        if (sources[1].revents) {
            while (read(signals, &news, sizeof news) > 0)
                ;
            reap();
        }
        if (sources[0].revents) {
            if (receive_order(engine, &order) <= 0)
                _exit(0);
            obey(&order, signals);
            release_order(&order);
        }
    }
}

/* Ids of a new user namespace: who we were outside is USER in it, and nobody else exists. What we may do in there comes
 * with having made it, not with the number. */
static int map_user(uid_t uid, gid_t gid)
{
    char text[64];
    const char *paths[] = {"/proc/self/setgroups", "/proc/self/uid_map", "/proc/self/gid_map"};
    for (int i = 0; i < 3; i++) {
        int length = i == 0 ? snprintf(text, sizeof text, "deny")
                            : snprintf(text, sizeof text, "%d %u 1", USER, i == 1 ? (unsigned)uid : (unsigned)gid);
        int file = open(paths[i], O_WRONLY | O_CLOEXEC);
        if (file < 0 || write(file, text, (size_t)length) != length)
            return errno;
        close(file);
    }
    return 0;
}

/* Whether this host would make such namespaces for us, and a proc in them: prints nothing, exits with 0 or an errno. */
int probe(unsigned long namespaces)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    int status;
    pid_t pid = (pid_t)syscall(SYS_clone, namespaces | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid < 0)
        return errno;
    if (pid == 0) {
        int failed = namespaces & CLONE_NEWUSER ? map_user(uid, gid) : 0;
        if (!failed && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
            failed = errno;
        if (!failed && mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
            failed = errno;
        _exit(failed);
    }
    if (waitpid(pid, &status, 0) < 0)
        return errno;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

int sandbox(int sock, int spawner, unsigned long namespaces)
{
    int pidfd = -1;
    uid_t uid = geteuid();
    gid_t gid = getegid();
    engine = sock;
    if (die_with_parent(spawner))
        return 1;
    reset_signals();
    umask(022);
    close_range((unsigned)sock + 1, ~0U, 0);
    fcntl(sock, F_SETFD, FD_CLOEXEC);
    /* Our child has our parent as its own: the spawner, whose end ends it, and which reaps it. */
    long pid = syscall(SYS_clone, namespaces | CLONE_PARENT | CLONE_PIDFD | SIGCHLD, NULL, &pidfd, NULL, NULL);
    if (pid) {
        int failed = pid < 0 ? errno : 0;
        int32_t answer[2] = {failed, STEP_SETUP};
        send_frame(engine, INIT, (uint32_t)(pid < 0 ? 0 : pid), answer, sizeof answer, &pidfd, pidfd >= 0);
        return 0;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
        return 1;
    int failed = namespaces & CLONE_NEWUSER ? map_user(uid, gid) : 0;
    setsid();
    tell(failed, STEP_SETUP, failed ? "map the user" : NULL, -1);
    serve();
}
