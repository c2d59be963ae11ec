/* What the tests call of POSIX, over Winsock, for those that Windows has at all. Sockets are
 * blocking, as POSIX makes them, and numbers. What Windows lacks ends the case as left out, with
 * the call's name; the runner compares that with left_out.txt. */
#ifndef TESTS_WINDOWS_POSIX_H
#define TESTS_WINDOWS_POSIX_H

/* clang-format off: winsock2.h stands before windows.h */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <afunix.h>
#include <windows.h>
/* clang-format on */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

_Noreturn void posix_lacks(const char *call);

int posix_socket(int domain, int type, int protocol);
int posix_socketpair(int domain, int type, int protocol, int fd[2]);
int posix_bind(int fd, const struct sockaddr *addr, socklen_t len);
int posix_listen(int fd, int backlog);
int posix_accept(int fd, struct sockaddr *addr, socklen_t *len);
int posix_connect(int fd, const struct sockaddr *addr, socklen_t len);
int posix_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int posix_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
int posix_getsockopt(int fd, int level, int name, void *value, socklen_t *len);
int posix_setsockopt(int fd, int level, int name, const void *value, socklen_t len);
ssize_t posix_send(int fd, const void *data, size_t len, int flags);
ssize_t posix_recv(int fd, void *data, size_t len, int flags);
ssize_t posix_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
                     socklen_t to_len);
ssize_t posix_recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *from,
                       socklen_t *from_len);
int posix_shutdown(int fd, int how);
int posix_close(int fd);
ssize_t posix_read(int fd, void *data, size_t len);
ssize_t posix_write(int fd, const void *data, size_t len);
int posix_fcntl(int fd, int command, ...);
struct posix_pollfd {
    int fd;
    short events, revents;
};
int posix_poll(struct posix_pollfd *fds, size_t count, int timeout_ms);
int posix_pipe(int fd[2]);

#define socket posix_socket
#define socketpair posix_socketpair
#define bind posix_bind
#define listen posix_listen
#define accept posix_accept
#define accept4(fd, addr, len, flags) posix_accept(fd, addr, len)
#define connect posix_connect
#define getsockname posix_getsockname
#define getpeername posix_getpeername
#define getsockopt posix_getsockopt
#define setsockopt posix_setsockopt
#define send posix_send
#define recv posix_recv
#define sendto posix_sendto
#define recvfrom posix_recvfrom
#define shutdown posix_shutdown
#define close posix_close
#define read posix_read
#define write posix_write
#define fcntl posix_fcntl
#define poll posix_poll
#define pollfd posix_pollfd
#define pipe posix_pipe
#define pipe2(fd, flags) posix_pipe(fd)

#define SHUT_RD SD_RECEIVE
#define SHUT_WR SD_SEND
#define SHUT_RDWR SD_BOTH
#define SOCK_CLOEXEC 0
#define SOCK_NONBLOCK 0x1000
#define MSG_NOSIGNAL 0
#define MSG_DONTWAIT 0x1000000
#undef MSG_WAITALL
#define MSG_WAITALL 0x2000000
#define O_CLOEXEC 0
#define O_NONBLOCK 0x4000
#define F_GETFD 1
#define F_GETFL 3
#define F_SETFL 4
#define SIGKILL 9
#define SIGPIPE 13
#define SIGUSR1 10
#define SIGUSR2 12
#define SIGHUP 1
#define SIGCHLD 17
#define SIGALRM 14

/* Of a listener: how many connections wait. */
#define TCP_INFO 11
struct tcp_info {
    uint32_t tcpi_unacked;
    uint8_t tcpi_state;
};

/* Words that windows.h takes. */
#undef near
#undef far
#undef small
#undef interface
#undef min
#undef max

#define FD_CLOEXEC 1
#define F_DUPFD_CLOEXEC 1030

/* ---- what there is not ---- */

struct sigaction {
    void (*sa_handler)(int);
    int sa_flags, sa_mask;
};
struct itimerval {
    struct timeval it_interval, it_value;
};
enum { ITIMER_REAL, SA_RESTART = 1, SA_SIGINFO = 4 };
#define sigemptyset(set) (*(set) = 0)
#define sigfillset(set) (*(set) = -1)
static inline int sigaction(int number, const struct sigaction *action, struct sigaction *before) {
    (void)number;
    (void)action;
    (void)before;
    posix_lacks("sigaction");
}
static inline int setitimer(int which, const struct itimerval *every, struct itimerval *before) {
    (void)which;
    (void)every;
    (void)before;
    posix_lacks("setitimer");
}

#define fork() (posix_lacks("fork"), (pid_t)-1)
#define waitpid(pid, status, flags) (posix_lacks("waitpid"), (pid_t)-1)
#define kill(pid, number) (posix_lacks("kill"), -1)
#define setenv(name, value, overwrite) _putenv_s(name, value)
#define unsetenv(name) _putenv_s(name, "")
#define WIFSIGNALED(status) ((status) < 0)
#define WIFEXITED(status) ((status) >= 0)
#define WTERMSIG(status) (status)
#define WEXITSTATUS(status) (status)

#define RLIMIT_NOFILE 7
struct rlimit {
    unsigned long long rlim_cur, rlim_max;
};
static inline int getrlimit(int which, struct rlimit *limit) {
    (void)which;
    (void)limit;
    posix_lacks("getrlimit");
}
static inline int setrlimit(int which, const struct rlimit *limit) {
    (void)which;
    (void)limit;
    posix_lacks("setrlimit");
}

#ifdef __cplusplus
}
#endif

#endif
