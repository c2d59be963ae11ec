/* Internal: what the files of this folder and the backend for Windows share.
 *
 * A descriptor (xev_fd) is the value of a socket or of a handle. Windows uses 32 bits of either,
 * and no two of them in a process are equal. Sockets that xev makes are overlapped and
 * non-blocking: a call that finds nothing returns at once, and an overlapped operation waits all
 * the same. */
#ifndef XEV_OS_WINDOWS_WINDOWS_BASE_H
#define XEV_OS_WINDOWS_WINDOWS_BASE_H

/* clang-format off: winsock2.h stands before windows.h */
#include <winsock2.h>
#include <ws2tcpip.h>
#include <mswsock.h>
#include <windows.h>
#include <netioapi.h>
/* clang-format on */

#include <assert.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "xev/addr.h"
#include "xev/error.h"
#include "xev/os/complain.h"

static inline HANDLE xev__win_handle(xev_fd fd) { return (HANDLE)(intptr_t)fd; }
static inline SOCKET xev__win_socket(xev_fd fd) { return (SOCKET)(intptr_t)fd; }

/* The descriptor of a socket or handle that the system has just made. */
static inline xev_fd xev__win_fd(uintptr_t value) {
    XEV_ASSERT(value > 2 && value <= INT_MAX);
    return (xev_fd)value;
}

/* The code for an error of the system, of Winsock included. The one table of them. */
int xev__win_code(DWORD error);
/* The code for a status of the kernel (NTSTATUS), as overlapped operations report it. */
int xev__win_status_code(LONG status);
static inline int xev__win_last_code(void) { return xev__win_code(GetLastError()); }
static inline int xev__win_socket_code(void) { return xev__win_code((DWORD)WSAGetLastError()); }

/* What a call of Winsock on fd has returned, or the code for its error: XEV_EBADF and XEV_ENOTSOCK
 * also where Winsock only says that something is wrong. */
int xev__win_socket_result(xev_fd fd, int rc);

static inline int xev__win_set_int(xev_fd fd, int level, int name, int value) {
    return xev__win_socket_result(
        fd, setsockopt(xev__win_socket(fd), level, name, (const char *)&value, sizeof value));
}

static inline struct sockaddr *xev__win_addr_out(xev_addr *a) {
    return (struct sockaddr *)(void *)a->storage;
}

static inline const struct sockaddr *xev__win_addr(const xev_addr *a) {
    return (const struct sockaddr *)(const void *)a->storage;
}

/* Bind a socket whose options are set. 0 or a code. */
int xev__win_bind(xev_fd fd, const xev_addr *addr);

/* Whether fd is a socket; an open handle of a process. */
bool xev__win_is_socket(xev_fd fd);
bool xev__win_is_process(xev_fd fd);

/* A new socket, overlapped, non-blocking, not inherited by other programs. 0 or a code. */
int xev__win_new_socket(int domain, int type, xev_fd *fd);

/* A pipe whose end *ours, which writes or else reads, takes overlapped operations; and *theirs does
 * where overlapped is true. 0 or a code. */
int xev__win_pipe(bool writes, bool overlapped, xev_fd *ours, HANDLE *theirs);

/* Copy count pieces {base, len} to Winsock's form. Returns how many fit. */
uint32_t xev__win_buffers(WSABUF *out, uint32_t room, const void *vec, uint32_t count);
#define XEV__WIN_PIECES 64u

/* Changes of a folder: its descriptor, the size of the buffer of a wait, the overlapped call for
 * one, and the result of a wait from that of the call: a code, the length of the records now at the
 * beginning of buffer, or 0: none of the changes was wanted. */
#define XEV__WIN_CHANGES_BYTES 4096
bool xev__win_is_folder(xev_fd fd);
bool xev__win_changes_begin(xev_fd fd, void *buffer, OVERLAPPED *o);
int xev__win_changes(void *buffer, int rc);

/* UTF-8 to the system's UTF-16. 0, XEV_EINVAL (not UTF-8), XEV_ENAMETOOLONG. */
#define XEV__WIN_PATH 4096
int xev__win_wide(const char *text, wchar_t *out, size_t len);
/* The same of a path: a long one in the form that the system takes at any length. Another code also
 * where the system cannot tell the current folder. */
int xev__win_path(const char *text, wchar_t *out, size_t len);
/* Put a path, which has room for len units, into that form. */
int xev__win_any_length(wchar_t *path, size_t len);

#endif
