/* What becomes of a connection that a service's listener has accepted. */
#include <ck_pr.h>

#include "serve/internal.h"
#include "xev/tcp.h"

/* Only the shard's own thread writes its counters. */
static void count_one(uint64_t *counter) { ck_pr_store_64(counter, *counter + 1); }

void xev__serve_on_accept(xev_listener *listener, int result, void *userdata) {
    struct xev__served *d = userdata;
    assert(listener == &d->listener && xev_shard_current() == d->shard);
    (void)listener;
    if (result < 0) {
        if (d->service->options.accept_failed != NULL) {
            d->service->options.accept_failed(d->service, d->shard, result);
        }
        return;
    }
    count_one(&d->accepted);
    if (xev_conn_adopt(d->conns, result, NULL) < 0) {
        count_one(&d->refused);
        (void)xev_tcp_close_now(xev_tcp_from_fd(result));
        return;
    }
    count_one(&d->served);
}

void xev__serve_count(const struct xev__served *d, xev_service_counters *out) {
    out->accepted = ck_pr_load_64(&d->accepted);
    out->served = ck_pr_load_64(&d->served);
    out->refused = ck_pr_load_64(&d->refused);
}
