/* What a process has: its descriptors, its mappings, its pages. A part of snapshot.c, which has stopped it. */
#ifdef __x86_64__
#define _GNU_SOURCE
#include "snapshot_parts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "program.h"

#define CHUNK 256u       /* pages at a time */
#define ZERO_STRETCH 16u /* so many empty pages one after the other are left out */

static uint32_t first_run; /* of the area at hand */

uint32_t name(const char *text)
{
    size_t length = strlen(text) + 1;
    if (length > IMAGE_NAMES - head->names)
        refuse(E2BIG, "it has too many files mapped or open");
    uint32_t at = head->names;
    memcpy(head->name + at, text, length);
    head->names += (uint32_t)length;
    return at;
}

/* ---- files ---- */

/* Note a file by its path inside: our view is the process's. It is not opened, and it may not be one of its own /tmp. */
static struct image_file note_file(const char *path, const char *what)
{
    struct image_file file = {0};
    struct stat found;
    size_t length = strlen(path);
    if (strchr(path, '\\') || (length > 10 && !strcmp(path + length - 10, " (deleted)")))
        refuse(ENOTSUP, "it has %s that is gone: %.150s", what, path);
    if (!strncmp(path, "/tmp/", 5) || !strncmp(path, "/proc/", 6))
        refuse(ENOTSUP, "it has %s that no other sandbox has: %.150s", what, path);
    if (lstat(path, &found) < 0)
        refuse(errno, "%.150s: %s", path, strerror(errno));
    if (!S_ISREG(found.st_mode) && !(S_ISCHR(found.st_mode) && !strncmp(path, "/dev/", 5)))
        refuse(ENOTSUP, "it has %s that is not a plain one: %.150s", what, path);
    file.name = name(path);
    if (S_ISCHR(found.st_mode))
        return file;
    file.device = found.st_dev, file.inode = found.st_ino, file.size = (uint64_t)found.st_size;
    file.changed_s = (uint64_t)found.st_mtim.tv_sec, file.changed_ns = (uint64_t)found.st_mtim.tv_nsec;
    return file;
}

/* A TCP connection leads nowhere in the copy, as on Lambda. Any other socket cannot be given back. */
static int is_connection(int number, int pidfd)
{
    int domain = 0, type = 0, listens = 0, own = (int)syscall(SYS_pidfd_getfd, pidfd, number, 0);
    socklen_t size = sizeof domain;
    if (own < 0)
        refuse(errno, "its descriptor %d: %s", number, strerror(errno));
    int failed = getsockopt(own, SOL_SOCKET, SO_DOMAIN, &domain, &size) ||
                 getsockopt(own, SOL_SOCKET, SO_TYPE, &type, &size) ||
                 getsockopt(own, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
    close(own);
    return !failed && (domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM && !listens;
}

/* Whether a descriptor that leads to `link` is standard output once more. */
static int is_output(int all, const char *link)
{
    char output[64];
    ssize_t length = readlinkat(all, "1", output, sizeof output - 1);
    return length > 0 && strlen(link) == (size_t)length && !memcmp(link, output, (size_t)length);
}

void read_descriptors(void)
{
    char path[64], link[4096];
    int pidfd = (int)syscall(SYS_pidfd_open, target, 0), found = 0;
    DIR *all = opendir(path_of("fd", path));
    if (!all || pidfd < 0)
        refuse(errno, "its descriptors: %s", strerror(errno));
    for (struct dirent *entry; (entry = readdir(all));) {
        if (entry->d_name[0] == '.')
            continue;
        uint32_t number = (uint32_t)strtoul(entry->d_name, NULL, 10);
        ssize_t length = readlinkat(dirfd(all), entry->d_name, link, sizeof link - 1);
        char info[32], text[512], *at;
        if (length < 0)
            refuse(errno, "its descriptor %u: %s", number, strerror(errno));
        link[length] = '\0';
        snprintf(info, sizeof info, "fdinfo/%u", number);
        text[read_small(info, text, sizeof text - 1)] = '\0';
        uint32_t flags = (at = strstr(text, "flags:")) ? (uint32_t)strtoul(at + 6, NULL, 8) : 0;
        uint64_t position = (at = strstr(text, "pos:")) ? strtoull(at + 4, NULL, 10) : 0;
        int is_socket = !strncmp(link, "socket:", 7);
        if (number == waits_on) {
            if (!is_socket || !is_connection((int)number, pidfd))
                refuse(ENOTSUP, "what it waits on is not a connection");
            if (number >= IMAGE_LOWEST_FD)
                refuse(ENOTSUP, "what it waits on has too high a number");
            head->api_fd = number, head->api_flags = flags, found = 1;
            continue;
        }
        if (number <= 2 || (number == LOG && is_output(dirfd(all), link)))
            continue; /* those that every process of a sandbox is given */
        if (number >= IMAGE_LOWEST_FD || head->files == IMAGE_FILES)
            refuse(ENOTSUP, "it has too many descriptors open");
        struct image_fd *fd = &head->fd[head->files++];
        fd->number = number, fd->flags = flags, fd->position = position;
        if (is_socket) {
            if (!is_connection((int)number, pidfd))
                refuse(ENOTSUP, "it has a socket open that is not a TCP connection: descriptor %u", number);
        } else if (link[0] != '/' || (flags & O_ACCMODE) != O_RDONLY) {
            refuse(ENOTSUP, "descriptor %u is open: %.150s", number, link);
        } else {
            fd->file = note_file(link, "a file open");
        }
    }
    closedir(all);
    close(pidfd);
    if (!found)
        refuse(ENOTSUP, "what it waits on is not there");
}

/* ---- mappings and pages ---- */

static void read_flags(struct image_area *area, char *words)
{
    static const struct {
        char word[3];
        uint32_t flag;
    } known[] = {{"gd", AREA_GROWS_DOWN}, {"nr", AREA_NO_RESERVE}, {"wf", AREA_WIPE_ON_FORK}, {"dc", AREA_DONT_FORK},
                 {"dd", AREA_DONT_DUMP},  {"hg", AREA_HUGE},       {"nh", AREA_NO_HUGE},      {"dp", AREA_DROPPABLE}};
    static const char refused[][3] = {"io", "pf", "ht", "um", "uw", "ss", "sl"};
    for (char *word = strtok(words, " \n"); word; word = strtok(NULL, " \n")) {
        for (size_t i = 0; i < sizeof known / sizeof *known; i++)
            if (!strcmp(word, known[i].word))
                area->flags |= known[i].flag;
        for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
            if (!strcmp(word, refused[i]) && (!(area->flags & AREA_KERNEL) || !strcmp(word, "sl")))
                refuse(ENOTSUP, "it has a mapping of a kind that cannot be made again (%s)", word);
    }
}

/* Machine code that came with the system, its Python included; not with a package (image.h, "Copy on write"). */
static int is_systems(const char *path)
{
    return (!strncmp(path, "/usr/", 5) || !strncmp(path, "/lib", 4) || !strncmp(path, "/bin/", 5)) &&
           !strstr(path, "-packages/");
}

/* The first line about a mapping. 0: of no interest. */
static int read_area(struct image_area *area, char *line)
{
    uint64_t start, end, offset, inode;
    unsigned major, minor;
    char permissions[5];
    int at = 0;
    if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &start, &end, permissions, &offset, &major, &minor, &inode, &at) < 7)
        refuse(EIO, "/proc/PID/smaps has a line that was not expected");
    line[strcspn(line, "\n")] = '\0';
    const char *path = line + at;
    if (!strcmp(path, "[vsyscall]"))
        return 0;
    if (start < RESTORER_END && end > RESTORER_START)
        refuse(ENOTSUP, "it has memory where the one that makes the copy has to be");
    memset(area, 0, sizeof *area);
    area->start = start, area->end = end, area->offset = offset;
    area->protection = (permissions[0] == 'r' ? PROT_READ : 0u) | (permissions[1] == 'w' ? PROT_WRITE : 0u) |
                       (permissions[2] == 'x' ? PROT_EXEC : 0u);
    if (permissions[3] == 's') {
        area->flags |= AREA_SHARED;
        if (permissions[1] == 'w' || path[0] != '/')
            refuse(ENOTSUP, "it shares memory: %.150s", path);
    }
    if (area->protection & PROT_EXEC && strcmp(path, "[vdso]") && !is_systems(path))
        head->copy_on_write = 0;
    if (!strcmp(path, "[vdso]") || !strncmp(path, "[vvar", 5)) {
        area->flags |= AREA_KERNEL;
        area->file.name = name(path);
    } else if (path[0] == '/') {
        area->file = note_file(path, "a file mapped");
        if (area->file.inode != inode)
            refuse(ENOTSUP, "it has a file mapped that is another one now: %.150s", path);
    } else if (inode || (*path && strcmp(path, "[heap]") && strcmp(path, "[stack]") && strncmp(path, "[anon:", 6))) {
        refuse(ENOTSUP, "it has a mapping of a kind that cannot be made again: %.150s", path);
    }
    return 1;
}

void read_areas(void)
{
    FILE *text = open_text("smaps");
    static char line[8192];
    struct image_area *area = NULL;
    while (fgets(line, sizeof line, text)) {
        if (!strchr(line, '\n'))
            refuse(ENOTSUP, "it has a file mapped whose path is too long");
        if (line[0] >= 'A' && line[0] <= 'Z') { /* what is known of the area: "Size:", "VmFlags:" and so on */
            if (area && !strncmp(line, "VmFlags:", 8))
                read_flags(area, line + 8);
            continue;
        }
        if (head->areas == IMAGE_AREAS)
            refuse(E2BIG, "it has too many mappings");
        area = &head->area[head->areas];
        if (read_area(area, line))
            head->areas++;
        else
            area = NULL;
    }
    fclose(text);
}

void write_image(const void *from, size_t bytes, uint64_t at)
{
    while (bytes) {
        ssize_t written = pwrite(image, from, bytes, (off_t)at);
        if (written <= 0)
            refuse(errno, "writing the image: %s", strerror(errno));
        from = (const char *)from + written;
        at += (uint64_t)written;
        bytes -= (size_t)written;
    }
}

/* Append pages that follow one another, to the last run of their area where they follow that. */
static void add_run(uint64_t address, const char *pages, size_t count)
{
    struct image_run *last = head->runs > first_run ? &head->run[head->runs - 1] : NULL;
    uint64_t bytes = count * IMAGE_PAGE;
    if (bytes > room)
        refuse(E2BIG, "it has more memory than the function may have");
    if (!last || last->address + last->bytes != address) {
        if (head->runs == IMAGE_RUNS)
            refuse(E2BIG, "its memory is in too many pieces");
        last = &head->run[head->runs++];
        *last = (struct image_run){address, 0, end_of_image};
    }
    write_image(pages, bytes, end_of_image);
    last->bytes += bytes;
    end_of_image += bytes;
    room -= bytes;
}

static int is_zero(const char *page)
{
    const uint64_t *word = (const uint64_t *)(const void *)page;
    uint64_t any = 0;
    for (unsigned i = 0; i < IMAGE_PAGE / sizeof *word; i++)
        any |= word[i];
    return !any;
}

/* Pages that are there, one after the other. Where memory begins as zeros, long stretches of zeros are left out. */
static void add_pages(uint64_t address, unsigned count, int skip_zeros)
{
    static char pages[CHUNK * IMAGE_PAGE];
    if (pread(target_memory, pages, count * IMAGE_PAGE, (off_t)address) != (ssize_t)(count * IMAGE_PAGE))
        refuse(errno, "reading its memory: %s", strerror(errno));
    unsigned begin = 0;
    for (unsigned i = 0; skip_zeros && i < count;) {
        unsigned zeros = 0;
        while (i + zeros < count && is_zero(pages + (i + zeros) * IMAGE_PAGE))
            zeros++;
        if (zeros >= ZERO_STRETCH) {
            if (i > begin)
                add_run(address + begin * IMAGE_PAGE, pages + begin * IMAGE_PAGE, i - begin);
            begin = i + zeros;
        }
        i += zeros + 1;
    }
    if (count > begin)
        add_run(address + begin * IMAGE_PAGE, pages + begin * IMAGE_PAGE, count - begin);
}

/* Documentation/admin-guide/mm/pagemap.rst: bit 63 present, 62 swapped, 61 of a file or shared. */
static int has_own(uint64_t entry) { return (entry >> 62) && !(entry >> 61 & 1); }

void copy_pages(void)
{
    static uint64_t entries[CHUNK];
    int map = open_data("pagemap");
    for (uint32_t i = 0; i < head->areas; i++) {
        const struct image_area *area = &head->area[i];
        if (area->flags & (AREA_KERNEL | AREA_SHARED | AREA_WIPE_ON_FORK | AREA_DROPPABLE))
            continue;
        first_run = head->runs;
        for (uint64_t address = area->start; address < area->end;) {
            uint64_t left = (area->end - address) / IMAGE_PAGE;
            size_t want = (left < CHUNK ? left : CHUNK) * sizeof *entries;
            ssize_t got = pread(map, entries, want, (off_t)(address / IMAGE_PAGE * sizeof *entries));
            if (got <= 0)
                refuse(errno, "/proc/PID/pagemap: %s", strerror(errno));
            unsigned count = (unsigned)((size_t)got / sizeof *entries), begin = 0;
            while (begin < count) {
                unsigned end = begin;
                while (end < count && has_own(entries[end]))
                    end++;
                if (end > begin)
                    add_pages(address + begin * IMAGE_PAGE, end - begin, !area->file.name);
                begin = end + 1;
            }
            address += (uint64_t)count * IMAGE_PAGE;
        }
    }
    close(map);
}

#else
typedef int not_here; /* ISO C wants something in a file */
#endif
