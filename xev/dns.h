/* Names of hosts to addresses, and addresses to names.
 *
 *     xev_dns_req req;
 *     xev_addr addrs[8];
 *     xev_dns_resolve(&loop, &req, "example.org", "80", XEV_AF_UNSPEC, addrs, 8, userdata, found);
 *
 * A lookup runs the resolver of the system (getaddrinfo(3): /etc/hosts, DNS, whatever nsswitch.conf
 * says) on a thread of the loop's pool, in XEV_LANE_DNS. At most as many threads as the cap of that
 * lane wait for name servers, so files are served meanwhile. What can be known without a lookup is
 * answered without a pool.
 *
 * The request is the caller's and stays at one address until its terminal callback is entered;
 * req->c is its completion. Names, services, addresses and the room for results are the caller's
 * and stay until the callback. xev allocates nothing; the resolver of the system does.
 *
 * Cancel and time-out: a request that waits for a thread ends with XEV_ECANCELED or XEV_ETIMEDOUT.
 * One that runs cannot be interrupted, and ends with its real result: after some 10 s per silent
 * name server, unless resolv.conf says otherwise.
 *
 * Results that both calls have: XEV_ENONAME (there is no such name; a stable answer),
 * XEV_EDNS_AGAIN (no name server gave an answer that can be used: it was silent, refused or failed,
 * which the resolver does not tell apart; may change later), XEV_EDNS_FAIL (the answer is broken,
 * or the resolver failed), XEV_ENOPOOL, XEV_ECANCELED, XEV_ETIMEDOUT, XEV_EAGAIN (no thread could
 * be started), XEV_ENOMEM, XEV_EMFILE, XEV_ENFILE. Misuse (a null pointer where the call does not
 * say what NULL means) ends the program, as in completion.h. Both calls: loop's thread.
 */
#ifndef XEV_DNS_H
#define XEV_DNS_H

#include "xev/addr.h"
#include "xev/work.h"

/* Room for the name of any host, with its terminator. */
#define XEV_DNS_NAME_BYTES 256

/* For the callback to read: c and found. All other fields are private. */
typedef struct xev_dns_req {
    xev_completion c;
    struct xev__request_link link;
    /* how many addresses the name has, also those for which there was no room */
    uint32_t found;
    enum xev_family family;
    const char *host, *service;
    xev_addr *addrs;
    const xev_addr *addr;
    char *name;
    size_t room;
} xev_dns_req;

XEV_BEGIN_DECLS

/* Find the addresses of host, in the order in which to try them (RFC 6724).
 *
 * - host: a name, or a literal as for xev_addr_parse; not empty.
 * - service: a port ("80"), the name of a service ("http"), or NULL for port 0.
 * - family: XEV_AF_INET, XEV_AF_INET6, or XEV_AF_UNSPEC for both.
 * - addrs: room for max addresses, 1 to 65535.
 *
 * Result: how many addresses were written to addrs (> 0); req->found says how many there are.
 * XEV_ENONAME: also for a literal of another family. XEV_ENOSERVICE: no such service.
 * XEV_EAFNOSUPPORT: family. XEV_EINVAL: empty host or service, port above 65535, or max. Answered
 * without the pool: literals with a numeric service, and names under "invalid", for which no name
 * server is asked (RFC 6761). */
void xev_dns_resolve(xev_loop *loop, xev_dns_req *req, const char *host, const char *service,
                     enum xev_family family, xev_addr *addrs, size_t max, void *userdata,
                     xev_cb cb);

/* Find the name of the host that has an address. It is written to name, which has len_bytes of room
 * (1 to INT32_MAX; XEV_DNS_NAME_BYTES is enough), with its terminator. Result: 0; XEV_ENONAME (it
 * has none), XEV_ENOBUFS (too little room), XEV_EINVAL (no address, or len_bytes out of its range),
 * XEV_EAFNOSUPPORT (an address of a Unix socket). */
void xev_dns_name(xev_loop *loop, xev_dns_req *req, const xev_addr *addr, char *name,
                  size_t len_bytes, void *userdata, xev_cb cb);

XEV_END_DECLS

#endif
