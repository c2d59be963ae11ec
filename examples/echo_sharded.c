/* A TCP echo server on every core.
 *
 * One loop, one listener and one set of connections per shard; nothing is shared while serving. At
 * the end every shard reports its counts to shard 0 by a message.
 */
#include "examples/server.h"

/* Of one shard, touched by its thread only; but for totals, which shard 0 writes. */
struct part {
    uint64_t bytes; /* echoed */
    xev_message report;
    struct counts {
        uint64_t accepted, bytes, messages;
    } last, totals;
};

/* What the peer does not take is queued, and above the high water mark nothing more is read. */
static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    struct part *p = xev_conn_service_userdata(xev_conn_service_of(conn));
    p->bytes += len_bytes;
    (void)xev_conn_write(conn, data, len_bytes); /* where it fails the connection ends */
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers handlers = {.data = on_data};

/* On shard 0. */
static void on_report(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    struct part *from = arg;
    from->totals = from->last;
}

static void on_stop(xev_shard *self, void *userdata) {
    struct server *server = userdata;
    struct part *p = xev_service_part(server->service, xev_shard_id(self));
    xev_shard_counters c;
    xev_shard_count(self, &c);
    p->last = (struct counts){c.accepted, p->bytes, c.messages_sent + 1}; /* with this one */
    if (xev_shard_send(xev_runtime_shard(&server->handle, 0), &p->report, on_report, p) < 0) {
        log_line("echo_sharded: shard %u could not report", xev_shard_id(self));
    }
}

int main(int argc, char **argv) {
    struct server server = {.program = "echo_sharded", .host = "127.0.0.1", .port = 7000};
    server_parse(&server, argc, argv);
    server.runtime.stop = on_stop;
    const xev_service_options echo = {
        .name = "echo",
        .address = server.address,
        .shard_bytes = sizeof(struct part),
        .accept_failed = server_accept_failed,
        .userdata = &server,
        .conns = {.handlers = &handlers,
                  .connections_max = 4000000,
                  .high_bytes = 64 * 1024,
                  /* A peer may be silent; one that takes nothing for so long is cut off. */
                  .deadlines = {.idle_ms = UINT32_MAX, .write_ms = 30000, .linger_ms = UINT32_MAX}},
    };
    xev_serve *serve;
    xev_service *service = NULL;
    /* Descriptors are the limit: where there are none, clients wait. */
    const xev_serve_limits none = {.process_max = UINT32_MAX,
                                   .shard_max = UINT32_MAX,
                                   .peer_max = UINT32_MAX,
                                   .reserve = UINT32_MAX};
    if (xev_serve_new(&serve) < 0 || xev_serve_set_limits(serve, &none) < 0 ||
        xev_serve_add(serve, &echo, &service) < 0) {
        fprintf(stderr, "echo_sharded: %s\n", xev_strerror(XEV_ENOMEM));
        return 1;
    }
    int code = server_run(&server, serve, service);
    for (uint32_t i = 0; i < server.shards; i++) { /* all have ended: nobody waits for stdout */
        const struct counts *t = &((struct part *)xev_service_part(service, i))->totals;
        printf("shard %u accepted=%llu bytes=%llu messages=%llu\n", i,
               (unsigned long long)t->accepted, (unsigned long long)t->bytes,
               (unsigned long long)t->messages);
    }
    xev_serve_free(serve);
    return code;
}
