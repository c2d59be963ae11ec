/* The calls of posix.h. */
#include "tests/windows/posix.h"

#undef socket
#undef socketpair
#undef bind
#undef listen
#undef accept
#undef connect
#undef getsockname
#undef getpeername
#undef getsockopt
#undef setsockopt
#undef send
#undef recv
#undef sendto
#undef recvfrom
#undef shutdown
#undef dup
#undef close
#undef read
#undef write
#undef fcntl
#undef poll
#undef pollfd
#undef pipe

#include <stdarg.h>

#include "tests/system.h"
#include "tests/test.h"
#include "xev/fd.h"

enum { LEFT_OUT = 98 };

_Noreturn void posix_lacks(const char *call) {
    printf("left out: %s\n", call);
    fflush(stdout);
    _exit(LEFT_OUT);
}

int posix_lacks_int(const char *call) { posix_lacks(call); }
void *posix_lacks_pointer(const char *call) { posix_lacks(call); }

static SOCKET of(int fd) { return (SOCKET)(intptr_t)fd; }

static const struct {
    int theirs, ours;
} errors[] = {
    {WSAEWOULDBLOCK, EAGAIN},
    {WSAECONNREFUSED, ECONNREFUSED},
    {WSAECONNRESET, ECONNRESET},
    {WSAENOTSOCK, ENOTSOCK},
    {WSAEADDRINUSE, EADDRINUSE},
    {WSAENOTCONN, ENOTCONN},
    {WSAECONNABORTED, ECONNABORTED},
    {WSAESHUTDOWN, EPIPE},
    {WSAEINVAL, EINVAL},
    {WSAEMSGSIZE, EMSGSIZE},
    {WSAEBADF, EBADF},
};

static int failed(void) {
    int error = WSAGetLastError();
    errno = EIO;
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (errors[i].theirs == error) {
            errno = errors[i].ours;
        }
    }
    return -1;
}

static int answer(int rc) { return rc == SOCKET_ERROR ? failed() : rc; }

/* By number / 4: whether the test has asked for O_NONBLOCK. */
static unsigned char dont_wait_on[16384];

static unsigned char *mark_of(int fd) {
    return &dont_wait_on[(unsigned)fd / 4 % sizeof dont_wait_on];
}

static void set_waiting(int fd, bool waits) {
    u_long on = !waits;
    (void)ioctlsocket(of(fd), (long)FIONBIO, &on);
}

int posix_socket(int domain, int type, int protocol) {
    /* Wine has no Unix sockets, and the tests that need more of one than that it is there fail. */
    SOCKET s = WSASocketW(domain == AF_UNIX ? AF_INET : domain, type & ~SOCK_NONBLOCK, protocol,
                          NULL, 0, WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
    if (s == INVALID_SOCKET) {
        return failed();
    }
    set_waiting((int)s, (type & SOCK_NONBLOCK) == 0);
    *mark_of((int)s) = (type & SOCK_NONBLOCK) != 0;
    return (int)s;
}

int posix_bind(int fd, const struct sockaddr *addr, socklen_t len) {
    return answer(bind(of(fd), addr, len));
}
int posix_listen(int fd, int backlog) { return answer(listen(of(fd), backlog)); }
int posix_connect(int fd, const struct sockaddr *addr, socklen_t len) {
    return answer(connect(of(fd), addr, len));
}
int posix_getsockname(int fd, struct sockaddr *addr, socklen_t *len) {
    return answer(getsockname(of(fd), addr, len));
}
int posix_getpeername(int fd, struct sockaddr *addr, socklen_t *len) {
    return answer(getpeername(of(fd), addr, len));
}
int posix_shutdown(int fd, int how) { return answer(shutdown(of(fd), how)); }

/* A socket that xev has made does not block; where POSIX would, this waits. */
static bool wait_for(int fd, short events) {
    WSAPOLLFD p = {.fd = of(fd), .events = events};
    return WSAGetLastError() == WSAEWOULDBLOCK && *mark_of(fd) == 0 && WSAPoll(&p, 1, -1) >= 0;
}

int posix_accept(int fd, struct sockaddr *addr, socklen_t *len) {
    SOCKET s;
    do {
        s = accept(of(fd), addr, len);
    } while (s == INVALID_SOCKET && wait_for(fd, POLLRDNORM));
    if (s == INVALID_SOCKET) {
        return failed();
    }
    set_waiting((int)s, true);
    *mark_of((int)s) = 0;
    return (int)s;
}

int posix_getsockopt(int fd, int level, int name, void *value, socklen_t *len) {
    if (level == IPPROTO_TCP && name == TCP_INFO) {
        WSAPOLLFD p = {.fd = of(fd), .events = POLLRDNORM};
        struct tcp_info *info = value;
        /* A connect has returned when its connection waits here; of more than one that waits,
         * nothing tells. */
        *info = (struct tcp_info){.tcpi_unacked = WSAPoll(&p, 1, 0) > 0 ? INT32_MAX : 0};
        return 0;
    }
    memset(value, 0, (size_t)*len); /* some are a single byte here */
    return answer(getsockopt(of(fd), level, name, value, len));
}

int posix_setsockopt(int fd, int level, int name, const void *value, socklen_t len) {
    if (level == SOL_SOCKET && name == SO_PEEK_OFF) {
        return 0; /* the first datagram is looked at again and again: those behind it are near */
    }
    if (level == SOL_SOCKET && name == SO_LINGER) { /* two ints on POSIX, and shorts here */
        return answer(setsockopt(of(fd), level, name, value, sizeof(struct linger)));
    }
    return answer(setsockopt(of(fd), level, name, value, len));
}

ssize_t posix_send(int fd, const void *data, size_t len, int flags) {
    bool dont_wait = (flags & MSG_DONTWAIT) != 0;
    flags &= ~MSG_DONTWAIT;
    int rc;
    if (dont_wait) {
        set_waiting(fd, false);
    }
    do {
        rc = send(of(fd), data, (int)len, flags);
    } while (rc < 0 && !dont_wait && wait_for(fd, POLLWRNORM));
    return answer(rc);
}

ssize_t posix_recv(int fd, void *data, size_t len, int flags) {
    bool dont_wait = (flags & MSG_DONTWAIT) != 0, all = (flags & MSG_WAITALL) != 0;
    bool cuts = (flags & MSG_TRUNC) != 0;
    flags &= ~(MSG_DONTWAIT | MSG_WAITALL | MSG_TRUNC);
    size_t done = 0;
    if (dont_wait) {
        set_waiting(fd, false);
    }
    do {
        int rc;
        do {
            rc = recv(of(fd), (char *)data + done, (int)(len - done), flags);
        } while (rc < 0 && !dont_wait && wait_for(fd, POLLRDNORM));
        if (rc < 0 && cuts && WSAGetLastError() == WSAEMSGSIZE) {
            return (ssize_t)len; /* how long the datagram is nobody tells */
        }
        if (rc <= 0) {
            return done > 0 ? (ssize_t)done : answer(rc);
        }
        done += (size_t)rc;
    } while (all && done < len);
    return (ssize_t)done;
}

ssize_t posix_sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to,
                     socklen_t to_len) {
    return answer(sendto(of(fd), data, (int)len, flags & ~MSG_DONTWAIT, to, to_len));
}

ssize_t posix_recvfrom(int fd, void *data, size_t len, int flags, struct sockaddr *from,
                       socklen_t *from_len) {
    bool dont_wait = (flags & MSG_DONTWAIT) != 0;
    int rc;
    if (dont_wait) {
        set_waiting(fd, false);
    }
    do {
        rc = recvfrom(of(fd), data, (int)len, flags & ~MSG_DONTWAIT, from, from_len);
    } while (rc < 0 && !dont_wait && wait_for(fd, POLLRDNORM));
    return answer(rc);
}

static bool is_socket(int fd) {
    int type, len = sizeof type;
    return getsockopt(of(fd), SOL_SOCKET, SO_TYPE, (char *)&type, &len) == 0;
}

static bool is_handle(int fd) {
    DWORD flags;
    return fd > 2 && GetHandleInformation((HANDLE)(intptr_t)fd, &flags);
}

int posix_dup(int fd) {
    WSAPROTOCOL_INFOW info;
    HANDLE made, self = GetCurrentProcess();
    if (!is_socket(fd)) {
        return DuplicateHandle(self, (HANDLE)(intptr_t)fd, self, &made, 0, FALSE,
                               DUPLICATE_SAME_ACCESS)
                   ? (int)(intptr_t)made
                   : -1;
    }
    if (WSADuplicateSocketW(of(fd), GetCurrentProcessId(), &info) != 0) {
        return failed();
    }
    return (int)WSASocketW(FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, FROM_PROTOCOL_INFO, &info, 0,
                           WSA_FLAG_OVERLAPPED | WSA_FLAG_NO_HANDLE_INHERIT);
}

int posix_close(int fd) {
    if (!is_handle(fd)) {
        errno = EBADF;
        return -1;
    }
    *mark_of(fd) = 0;
    if (is_socket(fd)) {
        return answer(closesocket(of(fd)));
    }
    return CloseHandle((HANDLE)(intptr_t)fd) ? 0 : -1;
}

static ssize_t move_file(HANDLE h, void *data, size_t len, bool writes) {
    DWORD n = 0;
    BOOL ok =
        writes ? WriteFile(h, data, (DWORD)len, &n, NULL) : ReadFile(h, data, (DWORD)len, &n, NULL);
    errno = EIO;
    return ok ? (ssize_t)n : -1;
}

/* Of pipes that xev made, which are overlapped, too. */
static ssize_t transfer(int fd, void *data, size_t len, bool writes) {
    if (GetFileType((HANDLE)(intptr_t)fd) == FILE_TYPE_DISK) {
        return move_file((HANDLE)(intptr_t)fd, data, len, writes);
    }
    OVERLAPPED o = {.hEvent = CreateEventW(NULL, TRUE, FALSE, NULL)};
    /* The lowest bit: no packet to a port. */
    HANDLE event = o.hEvent, h = (HANDLE)(intptr_t)fd;
    o.hEvent = (HANDLE)((uintptr_t)event | 1);
    DWORD n = 0;
    BOOL ok =
        writes ? WriteFile(h, data, (DWORD)len, NULL, &o) : ReadFile(h, data, (DWORD)len, NULL, &o);
    bool pending = !ok && GetLastError() == ERROR_IO_PENDING;
    if (pending && *mark_of(fd) != 0 && WaitForSingleObject(event, 0) != WAIT_OBJECT_0) {
        (void)CancelIoEx(h, &o);
    }
    ok = (ok || pending) && GetOverlappedResult(h, &o, &n, TRUE);
    DWORD error = ok ? 0 : GetLastError();
    (void)CloseHandle(event);
    if (error == ERROR_OPERATION_ABORTED) {
        errno = EAGAIN;
        return n > 0 ? (ssize_t)n : -1;
    }
    if (ok || (!writes && error == ERROR_BROKEN_PIPE)) {
        return ok ? (ssize_t)n : 0;
    }
    errno = error == ERROR_INVALID_HANDLE ? EBADF : EPIPE;
    return -1;
}

ssize_t posix_read(int fd, void *data, size_t len) {
    return is_socket(fd) ? posix_recv(fd, data, len, 0) : transfer(fd, data, len, false);
}

ssize_t posix_write(int fd, const void *data, size_t len) {
    return is_socket(fd) ? posix_send(fd, data, len, 0)
                         : transfer(fd, (void *)(uintptr_t)data, len, true);
}

int posix_fcntl(int fd, int command, ...) {
    errno = EBADF;
    DWORD flags = 0;
    (void)GetHandleInformation((HANDLE)(intptr_t)fd, &flags);
    if (!is_handle(fd)) {
        return -1;
    }
    if (command == F_GETFD) {
        return (flags & HANDLE_FLAG_INHERIT) != 0 ? 0 : FD_CLOEXEC;
    }
    if (command != F_GETFL && command != F_SETFL) {
        posix_lacks("fcntl");
    }
    if (command == F_GETFL) {
        return *mark_of(fd) != 0 ? O_NONBLOCK : 0;
    }
    va_list args;
    va_start(args, command);
    *mark_of(fd) = (va_arg(args, int) & O_NONBLOCK) != 0;
    va_end(args);
    if (*mark_of(fd) != 0 && is_socket(fd)) {
        set_waiting(fd, false); /* back again it is by wait_for */
    }
    return 0;
}

int posix_poll(struct posix_pollfd *fds, size_t count, int timeout_ms) {
    WSAPOLLFD p[16];
    if (count > sizeof p / sizeof p[0]) {
        posix_lacks("poll");
    }
    for (size_t i = 0; i < count; i++) {
        p[i] = (WSAPOLLFD){.fd = of(fds[i].fd), .events = fds[i].events};
    }
    int n = answer(WSAPoll(p, (ULONG)count, timeout_ms));
    for (size_t i = 0; i < count; i++) {
        fds[i].revents = p[i].revents;
    }
    return n;
}

int posix_eventfd(unsigned count, int flags) {
    (void)count;
    (void)flags;
    return (int)(intptr_t)CreateEventW(NULL, TRUE, FALSE, NULL);
}

/* How many handles there may be no program can change. */
int posix_getrlimit(int which, struct rlimit *limit) {
    *limit = (struct rlimit){1 << 16, 1 << 16};
    return which == RLIMIT_NOFILE ? 0 : posix_lacks_int("getrlimit");
}

int posix_setrlimit(int which, const struct rlimit *limit) {
    return which == RLIMIT_NOFILE && limit->rlim_cur >= 1 << 16 ? 0 : posix_lacks_int("setrlimit");
}

int posix_pipe(int fd[2], int flags) {
    if (xev_pipe_open(&fd[0], &fd[1]) != 0) {
        return -1;
    }
    *mark_of(fd[0]) = *mark_of(fd[1]) = (flags & O_NONBLOCK) != 0;
    return 0;
}

/* There are no pairs. Two TCP sockets that know only each other are close to one. */
int posix_socketpair(int domain, int type, int protocol, int fd[2]) {
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof sa;
    (void)domain;
    (void)protocol;
    if ((type & ~SOCK_NONBLOCK) != SOCK_STREAM) {
        posix_lacks("socketpair");
    }
    int listener = posix_socket(AF_INET, SOCK_STREAM, 0);
    fd[0] = posix_socket(AF_INET, SOCK_STREAM, 0);
    if (listener < 0 || fd[0] < 0 || posix_bind(listener, (struct sockaddr *)&sa, len) < 0 ||
        posix_listen(listener, 1) < 0 ||
        posix_getsockname(listener, (struct sockaddr *)&sa, &len) < 0 ||
        posix_connect(fd[0], (struct sockaddr *)&sa, len) < 0 ||
        (fd[1] = posix_accept(listener, NULL, NULL)) < 0) {
        return -1;
    }
    int on = 1;
    (void)posix_setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)posix_setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if ((type & SOCK_NONBLOCK) != 0) {
        set_waiting(fd[0], false);
        set_waiting(fd[1], false);
    }
    return posix_close(listener);
}

/* Sockets and pipes. Of other handles the system has its own, which come and go. */
int test_open_descriptors(void) {
    int n = 0;
    for (int fd = 4; fd < 8192; fd += 4) {
        n += is_handle(fd) && GetFileType((HANDLE)(intptr_t)fd) == FILE_TYPE_PIPE && is_socket(fd);
    }
    return n;
}

void test_tcp_pair(int fd[2]) { CHECK_EQ(posix_socketpair(AF_INET, SOCK_STREAM, 0, fd), 0); }
