/* What this program can be told to be; see main.c. */
#ifndef LAMBENT_ROLES_H
#define LAMBENT_ROLES_H

int blank(int sock, int spawner);
int sandbox(int sock, int spawner, unsigned long namespaces);
int zygote(int sock, int spawner);
int probe(unsigned long namespaces);

#endif
