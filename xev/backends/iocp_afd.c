/* AFD, the driver below Winsock: a report, once, when a socket is ready. select and WSAPoll are
 * made of this request (IOCTL_AFD_POLL), which has not changed since Windows 2000, and which libuv
 * and wepoll use as well. */
#include <winternl.h>

#include "xev/backends/iocp.h"
#include "xev/fd.h"

#define AFD_POLL_REQUEST 0x00012024u
enum {
    AFD_RECEIVE = 0x0001,
    AFD_URGENT = 0x0002,
    AFD_SEND = 0x0004,
    AFD_DISCONNECT = 0x0008,
    AFD_ABORT = 0x0010,
    AFD_LOCAL_CLOSE = 0x0020,
    AFD_ACCEPT = 0x0080,
    AFD_CONNECT_FAIL = 0x0100,
};

#ifndef SIO_BASE_HANDLE
#define SIO_BASE_HANDLE 0x48000022
#endif
#ifndef SIO_BSP_HANDLE_POLL
#define SIO_BSP_HANDLE_POLL 0x4800001D
#endif
#define STATUS_IS_PENDING ((LONG)0x00000103)

int xev__afd_open(HANDLE port, HANDLE *afd) {
    static wchar_t text[] = L"\\Device\\Afd\\xev";
    UNICODE_STRING name = {
        .Length = sizeof text - sizeof text[0], .MaximumLength = sizeof text, .Buffer = text};
    OBJECT_ATTRIBUTES attributes = {.Length = sizeof attributes, .ObjectName = &name};
    IO_STATUS_BLOCK status;
    LONG rc = NtCreateFile(afd, SYNCHRONIZE, &attributes, &status, NULL, 0,
                           FILE_SHARE_READ | FILE_SHARE_WRITE, 1 /* FILE_OPEN */, 0, NULL, 0);
    if (rc < 0) {
        return xev__win_status_code(rc);
    }
    if (CreateIoCompletionPort(*afd, port, 0, 0) == NULL) {
        int code = xev__win_last_code();
        (void)CloseHandle(*afd);
        return code;
    }
    return 0;
}

static bool is_below(SOCKET s, DWORD which, SOCKET *below) {
    DWORD n;
    return WSAIoctl(s, which, NULL, 0, below, sizeof *below, &n, NULL, NULL) == 0;
}

/* The socket below those that a layered provider (a firewall, a filter) may have put on it. Some
 * providers answer to the first question, though they must not, with an error: then the layers are
 * gone down one by one. */
static HANDLE base_of(xev_fd fd) {
    enum { LAYERS_MAX = 16 };
    SOCKET at = xev__win_socket(fd), below;
    if (is_below(at, SIO_BASE_HANDLE, &below)) {
        return (HANDLE)below;
    }
    for (int i = 0; i < LAYERS_MAX && is_below(at, SIO_BSP_HANDLE_POLL, &below) && below != at;
         i++) {
        at = below;
        if (is_below(at, SIO_BASE_HANDLE, &below)) {
            return (HANDLE)below;
        }
    }
    return (HANDLE)at;
}

static ULONG events_for(uint32_t mask) {
    ULONG events = AFD_ABORT | AFD_LOCAL_CLOSE | AFD_CONNECT_FAIL;
    events |= (mask & XEV_POLL_IN) != 0 ? AFD_RECEIVE | AFD_ACCEPT | AFD_DISCONNECT : 0;
    events |= (mask & XEV_POLL_OUT) != 0 ? AFD_SEND : 0;
    events |= (mask & XEV_POLL_HUP) != 0 ? AFD_DISCONNECT : 0;
    events |= (mask & XEV_POLL_PRI) != 0 ? AFD_URGENT : 0;
    return events;
}

int xev__afd_ask(HANDLE afd, struct xev__iocp_slot *s, uint32_t mask) {
    assert(s->kind == XEV__IOCP_READY || s->kind == XEV__IOCP_POLL);
    s->u.poll = (struct xev__afd_poll){
        .timeout.QuadPart = INT64_MAX,
        .count = 1,
        .handle = base_of(s->fd),
        .events = events_for(mask),
    };
    s->overlapped.Internal = (ULONG_PTR)STATUS_IS_PENDING;
    LONG rc = NtDeviceIoControlFile(afd, NULL, NULL, &s->overlapped,
                                    (IO_STATUS_BLOCK *)(void *)&s->overlapped, AFD_POLL_REQUEST,
                                    &s->u.poll, sizeof s->u.poll, &s->u.poll, sizeof s->u.poll);
    return rc >= 0 ? 0 : xev__win_status_code(rc);
}

#define SWEEP_MIN 256u

void xev__afd_sweep(struct xev__iocp *p) {
    const struct xev__fds *fds = p->slots.loop->fds;
    for (uint32_t n = 0; n < xev__chunks_end(&p->slots); n++) {
        struct xev__iocp_slot *s = xev__chunks_have(&p->slots, n) ? xev__iocp_slot(p, n) : NULL;
        if (s != NULL && s->kind == XEV__IOCP_READY && s->dirs != 0 &&
            xev__fds_at(fds, s->entry, s->entry_gen) == NULL) {
            (void)CancelIoEx(p->afd, &s->overlapped); /* its packet comes in any case */
            s->dirs = 0;
            p->swept++;
        }
    }
    p->sweep_at = 2 * (p->in_kernel - p->swept) + SWEEP_MIN;
}

uint32_t xev__afd_answer(const struct xev__iocp_slot *s) {
    if ((LONG)s->overlapped.Internal < 0 || s->u.poll.count == 0) {
        return XEV_POLL_ERR;
    }
    ULONG events = s->u.poll.events;
    uint32_t found = 0;
    found |= (events & (AFD_RECEIVE | AFD_ACCEPT)) != 0 ? XEV_POLL_IN : 0;
    found |= (events & AFD_DISCONNECT) != 0 ? XEV_POLL_IN | XEV_POLL_HUP : 0;
    found |= (events & AFD_SEND) != 0 ? XEV_POLL_OUT : 0;
    found |= (events & AFD_URGENT) != 0 ? XEV_POLL_PRI : 0;
    found |= (events & AFD_ABORT) != 0 ? XEV_POLL_ERR | XEV_POLL_HUP | XEV_POLL_IN : 0;
    found |= (events & (AFD_CONNECT_FAIL | AFD_LOCAL_CLOSE)) != 0 ? XEV_POLL_ERR : 0;
    return found;
}
