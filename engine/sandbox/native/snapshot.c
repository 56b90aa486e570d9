/* The image of a process, written by a child of the sandbox's first process; image.h has the whole picture.
 *
 * The process is stopped with ptrace and asked nothing: /proc tells its mappings, pages and descriptors, ptrace its
 * registers. Only what the kernel tells to nobody but the process itself (what its signals do, its alternate stack, its
 * timers, the end of its heap) is asked by system calls made in its name, at the very instruction at which it waits. */
#define _GNU_SOURCE
#include "snapshot.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 8 /* a process that takes longer is too large to be worth it */

/* Shared with the child that does it. */
struct outcome {
    int failed;
    char reason[SNAPSHOT_REASON];
};

#ifndef __x86_64__

int snapshot(pid_t pid, int file, uint64_t most, char reason[SNAPSHOT_REASON])
{
    (void)pid, (void)file, (void)most;
    snprintf(reason, SNAPSHOT_REASON, "snapshots are made on x86-64 only");
    return ENOSYS;
}

#else

#include <dirent.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/user.h>

#include "snapshot_parts.h"

#define ERESTARTSYS 512
#define GET_RSEQ_CONFIGURATION 0x420f /* linux/ptrace.h, Linux 5.13; not to be had beside the C library's */
#define LOOKS 500 /* every 2 ms */
#define RED_ZONE 128u

struct image_head *head;
pid_t target;
int target_memory, image;
uint64_t room, end_of_image, waits_on;

static struct outcome *outcome;
static struct user_regs_struct registers;
static int stopped;

/* Back to where it waited: the call is made anew. */
static void let_go(void)
{
    struct user_regs_struct again = registers;
    again.rip -= 2, again.rax = SYS_recvfrom, again.orig_rax = (unsigned long long)-1;
    if (stopped)
        ptrace(PTRACE_SETREGS, target, NULL, &again);
    ptrace(PTRACE_DETACH, target, NULL, NULL);
}

void refuse(int number, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(outcome->reason, SNAPSHOT_REASON, format, arguments);
    va_end(arguments);
    for (char *byte = outcome->reason; *byte; byte++) /* there may be names in it that somebody thought up */
        *byte = *byte < ' ' || *byte > '~' ? '?' : *byte;
    outcome->failed = number ? number : EIO;
    let_go();
    _exit(0);
}

static void too_long(int signal)
{
    (void)signal;
    refuse(ETIME, "it took longer than %d seconds", SECONDS);
}

char *path_of(const char *what, char path[64])
{
    snprintf(path, 64, "/proc/%d/%s", (int)target, what);
    return path;
}

FILE *open_text(const char *what)
{
    char path[64];
    FILE *text = fopen(path_of(what, path), "re");
    if (!text)
        refuse(errno, "%s: %s", path, strerror(errno));
    return text;
}

int open_data(const char *what)
{
    char path[64];
    int file = open(path_of(what, path), O_RDONLY | O_CLOEXEC);
    if (file < 0)
        refuse(errno, "%s: %s", path, strerror(errno));
    return file;
}

size_t read_small(const char *what, void *to, size_t most)
{
    int file = open_data(what);
    ssize_t got = read(file, to, most);
    if (got < 0)
        refuse(errno, "reading /proc/PID/%s: %s", what, strerror(errno));
    close(file);
    return (size_t)got;
}

/* ---- who it is, and whether it can be written down ---- */

/* What the sandbox has beside the process would be missing around the copy. */
static void nothing_beside(void)
{
    static const char *const kinds[] = {"/proc/sysvipc/msg", "/proc/sysvipc/sem", "/proc/sysvipc/shm"};
    char line[512];
    DIR *files = opendir("/tmp");
    if (!files)
        refuse(errno, "its /tmp: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(files));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") && strcmp(entry->d_name, "lost+found"))
            refuse(ENOTSUP, "there are files in its /tmp: %.150s", entry->d_name);
    closedir(files);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        FILE *text = fopen(kinds[i], "re"); /* not there: the kernel has no such objects */
        if (text && fgets(line, sizeof line, text) && fgets(line, sizeof line, text))
            refuse(ENOTSUP, "it has System V objects (%s)", kinds[i]);
        if (text)
            fclose(text);
    }
}

/* Nor would other processes be there. */
static void alone(void)
{
    DIR *all = opendir("/proc"), *threads;
    char path[64];
    int count = 0;
    if (!all || !(threads = opendir(path_of("task", path))))
        refuse(errno, "it has ended");
    for (struct dirent *entry; (entry = readdir(all));) {
        pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
        if (pid > 1 && pid != target && pid != getpid())
            refuse(ENOTSUP, "there are other processes in its sandbox");
    }
    for (struct dirent *entry; (entry = readdir(threads));)
        count += entry->d_name[0] != '.';
    if (count != 1)
        refuse(ENOTSUP, "it has %d threads", count);
    closedir(all);
    closedir(threads);
}

static void read_status(uint64_t *caught, uint64_t *ignored)
{
    FILE *text = open_text("status");
    char line[4096];
    while (fgets(line, sizeof line, text)) {
        char *value = strchr(line, ':');
        if (!value)
            continue;
        *value++ = '\0';
        if (!strcmp(line, "Umask"))
            head->umask = (uint32_t)strtoul(value, NULL, 8);
        else if (!strcmp(line, "SigCgt"))
            *caught = strtoull(value, NULL, 16);
        else if (!strcmp(line, "SigIgn"))
            *ignored = strtoull(value, NULL, 16);
        else if ((!strcmp(line, "SigPnd") || !strcmp(line, "ShdPnd")) && strtoull(value, NULL, 16))
            refuse(ENOTSUP, "signals wait for it");
        else if (!strcmp(line, "Seccomp_filters") && strtoul(value, NULL, 10) > 1)
            refuse(ENOTSUP, "it has a filter of system calls of its own");
    }
    fclose(text);
    if (read_small("timers", line, sizeof line))
        refuse(ENOTSUP, "it has timers");
    line[read_small("personality", line, sizeof line - 1)] = '\0';
    if (strtoul(line, NULL, 16))
        refuse(ENOTSUP, "its personality is not the usual one");
    size_t length = read_small("comm", head->command, sizeof head->command - 1);
    head->command[length ? length - 1 : 0] = '\0';
}

static void read_places(void)
{
    char line[8192], *word;
    line[read_small("stat", line, sizeof line - 1)] = '\0';
    uint64_t field[53] = {0};
    if (!(word = strrchr(line, ')')))
        refuse(EIO, "/proc/PID/stat has no name");
    word = strtok(word + 1, " "); /* proc_pid_stat(5): the third field */
    for (int i = 3; i <= 52 && word; i++, word = strtok(NULL, " "))
        field[i] = strtoull(word, NULL, 10);
    head->code[0] = field[26], head->code[1] = field[27], head->stack = field[28];
    head->data[0] = field[45], head->data[1] = field[46], head->brk[0] = field[47];
    head->arguments[0] = field[48], head->arguments[1] = field[49];
    head->environment[0] = field[50], head->environment[1] = field[51];
    size_t bytes = read_small("auxv", head->auxv, sizeof head->auxv);
    head->auxv_words = (uint32_t)(bytes / sizeof *head->auxv);
    char path[64];
    ssize_t length = readlink(path_of("cwd", path), line, sizeof line - 1);
    if (length < 0)
        refuse(errno, "its working directory: %s", strerror(errno));
    line[length] = '\0';
    if (access(line, F_OK) < 0)
        refuse(ENOTSUP, "its working directory is gone: %.150s", line);
    head->cwd = name(line);
}

/* ---- what only the process itself is told ---- */

static void resume_to(int request)
{
    int status;
    if (ptrace((enum __ptrace_request)request, target, NULL, NULL) < 0 || waitpid(target, &status, __WALL) != target)
        refuse(errno, "it cannot be asked: %s", strerror(errno));
    if (!WIFSTOPPED(status))
        refuse(ESRCH, "it has ended");
    if (WSTOPSIG(status) != (SIGTRAP | 0x80))
        refuse(ENOTSUP, "a signal came to it");
}

/* A system call in its name. Returns what the kernel said. */
static int64_t ask(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
    struct user_regs_struct asked = registers;
    asked.rip -= 2; /* the instruction that it waits in */
    asked.orig_rax = (unsigned long long)-1;
    asked.rax = number, asked.rdi = a, asked.rsi = b, asked.rdx = c, asked.r10 = d;
    if (ptrace(PTRACE_SETREGS, target, NULL, &asked) < 0)
        refuse(errno, "its registers: %s", strerror(errno));
    resume_to(PTRACE_SYSCALL); /* in */
    resume_to(PTRACE_SYSCALL); /* and out of it */
    if (ptrace(PTRACE_GETREGS, target, NULL, &asked) < 0)
        refuse(errno, "its registers: %s", strerror(errno));
    return (int64_t)asked.rax;
}

static void fetch(void *to, size_t bytes, uint64_t from)
{
    if (pread(target_memory, to, bytes, (off_t)from) != (ssize_t)bytes)
        refuse(EFAULT, "its stack cannot be read");
}

static void ask_all(uint64_t caught, uint64_t ignored)
{
    /* Below its stack, where nobody's data is. */
    uint64_t scratch = (registers.rsp - RED_ZONE - 256) & ~15ULL;
    struct image_registers *saved = &head->registers;
    for (unsigned number = 1; number <= IMAGE_SIGNALS; number++) {
        uint64_t bit = 1ULL << (number - 1);
        struct image_signal *signal = &head->signals[number - 1];
        if (ignored & bit)
            signal->handler = 1; /* SIG_IGN */
        if (!(caught & bit))
            continue;
        if (ask(SYS_rt_sigaction, number, 0, scratch, 8))
            refuse(EIO, "it does not tell what signal %u does", number);
        fetch(signal, sizeof *signal, scratch);
    }
    struct {
        uint64_t address;
        uint32_t flags, padding;
        uint64_t bytes;
    } stack;
    if (ask(SYS_sigaltstack, 0, scratch, 0, 0))
        refuse(EIO, "it does not tell its alternate stack");
    fetch(&stack, sizeof stack, scratch);
    saved->stack = stack.address, saved->stack_bytes = stack.bytes, saved->stack_flags = stack.flags;
    for (uint64_t which = ITIMER_REAL; which <= ITIMER_PROF; which++) {
        struct itimerval timer;
        if (ask(SYS_getitimer, which, scratch, 0, 0))
            refuse(EIO, "it does not tell its timers");
        fetch(&timer, sizeof timer, scratch);
        if (timer.it_value.tv_sec || timer.it_value.tv_usec)
            refuse(ENOTSUP, "it has timers");
    }
    for (unsigned i = 0; i < IMAGE_LIMITS; i++) {
        if (ask(SYS_prlimit64, 0, i, 0, scratch))
            refuse(EIO, "it does not tell its limits");
        fetch(head->limits[i], sizeof head->limits[i], scratch);
    }
    head->brk[1] = (uint64_t)ask(SYS_brk, 0, 0, 0, 0);
    if (ask(SYS_prctl, PR_GET_TID_ADDRESS, scratch, 0, 0))
        refuse(ENOTSUP, "the kernel is made without CONFIG_CHECKPOINT_RESTORE");
    fetch(&head->tid_address, sizeof head->tid_address, scratch);
}

/* ---- registers ---- */

static int waits(void)
{
    uint16_t instruction = 0;
    if (ptrace(PTRACE_GETREGS, target, NULL, &registers) < 0)
        refuse(errno, "its registers: %s", strerror(errno));
    if (registers.orig_rax != SYS_recvfrom || (int64_t)registers.rax != -ERESTARTSYS || registers.cs != 0x33)
        return 0;
    fetch(&instruction, sizeof instruction, registers.rip - 2);
    return instruction == 0x050f; /* syscall */
}

/* It has sent its request, but may still be on its way to where it waits for the answer. */
static void seize(void)
{
    int status;
    if (ptrace(PTRACE_SEIZE, target, NULL, (void *)PTRACE_O_TRACESYSGOOD) < 0)
        refuse(errno, "it cannot be stopped: %s", strerror(errno));
    for (int looks = 0;; looks++) {
        if (ptrace(PTRACE_INTERRUPT, target, NULL, NULL) < 0 || waitpid(target, &status, __WALL) != target)
            refuse(errno, "it cannot be stopped: %s", strerror(errno));
        if (!WIFSTOPPED(status) || status >> 16 != PTRACE_EVENT_STOP)
            refuse(ENOTSUP, "it has ended, or a signal came to it");
        if (waits())
            break;
        if (looks == LOOKS)
            refuse(ENOTSUP, "it does not wait in recv()");
        ptrace(PTRACE_CONT, target, NULL, NULL);
        usleep(2000);
    }
    stopped = 1;
    waits_on = registers.rdi;
}

static void save_registers(void)
{
    struct image_registers *saved = &head->registers;
    const struct user_regs_struct *r = &registers;
    *saved = (struct image_registers){.r8 = r->r8, .r9 = r->r9, .r10 = r->r10, .r11 = r->r11, .r12 = r->r12,
                                      .r13 = r->r13, .r14 = r->r14, .r15 = r->r15, .di = r->rdi, .si = r->rsi,
                                      .bp = r->rbp, .bx = r->rbx, .dx = r->rdx, .cx = r->rcx, .sp = r->rsp,
                                      .flags = r->eflags, .fs_base = r->fs_base, .gs_base = r->gs_base};
    saved->ax = SYS_recvfrom; /* made anew, with what will be there to be read */
    saved->ip = r->rip - 2;
    struct {
        uint64_t address;
        uint32_t bytes, signature, flags, padding;
    } rseq = {0};
    size_t bytes = 0;
    void *list = NULL;
    if (ptrace(PTRACE_GETFPREGS, target, NULL, saved->floating) < 0 ||
        ptrace(PTRACE_GETSIGMASK, target, (void *)8, &saved->blocked) < 0)
        refuse(errno, "its registers: %s", strerror(errno));
    if (ptrace((enum __ptrace_request)GET_RSEQ_CONFIGURATION, target, (void *)sizeof rseq, &rseq) < 0)
        refuse(ENOTSUP, "the kernel does not tell of restartable sequences: %s", strerror(errno));
    head->rseq = rseq.address, head->rseq_bytes = rseq.bytes, head->rseq_signature = rseq.signature;
    if (syscall(SYS_get_robust_list, target, &list, &bytes) < 0)
        refuse(errno, "its list of locks: %s", strerror(errno));
    head->robust_list = (uint64_t)(uintptr_t)list, head->robust_bytes = bytes;
}

static void write_all(void)
{
    uint64_t caught = 0, ignored = 0;
    head = mmap(NULL, sizeof *head, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    unsigned map_size = 0;
    if (head == MAP_FAILED)
        refuse(ENOMEM, "no memory");
    if (prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &map_size, 0, 0) < 0)
        refuse(ENOTSUP, "the kernel is made without CONFIG_CHECKPOINT_RESTORE");
    head->magic = IMAGE_MAGIC;
    head->names = 1; /* 0 means none */
    head->copy_on_write = 1;
    end_of_image = IMAGE_HEAD;
    target_memory = open_data("mem");
    seize();
    alone();
    nothing_beside();
    read_status(&caught, &ignored);
    save_registers();
    read_places();
    read_descriptors();
    ask_all(caught, ignored);
    read_areas();
    copy_pages();
    /* A mapping that grows ends in zeros, not in SIGBUS. */
    if (ftruncate(image, (off_t)(end_of_image + IMAGE_BEYOND)) < 0)
        head->copy_on_write = 0;
    write_image(head, sizeof *head, 0);
    let_go();
}

int snapshot(pid_t pid, int file, uint64_t most, char reason[SNAPSHOT_REASON])
{
    outcome = mmap(NULL, sizeof *outcome, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcome == MAP_FAILED)
        return errno;
    pid_t worker = fork();
    if (worker == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        signal(SIGALRM, too_long);
        alarm(SECONDS);
        target = pid, image = file, room = most;
        write_all();
        _exit(0);
    }
    int failed = worker < 0 ? errno : 0, status = 0;
    if (!failed && waitpid(worker, &status, 0) < 0)
        failed = errno;
    if (!failed)
        failed = outcome->failed;
    if (!failed && status) {
        failed = EIO;
        snprintf(outcome->reason, SNAPSHOT_REASON, "the one that wrote it has ended: %d", status);
    }
    memcpy(reason, outcome->reason, SNAPSHOT_REASON);
    munmap(outcome, sizeof *outcome);
    return failed;
}

#endif
