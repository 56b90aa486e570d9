/* lambent-restore: fills its own memory with the image of a process and goes on as that process.
 *
 * ../image.h has the whole picture. It starts in a sandbox, as its user, without any privilege, with three descriptors.
 * There is no C library, as there is no place for one: it is linked where no template may have memory, everything else of
 * its address space goes, and the template's takes its place. The kernel's own mappings (vdso) must lie where the template had
 * them, because its C library remembers; they are moved out of the way first, and into place last.
 *
 * Nothing here is checked for being honest, only for being in the image: see there. When it cannot be done, the engine is told
 * the step and the errno on ANSWER_FD, as by a stem; when it is done, that descriptor closes without a word. */
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <asm/unistd.h>
#include <fcntl.h>
#include <linux/prctl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "image.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif
#define MADV_READ 22 /* MADV_POPULATE_READ, Linux 5.14 */
#define MADV_WRITE 23
#define STEP_RESTORE 8

static const struct image_head *const head = (const void *)RESTORER_HEAD;

/* ---- system calls ---- */

static long call(long number, long a, long b, long c, long d, long e, long f)
{
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = e;
    register long r9 __asm__("r9") = f;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

#define CALL0(n) call(n, 0, 0, 0, 0, 0, 0)
#define CALL1(n, a) call(n, (long)(a), 0, 0, 0, 0, 0)
#define CALL2(n, a, b) call(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define CALL3(n, a, b, c) call(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define CALL4(n, a, b, c, d) call(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define CALL5(n, a, b, c, d, e) call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define CALL6(n, a, b, c, d, e, f) call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

static int same(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

/* Compilers call it for large copies, also without a C library. */
void *memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
    void *start = to;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
    return start;
}

void *memset(void *to, int byte, size_t bytes);
void *memset(void *to, int byte, size_t bytes)
{
    void *start = to;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(byte) : "memory");
    return start;
}

/* ---- failing ---- */

static struct {
    int32_t number, step;
    char text[240];
} answer;

static _Noreturn void fail(const char *what, const char *which, long result)
{
    size_t at = 0;
    answer.number = (int32_t)(result < 0 ? -result : 5);
    answer.step = STEP_RESTORE;
    for (const char *byte = what; *byte && at < sizeof answer.text; byte++)
        answer.text[at++] = *byte;
    for (const char *byte = which; *byte && at < sizeof answer.text; byte++)
        answer.text[at++] = *byte;
    CALL6(__NR_sendto, ANSWER_FD, &answer, 8 + at, 0x4000 /* MSG_NOSIGNAL */, 0, 0);
    for (;;)
        CALL1(__NR_exit_group, 1);
}

static long must(const char *what, const char *which, long result)
{
    if (result < 0 && result > -4096)
        fail(what, which, result);
    return result;
}

/* A string of the image. */
static const char *named(uint32_t at)
{
    return at < IMAGE_NAMES && head->name[IMAGE_NAMES - 1] == '\0' ? head->name + at : "";
}

/* ---- what we have, before: the kernel's mappings are kept, the rest goes ---- */

#define MOST_OWN 64
#define NAME_ROOM 32

struct own {
    uint64_t start, end;
    char name[NAME_ROOM];
};

static struct own own[MOST_OWN];
static unsigned own_count;
static char text[16384];

static const char *read_number(const char *from, uint64_t *number)
{
    for (*number = 0;; from++) {
        unsigned digit = *from >= '0' && *from <= '9'   ? (unsigned)(*from - '0')
                         : *from >= 'a' && *from <= 'f' ? (unsigned)(*from - 'a' + 10)
                                                        : 16;
        if (digit > 15)
            return from;
        *number = *number * 16 + digit;
    }
}

static void read_own(void)
{
    long file = must("opening ", "/proc/self/maps", CALL4(__NR_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY, 0));
    size_t size = 0;
    for (;;) {
        long got = must("reading ", "/proc/self/maps", CALL3(__NR_read, file, text + size, sizeof text - 1 - size));
        if (!got)
            break;
        size += (size_t)got;
    }
    CALL1(__NR_close, file);
    for (const char *line = text; *line && own_count < MOST_OWN;) {
        struct own *entry = &own[own_count++];
        const char *at = read_number(line, &entry->start);
        at = read_number(at + (*at == '-'), &entry->end);
        const char *last = at;
        for (; *at && *at != '\n'; at++)
            if (*at == ' ')
                last = at + 1;
        for (size_t i = 0; i + 1 < NAME_ROOM && last + i < at; i++)
            entry->name[i] = last[i];
        line = *at ? at + 1 : at;
    }
}

static int is_kernels(const char *name) { return same(name, "[vdso]") || (name[1] == 'v' && name[2] == 'v'); }

/* Out of the way, in the order in which they lie; the rest goes. */
static void clear(void)
{
    uint64_t park = RESTORER_PARK;
    for (unsigned i = 0; i < own_count; i++) {
        struct own *entry = &own[i];
        uint64_t bytes = entry->end - entry->start;
        if ((entry->start >= RESTORER_START && entry->end <= RESTORER_END) || entry->start >> 63) {
            entry->name[0] = '\0';
        } else if (entry->name[0] == '[' && is_kernels(entry->name)) {
            if (park + bytes > RESTORER_END)
                fail("there is too much of ", entry->name, 0);
            must("moving ", entry->name, CALL5(__NR_mremap, entry->start, bytes, bytes, 3, park));
            entry->start = park, entry->end = park += bytes;
        } else {
            must("unmapping ", entry->name, CALL2(__NR_munmap, entry->start, bytes));
            entry->name[0] = '\0';
        }
    }
}

static void place_kernels(const struct image_area *area)
{
    const char *name = named(area->file.name);
    for (unsigned i = 0; i < own_count; i++) {
        uint64_t bytes = own[i].end - own[i].start;
        if (own[i].name[0] && same(own[i].name, name) && bytes == area->end - area->start) {
            must("moving ", name, CALL5(__NR_mremap, own[i].start, bytes, bytes, 3, area->start));
            own[i].name[0] = '\0';
            return;
        }
    }
    fail("this kernel has another ", name, 0);
}

/* ---- files ---- */

static const struct image_file *open_file;
static long open_number;

static long open_same(const struct image_file *file, long flags)
{
    struct {
        uint64_t device, inode, links;
        uint32_t mode, user, group, padding;
        uint64_t special, size, block, blocks, accessed_s, accessed_ns, changed_s, changed_ns, rest[5];
    } found; /* struct stat of x86-64 */
    const char *path = named(file->name);
    long number = must("opening ", path, CALL4(__NR_openat, AT_FDCWD, path, flags | O_NOFOLLOW, 0));
    if (!file->inode)
        return number;
    must("looking at ", path, CALL2(__NR_fstat, number, &found));
    if (found.device != file->device || found.inode != file->inode || found.size != file->size ||
        found.changed_s != file->changed_s || found.changed_ns != file->changed_ns)
        fail("another file is now at ", path, -116 /* ESTALE */);
    return number;
}

/* Mappings of one file follow each other. */
static long file_of(const struct image_area *area)
{
    if (!area->file.name)
        return -1;
    if (!open_file || open_file->name == 0 || !same(named(open_file->name), named(area->file.name))) {
        if (open_file)
            CALL1(__NR_close, open_number);
        open_number = open_same(&area->file, O_RDONLY | O_CLOEXEC);
        open_file = &area->file;
    }
    return open_number;
}

/* ---- memory ---- */

static void map_area(const struct image_area *area, int writable)
{
    uint64_t bytes = area->end - area->start;
    const char *path = named(area->file.name);
    long file = file_of(area), flags = MAP_FIXED, protection = (long)area->protection | (writable ? PROT_WRITE : 0);
    if (area->start < RESTORER_END && area->end > RESTORER_START)
        fail("memory is where it cannot be: ", path, -22);
    if (area->flags & AREA_DROPPABLE)
        flags |= MAP_DROPPABLE;
    else
        flags |= area->flags & AREA_SHARED ? MAP_SHARED : MAP_PRIVATE;
    if (file < 0)
        flags |= MAP_ANONYMOUS;
    if (area->flags & AREA_GROWS_DOWN)
        flags |= MAP_GROWSDOWN;
    if (area->flags & AREA_NO_RESERVE)
        flags |= MAP_NORESERVE;
    must("mapping memory ", path, CALL6(__NR_mmap, area->start, bytes, protection, flags, file, file < 0 ? 0 : area->offset));
}

/* Contents: of long stretches, where that is safe (image.h), as the image's own pages, copied when they are written to. */
static void fill(const struct image_area *area, const struct image_run *run)
{
    uint64_t done = 0;
    if (head->copy_on_write && run->bytes >= IMAGE_STRETCH && !area->file.name && !(area->flags & AREA_GROWS_DOWN)) {
        must("mapping the image", "", CALL6(__NR_mmap, run->address, run->bytes, area->protection, MAP_PRIVATE | MAP_FIXED,
                                            IMAGE_FD, run->offset));
        if (run->bytes <= IMAGE_AT_ONCE)
            CALL3(__NR_madvise, run->address, run->bytes, MADV_READ); /* most will be read soon: no page faults then */
        return;
    }
    CALL3(__NR_madvise, run->address, run->bytes, MADV_WRITE); /* all page faults at once; it may not be known */
    while (done < run->bytes) {
        long got = CALL4(__NR_pread64, IMAGE_FD, run->address + done, run->bytes - done, run->offset + done);
        if (got <= 0)
            fail("reading the image", "", got);
        done += (uint64_t)got;
    }
}

static void advise(const struct image_area *area)
{
    static const struct {
        uint32_t flag;
        int advice;
    } advices[] = {{AREA_WIPE_ON_FORK, 18}, {AREA_DONT_FORK, 10}, {AREA_DONT_DUMP, 16}, {AREA_HUGE, 14}, {AREA_NO_HUGE, 15}};
    for (unsigned i = 0; i < sizeof advices / sizeof *advices; i++)
        if (area->flags & advices[i].flag && !(area->flags & AREA_DROPPABLE))
            CALL3(__NR_madvise, area->start, area->end - area->start, advices[i].advice);
}

static void map_all(void)
{
    uint32_t next = 0, areas = head->areas, runs = head->runs;
    if (areas > IMAGE_AREAS || runs > IMAGE_RUNS)
        fail("the image has no end", "", -22);
    for (uint32_t i = 0; i < areas; i++) {
        const struct image_area *area = &head->area[i];
        if (area->flags & AREA_KERNEL)
            continue;
        uint32_t first = next;
        while (next < runs && head->run[next].address < area->end)
            next++;
        map_area(area, next > first);
        for (; first < next; first++)
            fill(area, &head->run[first]);
        advise(area);
        if (!(area->protection & PROT_WRITE))
            must("protecting memory", "", CALL3(__NR_mprotect, area->start, area->end - area->start, area->protection));
    }
    if (open_file)
        CALL1(__NR_close, open_number);
    for (uint32_t i = 0; i < areas; i++)
        if (head->area[i].flags & AREA_KERNEL)
            place_kernels(&head->area[i]);
}

/* ---- what else a process is ---- */

static void tell_places(void)
{
    struct prctl_mm_map map = {
        .start_code = head->code[0], .end_code = head->code[1], .start_data = head->data[0], .end_data = head->data[1],
        .start_brk = head->brk[0], .brk = head->brk[1], .start_stack = head->stack,
        .arg_start = head->arguments[0], .arg_end = head->arguments[1],
        .env_start = head->environment[0], .env_end = head->environment[1], .exe_fd = (uint32_t)-1,
    };
    uint32_t words = head->auxv_words;
    map.auxv = (void *)(uintptr_t)head->auxv;
    map.auxv_size = (words < IMAGE_AUXV ? words : IMAGE_AUXV) * 8;
    must("telling where its parts are", "", CALL5(__NR_prctl, PR_SET_MM, PR_SET_MM_MAP, &map, sizeof map, 0));
    CALL2(__NR_prctl, PR_SET_NAME, head->command);
}

static void open_descriptors(void)
{
    for (uint32_t i = 0; i < head->files && i < IMAGE_FILES; i++) {
        const struct image_fd *fd = &head->fd[i];
        long number;
        if (fd->file.name) {
            number = open_same(&fd->file, (long)(fd->flags & (O_NONBLOCK | O_CLOEXEC)));
            CALL3(__NR_lseek, number, fd->position, 0);
        } else { /* AF_INET, SOCK_STREAM: connected to nothing */
            number = must("a socket", "", CALL3(__NR_socket, 2, 1 | (fd->flags & O_NONBLOCK), 0));
        }
        if (number != (long)fd->number) {
            must("a descriptor", "", CALL3(__NR_dup3, number, fd->number, fd->flags & O_CLOEXEC));
            CALL1(__NR_close, number);
        }
    }
    CALL1(__NR_close, head->api_fd);
    must("the connection", "", CALL3(__NR_dup3, API_FD, head->api_fd, head->api_flags & O_CLOEXEC));
    CALL1(__NR_close, API_FD);
}

static void settle(void)
{
    const char *folder = named(head->cwd);
    must("entering ", folder, CALL1(__NR_chdir, folder));
    CALL1(__NR_umask, head->umask);
    for (unsigned i = 0; i < IMAGE_LIMITS; i++)
        CALL4(__NR_prlimit64, 0, i, head->limits[i], 0); /* it can only have lowered them */
    for (unsigned i = 0; i < IMAGE_SIGNALS; i++)
        if (head->signals[i].handler)
            CALL4(__NR_rt_sigaction, i + 1, &head->signals[i], 0, 8);
    must("its thread's area", "", CALL2(__NR_arch_prctl, ARCH_SET_FS, head->registers.fs_base));
    if (head->registers.gs_base)
        CALL2(__NR_arch_prctl, ARCH_SET_GS, head->registers.gs_base);
    if (head->robust_list)
        CALL2(__NR_set_robust_list, head->robust_list, head->robust_bytes);
    if (head->rseq)
        must("restartable sequences", "", CALL4(__NR_rseq, head->rseq, head->rseq_bytes, 0, head->rseq_signature));
    if (head->tid_address)
        *(int32_t *)(uintptr_t)head->tid_address = (int32_t)CALL1(__NR_set_tid_address, head->tid_address);
}

/* ---- the last step ---- */

/* What a signal handler returns by: struct rt_sigframe of x86-64, from its ucontext on. */
static struct {
    uint64_t flags, link, stack;
    int32_t stack_flags, padding;
    uint64_t stack_bytes;
    uint64_t general[18]; /* r8 to eflags */
    uint16_t cs, gs, fs, ss;
    uint64_t error, trap, old_mask, fault;
    void *floating;
    uint64_t reserved[8];
    uint64_t blocked;
} frame;
static uint8_t floating[512] __attribute__((aligned(64)));

static _Noreturn void go_on(void)
{
    const struct image_registers *saved = &head->registers;
    frame.flags = 6; /* UC_SIGCONTEXT_SS, UC_STRICT_RESTORE_SS */
    frame.stack = saved->stack, frame.stack_flags = (int32_t)saved->stack_flags, frame.stack_bytes = saved->stack_bytes;
    memcpy(frame.general, saved, sizeof frame.general);
    frame.cs = 0x33, frame.ss = 0x2b;
    frame.blocked = saved->blocked;
    memcpy(floating, saved->floating, sizeof floating);
    memset(floating + 464, 0, 48); /* no more than FXSAVE has */
    frame.floating = floating;
    CALL1(__NR_close, IMAGE_FD);
    CALL1(__NR_close, ANSWER_FD);
    CALL2(__NR_munmap, RESTORER_HEAD, RESTORER_END - RESTORER_HEAD);
    __asm__ volatile("mov %0, %%rsp\n\tmov %1, %%eax\n\tsyscall" : : "r"(&frame), "i"(__NR_rt_sigreturn) : "memory");
    __builtin_unreachable();
}

__attribute__((used, noreturn)) static void begin(void)
{
    read_own();
    clear();
    must("mapping the image", "", CALL6(__NR_mmap, RESTORER_HEAD, IMAGE_HEAD, PROT_READ, MAP_PRIVATE | MAP_FIXED, IMAGE_FD, 0));
    if (head->magic != IMAGE_MAGIC)
        fail("this is no image", "", -22);
    map_all();
    tell_places();
    open_descriptors();
    settle();
    go_on();
}

static uint8_t stack[32768] __attribute__((used, aligned(64)));
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tlea stack+32768(%rip), %rsp\n\tcall begin\n");
