/* What the example servers share: flags, the lines they print, and the run of their services.
 *
 *     struct server server = {.program = "echo", .host = "127.0.0.1", .port = 7000};
 *     server_parse(&server, argc, argv);       // ends the program where a flag is wrong
 *     ... xev_serve_new, xev_serve_add: server.address is where to listen, in server's words
 *     return server_run(&server, serve, service);
 *
 * A server may have flags of its own: set server.flags before server_parse.
 */
#ifndef EXAMPLES_SERVER_H
#define EXAMPLES_SERVER_H

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if !defined(_WIN32)
#include <signal.h>
#include <sys/resource.h>
#endif

#include "examples/args.h"
#include "examples/log.h"
#include "xev/serve.h"

enum { SERVER_FLAGS_MAX = 32 }; /* those that all servers have, and a server's own */

/* One flag. It has a number from min to max, or a text, or (with on) no value; or text that add
 * takes, each time: where it returns false, what it takes is said by takes. */
struct server_flag {
    const char *name, *value, *help; /* "port", "N", "0 takes any free one (7000)" */
    uint32_t min, max;
    uint32_t *number;
    const char **text;
    bool *on;
    bool (*add)(const char *text);
    const char *takes;
};

struct server_shard {
    xev_completion tick;
    /* What was told: connections that ended for lack of memory, and those refused. */
    uint64_t ended, refused[XEV_SERVE_REFUSALS];
};

/* The fields before the line are set by the server. All but program and host are optional. */
struct server {
    const char *program, *host;
    uint32_t port;
    const char *at; /* an address as of xev/serve.h, instead of host and port; or NULL */
    const struct server_flag *flags; /* the last one has no name */
    xev_runtime_options runtime;     /* its init is called last; userdata is the struct server */
    /* ---- */
    char address[XEV_ADDR_TEXT_BYTES];
    xev_runtime handle;
    xev_service *service;
    struct server_shard *on;
    uint32_t shards;     /* all of them listen; 0: not yet */
    const char *backend; /* shard 0's, */
    bool mixed;          /* ... and not everyone's */
    bool fallback_told;
    uint32_t cpus[XEV_SHARDS_MAX];
    int (*init)(xev_shard *shard, void *userdata);
};

/* ---- flags ---- */

_Noreturn static inline void server_refuse_flag(const struct server *s, const char *name,
                                                const char *takes, const char *text) {
    fprintf(stderr, "%s: --%s takes %s, not '%s'\n", s->program, name, takes, text);
    exit(2);
}

static inline uint32_t server_number(const struct server *s, const struct server_flag *flag,
                                     const char *text) {
    char *end, range[64];
    unsigned long long v = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || v < flag->min || v > flag->max) {
        snprintf(range, sizeof range, "a number from %u to %u", flag->min, flag->max);
        server_refuse_flag(s, flag->name, range, text);
    }
    return (uint32_t)v;
}

static inline xev_backend_kind server_backend(const struct server *s, const char *text) {
    static const char *const names[] = {"auto", "io_uring", "epoll"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(text, names[i]) == 0) {
            return (xev_backend_kind)i;
        }
    }
    server_refuse_flag(s, "backend", "auto, io_uring or epoll", text);
}

static inline xev_log_level server_log_level(const struct server *s, const char *text) {
    xev_log_level level = xev_log_level_of(text);
    if (level == XEV_LOG_LEVELS) {
        server_refuse_flag(s, "log-level", "error, warn, info or debug", text);
    }
    return level;
}

_Noreturn static inline void server_usage(const struct server *s, const struct server_flag *flags,
                                          size_t len) {
    size_t indent = strlen("usage:  ") + strlen(s->program), column = indent - 1;
    printf("usage: %s", s->program);
    for (size_t i = 0; i < len; i++) {
        char text[80];
        const char *value = flags[i].value != NULL ? flags[i].value : "";
        int n = snprintf(text, sizeof text, "[--%s%s%s]", flags[i].name, *value != '\0' ? " " : "",
                         value);
        if (column + 1 + (size_t)n > 78) {
            printf("\n%*s", (int)indent - 1, "");
            column = indent - 1;
        }
        printf(" %s", text);
        column += 1 + (size_t)n;
    }
    putchar('\n');
    size_t longest = 0;
    for (size_t i = 0; i < len; i++) {
        longest = strlen(flags[i].name) > longest ? strlen(flags[i].name) : longest;
    }
    for (size_t i = 0; i < len; i++) {
        if (flags[i].help != NULL) {
            printf("  --%-*s  %s\n", (int)longest, flags[i].name, flags[i].help);
        }
    }
    exit(0);
}

/* "0-3,8". */
static inline bool server_cpus(struct server *s, const char *text) {
    uint32_t len = 0;
    for (const char *p = text; len == 0 || *p != '\0';) {
        char *end;
        p += len > 0 && *p == ',';
        unsigned long first = strtoul(p, &end, 10), last = first;
        bool number = *p >= '0' && *p <= '9';
        if (number && *end == '-') {
            p = end + 1;
            last = strtoul(p, &end, 10);
            number = *p >= '0' && *p <= '9';
        }
        if (!number || last < first || last > 65535 || last - first >= XEV_SHARDS_MAX - len ||
            (*end != ',' && *end != '\0')) {
            return false;
        }
        while (first <= last) {
            s->cpus[len++] = (uint32_t)first++;
        }
        p = end;
    }
    s->runtime.cpus = s->cpus;
    s->runtime.cpus_len = len;
    return true;
}

/* The value of one flag. */
static inline void server_take_flag(const struct server *s, const struct server_flag *flag,
                                    const char *value) {
    if (flag->number != NULL) {
        *flag->number = server_number(s, flag, value);
    } else if (flag->text != NULL) {
        *flag->text = value;
    } else if (flag->add != NULL) {
        if (!flag->add(value)) {
            server_refuse_flag(s, flag->name, flag->takes, value);
        }
    } else {
        *flag->on = true;
    }
}

static inline void server_parse(struct server *s, int argc, char **argv) {
    uint32_t spin_us = 0;
    const char *backend = "auto", *log_level = "warn", *cpus = NULL;
    bool help = false;
    const struct server_flag common[] = {
        {"host", "ADDRESS", "address to listen on (127.0.0.1)", .text = &s->host},
        {"port", "N", "0 takes any free one (7000)", .max = 65535, .number = &s->port},
        {"address", "TEXT", "where to listen otherwise: unix:PATH, fd:N, systemd:NAME",
         .text = &s->at},
        {"shards", "N", "threads, each with its own loop and listener (one per CPU)", .min = 1,
         .max = XEV_SHARDS_MAX, .number = &s->runtime.shards},
        {"alone", NULL, "one shard, on the main thread, and no thread beside it",
         .on = &s->runtime.alone},
        {"backend", "auto|io_uring|epoll", "how to wait for the kernel (auto)", .text = &backend},
        {"cpus", "LIST", "bind the shards to these CPUs, in this order: 0-3,8", .text = &cpus},
        {"no-pin", NULL, "do not bind each shard to a CPU", .on = &s->runtime.no_pin},
        {"spin-us", "N", "look for work this long before sleeping (0)", .max = 1000000,
         .number = &spin_us},
        {"drain-ms", "N", "time for connections to end after SIGTERM (10000)", .min = 1,
         .max = 3600000, .number = &s->runtime.drain_ms},
        {"slow-ms", "N", "say so where a shard is busy with one turn for so long (0: never)",
         .max = 3600000, .number = &s->runtime.slow_ms},
        {"sample-messages", "N", "measure the delay of one in N messages between shards (0)",
         .max = UINT32_MAX, .number = &s->runtime.sample_messages},
        {"log-level", "LEVEL", "what goes to stderr: error, warn, info, debug (warn)",
         .text = &log_level},
        {"help", .on = &help},
    };
    struct server_flag flags[SERVER_FLAGS_MAX];
    struct option options[SERVER_FLAGS_MAX + 1] = {{0}};
    size_t len = 0;
    const size_t common_len = sizeof common / sizeof common[0];
    for (const struct server_flag *own = s->flags; own != NULL && own->name != NULL; own++) {
        if (len + common_len == SERVER_FLAGS_MAX) {
            fprintf(stderr, "%s: more flags of its own than SERVER_FLAGS_MAX leaves\n", s->program);
            abort();
        }
        flags[len++] = *own;
    }
    for (size_t i = 0; i < common_len; i++) {
        flags[len++] = common[i];
    }
    for (size_t i = 0; i < len; i++) {
        options[i] =
            (struct option){flags[i].name, flags[i].on != NULL ? no_argument : required_argument,
                            NULL, (int)i + 256};
    }
    args_to_utf8(&argc, &argv);
    int flag, at = 1;
    for (; (flag = getopt_long(argc, argv, "+:", options, NULL)) != -1; at = optind) {
        if (flag < 256) {
            fprintf(stderr, "%s: %s '%s'; try --help\n", s->program,
                    flag == ':' ? "no value after" : "no such flag or no value taken:", argv[at]);
            exit(2);
        }
        server_take_flag(s, &flags[flag - 256], optarg);
        if (help) {
            server_usage(s, flags, len);
        }
        s->runtime.loop.backend = server_backend(s, backend);
        xev_log_set_level(server_log_level(s, log_level));
    }
    if (optind < argc) {
        fprintf(stderr, "%s: unexpected argument '%s'; try --help\n", s->program, argv[optind]);
        exit(2);
    }
    if (s->runtime.alone && (s->runtime.shards > 1 || s->runtime.slow_ms > 0)) {
        fprintf(stderr,
                "%s: --alone is one shard, which nobody watches: no --shards, no --slow-ms\n",
                s->program);
        exit(2);
    }
    if (s->runtime.alone) {
        s->runtime.shards = 1;
    }
    s->runtime.loop.spin_ns = 1000ull * spin_us;
    if (cpus != NULL && !server_cpus(s, cpus)) {
        server_refuse_flag(s, "cpus", "numbers and ranges of CPUs, such as 0-3,8", cpus);
    }
    xev_addr addr;
    if (s->at != NULL) {
        if (strlen(s->at) >= sizeof s->address) {
            server_refuse_flag(s, "address", "an address", s->at);
        }
        strcpy(s->address, s->at);
        return;
    }
    if (xev_addr_parse(&addr, s->host, s->port) < 0) {
        server_refuse_flag(s, "host", "an IPv4 or IPv6 address", s->host);
    }
    (void)xev_addr_format(&addr, s->address, sizeof s->address);
}

/* ---- the run ---- */

/* For accept_failed of a service whose userdata is the server. */
static inline void server_accept_failed(xev_service *service, xev_shard *shard, int code) {
    const struct server *s = xev_service_userdata(service);
    log_line("%s: shard %u: accept: %s", s->program, xev_shard_id(shard), xev_strerror(code));
}

/* One line a second for each reason, for however many. */
static inline xev_cb_action server_on_tick(xev_loop *loop, xev_completion *timer, int result,
                                           void *userdata) {
    struct server *s = userdata;
    xev_shard *self = xev_shard_current();
    struct server_shard *on = &s->on[xev_shard_id(self)];
    (void)loop;
    (void)timer;
    if (result < 0) {
        return XEV_DISARM;
    }
    xev_conn_counters conns;
    xev_service_counters c;
    xev_conn_service_count(xev_service_conns(s->service, self), &conns);
    xev_service_count(s->service, xev_shard_id(self), &c);
    uint64_t ended = conns.closed[XEV_CONN_NO_MEMORY] + conns.closed[XEV_CONN_TOTAL_FULL] +
                     c.refused[XEV_SERVE_NO_MEMORY];
    if (ended > on->ended) {
        log_line("%s: shard %u: %s: %llu connections were closed", s->program, xev_shard_id(self),
                 xev_strerror(XEV_ENOMEM), (unsigned long long)(ended - on->ended));
        on->ended = ended;
    }
    for (int i = 0; i < XEV_SERVE_NO_MEMORY; i++) {
        if (c.refused[i] > on->refused[i]) {
            log_line("%s: shard %u: %llu connections were refused: limit of the %s", s->program,
                     xev_shard_id(self), (unsigned long long)(c.refused[i] - on->refused[i]),
                     xev_serve_refusal_name((xev_serve_refusal)i));
            on->refused[i] = c.refused[i];
        }
    }
    return XEV_REARM;
}

/* "0-3,8", in the order of the shards; "any" stands for those that are bound to none. */
static inline void server_print_cpus(xev_runtime *rt, uint32_t count) {
    for (uint32_t i = 0, last; i < count; i = last + 1) {
        uint32_t cpu = xev_shard_cpu(xev_runtime_shard(rt, i)), step = cpu != XEV_NO_CPU;
        last = i;
        while (last + 1 < count &&
               xev_shard_cpu(xev_runtime_shard(rt, last + 1)) == cpu + step * (last + 1 - i)) {
            last++;
        }
        printf("%s", i > 0 ? "," : "");
        if (cpu == XEV_NO_CPU) {
            printf("any");
        } else if (last > i) {
            printf("%u-%u", cpu, cpu + (last - i));
        } else {
            printf("%u", cpu);
        }
    }
    printf("\n");
}

static inline int server_on_init(xev_shard *self, void *userdata) {
    struct server *s = userdata;
    xev_loop *loop = xev_shard_loop(self);
    uint32_t id = xev_shard_id(self), count = xev_runtime_shards(xev_shard_runtime(self));
    if (id == 0) {
        s->on = calloc(count, sizeof *s->on);
        if (s->on == NULL) {
            return XEV_ENOMEM;
        }
        s->backend = xev_loop_backend(loop);
    }
    /* Memory for a ring may be there for some shards and not for others. */
    s->mixed |= strcmp(s->backend, xev_loop_backend(loop)) != 0;
    if (xev_loop_fallback_reason(loop) != NULL && !s->fallback_told) {
        s->fallback_told = true;
        log_line("%s: shard %u uses %s: %s", s->program, id, xev_loop_backend(loop),
                 xev_loop_fallback_reason(loop));
    }
    xev_timer_run(NULL, loop, &s->on[id].tick, 1000, s, server_on_tick);
    xev_completion_unref(&s->on[id].tick);
    int rc = s->init != NULL ? s->init(self, s) : 0;
    xev_addr addr;
    if (rc == 0 && id == count - 1 && (rc = xev_service_addr(s->service, &addr)) == 0) {
        char text[XEV_ADDR_TEXT_BYTES];
        (void)xev_addr_format(&addr, text, sizeof text);
        printf("listening on %s shards=%u backend=%s cpus=", text, count,
               s->mixed ? "mixed" : s->backend);
        server_print_cpus(xev_shard_runtime(self), count);
        fflush(stdout);
        s->shards = count;
    }
    return rc;
}

static inline void server_explain(const struct server *s, int rc) {
    xev_runtime_failure f;
    xev_runtime_failure_get(&s->handle, &f);
    char shard[24] = "";
    if (f.code < 0 && f.shard != XEV_NO_SHARD) {
        snprintf(shard, sizeof shard, "shard %u: ", (unsigned)f.shard);
    }
    const char *why = f.code < 0 && f.why[0] != '\0' ? f.why : xev_strerror(rc);
    if (strcmp(f.call, "listen") == 0 && f.part[0] != '\0') {
        log_error("%s: cannot listen on %s: %s", s->program, f.object, why);
    } else {
        log_error("%s: %s%s%s%s: %s (%s)", s->program, shard, f.call,
                  f.object[0] != '\0' ? " of " : "", f.object, why, xev_err_name(rc));
    }
}

static inline void server_prepare_process(void) {
#if !defined(_WIN32)
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max; /* one descriptor per connection */
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    /* The runtime keeps SIGPIPE off while it runs; the last lines come later. */
    (void)signal(SIGPIPE, SIG_IGN);
#endif
}

/* Run the services until a signal. service is the one whose address is printed, and at which
 * server_accept_failed may look. Returns what main returns. */
static inline int server_run(struct server *s, xev_serve *serve, xev_service *service) {
    server_prepare_process();
    log_open();
    s->service = service;
    s->init = s->runtime.init;
    s->runtime.init = server_on_init;
    s->runtime.userdata = s;
    int rc = xev_serve_run(serve, &s->handle, &s->runtime);
    free(s->on); /* here, and not in a deinit callback: a failed start may have had none */
    if (rc == XEV_ETIMEDOUT || rc == XEV_EINTR) {
        log_line("%s: %s; the connections left were cut", s->program,
                 rc == XEV_EINTR ? "a second signal ended it" : "the drain's deadline passed");
        return 0;
    }
    if (rc < 0) {
        server_explain(s, rc);
    }
    return rc < 0;
}

/* All of it, for a server of one service whose name and address, and userdata, need not be set. */
static inline int server_serve(struct server *s, const xev_service_options *options) {
    xev_service_options o = *options;
    xev_serve *serve;
    xev_service *service = NULL;
    o.name = s->program;
    o.address = s->address;
    o.accept_failed = server_accept_failed;
    o.userdata = s;
    int rc = xev_serve_new(&serve);
    rc = rc < 0 ? rc : xev_serve_add(serve, &o, &service);
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", s->program, xev_strerror(rc));
    }
    int code = rc < 0 ? 1 : server_run(s, serve, service);
    xev_serve_free(serve);
    return code;
}

#endif
