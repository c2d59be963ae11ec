/* One echoed connection: reading, back-pressure, end. Used by echo_sharded.c. */
#ifndef EXAMPLES_ECHO_CONN_H
#define EXAMPLES_ECHO_CONN_H

#include "xev/xev.h"

typedef struct echo_conn echo_conn;

/* What the connections of one shard have in common. Zeroed but for loop. */
typedef struct echo_pool {
    xev_loop *loop;
    echo_conn *live;       /* list of connections */
    echo_conn *free_conns; /* kept for the next ones: few allocations once warm */
    struct echo_write *free_writes;
    uint32_t free_conns_len, free_writes_len;
    uint64_t bytes; /* echoed */
    uint64_t ended; /* connections, for want of memory: refused, or cut */
    uint32_t lent;  /* buffers of the loop's in writes */
    bool draining, over;
} echo_pool;

/* Serve a new connection; takes the descriptor. */
void echo_conn_start(echo_pool *pool, int fd);

/* Of every connection: echo what the kernel has received by now, say so by closing our side, and
 * close when the peer has. */
void echo_pool_drain(echo_pool *pool);

/* From now on nothing is begun: what the loop's deinit cancels must not be tried again. */
void echo_pool_stop(echo_pool *pool);

/* After the loop's deinit. */
void echo_pool_free(echo_pool *pool);

#endif
