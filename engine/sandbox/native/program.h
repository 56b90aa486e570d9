/* Becoming a program: limits, user, working directory, execve. */
#ifndef LAMBENT_PROGRAM_H
#define LAMBENT_PROGRAM_H

#include <stddef.h>

#include "wire.h"

/* Standard output once more: wire.LOG_FD. */
#define LOG 5

struct program {
    char *user;   /* number, or empty: stay who we are */
    char *limits; /* resource=soft:hard,... */
    char *cwd;
    char **arguments;
    char **environment;
};

/* Read the strings of a SPAWN order: user, limits, cwd, count, arguments..., environment... 0, or an errno. */
int parse_program(struct order *order, char **cursor, struct program *program);

/* Set the rlimits of `limits`; none is raised above the hard one that holds already. 0, or an errno. */
int set_limits(const char *limits);

/* Give up every id and group but `user`. 0, or an errno. */
int become_user(const char *user);

/* Be killed when the parent ends; 0, or an errno, ESRCH when that is not `parent` any more. */
int die_with_parent(int parent);

/* Every signal as a fresh process has it: none ignored, none blocked. */
void reset_signals(void);

#endif
