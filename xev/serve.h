/* Services: what a sharded server offers. Each service has an address and a table of handlers, and
 * serves its connections (conn.h) on the shards of a runtime (shard.h). An echo server:
 *
 *     static const xev_conn_handlers echo = {.data = on_data};
 *     const xev_service_options options = {
 *         .name = "echo", .address = "127.0.0.1:7000", .conns = {.handlers = &echo}};
 *     xev_serve *serve;
 *     xev_runtime runtime;
 *     if (xev_serve_new(&serve) == 0) {
 *         int rc = xev_serve_add(serve, &options, NULL);
 *         rc = rc < 0 ? rc : xev_serve_run(serve, &runtime, &(xev_runtime_options){0});
 *         xev_serve_free(serve);
 *     }
 *
 * Addresses are text:
 *
 *     127.0.0.1:80       TCP. Names of hosts are not looked up. With port 0 the
 *     [::1]:80           system chooses one, the same for all shards.
 *     unix:/run/a.sock   A Unix socket. The file of a socket at which nobody
 *                        listens any more is replaced; any other file is
 *                        XEV_EADDRINUSE. The file is removed when the drain
 *                        begins, unless somebody has replaced it; a path that
 *                        does not begin with "/" by the folder of that time.
 *     unix:@name         The same with an abstract name (Linux), without a file.
 *     fd:3               A descriptor that the process was started with: a stream
 *                        socket that listens. Others may share it; see
 *                        xev_shard_listen_fd.
 *     systemd:http       One of the sockets that systemd has opened for the process: the first of
 *     systemd:0          that name (FileDescriptorName=) that no service has taken, or that of a
 *                        number, from 0 on. Otherwise as fd:. See xev_serve_inherited.
 *
 * The start. xev_serve_run is xev_runtime_run with the services in it. On each shard the services
 * start in the order in which they were added, then the init callback of options is called. So it
 * may ask for bound addresses, and make connections with xev_service_conns. No connection is served
 * before all shards have started. A service that cannot start ends the start, and
 * xev_runtime_failure_get names the step (call), the service (part) and its address (object), and
 * where the code's text says too little, what is wrong (why):
 *
 *     "address"     no address, or the descriptor of another service: XEV_EINVAL;
 *                   XEV_ENAMETOOLONG (the path)
 *     "LISTEN_FDS"  of "systemd:": XEV_ENXIO: the process was not started with sockets (there is no
 *                   such variable, or LISTEN_PID names another process); as xev_serve_inherited
 *     "LISTEN_FDNAMES"  XEV_ENOENT: none of that name or number, or a service has taken it
 *     "policy"      XEV_ENOTSUP: not with such an address, or not one of xev_serve_policy
 *     "conns"       xev_conn_service_new: XEV_EINVAL (an option: why names it), XEV_ENOMEM
 *     "descriptor"  XEV_EBADF, XEV_ENOTSOCK, XEV_EPROTOTYPE, XEV_EINVAL: see xev_shard_listen_fd
 *     "socket"      none can be made: XEV_EMFILE, ...
 *     "bind"        of a Unix socket: XEV_EADDRINUSE, XEV_EACCES, XEV_ENOENT, ...
 *     "mode"        XEV_EINVAL: file_mode is above 07777; XEV_EPERM, ...: the permissions of a Unix
 *                   socket's file cannot be set
 *     "listen"      XEV_EADDRINUSE, XEV_EACCES, XEV_EADDRNOTAVAIL, XEV_EINVAL (backlog), ...
 *     "keepalive_ms", "unread_bytes", "unsent_bytes"  the socket does not take it: XEV_EINVAL
 *     "memory"      XEV_ENOMEM
 *
 * The end. In the drain all services stop accepting, and serve who is connected by then; their
 * connections end as by xev_conn_service_drain, within the drain's deadline. Of that at most half
 * is for who has connected and not said anything yet (first_ms of conns; none where it is below
 * 250). The drain callback of options is called after that. The services' connections are gone when
 * the deinit callback is called.
 *
 * The service manager. Where the environment has NOTIFY_SOCKET, a path or an abstract name
 * ("@name"), the manager there is told, as by sd_notify(3):
 *
 *     READY=1        when all shards serve
 *     RELOADING=1    with MONOTONIC_USEC, after SIGHUP or xev_runtime_reload, if there is a hangup
 *                    callback; READY=1 when it has returned on all shards. Several signals or calls
 *                    meanwhile are one more reload.
 *     STOPPING=1     when the drain begins
 *     WATCHDOG=1     four times in WATCHDOG_USEC, if that is set, and WATCHDOG_PID is not, or is
 *                    this process; but not while any shard's loop does not turn
 *
 * That never waits for the manager, and is no failure where there is none. See
 * xev_serve_set_notify.
 *
 * Misuse (null pointers where the call does not say what NULL means) ends the program, as in
 * completion.h.
 */
#ifndef XEV_SERVE_H
#define XEV_SERVE_H

#include "xev/conn.h"
#include "xev/shard.h"

typedef struct xev_serve xev_serve;     /* the services of one runtime */
typedef struct xev_service xev_service; /* one of them */

/* Which shard accepts a connection, and which one serves it. HASH and CPU are done by the kernel,
 * and are for TCP addresses only. Where the kernel does not spread connections over the sockets
 * that listen on a port (Windows), they are LEAST, and shard 0 is the one that accepts. With the
 * others a connection may be accepted on one shard and handed to another, by a message; where that
 * cannot be told (its mailbox is full, memory is short), the accepting shard keeps it. */
typedef enum xev_serve_policy {
    XEV_SERVE_AUTO = 0, /* TCP: HASH; other addresses: LEAST */
    /* Every shard listens, and serves what the kernel gives it, by a hash of the addresses
     * (SO_REUSEPORT). No work is spent on it. With few connections it is uneven: with 8 per shard
     * on 64 shards the fullest has nearly twice the mean. */
    XEV_SERVE_HASH,
    /* The same by the CPU on which the connection's first packet came in, so that it is served
     * where the network card's queue is: CPU number k of those that the process may use goes to
     * shard k, modulo their number. HASH where there are more shards than CPUs, or the kernel
     * refuses it. */
    XEV_SERVE_CPU,
    /* TCP: every shard accepts; other addresses: shard 0. A connection goes to the shard that has
     * the fewest of all services at that moment; the accepting one, if it is one of them. As long
     * as none ends, two shards never differ by more than one because of it. */
    XEV_SERVE_LEAST,
    XEV_SERVE_DEAL,   /* shard 0 accepts, and deals to all shards in turn, itself first */
    XEV_SERVE_SINGLE, /* shard 0 accepts, and serves all */
} xev_serve_policy;

/* Limits of all services of a runtime together. 0: the default; UINT32_MAX: none. A connection that
 * would pass one is closed when it is accepted, and counted by its reason. No limit is passed,
 * however many shards accept at the same moment. Before one is refused by process_max or shard_max,
 * connections that are kept to upstreams on the accepting shard are given up (upstream.h). Outgoing
 * connections (xev_conn_connect) count for process_max and shard_max, and are not refused. Each
 * service has limits of its own besides, on each shard, in xev_service_options.conns:
 * connections_max; held_max_bytes, the memory of all its connections there together, by which those
 * that hold the most are reset; and what one may hold.
 */
typedef struct xev_serve_limits {
    /* Connections of all shards. Default: how many descriptors the process may have
     * (RLIMIT_NOFILE), less those of own_descriptors; and of these less 64 and 16 per shard, but at
     * least half. With none, clients wait while there are no descriptors; so do operators. */
    uint32_t process_max;
    uint32_t shard_max; /* connections of a shard; 65 536 */
    /* Accepted connections of one address, and of one IPv6 network of 64 bits; half of process_max.
     * Peers of Unix sockets have no address; nor have those that have reset their connection by the
     * time that it is accepted, which are no operators, either. */
    uint32_t peer_max;
    /* This many of process_max, and of each shard's shard_max, are for operators only; for whom
     * peer_max does not hold, either. Default: 16, at most a quarter. As many as a limit, or more:
     * nobody else is let in. */
    uint32_t reserve;
    /* Who they are: addresses and networks ("10.1.0.0/16"), 64 at most, and "unix" for the peers of
     * Unix sockets, with spaces or commas between. "": nobody. NULL: "127.0.0.0/8 ::1". */
    const char *operators;
    /* Descriptors that the program opens by itself (files, say), beyond some 50. They are left out
     * of the default of process_max, so that neither takes the other's. 0: none. */
    uint32_t own_descriptors;
} xev_serve_limits;

/* Why a connection was closed when it was accepted. */
typedef enum xev_serve_refusal {
    XEV_SERVE_FULL_PROCESS = 0, /* process_max */
    XEV_SERVE_FULL_SHARD,       /* shard_max, of every shard that the policy allows */
    XEV_SERVE_FULL_PEER,        /* peer_max */
    XEV_SERVE_FULL_SERVICE,     /* connections_max of the service on that shard */
    XEV_SERVE_NO_MEMORY,
    XEV_SERVE_REFUSALS,
} xev_serve_refusal;

typedef struct xev_service_options {
    const char *name;    /* 1 to 31 bytes, one of its own; copied */
    const char *address; /* see above; copied */
    xev_serve_policy policy;
    /* Connections that wait to be accepted, of each listener; 0: 4096. The system may allow fewer
     * (net.core.somaxconn). Not for sockets that the process was started with. */
    int backlog;
    uint32_t keepalive_ms; /* TCP: see xev_tcp_set_keepalive; 0: 60 000; UINT32_MAX: none */
    /* TCP: output that the system holds of a connection and cannot send yet, since the peer does
     * not read; it is given no more then. It does not limit what is under way, nor the speed. 0:
     * where the process may have less than 1 GiB (xev_memory_limit), a 16 384th of that, at least
     * 4096; else none. UINT32_MAX: none. TCP_NOTSENT_LOWAT of tcp(7), which on Linux is not passed
     * by a large write either. Unix sockets: likewise, of all that the peer has not read (SO_SNDBUF
     * of socket(7)). */
    uint32_t unsent_bytes;
    /* TCP: input that the system holds of a connection which is not read, since its output waits,
     * say; to INT32_MAX. A peer sends no more than that in one round trip: it limits the speed at
     * which one receives. 0: where the process may have less than 1 GiB, a 16 384th of that, at
     * least 4096; else the system's. UINT32_MAX: the system's. SO_RCVBUF of socket(7). This
     * and keepalive_ms are not for sockets that the process was started with. */
    uint32_t unread_bytes;
    /* Permissions of a Unix socket's file, to 07777, whatever the umask; 0: 0600. */
    uint32_t file_mode;
    uint32_t shard_bytes; /* the service's part of each shard, zeroed; to 1 GiB */
    /* Of its connections, on each shard. held_max_bytes: 0 is 256 MiB, or so much less that all
     * services of all shards have a quarter of xev_memory_limit, or an eighth if that is below
     * 1 GiB; but at least 256 KiB. id, unsent_bytes, account and account_userdata are set by
     * xev_serve_run; with shard_bytes userdata, too: it is the shard's part. */
    xev_conn_options conns;
    /* An accept has failed, as told to an xev_listener_fn; or NULL. Shard's thread. */
    void (*accept_failed)(xev_service *service, xev_shard *shard, int code);
    void *userdata;
} xev_service_options;

/* A socket that the process was started with. */
typedef struct xev_serve_socket {
    xev_fd fd;        /* XEV_INVALID_FD: a service has taken it, in a run after the first call */
    const char *name; /* by LISTEN_FDNAMES; "unknown" without; static storage */
} xev_serve_socket;

/* Of one service on one shard. */
typedef struct xev_service_counters {
    uint32_t connections;                 /* now, outgoing ones included */
    uint64_t accepted;                    /* connections, by the shard's listener */
    uint64_t handed;                      /* of these, to other shards */
    uint64_t served;                      /* connections that became the service's on this shard */
    uint64_t refused[XEV_SERVE_REFUSALS]; /* accepted, and closed at once */
    uint64_t moved_in, moved_out;         /* by xev_serve_move; neither served nor closed here */
} xev_service_counters;

XEV_BEGIN_DECLS

/* No services yet, in *serve. 0, or XEV_ENOMEM (and NULL). Any thread. */
XEV_NODISCARD int xev_serve_new(xev_serve **serve);

/* Free it and its services. NULL: nothing. It does not run (misuse). */
void xev_serve_free(xev_serve *serve);

/* Add a service, which is in *service (NULL: not wanted) and belongs to serve. 0; XEV_EINVAL (no
 * name or address, name too long or another one's, shard_bytes: xev_err_why says it), XEV_ENOMEM:
 * *service is NULL. What else is wrong is told by the start. The thread that made serve, while it
 * does not run. */
XEV_NODISCARD int xev_serve_add(xev_serve *serve, const xev_service_options *options,
                                xev_service **service);

/* The sockets that the process was started with by systemd's convention: LISTEN_FDS of them, from
 * descriptor 3 on, if LISTEN_PID is this process. The first max of them, in their order, are copied
 * to sockets (NULL with max 0). Returns their number, which may be above max. 0: there are none, or
 * they are another process's; XEV_EINVAL: a variable is no number, or there are not as many names
 * as sockets; XEV_EBADF: one is not open; XEV_ENOMEM. They stay the process's; one that is made a
 * service's by its address ("fd:3", "systemd:http") is the service's from then on.
 *
 * The first call sets close-on-exec of all of them, and removes the variables from the environment,
 * so that programs which are executed do not take them for their own; no other thread may use the
 * environment meanwhile. Later calls tell the same, a failure too. Where an address begins with
 * "systemd:", xev_serve_run makes that call. A program that runs services at "fd:" addresses and
 * makes it itself does so before. Any thread. */
int xev_serve_inherited(xev_serve_socket *sockets, uint32_t max);

/* Limits from now on, of this run and of the next ones. operators is copied. 0, or XEV_EINVAL
 * (operators; xev_err_why says which word): they are as before. What is 0 has its default again. In
 * a run they hold for who is accepted later; who is connected stays, also above a limit that has
 * become lower. Who was let in while peer_max and the reserve did not matter is not counted for
 * peer_max. Any thread; on one shard in a hangup callback, say. */
XEV_NODISCARD int xev_serve_set_limits(xev_serve *serve, const xev_serve_limits *limits);

/* Whether the next runs tell the service manager how they are (see above, "The service manager").
 * They do as long as this is not called. The thread that made serve, while it does not run. */
void xev_serve_set_notify(xev_serve *serve, bool notify);

/* Run the shards with the services; results as of xev_runtime_run. options and its callbacks as
 * there. Descriptors of "fd:" addresses are closed by then, whatever the result is: before another
 * run of these services the program opens new ones at the same numbers. Those of "systemd:"
 * addresses are closed once a service has taken them. One thread, as for xev_runtime_run. */
XEV_NODISCARD int xev_serve_run(xev_serve *serve, xev_runtime *rt,
                                const xev_runtime_options *options);

/* Move a connection of a service to shard number shard, while it lives. No byte is lost or repeated
 * in either direction. From the call on nothing is read or sent, and no handler but late is called;
 * what the loop had received by then is kept. When the loop has let go of the descriptor, and every
 * reserved slot is filled, the leaving handler is called on this shard, and then moved on the other
 * one, where reading and sending go on. A full mailbox only delays it.
 *
 * The connection takes along its handlers, a copy of the bytes of its user part, the input that was
 * not consumed, the output that was not sent, the ends of either side, its pause, its deadlines and
 * the time that has passed of them, and its place in all counts. Output that was lent, or is of a
 * file, stays this shard's: release is called here, when the other shard has sent all of that.
 * Handles name a connection on one shard: the old one is XEV_ESTALE when the leaving handler has
 * returned, and is not forwarded. Answers that come for it are the program's to send on: in moved
 * the connection has its new handle.
 *
 * Lack of memory over there, or its connections_max, costs nothing: the connection comes back, and
 * moved is called on this shard. So it does where the other shard has ended; one that drains takes
 * it, and ends it in order. What ends the connection before it has left ends it here.
 *
 * 0, or XEV_EINVAL (no such shard, or its own), XEV_ENOBUFS (shard_max over there; the reserve is
 * not for this), XEV_EPIPE (it is ending), XEV_EBUSY (it moves, is piped, not connected, or has
 * output that was lent on the shard from which it came; shards have not all started), XEV_ENOTSUP
 * (pipes, a transport, a connection to an upstream), XEV_ENOMEM. Then nothing has happened. Shard's
 * thread. A connection that is no service's of an xev_serve is misuse. */
XEV_NODISCARD int xev_serve_move(xev_conn *conn, uint32_t shard);

/* The limits of this run, or the last one, with their defaults filled in; operators is NULL. From
 * the first call of the init callback on; before that those of the last run, or all zero. Any
 * thread. */
void xev_serve_limits_get(const xev_serve *serve, xev_serve_limits *out);

/* Connections of all services on shard number id, outgoing ones and those on their way to it
 * included; what LEAST compares. 0 where there is no such shard. Takes no lock. Any thread, from
 * the first call of the init callback on, until the next run or xev_serve_free. */
uint32_t xev_serve_live(const xev_serve *serve, uint32_t id);

/* "process", "peer", ...; "" for a number that is no refusal. Any thread. */
const char *xev_serve_refusal_name(xev_serve_refusal refusal);

/* What it was made with. Any thread. */
const char *xev_service_name(const xev_service *service);
void *xev_service_userdata(const xev_service *service);

/* The address it is bound to, with the real port; the policy that is carried out. From the first
 * call of the init callback on, also when it has ended. 0, or XEV_EINVAL: it was never bound. Any
 * thread. */
XEV_NODISCARD int xev_service_addr(const xev_service *service, xev_addr *addr);
xev_serve_policy xev_service_policy(const xev_service *service);

/* Its part of shard number id: shard_bytes, which only that shard's thread uses while it runs. From
 * the shard's init callback on, until the next run or xev_serve_free; otherwise, and where there is
 * no such shard or part, NULL. Any thread. */
void *xev_service_part(const xev_service *service, uint32_t id);

/* Its connections on a shard, from the shard's init callback to its stop callback; NULL in its
 * deinit callback, and for a shard of another runtime. Shard's thread. */
xev_conn_service *xev_service_conns(const xev_service *service, xev_shard *shard);

/* What it has done on shard number id, read one by one; zeros where there is no such shard. Any
 * thread, from the first call of the init callback on; also when it has ended, until the next run
 * or xev_serve_free. */
void xev_service_count(const xev_service *service, uint32_t id, xev_service_counters *out);

XEV_END_DECLS

#endif
