/* takes HOW: memory, as fast as it can be had, up to 1 GiB; then prints "survived".
 *
 *   touch     private pages       shared   shared pages           memfd    a file without a name, written, never mapped
 *   sysv      System V segments   child    private pages, in a grandchild that nobody waits for
 *   buffers   data in the buffers of pipes and sockets */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <unistd.h>

#define STEP (4 << 20)
#define BOUND 256 /* steps: 1 GiB */

static char block[STEP];

static void map(int flags)
{
    for (int i = 0; i < BOUND; i++) {
        char *memory = mmap(NULL, STEP, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED)
            break;
        for (int at = 0; at < STEP; at += 4096)
            memory[at] = 1;
    }
}

static void buffers(void)
{
    int ends[2], size = 1 << 20;
    while (pipe2(ends, O_NONBLOCK) == 0) {
        fcntl(ends[1], F_SETPIPE_SZ, size);
        while (write(ends[1], block, 65536) > 0)
            ;
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) < 0)
            break;
        setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
        while (write(ends[1], block, 65536) > 0)
            ;
    }
}

int main(int count, char **arguments)
{
    const char *how = count > 1 ? arguments[1] : "touch";
    if (!strcmp(how, "child")) {
        if (fork() == 0) {
            setsid();
            if (fork() == 0)
                map(MAP_PRIVATE);
            _exit(0);
        }
        pause();
    } else if (!strcmp(how, "touch")) {
        map(MAP_PRIVATE);
    } else if (!strcmp(how, "shared")) {
        map(MAP_SHARED);
    } else if (!strcmp(how, "memfd")) {
        int file = memfd_create("taken", 0);
        for (int i = 0; i < BOUND && write(file, block, STEP) == STEP; i++)
            ;
    } else if (!strcmp(how, "sysv")) {
        for (int i = 0; i < BOUND; i++) {
            int segment = shmget(IPC_PRIVATE, STEP, IPC_CREAT | 0600);
            char *memory = segment < 0 ? (char *)-1 : shmat(segment, NULL, 0);
            if (memory == (char *)-1)
                break;
            memset(memory, 1, STEP);
            shmdt(memory); /* it stays, although nobody has it mapped */
        }
    } else if (!strcmp(how, "buffers")) {
        buffers();
    } else {
        return 2;
    }
    puts("survived");
    return 0;
}
