/* Internal: groups of upstreams. */
#ifndef CONN_UPSTREAM_H
#define CONN_UPSTREAM_H

#include "xev/completion.h"
#include "xev/upstream.h"

struct xev__upstream {
    xev_completion timer; /* the next check, or the end of a time out */
    xev_upstreams *group;
    xev_addr addr;
    uint32_t number;
    uint32_t connections; /* of role USE */
    uint32_t fails;       /* in a row */
    uint32_t out_ms;      /* how long it was left out last; 0: it has answered since */
    bool out;
    bool trial; /* it was left out, its time has passed, and nobody has tried it yet */
    int code;
    uint64_t connected, failed, reused;
    xev_conn *idle_first, *idle_last; /* those that are kept, the latest first */
    uint32_t idle, opening;           /* opening: of role AHEAD */
    xev_conn *check;                  /* under way, or NULL */
};

struct xev_upstreams {
    xev_conn_service *service; /* NULL: it is freed */
    xev_allocator allocator;
    xev_upstreams_options options; /* no field is 0 that has a default */
    uint32_t count, cursor;        /* cursor: who is next */
    xev_upstreams *next;           /* of the service's */
    struct xev__upstream upstream[];
};

#endif
