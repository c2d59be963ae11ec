/* What tests ask of the system that each has in its own way. */
#ifndef TESTS_SYSTEM_H
#define TESTS_SYSTEM_H

/* How many descriptors are open in this process. Compare it with another call's result only: the
 * looking itself may have one. */
int test_open_descriptors(void);

/* Two stream sockets that are connected with each other, by TCP where the system can. */
void test_tcp_pair(int fd[2]);

#endif
