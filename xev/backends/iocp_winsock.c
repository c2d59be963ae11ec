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

LPFN_CONNECTEX xev__iocp_connect_ex(xev_fd fd) {
    static LPFN_CONNECTEX function; /* atomic */
    LPFN_CONNECTEX f = __atomic_load_n(&function, __ATOMIC_RELAXED);
    if (f == NULL && ask_for(fd, (GUID)WSAID_CONNECTEX, &f, sizeof f)) {
        __atomic_store_n(&function, f, __ATOMIC_RELAXED);
    }
    return f;
}
