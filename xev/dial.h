/* Connecting to a host that has several addresses, as xev_dns_resolve gives them. RFC 8305, "Happy
 * Eyeballs".
 *
 *     xev_dial_req req;
 *     xev_tcp_dial(&loop, &req, addrs, count, XEV_DIAL_STAGGER_MS, userdata, on_connected);
 *
 * The request is the caller's and stays at one address until its terminal callback is entered.
 * req->c is its completion: xev_cancel(loop, &req->c, ...) cancels the whole, and
 * xev_completion_set_timeout(loop, &req->c, ...) limits the whole. When the callback is entered no
 * attempt is under way any more, and every socket is closed except the one in the result.
 */
#ifndef XEV_DIAL_H
#define XEV_DIAL_H

#include "xev/addr.h"
#include "xev/loop.h"

/* The delay between attempts that RFC 8305 recommends. */
#define XEV_DIAL_STAGGER_MS 250

/* The most attempts that are under way at a time. */
#define XEV_DIAL_PARALLEL 8

/* All fields but c are private. */
typedef struct xev_dial_req {
    xev_completion c;
    const xev_addr *addrs;
    size_t count, left; /* left: not tried yet */
    size_t next[2];     /* where to look for the next one: IPv4, IPv6 */
    bool ipv6;          /* the next attempt is to an IPv6 address */
    uint64_t stagger_ms;
    xev_fd fd; /* the connected socket */
    int error; /* the last error; 0: none yet */
    xev_completion timer;
    xev_completion attempts[XEV_DIAL_PARALLEL]; /* each a connect, then perhaps a close */
} xev_dial_req;

XEV_BEGIN_DECLS

/* Connect a new TCP socket to one of the count addresses at addrs, which the caller keeps until the
 * callback. Result: the descriptor of the first socket that is connected; it is the caller's, as if
 * made by xev_tcp_init and connected by xev_tcp_connect in this loop.
 *
 * Addresses are tried in their order, but IPv4 and IPv6 in turn as long as there are both,
 * beginning with the family of the first. The next attempt begins when one has failed, and also
 * stagger_ms after the last one began, beside those that still wait. With stagger_ms 0 each attempt
 * begins when the one before has failed; the system may try one address for minutes, so give the
 * request a time-out. At most XEV_DIAL_PARALLEL attempts are under way.
 *
 * If all fail, the result is the last error: XEV_ECONNREFUSED, XEV_ETIMEDOUT (of the system, or the
 * time-out of the request), XEV_EMFILE, ... An error which says that this host has no way to an
 * address (XEV_ENETUNREACH, XEV_EADDRNOTAVAIL, XEV_EAFNOSUPPORT) is reported only if there is no
 * other. XEV_EINVAL: count is 0, or of an address (a link-local one without its scope, say).
 * XEV_ECANCELED. Loop's thread. */
void xev_tcp_dial(xev_loop *loop, xev_dial_req *req, const xev_addr *addrs, size_t count,
                  uint64_t stagger_ms, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
