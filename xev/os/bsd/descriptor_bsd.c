/* macOS and the BSDs: pipes, and what the kernel says of descriptors. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#if defined(__has_include)
#if __has_include(<sys/filio.h>)
#include <sys/filio.h>
#endif
#endif

#include "xev/os/bsd/bsd.h"
#include "xev/os/descriptor.h"

/* Without SOCK_CLOEXEC the system has no pipe2 either: a program that another thread starts between
 * these calls inherits the descriptor. */
static int make_pipe(int fd[2]) {
#if defined(SOCK_CLOEXEC)
    return xev__sys_result(pipe2(fd, O_CLOEXEC));
#else
    int rc = xev__sys_result(pipe(fd));
    if (rc == 0) {
        (void)xev__os_set_cloexec(fd[0]);
        (void)xev__os_set_cloexec(fd[1]);
    }
    return rc;
#endif
}

int xev__os_pipe(xev_fd *read_end, xev_fd *write_end) {
    int fd[2];
    int rc = make_pipe(fd);
    return rc == 0 ? xev__sys_pair_above_std(fd, read_end, write_end) : rc;
}

bool xev__os_can_watch(xev_fd fd) {
    struct stat st;
    return fstat(fd, &st) < 0 ||
           !(S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode));
}

int xev__bsd_send_queue(xev_fd fd) {
    int bytes = 0;
#if defined(SO_NWRITE)
    socklen_t len = sizeof bytes;
    int rc = xev__sys_result(getsockopt(fd, SOL_SOCKET, SO_NWRITE, &bytes, &len));
#elif defined(FIONWRITE)
    int rc = xev__sys_result(ioctl(fd, FIONWRITE, &bytes));
#else
    int rc = xev__sys_result(ioctl(fd, TIOCOUTQ, &bytes));
#endif
    return rc < 0 ? rc : bytes;
}

uint64_t xev__os_untaken(xev_fd fd) {
    int bytes = xev__bsd_send_queue(fd);
    if (bytes < 0 && ioctl(fd, TIOCOUTQ, &bytes) < 0 && ioctl(fd, FIONREAD, &bytes) < 0) {
        return 0; /* neither a socket, nor a terminal, nor a pipe */
    }
    return bytes > 0 ? (uint64_t)bytes : 0;
}
