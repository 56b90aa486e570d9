/* The image of a process: what `snapshot.c` writes and `restore/restore.c` makes a process of.
 *
 * SnapStart's promise is that Init runs once. So the runtime of a version that has been initialised, a process with one
 * thread that waits in recv(2) for the answer to restore/next, is written down, and later environments of that version
 * begin as a copy of it. Three programs take part:
 *
 *   the first process of the template's sandbox   root, trusted. A child of it stops the process (ptrace), reads what the
 *                                                 kernel tells of it, and writes the image. What cannot be written down
 *                                                 faithfully is refused, with the reason; nothing is guessed.
 *   a stem of another sandbox                     as for every program: it has that sandbox's user, control groups, pid
 *                                                 namespace, network, /tmp and filter, gives up all privileges, and
 *                                                 executes
 *   lambent-restore                               a program without a C library, linked at an address of its own, that
 *                                                 fills its own memory with the image and continues where the template was.
 *
 * Whom to trust with what. An image is made of what hostile code had in memory, in its registers and among its
 * mappings. Therefore nothing that has a privilege looks into it: lambent-restore is, from its first instruction, a process that may do
 * no more than the function could do by itself. Paths in the image are opened by it, in its own view of files; a mapping
 * or a register that lies breaks that one environment, which ends as any that crashes. The writer, which is privileged,
 * reads the process but never runs anything of it and never follows its pointers, bounds each table (below) and the whole, and opens
 * no path of it. The engine passes the file on as a descriptor that can only be read, and never reads it.
 *
 * Why not a fork of the template: whoever may put its child into a sandbox must be privileged over it, and a template runs
 * hostile code.
 *
 * Copy on write. Memory that is mapped from the image costs nothing until it is written to. But it is not quite what the
 * function had: MADV_DONTNEED, after which some allocators take for granted that memory is zero, brings back old contents, and a
 * mapping that grows (mremap) shows what comes next in the file. CPython's allocators and the C library's rely on
 * neither; a jemalloc in a package may. So long stretches are mapped where all machine code of the process is the system's,
 * and everything is copied where some came with the function (AREA of code under /var/task, /opt or a *-packages folder).
 *
 * What a copy has of its own: user, pid, limits, /tmp, network, clocks (they are the host's), signals to come. What it shares
 * with its siblings: the layout of its memory and, until something reseeds it, every generator of random numbers in it.
 * The bootstrap reseeds those it knows; OpenSSL and others notice another pid (the template has one that no copy has);
 * memory that is wiped on fork (MADV_WIPEONFORK) is wiped here.
 *
 * What it has lost, as nobody can ask for it: a Landlock domain, priorities and processors that it was bound to, and what
 * prctl(2) sets beyond its name. */
#ifndef LAMBENT_IMAGE_H
#define LAMBENT_IMAGE_H

#include <stdint.h>

#define IMAGE_MAGIC 0x31304d494c4d424cULL
#define IMAGE_PAGE 4096u

/* Where lambent-restore is linked (restore/build in build.sh has the same number), and what it needs around it. */
#define RESTORER_START 0x200000UL
#define RESTORER_HEAD 0x240000UL /* the image's head, mapped */
#define RESTORER_PARK 0x3c0000UL /* the kernel's own mappings (vdso), while their place may be taken */
#define RESTORER_END 0x400000UL

/* The head has a fixed room, pages follow. Bounds of its tables; a Python with many libraries has some 500 areas. */
#define IMAGE_HEAD 0x180000UL
#define IMAGE_AREAS 4096u
#define IMAGE_RUNS 40000u
#define IMAGE_FILES 64u
#define IMAGE_NAMES 0x28000u
#define IMAGE_SIGNALS 64u
#define IMAGE_LIMITS 16u
#define IMAGE_AUXV 64u

/* From so many bytes on memory is mapped from the image, where it may be; and how far the image goes on after its end. */
#define IMAGE_STRETCH 0x10000u
#define IMAGE_AT_ONCE 0x400000u /* a longer stretch is data: its pages come one by one */
#define IMAGE_BEYOND (1ULL << 36)

/* Descriptors by which a stem gives lambent-restore what it needs. The template's own are below. */
enum { IMAGE_FD = 256, ANSWER_FD = 257, API_FD = 258, IMAGE_LOWEST_FD = 256 };

enum {
    AREA_SHARED = 1,
    AREA_GROWS_DOWN = 2,
    AREA_NO_RESERVE = 4,
    AREA_WIPE_ON_FORK = 8,
    AREA_DONT_FORK = 16,
    AREA_DONT_DUMP = 32,
    AREA_HUGE = 64,
    AREA_NO_HUGE = 128,
    AREA_DROPPABLE = 256,
    AREA_KERNEL = 512, /* vdso and its data: moved, not made */
};

/* A file by its path inside, and what tells that it is the same. `name` is an offset into the names; 0: none. */
struct image_file {
    uint32_t name, padding;
    uint64_t device, inode, size, changed_s, changed_ns;
};

/* One mapping. */
struct image_area {
    uint64_t start, end, offset;
    uint32_t protection, flags;
    struct image_file file; /* of AREA_KERNEL only the name counts */
};

/* Consecutive pages with contents, at `offset` of the image. */
struct image_run {
    uint64_t address, bytes, offset;
};

/* A descriptor: a file that was open for reading, or (no name) a TCP connection, of which a dead socket is left. */
struct image_fd {
    struct image_file file;
    uint64_t position;
    uint32_t number, flags; /* of open(2): O_CLOEXEC, O_NONBLOCK */
};

/* struct sigaction as the kernel has it; the handler of a signal that has none is 0. */
struct image_signal {
    uint64_t handler, flags, restorer, mask;
};

/* What rt_sigreturn(2) reads, as far as it says something: general registers in the order of struct sigcontext. */
struct image_registers {
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15, di, si, bp, bx, dx, ax, cx, sp, ip, flags;
    uint64_t blocked, stack, stack_bytes, fs_base, gs_base;
    uint32_t stack_flags, padding;
    uint8_t floating[512]; /* as FXSAVE has it; beyond it a call leaves nothing that its caller may rely on */
};

struct image_head {
    uint64_t magic;
    uint32_t areas, runs, files, names;
    struct image_registers registers;
    uint64_t tid_address, robust_list, robust_bytes;
    uint64_t rseq, rseq_bytes, rseq_signature;
    uint64_t code[2], data[2], brk[2], stack, arguments[2], environment[2]; /* struct prctl_mm_map */
    uint64_t auxv[IMAGE_AUXV];
    uint64_t limits[IMAGE_LIMITS][2];
    struct image_signal signals[IMAGE_SIGNALS];
    uint32_t auxv_words, umask, api_fd, api_flags, cwd, copy_on_write;
    char command[16];
    struct image_fd fd[IMAGE_FILES];
    struct image_area area[IMAGE_AREAS];
    struct image_run run[IMAGE_RUNS];
    char name[IMAGE_NAMES];
};

_Static_assert(sizeof(struct image_head) <= IMAGE_HEAD, "the head has a fixed room");
_Static_assert(RESTORER_HEAD + IMAGE_HEAD <= RESTORER_PARK, "and so has its mapping");

#endif
