/* Upstreams: the servers to which a server connects on behalf of its clients. A group of them, on
 * one loop: which one is next, which ones are left out because they fail, and a connection to the
 * first that answers.
 *
 *     xev_upstreams_new(&group, service, addrs, count, &(xev_upstreams_options){0});
 *     ...
 *     if (xev_upstreams_connect(group, NULL, &up) < 0 || xev_conn_pipe(client, up) < 0) {
 *         xev_conn_abort(client);
 *     }
 *
 * Choice. The policy chooses among the upstreams that are not left out. Where the connect to one
 * fails the next one is tried, each at most once, for the same connection: what was written to it
 * meanwhile goes to the one that answers.
 *
 * Failures. An upstream to which fails_max connects in a row have failed is left out for out_ms.
 * Then it is checked: by a connect that is closed at once. Where that fails too it is left out for
 * twice as long, up to out_max_ms. Upstreams that are not left out are checked every check_ms.
 * Without checks, one client's connection is the trial. While all upstreams are left out they are
 * tried all the same. Failures of this side (no descriptor, no memory, no local port) are no
 * upstream's: they end the connection, and no other upstream is tried.
 *
 * Reuse. A protocol that asks and is answered may give a connection back (xev_upstream_keep) in
 * place of ending it, once it has read all of the answer. From the next turn of the loop on a
 * connect to that upstream takes it, the latest one first. One that the upstream closes, or sends
 * something on, while it is kept is closed; so are all when the upstream is left out. The upstream
 * may close one in the moment in which it is taken: who gets no answer on one that was kept
 * (xev_upstream_was_kept) asks again on another, where asking twice does no harm.
 *
 * Opened ahead. For protocols that cannot reuse a connection, a group can have some open before
 * they are needed: as many as the option ahead says, to each upstream that is not left out. A
 * connect takes one of them, and another is opened in its place. Those that are kept count among
 * them: an upstream has no more waiting than the larger one of ahead and idle_max. One that the
 * upstream closes, or that has waited for idle_ms, is replaced after the upstream's next check. All
 * are closed when the upstream is left out. What an upstream sends at once, a greeting, is kept for
 * who takes the connection. Here, too, the upstream may close a connection in the moment in which
 * it is taken.
 *
 * Limits. One that is kept, or opened ahead, counts as a connection in every limit
 * (connections_max, and those of xev_serve_limits). Where connections_max is met it is given up for
 * any that begins, but a check or one opened ahead; where process_max or shard_max is met, for one
 * that is accepted on its shard, whatever services of the shard the two belong to. The one that has
 * waited longest goes first. It counts as gone at once, though its close takes a moment. Those of
 * other shards are not given up: in a full process leave room for idle_max, or ahead, to each
 * upstream, on each shard. Where one of the limits is met none is opened ahead.
 *
 * The drain. A service's drain ends its connections to upstreams as any others, but those that are
 * piped, or busy: who asks an upstream marks the connection with xev_conn_set_busy until it has the
 * answer. Otherwise the drain drops it. xev_upstream_keep takes the mark away.
 *
 * Groups of several shards know nothing of each other: each checks for itself.
 *
 * Misuse (null pointers where the call does not say what NULL means) ends the program, as in
 * completion.h. All calls are made on the loop's thread.
 */
#ifndef XEV_UPSTREAM_H
#define XEV_UPSTREAM_H

#include "xev/conn.h"

typedef struct xev_upstreams xev_upstreams;

/* Most upstreams of a group. */
#define XEV_UPSTREAMS_MAX 64

typedef enum xev_upstream_policy {
    XEV_UPSTREAM_ROUND_ROBIN = 0,
    XEV_UPSTREAM_LEAST_CONNECTIONS, /* of this group; those that are equal in turn */
} xev_upstream_policy;

/* All zero means all defaults. */
typedef struct xev_upstreams_options {
    xev_upstream_policy policy;
    uint32_t tries;              /* upstreams tried for one connection; 0: all of them */
    uint32_t connect_ms;         /* for one of them; 3 000; UINT32_MAX: the system's time */
    uint32_t fails_max;          /* 1 */
    uint32_t out_ms, out_max_ms; /* 1 000, 60 000; out_ms is not above out_max_ms */
    uint32_t check_ms;           /* 5 000; UINT32_MAX: no checks */
    /* Connections that are kept for the next ones, to each upstream (none), and how long (60 000;
     * UINT32_MAX: as long as it lasts). */
    uint32_t idle_max, idle_ms;
    uint32_t ahead; /* connections that are opened ahead, to each upstream (none); needs checks */
    /* Upstream number is left out (code: why, below 0), or is back (0): it has answered. Where
     * there are no checks, left out is told again after each trial that fails. Called by the loop,
     * never inside a call of yours; or NULL. */
    void (*changed)(xev_upstreams *group, uint32_t number, int code, void *userdata);
    void *userdata;
} xev_upstreams_options;

typedef struct xev_upstream_counters {
    xev_addr addr;
    bool out;             /* it is left out now */
    uint32_t out_ms;      /* how long, or was last; 0: it has answered since */
    uint32_t connections; /* to it, now; and those being made */
    uint32_t idle;        /* kept, or opened ahead, now */
    uint64_t connected;   /* connections that were made */
    uint64_t reused;      /* that were kept, or opened ahead, and taken */
    uint64_t failed;      /* connects that failed, checks included */
    int code;             /* of the last failure; 0: none */
} xev_upstream_counters;

XEV_BEGIN_DECLS

/* A group of count addresses, whose connections are the service's. 0; XEV_EINVAL (no address, too
 * many, one that is none, an unknown policy, out_ms above out_max_ms, ahead without checks:
 * xev_err_why says it); XEV_ENOMEM. Memory comes from the loop's allocator. On failure *group is
 * NULL. */
XEV_NODISCARD int xev_upstreams_new(xev_upstreams **group, xev_conn_service *service,
                                    const xev_addr *addrs, size_t count,
                                    const xev_upstreams_options *options);

/* Free it, after xev_conn_service_free (before, it is misuse): until that its connections and
 * timers are there. NULL: nothing. By the thread that called that. With services (serve.h), which
 * the runtime frees: in its deinit callback, and with deinit_failed set that is called also where a
 * later step of init has failed. */
void xev_upstreams_free(xev_upstreams *group);

/* A connection to an upstream, as by xev_conn_connect, or one that was kept, or opened ahead, as
 * new: *conn may be written to, and piped, at once. Its opened handler says that one has answered,
 * or closed that none has (XEV_CONN_UNCONNECTED, the code of the last one tried). handlers: NULL,
 * the service's. 0, XEV_ENOBUFS or XEV_ENOMEM. */
XEV_NODISCARD int xev_upstreams_connect(xev_upstreams *group, const xev_conn_handlers *handlers,
                                        xev_conn **conn);

/* Give back a connection of a group, which is the caller's no more: none of its handlers is called
 * again. It is kept if the group keeps any, and it is open and idle: nothing is queued or reserved,
 * no side is ending, it is in no pipe. Otherwise it is closed; by a reset, where something that was
 * written is cut off. Where idle_max (or ahead, if that is more) wait already, the one that has
 * waited longest is closed. */
void xev_upstream_keep(xev_conn *conn);

/* It was kept before, or opened ahead, and taken. */
bool xev_upstream_was_kept(const xev_conn *conn);

/* The number of the upstream that a connection is to, or that is being tried for it: that of its
 * address in the list. UINT32_MAX: it is no connection of a group. */
uint32_t xev_upstream_number(const xev_conn *conn);

/* How many there are; and about upstream number, all zero where there is none. Also when the
 * service is freed, before the group is. */
uint32_t xev_upstreams_count(const xev_upstreams *group);
void xev_upstream_count(const xev_upstreams *group, uint32_t number, xev_upstream_counters *out);

XEV_END_DECLS

#endif
