/* What crosses the sockets: the C side of engine/sandbox/spawner/wire.py, which says what each thing means. */
#ifndef LAMBENT_WIRE_H
#define LAMBENT_WIRE_H

#include <stddef.h>
#include <stdint.h>

enum { SPAWN = 32, KILL = 33, STANDBY = 38, RESTORE = 39 };
enum { ARRANGE = 48, STEM = 49, LISTEN = 50, ADOPT = 51, CONNECT = 52, SNAPSHOT = 53, ASSIGN = 54 };
enum { EXIT = 17, INIT = 64, DONE = 65 };
enum { STEP_SETUP = 1, STEP_CWD = 2, STEP_EXEC = 3, STEP_TREE = 4, STEP_RESTORE = 8 };

#define IN_FILE 0xFFFFFFFFu
#define MAX_FDS 16

/* One received order: `strings` are NUL-terminated one after the other in `data`. */
struct order {
    uint8_t kind;
    char *data;
    size_t length;
    int fds[MAX_FDS];
    int fd_count;
};

/* Receive one order, blocking. 1: there is one; 0: the other side is gone; -1: errno says why not. */
int receive_order(int sock, struct order *order);

/* Release what receive_order took, but not descriptors: whoever acts on the order takes those. */
void release_order(struct order *order);

/* Send the answer `number` (an errno, 0: done) of step `step`. The other side may be gone: nobody to tell then. */
void send_answer(int sock, int number, int step);

/* Send a frame of the kind that the spawner sends, with `count` descriptors. 0, or -1 when the other side is gone. */
int send_frame(int sock, uint8_t kind, uint32_t number, const void *payload, size_t length, const int *fds, int count);

/* Answer an order of the engine's: `number` (an errno, 0: done) of `step`, a text or NULL, a descriptor or -1. 0, or -1. */
int send_done(int sock, int number, int step, const char *text, int fd);

/* The next string of an order; NULL when there is none. */
char *next_string(struct order *order, char **cursor);

#endif
