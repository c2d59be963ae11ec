/* Internal: what services need of the operating system. Codes are XEV_E*. */
#ifndef XEV_SERVE_SYSTEM_H
#define XEV_SERVE_SYSTEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xev/addr.h"

/* Which file a path named; all zero: none. */
struct xev__serve_file {
    uint64_t device, number;
};

/* Whether the system spreads the connections to one port over all sockets that listen there. Where
 * it does not, one shard accepts, and hands connections to the others. */
bool xev__serve_shares_ports(void);

/* Programs that are executed do not get the variable. */
void xev__serve_forget_environment(const char *name);

/* Programs that are executed do not get fd. 0 or a code. */
int xev__serve_keep_to_self(xev_fd fd);

/* The number of this process. */
uint32_t xev__serve_process(void);

/* The file that a bind of socket fd makes will have at most these permissions. 0 or a code. */
int xev__serve_limit_mode(xev_fd fd, uint32_t mode);
/* The socket at path, which this process has just bound: which file it is; and give it these
 * permissions exactly. 0 or a code. */
int xev__serve_set_mode(const char *path, uint32_t mode, struct xev__serve_file *file);
/* Remove path if it still names that file; NULL: whatever it names. */
void xev__serve_remove(const char *path, const struct xev__serve_file *file);

/* Of a group of count listening sockets that share an address, in the order in which they began to
 * listen, fd being one of them: give a connection to the socket number k modulo count, if its first
 * packet comes in on the CPU cpus[k]. 0 or a code. */
int xev__serve_spread_by_cpu(xev_fd fd, const uint32_t *cpus, uint32_t cpus_len, uint32_t count);

/* Of a listening TCP socket, inherited by its connections: the system holds about so many bytes of
 * a connection's output that it cannot send yet, and takes no more (TCP_NOTSENT_LOWAT). What it has
 * sent, and the peer's system not acknowledged, is not limited. 0, also where the system has no
 * such limit, or a code. */
int xev__serve_limit_unsent(xev_fd fd, uint32_t bytes);

/* ---- peers ---- */

/* The address of a connection's peer, IPv4 as ::ffff:1.2.3.4. False: it has none. */
bool xev__serve_peer_address(xev_fd fd, uint8_t key[16]);
/* The same of an address that is IPv4 or IPv6. */
void xev__serve_address(const xev_addr *addr, uint8_t key[16]);

/* ---- the service manager ---- */

/* A socket to tell it things by; XEV_INVALID_FD: none can be had. */
xev_fd xev__serve_open_teller(void);
void xev__serve_close_teller(xev_fd fd);
/* Send text to an address. Does not wait. 0 or a code; XEV_EAGAIN: there is no room now. */
int xev__serve_tell(xev_fd fd, const xev_addr *to, const char *text);
/* The clock by which the manager knows when something began. */
uint64_t xev__serve_monotonic_us(void);

/* A number that nobody can guess. */
uint64_t xev__serve_random(void);

/* How many descriptors the process may have. */
uint32_t xev__serve_descriptors(void);

#endif
