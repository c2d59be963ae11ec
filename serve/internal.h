/* Internal: services, and their parts on the shards.
 *
 * What stands in xev_serve and xev_service is written while shard 0 starts, before any connection
 * is served, and only read from then on. What a service has on a shard belongs to that shard's
 * thread; but for counters, which every thread may read.
 */
#ifndef SERVE_INTERNAL_H
#define SERVE_INTERNAL_H

#include <assert.h>

#include "serve/system_serve.h"
#include "xev/serve.h"

enum xev__place { XEV__PLACE_TCP, XEV__PLACE_UNIX, XEV__PLACE_FD };

/* A service on a shard; on cache lines of its own, as each shard writes there. */
struct xev__served {
    _Alignas(64) xev_service *service;
    xev_shard *shard;
    xev_listener listener;
    xev_conn_service *conns;
    void *part;           /* shard_bytes */
    bool adopting;        /* room was taken for the connection that begins now */
    uint32_t next;        /* DEAL: the shard that is next */
    uint32_t connections; /* atomic for readers, as all that follow */
    uint64_t accepted, handed, served, refused;
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
    struct xev__served *on; /* one of each shard; NULL: it has not run */
};

struct xev_serve {
    xev_service *services, **last;
    bool running;
    xev_runtime_options options; /* the user's */
    uint32_t shards;             /* that the arrays have room for; 0: there are none */
    /* Per shard: connections of all services, outgoing ones and those on their way there included.
     * Atomic; 16 shards to a cache line, so that a look at all of them is short. */
    uint32_t *live;
    bool up;                       /* all shards have started: messages reach them */
    uint32_t cpus[XEV_SHARDS_MAX]; /* that the runtime may use, in the order of the shards */
    uint32_t cpus_len;
    uint8_t *user_began;  /* per shard: the user's init callback was called */
    uint8_t *user_inited; /* ... and was content */
};

/* ---- place.c: addresses and listeners ---- */
/* Understand the service's address and policy, on shard 0. 0, or what xev_shard_fail returned. */
int xev__serve_understand(xev_service *v, xev_shard *shard);
/* Listen, if this shard does for this service. Likewise. */
int xev__serve_listen(struct xev__served *d);
/* The drain begins, or the start has failed: remove a Unix socket's file. */
void xev__serve_unlink(xev_service *v);
/* Name what failed: returns code. */
int xev__serve_fail(const xev_service *v, xev_shard *shard, int code, const char *step);

/* ---- accept.c: what becomes of a connection ---- */
/* The shard with the fewest connections, and their number in *least. Of several: first, if it is
 * one of them, else the lowest. */
uint32_t xev__serve_least(const uint32_t *live, uint32_t shards, uint32_t first, uint32_t *least);
void xev__serve_on_accept(xev_listener *listener, int result, void *userdata);
void xev__serve_account(xev_conn *conn, bool begins, void *userdata);
void xev__serve_count(const struct xev__served *d, xev_service_counters *out);

#endif
