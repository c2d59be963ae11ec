/* Metrics: what services, connections, shards, loops and the pool count, and what the program adds,
 * as text for Prometheus (its format 0.0.4) on a service of its own:
 *
 *     static void own(xev_shard *shard, xev_metrics *metrics, void *userdata) {
 *         xev_metrics_counter(metrics, "kv_hits_total", NULL, table_of(shard)->hits);
 *     }
 *
 *     const xev_metrics_options options = {.address = "127.0.0.1:9100", .own = own};
 *     rc = xev_serve_add_metrics(serve, &options, NULL);
 *
 *     $ curl http://127.0.0.1:9100/metrics
 *     # TYPE xev_service_served_total counter
 *     xev_service_served_total{shard="0",service="kv"} 1027
 *     ...
 *
 * Each look asks every shard once, by xev_shard_map_reduce, so that each number is read on the
 * thread that writes it. A shard that does not answer in time is missing from the text, and
 * counted by xev_metrics_missing; so is one whose numbers, of 240 bytes each, are more than
 * ask_bytes of the runtime's options. Numbers of a connection's end, by reason, and of refusals are
 * there once they are not 0.
 */
#ifndef XEV_METRICS_H
#define XEV_METRICS_H

#include "xev/serve.h"

typedef struct xev_metrics xev_metrics; /* what one shard tells in one look */

/* On each shard, in each look: tell the program's own numbers. */
typedef void (*xev_metrics_fn)(xev_shard *shard, xev_metrics *metrics, void *userdata);

typedef struct xev_metrics_options {
    const char *address; /* as of a service; copied */
    uint32_t timeout_ms; /* for the answers of all shards; 0: 2000 */
    xev_metrics_fn own;  /* or NULL */
    void *userdata;
} xev_metrics_options;

XEV_BEGIN_DECLS

/* Add a service "metrics" ("metrics2", ... where there is one), served by shard 0. It answers GET
 * and HEAD of /metrics. Results, *service and thread as of xev_serve_add. */
XEV_NODISCARD int xev_serve_add_metrics(xev_serve *serve, const xev_metrics_options *options,
                                        xev_service **service);

/* Tell one number of this shard: one that only grows, or one that goes up and down. name: letters,
 * digits and underscores, of static storage. labels: "op=\"get\"", further ones behind a comma, to
 * 200 bytes, or NULL; copied. The label shard comes by itself. The same name and labels are told
 * once in a look. What there is no memory for is left out. In an xev_metrics_fn. */
void xev_metrics_counter(xev_metrics *metrics, const char *name, const char *labels,
                         uint64_t value);
void xev_metrics_gauge(xev_metrics *metrics, const char *name, const char *labels, double value);

/* Tell a histogram of this shard's, likewise; name has no suffix. unit is what its values are
 * multiplied by: 1e-9 where they are ns, since Prometheus wants seconds. Of its buckets 14 are
 * told, each 4 times as wide as the one before: up to 1023 units, 4095, 16383, ... 2^36 - 1 (ns:
 * from 1 us to 69 s). They, the sum and the count are exact. */
void xev_metrics_histogram(xev_metrics *metrics, const char *name, const char *labels,
                           const xev_histogram *h, double unit);

XEV_END_DECLS

#endif
