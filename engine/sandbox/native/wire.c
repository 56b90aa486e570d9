#define _GNU_SOURCE
#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEADER 5 /* length (4 bytes, little endian as every machine we run on), kind */

/* Small orders, that is nearly all, need no allocation. */
static char inline_buffer[65536];

static int read_fully(int sock, char *to, size_t length)
{
    while (length) {
        ssize_t got = recv(sock, to, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -1 : 0;
        to += got;
        length -= (size_t)got;
    }
    return 1;
}

/* Copy a memory file: a mapping would change under us if the sender kept writing. */
static int read_file(int fd, struct order *order)
{
    struct stat found;
    if (fstat(fd, &found) < 0)
        return -1;
    order->length = (size_t)found.st_size;
    order->data = malloc(order->length + 1);
    if (!order->data)
        return -1;
    size_t offset = 0;
    while (offset < order->length) {
        ssize_t got = pread(fd, order->data + offset, order->length - offset, (off_t)offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            if (!got)
                errno = EIO;
            return -1;
        }
        offset += (size_t)got;
    }
    return 1;
}

static void take_descriptors(struct msghdr *message, struct order *order)
{
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS)
            continue;
        unsigned count = (unsigned)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        for (unsigned i = 0; i < count && order->fd_count < MAX_FDS; i++)
            memcpy(&order->fds[order->fd_count++], CMSG_DATA(control) + i * sizeof(int), sizeof(int));
    }
}

int receive_order(int sock, struct order *order)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    char header[HEADER];
    struct iovec part = {header, HEADER};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    memset(order, 0, sizeof *order);
    ssize_t got;
    do
        got = recvmsg(sock, &message, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    if (got <= 0)
        return (int)got;
    take_descriptors(&message, order);
    int rest = got < HEADER ? read_fully(sock, header + got, (size_t)(HEADER - got)) : 1;
    if (rest <= 0)
        return rest;
    uint32_t length;
    memcpy(&length, header, sizeof length);
    order->kind = (uint8_t)header[4];
    if (length == IN_FILE) {
        if (!order->fd_count) {
            errno = EPROTO;
            return -1;
        }
        int fd = order->fds[--order->fd_count]; /* it travels last */
        rest = read_file(fd, order);
        close(fd);
    } else {
        order->length = length;
        order->data = length < sizeof inline_buffer ? inline_buffer : malloc((size_t)length + 1);
        if (!order->data)
            return -1;
        rest = read_fully(sock, order->data, length);
    }
    if (rest > 0)
        order->data[order->length] = '\0';
    return rest;
}

void release_order(struct order *order)
{
    if (order->data != inline_buffer)
        free(order->data);
    order->data = NULL;
}

void send_answer(int sock, int number, int step)
{
    int32_t answer[2] = {number, step};
    ssize_t sent;
    do
        sent = send(sock, answer, sizeof answer, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
}

int send_frame(int sock, uint8_t kind, uint32_t number, const void *payload, size_t length, const int *fds, int count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
    } control;
    char header[10];
    uint32_t size = (uint32_t)length;
    memcpy(header, &size, 4);
    memcpy(header + 4, &number, 4);
    header[8] = (char)kind;
    header[9] = (char)count;
    struct iovec parts[2] = {{header, sizeof header}, {(void *)(uintptr_t)payload, length}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = length ? 2 : 1};
    if (count) {
        message.msg_control = control.bytes;
        message.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
        memcpy(CMSG_DATA(rights), fds, (size_t)count * sizeof(int));
    }
    /* Frames are far smaller than the socket's buffer: one sendmsg takes all of it. */
    ssize_t sent;
    do
        sent = sendmsg(sock, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -1 : 0;
}

int send_done(int sock, int number, int step, const char *text, int fd)
{
    char payload[1024];
    int32_t answer[2] = {number, step};
    size_t length = text ? strnlen(text, sizeof payload - sizeof answer) : 0;
    memcpy(payload, answer, sizeof answer);
    if (length)
        memcpy(payload + sizeof answer, text, length);
    return send_frame(sock, DONE, 0, payload, sizeof answer + length, &fd, fd >= 0);
}

char *next_string(struct order *order, char **cursor)
{
    char *string = *cursor;
    if (!string || string > order->data + order->length)
        return NULL;
    *cursor = string + strlen(string) + 1;
    return string;
}
