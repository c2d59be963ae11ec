/* What tests ask of the system that each has in its own way. */
#ifndef TESTS_SYSTEM_H
#define TESTS_SYSTEM_H

#include <stdbool.h>

/* How many descriptors are open in this process. Compare it with another call's result only: the
 * looking itself may have one. */
int test_open_descriptors(void);

/* Two stream sockets that are connected with each other, by TCP where the system can. */
void test_tcp_pair(int fd[2]);

/* A child process, in which it returns 0: its standard error is the descriptor err, and SIGABRT
 * ends it. The caller gets its number, or a negative value. Where there is no fork the child is
 * this program, which has repeated the case up to this call. */
int test_fork(int err);

/* Whether this process is such a child, and has not come to its own call: what becomes of the
 * children before was looked at elsewhere. */
bool test_repeats(void);

#endif
