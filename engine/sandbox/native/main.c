/* The native part of the sandbox: small programs that wait for an order where an interpreter would cost milliseconds.
 *
 *   lambent-native blank SOCKET SPAWNER                a process of process mode, before it becomes the function's runtime
 *   lambent-native sandbox SOCKET SPAWNER NAMESPACES   the first process of a sandbox
 *   lambent-native zygote SOCKET SPAWNER               arranges its files as a sandbox's are, then becomes an interpreter
 *   lambent-native probe NAMESPACES                    exits with the errno of making them
 *
 * Started by the spawner only; SOCKET is a descriptor, SPAWNER the pid without which nothing here goes on living,
 * NAMESPACES the CLONE_NEW flags.
 * No allocation on the way, no locale, statically linked: 0.2 MB resident, and nothing to take down at execve. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "roles.h"

static int usage(void)
{
    static const char text[] = "lambent-native: started by Lambent's spawner, not by hand\n";
    ssize_t written = write(2, text, sizeof text - 1);
    (void)written;
    return 2;
}

int main(int count, char **arguments)
{
    if (count == 4 && !strcmp(arguments[1], "blank"))
        return blank(atoi(arguments[2]), atoi(arguments[3]));
    if (count == 5 && !strcmp(arguments[1], "sandbox"))
        return sandbox(atoi(arguments[2]), atoi(arguments[3]), strtoul(arguments[4], NULL, 10));
    if (count == 4 && !strcmp(arguments[1], "zygote"))
        return zygote(atoi(arguments[2]), atoi(arguments[3]));
    if (count == 3 && !strcmp(arguments[1], "probe"))
        return probe(strtoul(arguments[2], NULL, 10));
    return usage();
}
