/* A TCP proxy on every core: a client is connected to one of several upstreams.
 *
 * The policy chooses the upstream; where that one does not answer the next is tried. With a pool
 * the connection is open already. Then the two connections are piped to each other: data,
 * half-closes, resets and back-pressure go both ways. Where no upstream answers the client is
 * reset. Each shard finds out for itself which upstreams answer, by its clients and by checks.
 */
#include "examples/server.h"
#include "xev/proxy_protocol.h"
#include "xev/tcp.h"
#include "xev/upstream.h"

static struct server server = {.program = "tcp_proxy", .host = "127.0.0.1", .port = 7000};
static xev_addr addrs[XEV_UPSTREAMS_MAX];
static size_t addrs_len;
static xev_upstreams_options options;
static uint32_t proxy_version; /* of the header that upstreams are sent; 0: none */
static bool accept_proxy;

/* ---- connections ---- */

static ptrdiff_t drop(xev_conn *conn, const void *data, size_t len_bytes) {
    (void)conn, (void)data;
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers upstream_handlers = {.data = drop};

static void forward(xev_conn *client, const xev_proxy_header *header) {
    xev_upstreams **group = xev_conn_service_userdata(xev_conn_service_of(client));
    xev_conn *upstream = NULL;
    char text[XEV_PROXY_WRITE_MAX];
    int rc = xev_upstreams_connect(*group, &upstream_handlers, &upstream);
    if (rc == 0 && proxy_version > 0) {
        int len = xev_proxy_write(header, proxy_version, text);
        rc = xev_conn_write(upstream, text, (size_t)len);
    }
    rc = rc < 0 ? rc : xev_conn_pipe(client, upstream);
    if (rc < 0) {
        xev_conn_abort(client);
        if (upstream != NULL) {
            xev_conn_abort(upstream);
        }
    }
}

static void on_client(xev_conn *client) {
    xev_proxy_header header = {{0}, {0}};
    xev_tcp tcp = xev_tcp_from_fd(xev_conn_fd(client));
    if (proxy_version > 0 && (xev_tcp_peer_addr(tcp, &header.source) < 0 ||
                              xev_tcp_local_addr(tcp, &header.destination) < 0)) {
        xev_conn_abort(client); /* gone already */
    } else if (!accept_proxy) {
        forward(client, &header);
    }
}

/* The header; what is behind it goes through the pipe. */
static ptrdiff_t on_header(xev_conn *client, const void *data, size_t len_bytes) {
    xev_proxy_header header;
    int len = xev_proxy_read(&header, data, len_bytes);
    if (len > 0) {
        forward(client, &header);
    }
    return len;
}

static const xev_conn_handlers client_handlers = {.opened = on_client, .data = on_header};

/* ---- upstreams, on each shard ---- */

static void on_changed(xev_upstreams *group, uint32_t number, int code, void *userdata) {
    char text[XEV_ADDR_TEXT_BYTES];
    (void)group, (void)userdata;
    (void)xev_addr_format(&addrs[number], text, sizeof text);
    log_line("tcp_proxy: shard %u: upstream %s %s%s", xev_shard_id(xev_shard_current()), text,
             code < 0 ? "is left out: " : "is back", code < 0 ? xev_strerror(code) : "");
}

static int on_init(xev_shard *shard, void *userdata) {
    xev_conn_service *conns = xev_service_conns(server.service, shard);
    (void)userdata;
    return xev_upstreams_new(xev_conn_service_userdata(conns), conns, addrs, addrs_len, &options);
}

static void on_deinit(xev_shard *shard, void *userdata) {
    xev_upstreams **group = xev_service_part(server.service, xev_shard_id(shard));
    (void)userdata;
    xev_upstreams_free(*group);
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

static bool set_proxy_protocol(const char *text) {
    proxy_version = strcmp(text, "v2") == 0 ? 2 : 1;
    return proxy_version == 2 || strcmp(text, "v1") == 0;
}

int main(int argc, char **argv) {
    uint32_t idle_ms = 300000;
    const struct server_flag flags[] = {
        {"upstream", "ADDRESS", "127.0.0.1:8000, [::1]:8000, unix:PATH; once for each, to 64",
         .add = add_upstream, .takes = "an address with a port, or unix:PATH, 64 times at most"},
        {"balance", "POLICY", "round-robin (default) or least-connections", .add = set_balance,
         .takes = "round-robin or least-connections"},
        {"connect-ms", "N", "time for an upstream to answer (3000)", .min = 1, .max = 3600000,
         .number = &options.connect_ms},
        {"check-ms", "N", "interval of the checks of an upstream (5000)", .min = 1, .max = 3600000,
         .number = &options.check_ms},
        {"out-ms", "N", "how long one that failed is left out at first (1000)", .min = 1,
         .max = 60000, .number = &options.out_ms},
        {"idle-ms", "N", "a connection may be silent for so long (300000)", .min = 1,
         .max = UINT32_MAX - 1, .number = &idle_ms},
        {"pool", "N", "connections to each upstream that are opened ahead (0)", .max = 1024,
         .number = &options.ahead},
        {"proxy-protocol", "v1|v2", "tell upstreams who the client is", .add = set_proxy_protocol,
         .takes = "v1 or v2"},
        {"accept-proxy", .help = "clients are proxies, and begin so, too", .on = &accept_proxy},
        {.name = NULL},
    };
    server.flags = flags;
    server_parse(&server, argc, argv);
    if (addrs_len == 0) {
        fprintf(stderr, "tcp_proxy: no --upstream; try --help\n");
        return 2;
    }
    options.changed = on_changed;
    server.runtime.init = on_init;
    server.runtime.deinit = on_deinit;
    const xev_service_options proxy = {
        .shard_bytes = sizeof(xev_upstreams *),
        .conns = {.handlers = &client_handlers,
                  .connections_max = 4000000, /* descriptors are the limit */
                  .high_bytes = 64 * 1024,
                  .deadlines = {.idle_ms = idle_ms}},
    };
    return server_serve(&server, &proxy);
}
