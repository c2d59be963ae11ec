/* A TCP proxy on every core: a client is connected to one of several upstreams.
 *
 * The policy chooses the upstream; where that one does not answer the next is tried. Then the two
 * connections are piped to each other: data, half-closes, resets and back-pressure go both ways.
 * Where no upstream answers the client is reset. Each shard finds out for itself which upstreams
 * answer, by its clients and by checks.
 */
#include "examples/server.h"
#include "xev/upstream.h"

/* Of one shard. */
struct part {
    xev_upstreams *upstreams;
};

static struct server server = {.program = "tcp_proxy", .host = "127.0.0.1", .port = 7000};
static xev_addr addrs[XEV_UPSTREAMS_MAX];
static size_t addrs_len;
static xev_upstreams_options options;

/* ---- connections ---- */

/* Of a connection that is not piped any more. */
static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    (void)conn;
    (void)data;
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers upstream_handlers = {.data = on_data};

static void on_client(xev_conn *client) {
    struct part *part = xev_conn_service_userdata(xev_conn_service_of(client));
    xev_conn *upstream = NULL;
    int rc = xev_upstreams_connect(part->upstreams, &upstream_handlers, &upstream);
    rc = rc < 0 ? rc : xev_conn_pipe(client, upstream);
    if (rc < 0) {
        xev_conn_abort(client);
        if (upstream != NULL) {
            xev_conn_abort(upstream);
        }
    }
}

static const xev_conn_handlers client_handlers = {.opened = on_client, .data = on_data};

/* ---- upstreams, on each shard ---- */

static void on_changed(xev_upstreams *group, uint32_t number, int code, void *userdata) {
    char text[XEV_ADDR_TEXT_BYTES];
    (void)group;
    (void)xev_addr_format(&addrs[number], text, sizeof text);
    log_line("tcp_proxy: shard %u: upstream %s %s%s", xev_shard_id(userdata), text,
             code < 0 ? "is left out: " : "is back", code < 0 ? xev_strerror(code) : "");
}

static int on_init(xev_shard *shard, void *userdata) {
    const struct server *s = userdata;
    struct part *part = xev_service_part(s->service, xev_shard_id(shard));
    xev_upstreams_options o = options;
    o.changed = on_changed;
    o.userdata = shard;
    return xev_upstreams_new(&part->upstreams, xev_service_conns(s->service, shard), addrs,
                             addrs_len, &o);
}

static void on_deinit(xev_shard *shard, void *userdata) {
    const struct server *s = userdata;
    struct part *part = xev_service_part(s->service, xev_shard_id(shard));
    xev_upstreams_free(part->upstreams);
}

/* ---- command line ---- */

static bool add_upstream(const char *text) {
    return addrs_len < XEV_UPSTREAMS_MAX && xev_addr_from_text(&addrs[addrs_len], text) == 0 &&
           (addrs_len++, true);
}

static bool set_balance(const char *text) {
    bool least = strcmp(text, "least-connections") == 0;
    options.policy = least ? XEV_UPSTREAM_LEAST_CONNECTIONS : XEV_UPSTREAM_ROUND_ROBIN;
    return least || strcmp(text, "round-robin") == 0;
}

int main(int argc, char **argv) {
    uint32_t idle_ms = 300000;
    const struct server_flag flags[] = {
        {"upstream", "ADDRESS", "127.0.0.1:8000, [::1]:8000, unix:PATH; once for each, to 64",
         .add = add_upstream, .takes = "an address with a port, or unix:PATH, 64 times at most"},
        {"balance", "POLICY", "round-robin or least-connections (round-robin)", .add = set_balance,
         .takes = "round-robin or least-connections"},
        {"connect-ms", "N", "time for an upstream to answer (3000)", .min = 1, .max = 3600000,
         .number = &options.connect_ms},
        {"check-ms", "N", "interval of the checks of an upstream (5000)", .min = 1, .max = 3600000,
         .number = &options.check_ms},
        {"out-ms", "N", "how long one that failed is left out at first (1000)", .min = 1,
         .max = 60000, .number = &options.out_ms},
        {"idle-ms", "N", "a connection may be silent for so long (300000)", .min = 1,
         .max = UINT32_MAX - 1, .number = &idle_ms},
        {NULL},
    };
    server.flags = flags;
    server_parse(&server, argc, argv);
    if (addrs_len == 0) {
        fprintf(stderr, "tcp_proxy: no --upstream; try --help\n");
        return 2;
    }
    server.runtime.init = on_init;
    server.runtime.deinit = on_deinit;
    const xev_service_options proxy = {
        .shard_bytes = sizeof(struct part),
        .conns = {.handlers = &client_handlers,
                  .connections_max = 4000000, /* descriptors are the limit */
                  .high_bytes = 64 * 1024,
                  .deadlines = {.idle_ms = idle_ms}},
    };
    return server_serve(&server, &proxy);
}
