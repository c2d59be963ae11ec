/* A TCP echo server on every core.
 *
 * One loop, one listener and one set of connections per shard; nothing is shared while serving.
 * Every shard reports its counts to shard 0 by message, once a second and at the end.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "examples/log.h"
#include "xev/conn.h"
#include "xev/shard.h"

#define CONNECTIONS_MAX 4000000 /* descriptors are the limit */
#define HIGH_WATER (64u * 1024)
#define STALL_MS 30000     /* a peer that takes nothing for so long is cut off */
#define KEEPALIVE_MS 60000 /* of silence, and between probes; Linux gives up after nine */

struct counts {
    uint64_t accepted, bytes, messages;
};

/* Of one shard, touched by its thread only; but for totals, which shard 0 writes. */
struct server {
    xev_conn_service *conns;
    uint64_t bytes; /* echoed */
    xev_listener listener;
    xev_completion tick;
    xev_request report;
    bool reporting;
    xev_message last_report;
    uint64_t refused;     /* connections that there was no memory to begin with */
    uint64_t ended_told;  /* of ended_for_memory */
    struct counts sent;   /* what the report on its way says: shard 0 reads it, */
    struct counts last;   /* ... maybe still when the last one is written */
    struct counts totals; /* what shard 0 was told */
};

struct app {
    const char *host;
    uint32_t port;
    xev_runtime runtime;
    xev_addr addr;
    struct server *servers;
    uint32_t shards;     /* all listen; 0: not yet */
    bool explained;      /* the reason of a failed start was printed */
    const char *backend; /* shard 0's, */
    bool mixed;          /* ... and not everyone's */
    bool fallback_told;
};

static struct app *app_of(xev_shard *shard) { return xev_shard_loop(shard)->userdata; }

static struct server *server_of(xev_shard *shard) {
    return &app_of(shard)->servers[xev_shard_id(shard)];
}

/* ---- counts, shard to shard ---- */

/* By now, with the message that says so. */
static struct counts counts_of(xev_shard *shard) {
    xev_shard_counters c;
    xev_shard_count(shard, &c);
    return (struct counts){c.accepted, server_of(shard)->bytes, c.messages_sent + 1};
}

/* On shard 0. */
static void on_report(xev_shard *self, xev_request *request, void *arg) {
    (void)self;
    struct server *from = arg;
    from->totals = from->sent;
    xev_shard_reply(request, 0);
}

static void on_reported(xev_shard *self, xev_request *request, int result, void *arg) {
    (void)self;
    (void)request;
    (void)result;
    ((struct server *)arg)->reporting = false;
}

static uint64_t ended_for_memory(const struct server *s) {
    xev_conn_counters c;
    xev_conn_service_count(s->conns, &c);
    return s->refused + c.closed[XEV_CONN_NO_MEMORY];
}

static xev_cb_action on_tick(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop;
    (void)c;
    xev_shard *self = userdata;
    struct server *s = server_of(self);
    uint64_t ended = ended_for_memory(s);
    if (ended > s->ended_told) { /* one line a second, for however many */
        log_line("echo_sharded: shard %u: %s: %llu connections were closed", xev_shard_id(self),
                 xev_strerror(XEV_ENOMEM), (unsigned long long)(ended - s->ended_told));
        s->ended_told = ended;
    }
    if (result == 0 && !s->reporting) {
        s->sent = counts_of(self);
        xev_shard *zero = xev_runtime_shard(xev_shard_runtime(self), 0);
        s->reporting = xev_shard_submit_to(zero, &s->report, on_report, s, on_reported) == 0;
    }
    return XEV_REARM;
}

static void on_last_report(xev_shard *self, xev_message *message, void *arg) {
    (void)self;
    (void)message;
    struct server *from = arg;
    from->totals = from->last;
}

/* ---- connections ---- */

/* What the peer does not take is queued, and above the high water mark nothing more is read. */
static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
    struct server *s = xev_conn_service_userdata(xev_conn_service_of(conn));
    s->bytes += len_bytes;
    (void)xev_conn_write(conn, data, len_bytes); /* where it fails the connection ends */
    return (ptrdiff_t)len_bytes;
}

static const xev_conn_handlers handlers = {.data = on_data};

/* ---- the shard's callbacks ---- */

static void on_connection(xev_listener *listener, int result, void *userdata) {
    struct server *s = userdata;
    if (result >= 0) {
        if (xev_conn_adopt(s->conns, result, NULL) < 0) {
            s->refused++;
            (void)xev_tcp_close_now(xev_tcp_from_fd(result));
        }
    } else {
        log_line("echo_sharded: shard %u: accept: %s", xev_shard_id(xev_listener_shard(listener)),
                 xev_strerror(result));
    }
}

static int on_init(xev_shard *self, void *userdata) {
    struct app *app = userdata;
    xev_loop *loop = xev_shard_loop(self);
    loop->userdata = app;
    uint32_t id = xev_shard_id(self), count = xev_runtime_shards(xev_shard_runtime(self));
    if (id == 0) {
        app->servers = calloc(count, sizeof *app->servers);
        if (app->servers == NULL) {
            return XEV_ENOMEM;
        }
        app->backend = xev_loop_backend(loop);
    }
    /* Memory for a ring may be there for some shards and not for others. */
    app->mixed |= strcmp(app->backend, xev_loop_backend(loop)) != 0;
    if (xev_loop_fallback_reason(loop) != NULL && !app->fallback_told) {
        app->fallback_told = true;
        log_line("echo_sharded: shard %u uses %s: %s", id, xev_loop_backend(loop),
                 xev_loop_fallback_reason(loop));
    }
    struct server *s = &app->servers[id];
    int rc = xev_shard_listen(self, &s->listener, &app->addr, 0, s, on_connection);
    if (rc == 0) { /* connections inherit it, and peers that vanish while idle are found out */
        rc = xev_tcp_set_keepalive(xev_listener_tcp(&s->listener), KEEPALIVE_MS);
    }
    if (rc < 0) {
        log_line("echo_sharded: cannot listen on %s port %u: %s", app->host, app->port,
                 xev_strerror(rc));
        app->explained = true;
        return rc;
    }
    if (id == 0 && (rc = xev_listener_addr(&s->listener, &app->addr)) < 0) {
        return rc; /* with port 0, where the others are to listen too */
    }
    const xev_conn_options options = {
        .handlers = &handlers,
        .id = id,
        .connections_max = CONNECTIONS_MAX,
        .high_bytes = HIGH_WATER,
        .deadlines = {.idle_ms = UINT32_MAX, .write_ms = STALL_MS, .linger_ms = UINT32_MAX},
        .userdata = s,
    };
    if ((rc = xev_conn_service_new(&s->conns, loop, &options)) < 0) {
        return rc;
    }
    xev_timer_run(NULL, loop, &s->tick, 1000, self, on_tick);
    xev_completion_unref(&s->tick);
    if (id == count - 1) {
        char text[XEV_ADDR_TEXT_BYTES];
        (void)xev_addr_format(&app->addr, text, sizeof text);
        printf("listening on %s shards=%u backend=%s\n", text, count,
               app->mixed ? "mixed" : app->backend);
        fflush(stdout);
        app->shards = count;
    }
    return 0;
}

static void on_drain(xev_shard *self, void *userdata) {
    (void)userdata;
    xev_conn_service_drain(server_of(self)->conns);
}

static void on_stop(xev_shard *self, void *userdata) {
    struct app *app = userdata;
    struct server *s = server_of(self);
    s->last = counts_of(self);
    xev_shard *zero = xev_runtime_shard(&app->runtime, 0);
    if (xev_shard_send(zero, &s->last_report, on_last_report, s) < 0) {
        log_line("echo_sharded: shard %u could not report", xev_shard_id(self));
    }
}

static void on_deinit(xev_shard *self, void *userdata) {
    struct app *app = userdata;
    struct server *s = &app->servers[xev_shard_id(self)];
    if (s->conns != NULL) {
        xev_conn_service_free(s->conns);
    }
}

/* When all have ended: nobody waits for a stdout that has no room. */
static void print_totals(const struct app *app) {
    for (uint32_t i = 0; i < app->shards; i++) {
        const struct counts *t = &app->servers[i].totals;
        printf("shard %u accepted=%llu bytes=%llu messages=%llu\n", i,
               (unsigned long long)t->accepted, (unsigned long long)t->bytes,
               (unsigned long long)t->messages);
    }
}

/* ---- command line ---- */

static const char usage[] =
    "usage: echo_sharded [--host ADDRESS] [--port N] [--shards N]\n"
    "                    [--backend auto|io_uring|epoll] [--no-pin] [--spin-us N]\n"
    "                    [--drain-ms N] [--help]\n"
    "  --host      address to listen on (127.0.0.1)\n"
    "  --port      0 takes any free one (7000)\n"
    "  --shards    threads, each with its own loop and listener (one per CPU)\n"
    "  --backend   how to wait for the kernel (auto)\n"
    "  --no-pin    do not bind each shard to a CPU\n"
    "  --spin-us   look for work this long before sleeping (0)\n"
    "  --drain-ms  time for connections to end after SIGTERM (10000)\n";

static uint32_t number(const char *flag, const char *text, uint32_t min, uint32_t max) {
    char *end;
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || v < min || v > max) {
        fprintf(stderr, "echo_sharded: --%s takes a number from %u to %u, not '%s'\n", flag, min,
                max, text);
        exit(2);
    }
    return (uint32_t)v;
}

static xev_backend_kind backend(const char *text) {
    static const char *const names[] = {"auto", "io_uring", "epoll"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (xev_backend_kind)i;
        }
    }
    fprintf(stderr, "echo_sharded: --backend takes auto, io_uring or epoll, not '%s'\n", text);
    exit(2);
}

static void parse(int argc, char **argv, struct app *app, xev_runtime_options *o) {
    static const struct option flags[] = {
        {"host", required_argument, NULL, 'h'},
        {"port", required_argument, NULL, 'p'},
        {"shards", required_argument, NULL, 's'},
        {"backend", required_argument, NULL, 'b'},
        {"no-pin", no_argument, NULL, 'n'},
        {"spin-us", required_argument, NULL, 'u'},
        {"drain-ms", required_argument, NULL, 'd'},
        {"help", no_argument, NULL, '?' + 1},
        {NULL, 0, NULL, 0},
    };
    int flag, at = 1;
    for (; (flag = getopt_long(argc, argv, "+:", flags, NULL)) != -1; at = optind) {
        switch (flag) {
        case 'h':
            app->host = optarg;
            break;
        case 'p':
            app->port = number("port", optarg, 0, 65535);
            break;
        case 's':
            o->shards = number("shards", optarg, 1, XEV_SHARDS_MAX);
            break;
        case 'b':
            o->loop.backend = backend(optarg);
            break;
        case 'n':
            o->no_pin = true;
            break;
        case 'u':
            o->loop.spin_ns = 1000ull * number("spin-us", optarg, 0, 1000000);
            break;
        case 'd':
            o->drain_ms = number("drain-ms", optarg, 1, 3600000);
            break;
        case '?' + 1:
            fputs(usage, stdout);
            exit(0);
        default:
            fprintf(stderr, "echo_sharded: %s '%s'; try --help\n",
                    flag == ':' ? "no value after" : "no such flag or no value taken:", argv[at]);
            exit(2);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "echo_sharded: unexpected argument '%s'; try --help\n", argv[optind]);
        exit(2);
    }
    if (xev_addr_parse(&app->addr, app->host, app->port) < 0) {
        fprintf(stderr, "echo_sharded: --host takes an IPv4 or IPv6 address, not '%s'\n",
                app->host);
        exit(2);
    }
}

int main(int argc, char **argv) {
    struct app app = {.host = "127.0.0.1", .port = 7000};
    xev_runtime_options options = {
        .init = on_init,
        .drain = on_drain,
        .stop = on_stop,
        .deinit = on_deinit,
        .userdata = &app,
    };
    parse(argc, argv, &app, &options);

    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* one descriptor per connection */
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }

    /* The runtime keeps SIGPIPE off while it runs; the last lines come later. */
    (void)signal(SIGPIPE, SIG_IGN);
    log_open();
    int rc = xev_runtime_run(&app.runtime, &options);
    print_totals(&app);
    free(app.servers); /* here, and not in a deinit callback: a failed start may have had none */
    if (rc == XEV_ETIMEDOUT || rc == XEV_EINTR) {
        log_line("echo_sharded: %s; the connections left were cut",
                 rc == XEV_EINTR ? "a second signal ended it" : "the drain's deadline passed");
        return 0;
    }
    if (rc < 0 && !app.explained) {
        xev_runtime_failure failure;
        xev_runtime_failure_get(&app.runtime, &failure);
        char shard[24] = "";
        if (failure.code < 0 && failure.shard != XEV_NO_SHARD) {
            snprintf(shard, sizeof shard, "shard %u: ", (unsigned)failure.shard);
        }
        log_line("echo_sharded: %s%s: %s (%s)", shard, failure.call, xev_strerror(rc),
                 xev_err_name(rc));
    }
    return rc < 0;
}
