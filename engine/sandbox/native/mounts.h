/* The instructions that make a sandbox's view of files and names; engine/sandbox/namespaces/plan.py writes them. */
#ifndef LAMBENT_MOUNTS_H
#define LAMBENT_MOUNTS_H

#include "wire.h"

/* Carry out every instruction left in `order`. 0, or an errno; `*failed` is then the instruction's words, or NULL. */
int carry_out_instructions(struct order *order, char **cursor, const char **failed);

#endif
