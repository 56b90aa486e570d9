/* Mechanism only: which folders a function sees is decided, and written down as instructions, by the engine.
 *
 * An instruction is a word and its arguments, each a string:
 *
 *   root DIR              a small file system in memory at DIR becomes the place that all later targets are in
 *   dir PATH MODE         make a folder
 *   file PATH TEXT        make a file, 0644
 *   link PATH TARGET      make a symbolic link
 *   bind SOURCE PATH      show the host's SOURCE at PATH (which is made if need be): read-only, no set-user-id, no devices
 *   device SOURCE PATH    the same for one device node, which stays usable
 *   proc PATH             a proc of this pid namespace; its sys, where the kernel's settings are, read-only
 *   pivot                 the place becomes /, the host's files move to /.host, where only root may look
 *   seal PATH             no more changes to the file system mounted at PATH
 *   detach                the host's files go
 *   attach PATH           the next descriptor that came with the order, a detached mount, appears at PATH
 *   memory PATH OPTIONS   a file system in memory, for where nothing better can be had
 *   hostname NAME
 *   loopback              the loopback interface of this network namespace comes up
 *
 * Sources are the host's paths, before and after `pivot`. */
#define _GNU_SOURCE
#include "mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PATH_ROOM 4608
#define HOST "/.host"

/* What comes before targets and before sources. */
static char place[PATH_ROOM], host[sizeof HOST];

static int joined(char *out, const char *before, const char *path)
{
    int length = snprintf(out, PATH_ROOM, "%s%s", before, path);
    return length < 0 || length >= PATH_ROOM ? ENAMETOOLONG : 0;
}

static int result(int returned) { return returned < 0 ? errno : 0; }

/* Make the folders above `path`, which is our own buffer. */
static int make_parents(char *path)
{
    for (char *slash = strchr(path + strlen(place) + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, 0755) < 0 && errno != EEXIST ? errno : 0;
        *slash = '/';
        if (failed)
            return failed;
    }
    return 0;
}

static int do_root(char **word)
{
    if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return errno;
    if (joined(place, "", word[0]))
        return ENAMETOOLONG;
    return result(mount("lambent", place, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755,size=1m,nr_inodes=1024"));
}

static int do_dir(char **word)
{
    char path[PATH_ROOM];
    int failed = joined(path, place, word[0]);
    if (failed || (failed = make_parents(path)))
        return failed;
    mode_t mode = (mode_t)strtoul(word[1], NULL, 8);
    if (mkdir(path, mode) < 0 && errno != EEXIST)
        return errno;
    return result(chmod(path, mode));
}

static int do_file(char **word)
{
    char path[PATH_ROOM];
    int failed = joined(path, place, word[0]);
    if (failed || (failed = make_parents(path)))
        return failed;
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (file < 0)
        return errno;
    size_t length = strlen(word[1]);
    ssize_t written = write(file, word[1], length);
    failed = written < 0 ? errno : (size_t)written < length ? ENOSPC : 0;
    close(file);
    return failed;
}

static int do_link(char **word)
{
    char path[PATH_ROOM];
    int failed = joined(path, place, word[0]);
    if (failed || (failed = make_parents(path)))
        return failed;
    return result(symlink(word[1], path));
}

/* Read-only and the rest, for everything mounted at and below `path`. */
static int restrict_mount(const char *path, uint64_t attributes)
{
    struct mount_attr change = {.attr_set = attributes};
    return result((int)syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &change, sizeof change));
}

static int bind_mount(const char *source, const char *target, uint64_t attributes)
{
    char from[PATH_ROOM], to[PATH_ROOM];
    struct stat found;
    int failed;
    if ((failed = joined(from, host, source)) || (failed = joined(to, place, target)))
        return failed;
    if (stat(from, &found) < 0)
        return errno;
    /* What exists already may be on a sealed file system. */
    if (access(to, F_OK) < 0) {
        if ((failed = make_parents(to)))
            return failed;
        if (S_ISDIR(found.st_mode)) {
            if (mkdir(to, 0755) < 0)
                return errno;
        } else {
            int file = open(to, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
            if (file < 0)
                return errno;
            close(file);
        }
    }
    if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) < 0)
        return errno;
    return restrict_mount(to, attributes);
}

static int do_bind(char **word)
{
    return bind_mount(word[0], word[1], MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

static int do_device(char **word) { return bind_mount(word[0], word[1], MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC); }

static int do_proc(char **word)
{
    char path[PATH_ROOM];
    int failed = joined(path, place, word[0]);
    if (failed)
        return failed;
    if (mkdir(path, 0555) < 0 && errno != EEXIST)
        return errno;
    if (mount("proc", path, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
        return errno;
    if (strlen(path) + sizeof "/sys" > sizeof path)
        return ENAMETOOLONG;
    strcat(path, "/sys");
    if (mount(path, path, NULL, MS_BIND, NULL) < 0)
        return errno;
    return restrict_mount(path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
}

static int do_pivot(char **word)
{
    char old[PATH_ROOM];
    (void)word;
    int failed = joined(old, place, HOST);
    if (failed)
        return failed;
    if (mkdir(old, 0700) < 0 || chdir(place) < 0 || syscall(SYS_pivot_root, ".", "." HOST) < 0 || chdir("/") < 0)
        return errno;
    place[0] = '\0';
    strcpy(host, HOST);
    return 0;
}

static int do_seal(char **word)
{
    char path[PATH_ROOM];
    int failed = joined(path, place, word[0]);
    if (failed)
        return failed;
    struct mount_attr change = {.attr_set = MOUNT_ATTR_RDONLY};
    return result((int)syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &change, sizeof change));
}

static int do_detach(char **word)
{
    (void)word;
    return result(umount2(HOST, MNT_DETACH));
}

static int do_attach(char **word, int mount_fd)
{
    char path[PATH_ROOM];
    int failed = joined(path, place, word[0]);
    if (failed)
        return failed;
    return result((int)syscall(SYS_move_mount, mount_fd, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH));
}

static int do_memory(char **word)
{
    char path[PATH_ROOM];
    int failed = joined(path, place, word[0]);
    if (failed)
        return failed;
    return result(mount("tmp", path, "tmpfs", MS_NOSUID | MS_NODEV, word[1]));
}

static int do_hostname(char **word) { return result(sethostname(word[0], strlen(word[0]))); }

static int do_loopback(char **word)
{
    struct ifreq request = {.ifr_name = "lo"};
    (void)word;
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (sock < 0)
        return errno;
    int failed = result(ioctl(sock, SIOCGIFFLAGS, &request));
    request.ifr_flags |= IFF_UP;
    if (!failed)
        failed = result(ioctl(sock, SIOCSIFFLAGS, &request));
    close(sock);
    return failed;
}

static const struct {
    const char *name;
    int words;
    int (*act)(char **);
} instructions[] = {
    {"root", 1, do_root},     {"dir", 2, do_dir},         {"file", 2, do_file},     {"link", 2, do_link},
    {"bind", 2, do_bind},     {"device", 2, do_device},   {"proc", 1, do_proc},     {"pivot", 0, do_pivot},
    {"seal", 1, do_seal},     {"detach", 0, do_detach},   {"memory", 2, do_memory}, {"hostname", 1, do_hostname},
    {"attach", 1, NULL},      {"loopback", 0, do_loopback},
};

static int carry_out(struct order *order, char *name, char **word, int words, int *next_fd)
{
    for (size_t i = 0; i < sizeof instructions / sizeof *instructions; i++) {
        if (strcmp(instructions[i].name, name))
            continue;
        if (words != instructions[i].words)
            return EPROTO;
        if (instructions[i].act)
            return instructions[i].act(word);
        if (*next_fd >= order->fd_count)
            return EPROTO;
        int failed = do_attach(word, order->fds[*next_fd]);
        close(order->fds[*next_fd]);
        order->fds[(*next_fd)++] = -1;
        return failed;
    }
    return EPROTO;
}

static int words_of(const char *name)
{
    for (size_t i = 0; i < sizeof instructions / sizeof *instructions; i++)
        if (!strcmp(instructions[i].name, name))
            return instructions[i].words;
    return 0;
}

int carry_out_instructions(struct order *order, char **cursor, const char **failed)
{
    static char words_text[PATH_ROOM];
    int next_fd = 0;
    *failed = NULL;
    for (char *name; (name = next_string(order, cursor)) && *name;) {
        char *word[2] = {NULL, NULL};
        int words = 0, wanted = words_of(name);
        while (words < wanted && (word[words] = next_string(order, cursor)))
            words++;
        int number = carry_out(order, name, word, words, &next_fd);
        if (number) {
            snprintf(words_text, sizeof words_text, "%s %.200s %.200s", name, word[0] ? word[0] : "",
                     word[1] && strcmp(name, "file") ? word[1] : "");
            *failed = words_text;
            return number;
        }
    }
    return 0;
}
