/* Internal: services, and their parts on the shards.
 *
 * What stands in xev_serve and xev_service is written while shard 0 starts, before any connection
 * is served, and only read from then on; but for the rules. What a service has on a shard belongs
 * to that shard's thread; but for counters, which every thread may read.
 */
#ifndef SERVE_INTERNAL_H
#define SERVE_INTERNAL_H

#include <assert.h>
#include <pthread.h>

#include "serve/system_serve.h"
#include "xev/serve.h"

/* A peer's address: IPv6, or IPv4 as ::ffff:1.2.3.4. */
#define XEV__PEER_BYTES 16
#define XEV__PEER_PARTS 16u /* a power of two */
#define XEV__NETWORKS_MAX 64u

struct xev__moving;
struct xev__peer;

struct xev__peers {
    uint64_t seed;
    struct xev__peers_part {
        pthread_mutex_t lock;
        struct xev__peer **buckets;
        uint32_t room, count;
    } part[XEV__PEER_PARTS];
};

/* All addresses that begin as key does, with bits of them. */
struct xev__network {
    uint8_t key[XEV__PEER_BYTES];
    uint32_t bits;
};

/* What a connection that is admitted takes. */
struct xev__admission {
    uint32_t shard;
    bool is_operator;
    struct xev__peer *peer; /* NULL: it is not counted by its address */
};

enum xev__place { XEV__PLACE_TCP, XEV__PLACE_UNIX, XEV__PLACE_FD };

/* A service on a shard; on cache lines of its own, as each shard writes there. */
struct xev__served {
    _Alignas(64) xev_service *service;
    xev_shard *shard;
    xev_listener listener;
    xev_conn_service *conns;
    void *part;                /* shard_bytes */
    bool adopting;             /* room was taken for the connection that begins now */
    struct xev__moving *moves; /* of connections that leave this shard */
    struct xev__peer **peers;  /* by the number of a connection; made when there is one */
    uint32_t peers_room;
    uint32_t next;        /* DEAL: the shard that is next */
    uint32_t connections; /* atomic for readers, as all that follow */
    uint64_t accepted, handed, served, moved_in, moved_out, refused[XEV_SERVE_REFUSALS];
};

struct xev_service {
    xev_serve *serve;
    xev_service *next;
    xev_service_options options; /* name and address are copies */
    /* Of this run, or the last one. */
    enum xev__place place;
    xev_serve_policy policy;
    xev_addr addr;
    bool bound;
    xev_fd fd; /* PLACE_FD: until a listener has it; else XEV_INVALID_FD */
    struct xev__serve_file file;
    uint32_t send_bytes;    /* of a Unix socket: SO_SNDBUF of its connections; 0: the system's */
    struct xev__served *on; /* one of each shard; NULL: it has not run */
    struct xev__metrics *metrics; /* of the service that tells them; else NULL */
};

enum xev__life_state {
    XEV__LIFE_STARTING,
    XEV__LIFE_READY,
    XEV__LIFE_RELOADING,
    XEV__LIFE_STOPPING
};

struct xev__shard_life;

/* How the services are, and what the service manager knows of it. */
struct xev__life {
    xev_fd fd; /* XEV_INVALID_FD: nobody is told */
    xev_addr manager;
    uint64_t watchdog_us;       /* 0: none */
    struct xev__shard_life *on; /* one of each shard; NULL: there are none */
    pthread_mutex_t lock;       /* of what follows */
    enum xev__life_state state, told;
    uint64_t reload_us;  /* when the reload began that it is to be told of; 0: none */
    uint32_t round_left; /* shards that have not yet reloaded */
    bool round_again;
};

/* Who is let in. */
struct xev__rules {
    xev_serve_limits limits;                         /* none of them 0 */
    bool looks_at_peers;                             /* their addresses matter */
    struct xev__network networks[XEV__NETWORKS_MAX]; /* of operators */
    uint32_t networks_len;
    bool unix_operators;
};

/* A shard's copy of them, so that an accept takes no lock. */
struct xev__rules_seen {
    uint32_t version; /* 0: none yet */
    struct xev__rules rules;
};

struct xev_serve {
    xev_service *services, **last;
    bool running;
    xev_runtime_options options; /* the user's */
    uint32_t shards;             /* that the arrays have room for; 0: there are none */
    /* Per shard: connections of all services, outgoing ones and those on their way there included.
     * Atomic; 16 shards to a cache line, so that a look at all of them is short. */
    uint32_t *live;
    uint32_t total;               /* their sum; atomic */
    uint64_t memory;              /* that the process may have; UINT64_MAX: not known */
    pthread_mutex_t rules_lock;   /* of what follows */
    xev_serve_limits wanted;      /* as set */
    struct xev__rules rules;      /* of this run */
    bool rules_used;              /* it has begun to look at them */
    uint32_t rules_version;       /* > 0; atomic: read without the lock, too */
    struct xev__rules_seen *seen; /* per shard */
    struct xev__peers peers;
    bool up;                       /* all shards have started: messages reach them */
    uint32_t cpus[XEV_SHARDS_MAX]; /* that the runtime may use, in the order of the shards */
    uint32_t cpus_len;
    bool no_notify;
    struct xev__life life;
    uint8_t *user_began;  /* per shard: the user's init callback was called */
    uint8_t *user_inited; /* ... and was content */
};

/* ---- serve.c ---- */
/* Misuse, unless ok. */
void xev__serve_check(bool ok, const char *call, const char *what);
/* Whether one of its services has that name. */
bool xev__serve_has(const xev_serve *serve, const char *name);
/* The process may have so little that what the system holds of its sockets matters. */
static inline bool xev__serve_is_short_of_memory(const xev_serve *serve) {
    return serve->memory < UINT64_C(1) << 30;
}
/* Call one of the user's callbacks; NULL: nothing. */
void xev__serve_call_user(const xev_serve *serve, xev_shard *shard, xev_shard_fn fn);

/* ---- place.c: addresses and listeners ---- */
bool xev__serve_is_systemd(const xev_service *v); /* its address */
/* Before the run: the descriptor that its address names is the service's, whatever fails. */
void xev__serve_take_descriptor(xev_service *v);
/* Understand the service's address and policy, on shard 0. 0, or what xev_shard_fail returned. */
int xev__serve_understand(xev_service *v, xev_shard *shard);
/* Listen, if this shard does for this service. Likewise. */
int xev__serve_listen(struct xev__served *d);
/* unsent_bytes of the options of the service's connections. */
uint32_t xev__serve_unsent_max(const xev_service *v);
/* The drain begins, or the start has failed: remove a Unix socket's file. */
void xev__serve_unlink(xev_service *v);
/* Name what failed, and with why in words: returns code. */
int xev__serve_fail(const xev_service *v, xev_shard *shard, int code, const char *step);
int xev__serve_fail_why(const xev_service *v, xev_shard *shard, int code, const char *step,
                        const char *why);

/* ---- inherited.c: what the process was started with ---- */
/* The socket of a name or number, which is the caller's then. 0 or a code, with its *step, and in
 * *why what is wrong. */
int xev__serve_take_inherited(const char *which, xev_fd *fd, const char **step, const char **why);
/* fd is the caller's; where it is one of them nobody else gets it. */
void xev__serve_take_number(xev_fd fd);

/* A number from 0 to max, and nothing else. */
bool xev__serve_parse_number(const char *text, uint32_t max, uint32_t *number);

/* ---- life.c: what the service manager is told; reloads ---- */
/* Before and after the run. */
void xev__life_open(xev_serve *serve);
void xev__life_close(xev_serve *serve);
/* On shard 0, when the number of shards is known. 0 or XEV_ENOMEM. */
int xev__life_prepare(xev_serve *serve);
/* On each shard: its init has succeeded; SIGHUP; its drain begins. */
void xev__life_start(xev_serve *serve, xev_shard *shard);
void xev__life_hangup(xev_serve *serve, xev_shard *shard);
void xev__life_drain(xev_serve *serve, xev_shard *shard);
/* On any: the drain is over. */
void xev__life_stop(xev_serve *serve);

/* ---- choose.c: who is admitted, and to which shard ---- */
/* The rules as they are now: on the thread of a shard, for which they stay until the next call. */
const struct xev__rules *xev__serve_rules(xev_serve *serve, uint32_t self);

/* The shard with the fewest connections, and their number in *least. Of several: first, if it is
 * one of them, else the lowest. */
uint32_t xev__serve_least(const uint32_t *live, uint32_t shards, uint32_t first, uint32_t *least);
/* Take room for the connection that d has accepted. False: it is to be closed, for *why. */
bool xev__serve_admit(struct xev__served *d, xev_fd fd, struct xev__admission *a,
                      xev_serve_refusal *why);
/* It is to stay on the shard that accepted it. False: there is no room, and none is taken any more.
 */
bool xev__serve_keep(struct xev__served *d, struct xev__admission *a);
/* A connection that needs no leave; one that is gone, or was not served after all. */
void xev__serve_enter(xev_serve *serve, uint32_t shard);
void xev__serve_leave(xev_serve *serve, uint32_t shard, struct xev__peer *peer);

/* Whether a connection may be opened on this shard ahead of its use: no limit is met. */
bool xev__serve_has_room(void *served);

/* Room on a shard for a connection that is to move there from self, or has left it. */
bool xev__serve_take_shard(xev_serve *serve, uint32_t self, uint32_t shard);
void xev__serve_give_shard(xev_serve *serve, uint32_t shard);

/* ---- move.c ---- */
/* The runtime has ended. */
void xev__serve_free_moves(struct xev__served *d);

/* ---- peers.c: connections by address ---- */
void xev__peers_init(struct xev__peers *p);
void xev__peers_deinit(struct xev__peers *p); /* all were given back */
/* One connection more of an address. 0, and *peer is to be given back; XEV_ENOBUFS: it has max;
 * XEV_ENOMEM. Any thread, as is give. */
int xev__peer_take(struct xev__peers *p, const uint8_t *key, uint32_t max, struct xev__peer **peer);
void xev__peer_give(struct xev__peers *p, struct xev__peer *peer);
/* Of an address what is counted together: of IPv6 the first 64 bits. */
void xev__peer_network(uint8_t *key);
/* NULL: a peer of a Unix socket. */
bool xev__serve_is_operator(const struct xev__rules *rules, const uint8_t *key);
/* 0, or XEV_EINVAL: the list is as it was. */
int xev__serve_parse_operators(struct xev__rules *rules, const char *text);

/* ---- accept.c: what becomes of a connection ---- */
void xev__serve_on_accept(xev_listener *listener, int result, void *userdata);
void xev__serve_account(xev_conn *conn, bool begins, void *userdata);
/* Only the shard's own thread writes its counters. */
void xev__serve_count_up(uint64_t *counter);
/* The peer that a connection is counted for. False: no memory. NULL: none. */
bool xev__serve_set_peer(struct xev__served *d, const xev_conn *conn, struct xev__peer *peer);
struct xev__peer *xev__serve_peer_of(const struct xev__served *d, const xev_conn *conn);
void xev__serve_free_peers(struct xev__served *d);
void xev__serve_count(const struct xev__served *d, xev_service_counters *out);

#endif
