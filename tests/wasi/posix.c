/* What the tests call of POSIX and wasi-libc lacks. Pairs of sockets and pipes are had of the
 * runner
 * (--pairs in toolchains/wasi/run.mjs). Of the rest there is nothing: who calls it ends the case as
 * left out, with the call's name. The runner compares that with left_out.txt. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <wasi/api.h>

#undef fcntl
#undef pthread_create
#undef send
#undef recv

enum { LEFT_OUT = 98, PAIRS = 1024 };

_Noreturn static void lacks(const char *call) {
    printf("left out: %s\n", call);
    fflush(stdout);
    _Exit(LEFT_OUT);
}

#define LACKS(type, name, ...)                                                                     \
    type name(__VA_ARGS__) { lacks(#name); }

/* clang-format off */
#pragma clang diagnostic ignored "-Wunused-parameter"
int wasi_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg) {
    lacks("pthread_create");
}
LACKS(int, wasi_cond_wait, pthread_cond_t *c, pthread_mutex_t *m)
LACKS(int, wasi_pthread_join, pthread_t t, void **result)
LACKS(int, pthread_kill, pthread_t t, int n)
LACKS(int, pthread_detach, pthread_t t)
LACKS(int, pthread_sigmask, int how, const sigset_t *set, sigset_t *old)
LACKS(int, pthread_cond_timedwait, pthread_cond_t *c, pthread_mutex_t *m, const struct timespec *t)
LACKS(int, pthread_barrier_init, pthread_barrier_t *b, const pthread_barrierattr_t *a, unsigned n)
LACKS(int, pthread_barrier_wait, pthread_barrier_t *b)
LACKS(int, pthread_barrier_destroy, pthread_barrier_t *b)
LACKS(int, sigaction, int n, const struct sigaction *a, struct sigaction *old)
LACKS(int, kill, pid_t pid, int n)
LACKS(int, raise, int n)
LACKS(int, sigprocmask, int how, const sigset_t *set, sigset_t *old)
LACKS(int, sigpending, sigset_t *set)
LACKS(pid_t, waitpid, pid_t pid, int *status, int flags)
LACKS(int, getrlimit, int which, struct rlimit *limit)
LACKS(int, setrlimit, int which, const struct rlimit *limit)
LACKS(int, getrusage, int who, struct rusage *usage)
LACKS(int, socket, int domain, int type, int protocol)
LACKS(int, bind, int fd, const struct sockaddr *addr, socklen_t len)
LACKS(int, listen, int fd, int backlog)
LACKS(int, connect, int fd, const struct sockaddr *addr, socklen_t len)
LACKS(int, getsockname, int fd, struct sockaddr *addr, socklen_t *len)
LACKS(int, getpeername, int fd, struct sockaddr *addr, socklen_t *len)
LACKS(int, setitimer, int which, const struct itimerval *value, struct itimerval *old)
LACKS(pid_t, fork, void)
LACKS(pid_t, gettid, void)
LACKS(int, dup, int fd)
LACKS(int, dup2, int from, int to)
LACKS(int, chmod, const char *path, mode_t mode)
LACKS(int, fchmod, int fd, mode_t mode)
LACKS(mode_t, umask, mode_t mask)
LACKS(int, mkfifo, const char *path, mode_t mode)
LACKS(int, execv, const char *path, char *const argv[])
LACKS(int, execvp, const char *path, char *const argv[])
LACKS(int, posix_openpt, int flags)
LACKS(int, grantpt, int fd)
LACKS(int, unlockpt, int fd)
LACKS(char *, ptsname, int fd)
LACKS(int, ptsname_r, int fd, char *name, unsigned long len)
LACKS(int, tcgetattr, int fd, struct termios *t)
LACKS(int, tcsetattr, int fd, int when, const struct termios *t)
LACKS(void, cfmakeraw, struct termios *t)
LACKS(int, epoll_create1, int flags)
LACKS(int, epoll_ctl, int ep, int op, int fd, struct epoll_event *event)
LACKS(int, epoll_wait, int ep, struct epoll_event *events, int max, int timeout_ms)
LACKS(void *, mmap, void *at, size_t len, int protection, int flags, int fd, off_t offset)
LACKS(int, munmap, void *at, size_t len)
LACKS(int, mprotect, void *at, size_t len, int protection)
LACKS(ssize_t, sendmsg, int fd, const struct msghdr *msg, int flags)
LACKS(ssize_t, recvmsg, int fd, struct msghdr *msg, int flags)
LACKS(ssize_t, sendto, int fd, const void *b, size_t n, int f, const struct sockaddr *a,
      socklen_t l)
LACKS(ssize_t, recvfrom, int fd, void *b, size_t n, int f, struct sockaddr *a, socklen_t *l)
LACKS(int, wasi_accept4, int fd, int flags)
LACKS(int, eventfd, unsigned value, int flags)
LACKS(int, eventfd_write, int fd, uint64_t value)
LACKS(const char *, strerrorname_np, int code)
LACKS(int, capset, void *header, const void *data)
LACKS(int, getegid, void)
LACKS(int, dup3, int from, int to, int flags)
LACKS(int, sem_clockwait, sem_t *s, clockid_t clock, const struct timespec *until)
/* clang-format on */

/* None ever comes: kill and raise are not there. */
sighandler_t signal(int number, sighandler_t handler) {
    (void)number;
    (void)handler;
    return SIG_DFL;
}

/* The runner has a limit. */
unsigned alarm(unsigned seconds) {
    (void)seconds;
    return 0;
}

int sigemptyset(sigset_t *set) {
    *set = 0;
    return 0;
}

int sigfillset(sigset_t *set) { return sigemptyset(set); }
int sigaddset(sigset_t *set, int number) { return number > 0 ? sigemptyset(set) : -1; }
int sigismember(const sigset_t *set, int number) { return *set != 0 && number > 0; }

pid_t wasi_getpid(void) { return 1; }
uid_t getuid(void) { return 0; }
uid_t geteuid(void) { return 0; }

int wasi_fcntl(int fd, int command, ...) {
    va_list args;
    va_start(args, command);
    int argument = va_arg(args, int);
    va_end(args);
    if (command == F_GETFD) {
        return fcntl(fd, F_GETFL) < 0 ? -1 : FD_CLOEXEC;
    }
    return fcntl(fd, command, argument);
}

ssize_t getrandom(void *buf, size_t len, unsigned flags) {
    (void)flags;
    return __wasi_random_get(buf, len) == 0 ? (ssize_t)len : -1;
}

/* ---- semaphores: nobody else can post ---- */

int sem_init(sem_t *s, int shared, unsigned value) {
    (void)shared;
    s->__val[0] = (int)value;
    return 0;
}

int sem_destroy(sem_t *s) {
    (void)s;
    return 0;
}

int sem_post(sem_t *s) {
    s->__val[0]++;
    return 0;
}

int sem_trywait(sem_t *s) {
    if (s->__val[0] == 0) {
        errno = EAGAIN;
        return -1;
    }
    s->__val[0]--;
    return 0;
}

int sem_wait(sem_t *s) {
    if (sem_trywait(s) != 0) {
        lacks("sem_wait");
    }
    return 0;
}

/* ---- pairs ---- */

/* Their buffers have one size. */
int setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
    (void)fd;
    (void)value;
    (void)len;
    if (level != SOL_SOCKET || (name != SO_SNDBUF && name != SO_RCVBUF)) {
        lacks("setsockopt");
    }
    return 0;
}

int socketpair(int domain, int type, int protocol, int fd[2]) {
    (void)protocol;
    if (domain != AF_UNIX || (type & 0xf) != SOCK_STREAM) {
        lacks("socketpair");
    }
    for (int i = 0; i < 2; i++) {
        __wasi_errno_t error = __wasi_sock_accept(PAIRS, 0, &fd[i]);
        if (error != 0) {
            errno = error;
            return -1;
        }
    }
    return 0;
}

int pipe(int fd[2]) {
    int rc = socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
    return rc == 0 ? shutdown(fd[0], SHUT_WR) : rc;
}

int pipe2(int fd[2], int flags) {
    int rc = pipe(fd);
    for (int i = 0; rc == 0 && i < 2 && (flags & O_NONBLOCK) != 0; i++) {
        rc = fcntl(fd[i], F_SETFL, O_NONBLOCK);
    }
    return rc;
}

static bool is_nonblocking(int fd) { return (fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

static void wait_for(int fd, short events) {
    struct pollfd p = {.fd = fd, .events = events};
    (void)poll(&p, 1, -1);
}

/* Whether the call that has failed is to be made again. */
static bool is_to_wait(int fd, short events, int flags, bool blocks) {
    if (errno != EAGAIN || (flags & MSG_DONTWAIT) != 0 || !blocks) {
        return false;
    }
    wait_for(fd, events);
    return true;
}

ssize_t wasi_send(int fd, const void *buf, size_t len, int flags) {
    size_t done = 0;
    bool blocks = !is_nonblocking(fd);
    if ((flags & MSG_OOB) != 0) {
        lacks("urgent data");
    }
    if (blocks && fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        return -1;
    }
    ssize_t n;
    do {
        n = send(fd, (const char *)buf + done, len - done, 0);
        done += n > 0 ? (size_t)n : 0;
    } while (n > 0 ? done < len : n < 0 && is_to_wait(fd, POLLOUT, flags, blocks));
    int error = errno;
    if (blocks) {
        (void)fcntl(fd, F_SETFL, 0);
    }
    errno = error;
    return done > 0 ? (ssize_t)done : n;
}

ssize_t wasi_recv(int fd, void *buf, size_t len, int flags) {
    size_t done = 0;
    bool blocks = !is_nonblocking(fd);
    if (blocks && fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        return -1;
    }
    ssize_t n;
    do {
        n = recv(fd, (char *)buf + done, len - done, 0);
        done += n > 0 ? (size_t)n : 0;
    } while (n > 0 ? done < len && (flags & MSG_WAITALL) != 0
                   : n < 0 && done == 0 && is_to_wait(fd, POLLIN, flags, blocks));
    int error = errno;
    if (blocks) {
        (void)fcntl(fd, F_SETFL, 0);
    }
    errno = error;
    return done > 0 ? (ssize_t)done : n;
}

/* ---- files ---- */

static long checked(__wasi_errno_t error, __wasi_size_t len) {
    errno = error;
    return error != 0 ? -1 : (long)len;
}

long syscall(long number, ...) {
    va_list args;
    va_start(args, number);
    int fd = va_arg(args, int);
    __wasi_size_t len = 0;
    long rc;
    if (number == SYS_writev) {
        const __wasi_ciovec_t *vec = va_arg(args, const __wasi_ciovec_t *);
        __wasi_errno_t error = __wasi_fd_write(fd, vec, va_arg(args, size_t), &len);
        rc = checked(error, len);
    } else if (number == SYS_pwritev) {
        const __wasi_ciovec_t *vec = va_arg(args, const __wasi_ciovec_t *);
        size_t count = va_arg(args, size_t);
        __wasi_filesize_t offset = va_arg(args, __wasi_filesize_t);
        __wasi_errno_t error = __wasi_fd_pwrite(fd, vec, count, offset, &len);
        rc = checked(error, len);
    } else {
        lacks("syscall");
    }
    va_end(args);
    return rc;
}

static void make_name(char *path) {
    static unsigned number;
    snprintf(path + strlen(path) - 6, 7, "%06u", number++);
}

char *mkdtemp(char *path) {
    make_name(path);
    return mkdir(path, 0700) == 0 ? path : NULL;
}

int mkstemp(char *path) {
    make_name(path);
    return open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
}

int mkostemp(char *path, int flags) {
    make_name(path);
    return open(path, O_RDWR | O_CREAT | O_EXCL | flags, 0600);
}
