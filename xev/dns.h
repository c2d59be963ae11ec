/* Names of hosts to addresses and back.
 *
 * What needs looking up runs the system's resolver (getaddrinfo: /etc/hosts, DNS, whatever
 * nsswitch.conf says) on a pool thread, in XEV_LANE_DNS: at most that lane's cap of threads wait
 * for name servers, and files go on. What can be known at once is answered without a pool.
 *
 * The request is as in file.h: caller-owned, at one address until its terminal callback is entered,
 * req->c its completion. Names, services, addresses and the room for results are the caller's and
 * stay until the callback. Nothing is allocated here; the system's resolver does for itself.
 *
 * Cancel and deadline: a request that waits for a thread ends with XEV_ECANCELED or XEV_ETIMEDOUT.
 * One that is running ends with its real result, for the system's resolver cannot be interrupted:
 * after some 10 s per name server that is silent, unless resolv.conf says otherwise.
 *
 * Results common to both: XEV_ENONAME (no such name; a stable answer), XEV_EMFILE and XEV_ENFILE
 * (the resolver needs a descriptor or two), XEV_EDNS_AGAIN (no name server gave an answer that can
 * be used; may be different later: the system's resolver says the same of one that is silent, that
 * refuses and that fails), XEV_EDNS_FAIL (the answer is broken, or the resolver itself failed),
 * XEV_ENOPOOL, XEV_ECANCELED, XEV_ETIMEDOUT, XEV_EAGAIN (no thread), XEV_ENOMEM. Both calls: loop's
 * thread.
 */
#ifndef XEV_DNS_H
#define XEV_DNS_H

#include "xev/addr.h"
#include "xev/work.h"

/* Room for any host's name with its terminator. */
#define XEV_DNS_NAME_BYTES 256

/* In the callback, read: c, found. All other fields are private. */
typedef struct xev_dns_req {
    xev_completion c;
    struct xev__request_link link;
    uint32_t found; /* addresses the name has, also those there was no room for */
    enum xev_family family;
    const char *host, *service;
    xev_addr *addrs;
    const xev_addr *addr;
    char *name;
    size_t room;
} xev_dns_req;

XEV_BEGIN_DECLS

/* The addresses of host, in the order to try them in (RFC 6724). host: a name, or a literal as for
 * xev_addr_parse. service: a port ("80"), a service's name ("http"), or NULL for port 0. family:
 * XEV_AF_INET, XEV_AF_INET6 or XEV_AF_UNSPEC for both. addrs: room for max (1 to 65535) addresses.
 * Result: how many were written to addrs (> 0), req->found being how many there are; XEV_ENONAME
 * also for a literal of another family; XEV_ENOSERVICE; XEV_EAFNOSUPPORT (family); XEV_EINVAL
 * (empty host or service, port above 65535, max). Answered without the pool: literals with a
 * numeric service, and names under "invalid", which no name server is asked for (RFC 6761). */
void xev_dns_resolve(xev_loop *loop, xev_dns_req *req, const char *host, const char *service,
                     enum xev_family family, xev_addr *addrs, size_t max, void *userdata,
                     xev_cb cb);

/* The name of an address's host, into name (len_bytes, 1 to INT32_MAX, in size; XEV_DNS_NAME_BYTES
 * is enough), terminated. Result: 0; XEV_ENONAME: it has none; XEV_ENOBUFS: too little room;
 * XEV_EINVAL: no address, or len_bytes out of range. */
void xev_dns_name(xev_loop *loop, xev_dns_req *req, const xev_addr *addr, char *name,
                  size_t len_bytes, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
