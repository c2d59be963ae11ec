/* Open descriptors of a WASI program: files from 0 on, and sockets from 1024 on (see
 * toolchains/wasi). Each range is looked through until none was found for a while. */
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <wasi/api.h>

/* As in tests/system.h. */
int test_open_descriptors(void);
void test_tcp_pair(int fd[2]);
int test_fork(int err);
bool test_repeats(void);

enum { GAP = 48 };

static int count_from(int fd) {
    int found = 0;
    for (int missed = 0; missed < GAP; fd++) {
        __wasi_fdstat_t stat;
        if (__wasi_fd_fdstat_get(fd, &stat) == 0) {
            found++;
            missed = 0;
        } else {
            missed++;
        }
    }
    return found;
}

int test_open_descriptors(void) { return count_from(0) + count_from(1024); }

void test_tcp_pair(int fd[2]) {
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) != 0) {
        abort();
    }
}

int test_fork(int err) {
    (void)err;
    return fork();
}

bool test_repeats(void) { return false; }
