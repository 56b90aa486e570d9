/* prints WHAT MIB: that many MiB on stdout, as fast as they are taken, at most 2 GiB.
 *
 *   lines   of 100 bytes       empty   newlines only       one    a single line without its newline
 *   junk    bytes that are not text, with newlines where they happen to be */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char block[1 << 20];

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    long mib = strtol(arguments[2], NULL, 10);
    memset(block, 'x', sizeof block);
    if (!strcmp(arguments[1], "empty"))
        memset(block, '\n', sizeof block);
    if (!strcmp(arguments[1], "lines"))
        for (size_t at = 99; at < sizeof block; at += 100)
            block[at] = '\n';
    if (!strcmp(arguments[1], "junk"))
        for (size_t at = 0; at < sizeof block; at++)
            block[at] = (char)(at * 2654435761u >> 13);
    for (long i = 0; i < mib && i < 2048; i++)
        for (size_t at = 0; at < sizeof block;) {
            ssize_t written = write(1, block + at, sizeof block - at);
            if (written <= 0)
                return 1;
            at += (size_t)written;
        }
    return 0;
}
