/* forks HOW NAME: a fork bomb with a bound of 3,000 processes, which are called NAME.
 *
 *   count     children that do nothing; prints how many there could be, and errno's number
 *   storm     every child forks on, in a session of its own, deaf to SIGTERM; ends never
 *   churn     like storm, but each child lives for no longer than it takes to fork the next */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#define BOUND 3000

static int *made;

static int may(void) { return __atomic_add_fetch(made, 1, __ATOMIC_RELAXED) <= BOUND; }

int main(int count, char **arguments)
{
    made = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (count < 3 || made == MAP_FAILED)
        return 2;
    prctl(PR_SET_NAME, arguments[2], 0, 0, 0);
    if (!strcmp(arguments[1], "count")) {
        int children = 0, failed = 0;
        while (may()) {
            pid_t pid = fork();
            if (pid == 0) {
                close(1);
                close(2);
                for (;;)
                    pause();
            }
            if (pid < 0) {
                failed = errno;
                break;
            }
            children++;
        }
        printf("%d %d\n", children, failed);
        return 0;
    }
    int churn = !strcmp(arguments[1], "churn");
    signal(SIGTERM, SIG_IGN);
    signal(SIGCHLD, SIG_IGN); /* nobody waits */
    for (;;) {
        /* In a churn as many are made as there is time for; there are never more than a few at once. */
        if ((churn || may()) && fork() == 0) {
            setsid();
            continue;
        }
        if (churn)
            _exit(0);
        usleep(10000);
    }
}
