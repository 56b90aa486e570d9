/* Prints its real and effective user: what a set-user-id bit changed. */
#include <stdio.h>
#include <unistd.h>

int main(void)
{
    printf("%u %u\n", (unsigned)getuid(), (unsigned)geteuid());
    return 0;
}
