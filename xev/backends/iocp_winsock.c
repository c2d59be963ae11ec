/* Functions of Winsock that it is asked for. They are the same for all sockets of a provider, and
 * those of TCP/IP have one. */
#include "xev/backends/iocp.h"

/* Writes the address of the function to out. */
static bool ask_for(xev_fd fd, GUID id, void *out, size_t out_bytes) {
    DWORD n;
    return WSAIoctl(xev__win_socket(fd), SIO_GET_EXTENSION_FUNCTION_POINTER, &id, sizeof id, out,
                    (DWORD)out_bytes, &n, NULL, NULL) == 0;
}

LPFN_ACCEPTEX xev__iocp_accept_ex(xev_fd fd) {
    static LPFN_ACCEPTEX function; /* atomic */
    LPFN_ACCEPTEX f = __atomic_load_n(&function, __ATOMIC_RELAXED);
    if (f == NULL && ask_for(fd, (GUID)WSAID_ACCEPTEX, &f, sizeof f)) {
        __atomic_store_n(&function, f, __ATOMIC_RELAXED);
    }
    return f;
}

/* What the kernel says of a socket has names of its own, of which the general table makes something
 * else ("duplicate name" of an address in use). Winsock knows them. */
int xev__iocp_failure(struct xev__iocp_slot *s) {
    const LONG cancelled = (LONG)0xC0000120;
    LONG status = (LONG)s->overlapped.Internal;
    DWORD n, flags;
    assert(status < 0);
    if (s->kind == XEV__IOCP_OPERATION && status != cancelled &&
        !WSAGetOverlappedResult(xev__win_socket(s->fd), &s->overlapped, &n, FALSE, &flags) &&
        WSAGetLastError() != WSAENOTSOCK) {
        return xev__win_socket_code();
    }
    return xev__win_status_code(status); /* of a pipe, or of a socket that was closed */
}

LPFN_CONNECTEX xev__iocp_connect_ex(xev_fd fd) {
    static LPFN_CONNECTEX function; /* atomic */
    LPFN_CONNECTEX f = __atomic_load_n(&function, __ATOMIC_RELAXED);
    if (f == NULL && ask_for(fd, (GUID)WSAID_CONNECTEX, &f, sizeof f)) {
        __atomic_store_n(&function, f, __ATOMIC_RELAXED);
    }
    return f;
}
