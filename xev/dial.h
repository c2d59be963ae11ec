/* Connecting to a host of several addresses, as xev_dns_resolve gives them: RFC 8305, "Happy
 * Eyeballs".
 *
 * The request is as in file.h: caller-owned, at one address until its terminal callback is entered,
 * req->c its completion. So xev_cancel(loop, &req->c, ...) cancels all of it, and
 * xev_completion_set_timeout(loop, &req->c, ...) is a deadline for all of it. When the callback is
 * entered nothing of it is under way any more: every socket but the one reported is closed.
 */
#ifndef XEV_DIAL_H
#define XEV_DIAL_H

#include "xev/addr.h"
#include "xev/loop.h"

/* What RFC 8305 advises. */
#define XEV_DIAL_STAGGER_MS 250

/* Most attempts at a time. */
#define XEV_DIAL_PARALLEL 8

/* All fields but c are private. */
typedef struct xev_dial_req {
    xev_completion c;
    const xev_addr *addrs;
    size_t count, left; /* left: still to be tried */
    size_t next[2];     /* from where to look for it: IPv4, IPv6 */
    bool ipv6;          /* whose turn it is */
    uint64_t stagger_ms;
    xev_fd fd; /* the one that is connected */
    int error; /* where none will be */
    xev_completion timer;
    xev_completion attempts[XEV_DIAL_PARALLEL]; /* each a connect, then perhaps a close */
} xev_dial_req;

XEV_BEGIN_DECLS

/* Connect a new TCP socket to one of the count addresses at addrs (kept until the callback). They
 * are tried in their order, but IPv4 and IPv6 in turn while there are both, beginning with the
 * first one's: the next one when an attempt has failed, and also stagger_ms after the last one
 * began, beside those that still wait; 0: one strictly after the other, each for as long as the
 * system tries (minutes), so give it a deadline. With XEV_DIAL_PARALLEL under way the next
 * one waits for one of them to fail. The first to be connected is the result: a descriptor, the
 * caller's, as of xev_tcp_init and xev_tcp_connect in this loop.
 * Where all fail, the last error: XEV_ECONNREFUSED, XEV_ETIMEDOUT (the system's, as a deadline's),
 * XEV_EMFILE, ...; that this host has no way to an address (XEV_ENETUNREACH, XEV_EADDRNOTAVAIL,
 * XEV_EAFNOSUPPORT) only where there is no other. XEV_EINVAL: no address. XEV_ECANCELED. */
void xev_tcp_dial(xev_loop *loop, xev_dial_req *req, const xev_addr *addrs, size_t count,
                  uint64_t stagger_ms, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
