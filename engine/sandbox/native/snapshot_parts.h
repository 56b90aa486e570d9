/* What the two halves of writing an image share; both run in the child that snapshot() makes, for one image only. */
#ifndef LAMBENT_SNAPSHOT_PARTS_H
#define LAMBENT_SNAPSHOT_PARTS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "image.h"

extern struct image_head *head;
extern pid_t target;
extern int target_memory, image;      /* /proc/PID/mem, and the file */
extern uint64_t room, end_of_image;   /* bytes that may still be written, and where */
extern uint64_t waits_on;             /* the descriptor that it receives from */

/* Say why not, and end: the process goes on. */
_Noreturn void refuse(int number, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Files of /proc/PID. */
char *path_of(const char *what, char path[64]);
FILE *open_text(const char *what);
int open_data(const char *what);
size_t read_small(const char *what, void *to, size_t most);

/* Keep a string; where it is among the names. */
uint32_t name(const char *text);
void write_image(const void *from, size_t bytes, uint64_t at);

void read_descriptors(void);
void read_areas(void);
void copy_pages(void);

#endif
