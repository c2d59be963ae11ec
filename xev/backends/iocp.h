/* Internal: the backend for Windows, an I/O completion port.
 *
 * Model. What the system may write to until it has said its last word on an operation stands in a
 * slot of the loop: OVERLAPPED, addresses, the request of a poll. A slot is free again only after
 * the completion packet, whatever became of the user's operation meanwhile; so no late packet can
 * meet memory that another operation has, and none names a completion.
 *
 * Two ways lead to a result:
 *
 *   directly   AcceptEx, ConnectEx, WSARecv, ReadFile and WriteFile of pipes, and
 *              ReadDirectoryChangesW. The packet is the result.
 *   readiness  Everything else on sockets, by the adaptor (readiness.h): the call is made without
 *              waiting, and where it would wait, AFD, the driver below Winsock, is asked to report
 *              once when it would not. Sends are among these, since nobody knows what a cancelled
 *              overlapped send has sent. Receives are, on a socket that another loop's port has.
 *
 * A receive into a loaned buffer is a WSARecv of 0 bytes, and then a receive that does not wait: so
 * an idle connection holds no buffer. */
#ifndef XEV_BACKENDS_IOCP_H
#define XEV_BACKENDS_IOCP_H

#include "xev/backends/readiness.h"
#include "xev/os/windows/windows_base.h"

/* A completion's slot is the number of its slot here and this: the adaptor has two values of its
 * own for polls. */
#define XEV__IOCP_SLOT_BASE 2u
#define XEV__IOCP_NO_SLOT UINT32_MAX

struct xev__afd_poll {
    LARGE_INTEGER timeout;
    ULONG count, exclusive;
    HANDLE handle;
    ULONG events;
    LONG status;
};

enum xev__iocp_kind {
    XEV__IOCP_FREE = 0,  /* the slot is nobody's */
    XEV__IOCP_OPERATION, /* c is what the packet is the result of */
    XEV__IOCP_READY,     /* AFD reports on the entry of fd, in the directions dirs */
    XEV__IOCP_POLL,      /* AFD reports to c, which is a poll */
    XEV__IOCP_EXIT,      /* the end of a process */
    XEV__IOCP_CHANGES,   /* changes of a folder, for c */
};

struct xev__iocp_slot {
    OVERLAPPED overlapped;      /* first */
    xev_completion *c;          /* NULL: nobody waits for the packet any more */
    uint32_t number, gen, next; /* gen, next: the store's */
    xev_fd fd;
    uint8_t kind;              /* enum xev__iocp_kind */
    uint8_t dirs;              /* READY; 0: taken back by xev__afd_sweep */
    uint32_t entry, entry_gen; /* READY: of the descriptor */
    union {
        struct xev__afd_poll poll;
        struct {
            xev_fd fd;     /* of the connection */
            uint32_t next; /* as a completion's slot: another one of c's */
            char addresses[2 * (sizeof(struct sockaddr_in6) + 16)];
        } accept;
        struct {
            HANDLE wait;
            HANDLE port;
            uint32_t posted; /* atomic */
        } exit;
    } u;
};

struct xev__iocp {
    struct xev__readiness ready; /* first: the adaptor finds it there */
    HANDLE port, afd;
    struct xev__chunks slots;
    uint32_t id;        /* of this port: no two in the process have had the same */
    uint32_t in_kernel; /* slots whose packet is to come */
    uint32_t swept;     /* those of them that were taken back */
    uint32_t sweep_at;  /* when there are so many others: see xev__afd_sweep */
    OVERLAPPED_ENTRY *entries;
};

static inline struct xev__iocp_slot *xev__iocp_slot(const struct xev__iocp *p, uint32_t number) {
    return xev__chunks_item(&p->slots, number, sizeof(struct xev__iocp_slot));
}

/* A slot for c on fd, or NULL: there is no memory. */
struct xev__iocp_slot *xev__iocp_slot_new(struct xev__iocp *p, xev_completion *c, xev_fd fd,
                                          enum xev__iocp_kind kind);
void xev__iocp_slot_free(struct xev__iocp *p, struct xev__iocp_slot *s);
/* The system has answered to an overlapped call with ok or, in error, with a reason. Returns 0: its
 * packet will come, also where it was done at once, or in part (a message of a pipe that is longer
 * than the buffer); or a code: none will come. */
static inline int xev__iocp_asked(bool ok, DWORD error) {
    return ok || error == ERROR_IO_PENDING || error == ERROR_MORE_DATA ? 0 : xev__win_code(error);
}
#define XEV__IOCP_IN_PART ((LONG)0x80000005) /* STATUS_BUFFER_OVERFLOW: a warning, no error */

/* ---- iocp_accept.c ---- */

/* Have as many AcceptEx with the system for c as there should be. Returns 0, or a code: there is
 * none. */
int xev__iocp_accept_fill(xev_loop *loop, xev_completion *c);
/* Have the system end all of them. c's slot is one of theirs. */
void xev__iocp_accept_cancel(const struct xev__iocp *p, const xev_completion *c);
/* s, one of them, has ended with rc. Returns the descriptor of the connection, or why there is
 * none. Frees s; c's slot is XEV__IOCP_NO_SLOT then if it was the last one. */
int xev__iocp_accept_take(struct xev__iocp *p, struct xev__iocp_slot *s, int rc);

/* ---- iocp_ports.c ---- */

/* A number for a port that no other port of the process has had. */
uint32_t xev__iocp_new_id(void);
/* 1: packets of fd's operations come to this loop; 0: they do not, since another port has it; or a
 * code. */
int xev__iocp_associate(const struct xev__iocp *p, xev_fd fd);
/* Whether the first was so for fd when it was associated last. */
bool xev__iocp_has(const struct xev__iocp *p, xev_fd fd);

/* ---- iocp_winsock.c ---- */

/* NULL: fd is no socket that has it. */
LPFN_ACCEPTEX xev__iocp_accept_ex(xev_fd fd);
LPFN_CONNECTEX xev__iocp_connect_ex(xev_fd fd);
/* The code for the failure that s's packet brings. */
int xev__iocp_failure(struct xev__iocp_slot *s);

/* ---- iocp_afd.c ---- */

/* A handle to ask AFD by, whose packets come to port. 0 or a code. */
int xev__afd_open(HANDLE port, HANDLE *afd);
/* Ask, for the slot s: its packet comes when one of these XEV_POLL_* of its socket holds. 0 or a
 * code. */
int xev__afd_ask(HANDLE afd, struct xev__iocp_slot *s, uint32_t mask);
/* Take the reports back that nobody waits for: an entry that is given up leaves its own. */
void xev__afd_sweep(struct xev__iocp *p);
/* The XEV_POLL_* that the answer in s names. */
uint32_t xev__afd_answer(const struct xev__iocp_slot *s);

#endif
