/* Windows: descriptors of any kind, and the start of Winsock. */
#include <string.h>

#include "xev/fd.h"
#include "xev/os/clock.h"
#include "xev/os/descriptor.h"
#include "xev/os/socket.h"
#include "xev/os/windows/windows_base.h"

/* Before main, since every call on a socket needs it, and no call of xev comes first everywhere. It
 * counts for the process, and ends with it. */
__attribute__((constructor)) static void start_winsock(void) {
    WSADATA data;
    (void)WSAStartup(MAKEWORD(2, 2), &data); /* the first socket reports what failed */
}

int xev__os_above_std(int fd) { return fd; } /* no handle is 0, 1 or 2 */

/* ---- waking: an event that each wait resets ---- */

int xev__os_wake_open(xev_fd *fd) {
    HANDLE event = CreateEventW(NULL, FALSE, FALSE, NULL);
    *fd = event != NULL ? xev__win_fd((uintptr_t)event) : XEV_INVALID_FD;
    return event != NULL ? 0 : xev__win_last_code();
}

int xev__os_wake_signal(xev_fd fd) {
    return SetEvent(xev__win_handle(fd)) ? 0 : xev__win_last_code();
}

void xev__os_wake_drain(xev_fd fd) { (void)ResetEvent(xev__win_handle(fd)); }

void xev__os_wake_wait(xev_fd fd, uint32_t timeout_ms) {
    if (WaitForSingleObject(xev__win_handle(fd), timeout_ms) == WAIT_FAILED) {
        xev__os_sleep_ms(timeout_ms);
    }
}

/* ---- any handle ---- */

bool xev__win_is_socket(xev_fd fd) {
    int type = 0, len = sizeof type;
    return getsockopt(xev__win_socket(fd), SOL_SOCKET, SO_TYPE, (char *)&type, &len) == 0;
}

int xev__win_socket_result(xev_fd fd, int rc) {
    int code = rc == SOCKET_ERROR ? xev__win_socket_code() : rc;
    if (code < 0 && code != XEV_EAGAIN && !xev__win_is_socket(fd)) {
        return xev__os_is_open(fd) ? XEV_ENOTSOCK : XEV_EBADF;
    }
    return code;
}

int xev__os_close(xev_fd fd) {
    if (!xev__os_is_open(fd)) {
        return XEV_EBADF;
    }
    if (xev__win_is_socket(fd)) {
        int rc = xev__win_socket_result(fd, closesocket(xev__win_socket(fd)));
        if (rc == XEV_EAGAIN) { /* it has a linger time and may not wait: it is still open */
            (void)xev__os_set_linger(fd, false, 0);
            rc = xev__win_socket_result(fd, closesocket(xev__win_socket(fd)));
        }
        return rc;
    }
    return CloseHandle(xev__win_handle(fd)) ? 0 : xev__win_last_code();
}

bool xev__os_is_open(xev_fd fd) {
    DWORD flags;
    /* Values are multiples of 4; the system does not look at what is below. */
    return fd > 0 && fd % 4 == 0 && GetHandleInformation(xev__win_handle(fd), &flags) != 0;
}

int xev__os_set_nonblocking(xev_fd fd, bool on) {
    u_long value = on;
    if (!xev__win_is_socket(fd)) { /* a handle waits as it was opened */
        return xev__os_is_open(fd) ? 0 : XEV_EBADF;
    }
    return xev__win_socket_result(fd, ioctlsocket(xev__win_socket(fd), (long)FIONBIO, &value));
}

uint64_t xev__os_untaken(xev_fd fd) {
    (void)fd; /* Windows does not say */
    return 0;
}

bool xev__os_exhausted(int code) {
    return code == XEV_EMFILE || code == XEV_ENFILE || code == XEV_ENOBUFS || code == XEV_ENOMEM;
}

enum xev__os_kind xev__os_kind(xev_fd fd) {
    switch (GetFileType(xev__win_handle(fd))) {
    case FILE_TYPE_DISK:
        return XEV__OS_FILE;
    case FILE_TYPE_CHAR:
        return XEV__OS_DEVICE;
    default:
        return xev__win_is_socket(fd) ? XEV__OS_SOCKET : XEV__OS_FLOW;
    }
}

bool xev__os_can_watch(xev_fd fd) { return xev__win_is_socket(fd); }

/* ---- files at their position ---- */

int xev__os_read(xev_fd fd, void *buf, size_t len_bytes) {
    DWORD n = 0;
    if (!ReadFile(xev__win_handle(fd), buf, (DWORD)len_bytes, &n, NULL)) {
        int code = xev__win_last_code();
        return code == XEV_EPIPE || code == XEV_EOF ? 0 : code;
    }
    return (int)n;
}

int xev__os_write(xev_fd fd, const void *buf, size_t len_bytes) {
    DWORD n = 0;
    return WriteFile(xev__win_handle(fd), buf, (DWORD)len_bytes, &n, NULL) ? (int)n
                                                                           : xev__win_last_code();
}

struct piece {
    void *base;
    size_t len_bytes;
};

/* Windows has no call for pieces of memory that need not be whole pages. */
static int move_pieces(xev_fd fd, const struct piece *vec, uint32_t count, bool writes) {
    int total = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (vec[i].len_bytes == 0) {
            continue;
        }
        int rc = writes ? xev__os_write(fd, vec[i].base, vec[i].len_bytes)
                        : xev__os_read(fd, vec[i].base, vec[i].len_bytes);
        if (rc < 0) {
            return total > 0 ? total : rc;
        }
        total += rc;
        if ((size_t)rc < vec[i].len_bytes) {
            break;
        }
    }
    return total;
}

int xev__os_readv(xev_fd fd, const void *vec, uint32_t count) {
    return move_pieces(fd, vec, count, false);
}

int xev__os_writev(xev_fd fd, const void *vec, uint32_t count) {
    return move_pieces(fd, vec, count, true);
}

/* ---- readiness ---- */

uint32_t xev__os_poll_mask(uint32_t mask) { return mask; }

uint32_t xev__os_poll_result(uint32_t revents, uint32_t mask) {
    return revents & (mask | XEV_POLL_ERR | XEV_POLL_HUP);
}

int xev__os_poll_now(xev_fd fd, uint32_t mask) {
    WSAPOLLFD p = {.fd = xev__win_socket(fd)};
    p.events = (SHORT)(((mask & (XEV_POLL_IN | XEV_POLL_HUP)) != 0 ? POLLRDNORM : 0) |
                       ((mask & XEV_POLL_OUT) != 0 ? POLLWRNORM : 0));
    int rc = xev__win_socket_result(fd, WSAPoll(&p, 1, 0));
    if (rc <= 0) {
        return rc == 0 ? XEV_EAGAIN : rc;
    }
    if ((p.revents & POLLNVAL) != 0) {
        return XEV_EBADF;
    }
    uint32_t found = (p.revents & POLLRDNORM) != 0 ? XEV_POLL_IN : 0;
    found |= (p.revents & POLLWRNORM) != 0 ? XEV_POLL_OUT : 0;
    found |= (p.revents & POLLHUP) != 0 ? XEV_POLL_HUP : 0;
    found |= (p.revents & POLLERR) != 0 ? XEV_POLL_ERR : 0;
    found = xev__os_poll_result(found, mask);
    return found != 0 ? (int)found : XEV_EAGAIN;
}

/* ---- pipes ---- */

/* Somebody may have the name: another copy of this code in the process, or who means harm. */
#define PIPE_TRIES 16

static int make_named_pipe(const wchar_t *name, bool writes, bool overlapped, xev_fd *ours,
                           HANDLE *theirs) {
    HANDLE h = CreateNamedPipeW(name,
                                (writes ? PIPE_ACCESS_OUTBOUND : PIPE_ACCESS_INBOUND) |
                                    FILE_FLAG_OVERLAPPED | FILE_FLAG_FIRST_PIPE_INSTANCE,
                                PIPE_TYPE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS, 1, 65536,
                                65536, 0, NULL);
    if (h == INVALID_HANDLE_VALUE) {
        return xev__win_last_code();
    }
    *theirs = CreateFileW(name, writes ? GENERIC_READ : GENERIC_WRITE, 0, NULL, OPEN_EXISTING,
                          overlapped ? FILE_FLAG_OVERLAPPED : 0, NULL);
    if (*theirs == INVALID_HANDLE_VALUE) {
        int code = xev__win_last_code();
        (void)CloseHandle(h);
        return code;
    }
    *ours = xev__win_fd((uintptr_t)h);
    return 0;
}

int xev__win_pipe(bool writes, bool overlapped, xev_fd *ours, HANDLE *theirs) {
    /* Anonymous pipes have no overlapped operations. */
    static LONG count;
    int rc = XEV_EBUSY;
    for (int tries = 0; tries < PIPE_TRIES && (rc == XEV_EBUSY || rc == XEV_EACCES); tries++) {
        wchar_t name[64];
        unsigned long number = (unsigned long)InterlockedIncrement(&count);
        swprintf(name, sizeof name / sizeof name[0], L"\\\\.\\pipe\\xev-%lu-%lu",
                 GetCurrentProcessId(), number);
        rc = make_named_pipe(name, writes, overlapped, ours, theirs);
    }
    return rc;
}

int xev__os_pipe(xev_fd *read_end, xev_fd *write_end) {
    HANDLE writes;
    int rc = xev__win_pipe(false, true, read_end, &writes);
    *write_end = rc == 0 ? xev__win_fd((uintptr_t)writes) : XEV_INVALID_FD;
    return rc;
}
