/* The services of a runtime: their list, and their start and end on each shard.
 *
 * xev_serve_run runs the runtime with callbacks of its own. They start and end the services, and
 * call those of the user. The runtime's option deinit_failed is set, so that what the failed init
 * of a shard has made is freed as well.
 */
#include <ck_pr.h>
#include <stdlib.h>
#include <string.h>

#include "conn/move.h"
#include "serve/internal.h"
#include "xev/core/support.h"
#include "xev/os/complain.h"
#include "xev/tcp.h"

#define SHARD_BYTES_MAX (1u << 30)
#define HELD_MAX (UINT64_C(256) << 20) /* the default of conn.h */
#define HELD_MIN (UINT64_C(256) << 10)
#define LINE 64u /* of a cache */
#define OPERATORS "127.0.0.0/8 ::1"

void xev__serve_check(bool ok, const char *call, const char *what) {
    if (!ok) {
        xev__complain("xev: %s: %s", call, what);
        abort();
    }
}

/* ---- limits ---- */

/* Half of the process's descriptors, or all but those that a runtime and its program need; of all
 * but own, which are the program's anyway. */
static uint32_t default_process_max(uint32_t shards, uint32_t own) {
    uint32_t descriptors = xev__serve_descriptors(), others = 64 + 16 * shards;
    descriptors = own < descriptors ? descriptors - own : 0;
    descriptors = descriptors < 2 ? 2 : descriptors; /* somebody gets in */
    return descriptors > 2 * others ? descriptors - others : descriptors / 2;
}

static uint32_t limit_or(uint32_t limit, uint32_t when_0) { return limit != 0 ? limit : when_0; }

/* The number of shards is known. With the lock. */
static void make_rules(xev_serve *serve) {
    const xev_serve_limits *w = &serve->wanted;
    struct xev__rules *rules = &serve->rules;
    xev_serve_limits *l = &rules->limits;
    l->process_max =
        limit_or(w->process_max, default_process_max(serve->shards, w->own_descriptors));
    l->shard_max = limit_or(w->shard_max, 65536);
    uint32_t half = l->process_max == UINT32_MAX ? UINT32_MAX : l->process_max / 2;
    l->peer_max = limit_or(w->peer_max, limit_or(half, 1));
    uint32_t least = l->process_max < l->shard_max ? l->process_max : l->shard_max;
    l->reserve =
        w->reserve == UINT32_MAX ? 0 : limit_or(w->reserve, least / 4 < 16 ? least / 4 : 16);
    l->operators = w->operators;
    l->own_descriptors = w->own_descriptors;
    rules->looks_at_peers = l->peer_max != UINT32_MAX || (l->reserve > 0 && least != UINT32_MAX);
    uint32_t version = ck_pr_load_32(&serve->rules_version) + 1;
    ck_pr_store_32(&serve->rules_version, version != 0 ? version : 1);
}

int xev_serve_set_limits(xev_serve *serve, const xev_serve_limits *limits) {
    const char *call = "xev_serve_set_limits";
    xev__serve_check(serve != NULL && limits != NULL, call, "services or limits are null");
    pthread_mutex_lock(&serve->rules_lock);
    int rc = xev__serve_parse_operators(&serve->rules,
                                        limits->operators != NULL ? limits->operators : OPERATORS);
    if (rc == 0) {
        serve->wanted = *limits;
        serve->wanted.operators = NULL;
        if (serve->rules_used) {
            make_rules(serve);
        }
    }
    pthread_mutex_unlock(&serve->rules_lock);
    return rc;
}

void xev_serve_set_notify(xev_serve *serve, bool notify) {
    xev__serve_check(serve != NULL, "xev_serve_set_notify", "services are null");
    xev__serve_check(!serve->running, "xev_serve_set_notify", "it is running");
    serve->no_notify = !notify;
}

void xev_serve_limits_get(const xev_serve *serve, xev_serve_limits *out) {
    xev__serve_check(serve != NULL && out != NULL, "xev_serve_limits_get",
                     "services or room are null");
    pthread_mutex_t *lock = (pthread_mutex_t *)(uintptr_t)&serve->rules_lock;
    pthread_mutex_lock(lock);
    *out = serve->rules.limits;
    pthread_mutex_unlock(lock);
}

uint32_t xev_serve_live(const xev_serve *serve, uint32_t id) {
    xev__serve_check(serve != NULL, "xev_serve_live", "services are null");
    return id < serve->shards ? ck_pr_load_32(&serve->live[id]) : 0;
}

const char *xev_serve_refusal_name(xev_serve_refusal refusal) {
    static const char *const names[XEV_SERVE_REFUSALS] = {"process", "shard", "peer", "service",
                                                          "memory"};
    return (unsigned)refusal < XEV_SERVE_REFUSALS ? names[refusal] : "";
}

/* All services of all shards together by default have a quarter of what the process may have, an
 * eighth where the system's part is to fit beside it, or what conn.h says. */
static uint64_t held_max(const xev_serve *serve, uint64_t wanted) {
    uint64_t services = 0;
    for (const xev_service *v = serve->services; v != NULL; v = v->next) {
        services++;
    }
    uint64_t part = xev__serve_is_short_of_memory(serve) ? 8 : 4;
    uint64_t share = serve->memory / part / services / serve->shards;
    if (wanted != 0 || share >= HELD_MAX) {
        return wanted; /* 0: the default of conn.h */
    }
    return share > HELD_MIN ? share : HELD_MIN;
}

/* ---- a shard's callbacks ---- */

static int make_served(xev_service *v, uint32_t shards) {
    v->on = xev__heap(shards * sizeof *v->on, LINE);
    if (v->on == NULL) {
        return XEV_ENOMEM;
    }
    memset(v->on, 0, shards * sizeof *v->on);
    return 0;
}

static void use_rules(xev_serve *serve, bool used) {
    pthread_mutex_lock(&serve->rules_lock);
    serve->rules_used = used;
    if (used) {
        make_rules(serve);
    }
    pthread_mutex_unlock(&serve->rules_lock);
}

/* On shard 0, before the first service starts. */
static int prepare(xev_serve *serve, xev_shard *shard) {
    uint32_t shards = xev_runtime_shards(xev_shard_runtime(shard));
    serve->user_began = calloc(shards, 1);
    serve->user_inited = calloc(shards, 1);
    serve->live = calloc(shards, sizeof *serve->live);
    serve->seen = calloc(shards, sizeof *serve->seen);
    if (serve->user_began == NULL || serve->user_inited == NULL || serve->live == NULL ||
        serve->seen == NULL) {
        return xev_shard_fail(shard, XEV_ENOMEM, "memory", "", "");
    }
    serve->shards = shards;
    use_rules(serve, true);
    if (xev__life_prepare(serve) < 0) {
        return xev_shard_fail(shard, XEV_ENOMEM, "memory", "", "");
    }
    int rc = 0;
    for (xev_service *v = serve->services; v != NULL && rc == 0; v = v->next) {
        rc = xev__serve_understand(v, shard);
        if (rc == 0 && make_served(v, shards) < 0) {
            rc = xev__serve_fail(v, shard, XEV_ENOMEM, "memory");
        }
    }
    return rc;
}

/* Who has just connected is waited for in at most half of the drain's time. */
static uint32_t first_ms(const xev_serve *serve, uint32_t wanted_ms) {
    uint32_t drain_ms = serve->options.drain_ms, half = drain_ms != 0 ? drain_ms / 2 : 5000;
    uint32_t ms = wanted_ms != 0 ? wanted_ms : 1000;
    return ms == UINT32_MAX || half < 250 ? UINT32_MAX : ms < half ? ms : half;
}

static int start_service(xev_service *v, xev_shard *shard) {
    uint32_t id = xev_shard_id(shard);
    struct xev__served *d = &v->on[id];
    xev_conn_options conns = v->options.conns;
    d->service = v;
    d->shard = shard;
    conns.id = id;
    conns.first_ms = first_ms(v->serve, conns.first_ms);
    conns.held_max_bytes = held_max(v->serve, conns.held_max_bytes);
    conns.unsent_bytes = xev__serve_unsent_max(v);
    conns.account = xev__serve_account;
    conns.account_userdata = d;
    if (v->options.shard_bytes > 0) {
        /* Of its own, and whole cache lines: the shards write there. */
        size_t bytes = (v->options.shard_bytes + LINE - 1) / LINE * LINE;
        d->part = xev__heap(bytes, LINE);
        if (d->part == NULL) {
            return xev__serve_fail(v, shard, XEV_ENOMEM, "memory");
        }
        memset(d->part, 0, bytes);
        conns.userdata = d->part;
    }
    int rc = xev_conn_service_new(&d->conns, xev_shard_loop(shard), &conns);
    if (rc < 0) {
        return xev__serve_fail_why(v, shard, rc, "conns", rc == XEV_EINVAL ? xev_err_why() : "");
    }
    xev__conn_ask_room(d->conns, xev__serve_has_room);
    return xev__serve_listen(d);
}

static int serve_on_init(xev_shard *shard, void *userdata) {
    xev_serve *serve = userdata;
    uint32_t id = xev_shard_id(shard);
    int rc = id == 0 ? prepare(serve, shard) : 0;
    for (xev_service *v = serve->services; v != NULL && rc == 0; v = v->next) {
        rc = start_service(v, shard);
    }
    if (rc == 0 && serve->options.init != NULL) {
        serve->user_began[id] = 1;
        xev__note_call(xev_shard_loop(shard), XEV__CODE(serve->options.init));
        rc = serve->options.init(shard, serve->options.userdata);
        serve->user_inited[id] = rc >= 0;
    }
    if (rc >= 0) {
        xev__life_start(serve, shard);
    }
    serve->up = rc >= 0 && id == serve->shards - 1;
    return rc;
}

void xev__serve_call_user(const xev_serve *serve, xev_shard *shard, xev_shard_fn fn) {
    if (fn != NULL) {
        xev__note_call(xev_shard_loop(shard), XEV__CODE(fn));
        fn(shard, serve->options.userdata);
    }
}

static void serve_on_drain(xev_shard *shard, void *userdata) {
    xev_serve *serve = userdata;
    uint32_t id = xev_shard_id(shard);
    xev__life_drain(serve, shard);
    for (xev_service *v = serve->services; v != NULL; v = v->next) {
        if (id == 0) {
            xev__serve_unlink(v);
        }
        xev_conn_service_drain(v->on[id].conns);
    }
    xev__serve_call_user(serve, shard, serve->options.drain);
}

static void serve_on_stop(xev_shard *shard, void *userdata) {
    xev_serve *serve = userdata;
    xev__life_stop(serve);
    xev__serve_call_user(serve, shard, serve->options.stop);
}

static void serve_on_hangup(xev_shard *shard, void *userdata) { xev__life_hangup(userdata, shard); }

static bool serve_on_stuck(const xev_stuck *stuck, void *userdata) {
    xev_serve *serve = userdata;
    return serve->options.stuck(stuck, serve->options.userdata);
}

/* Also of a shard whose init has failed, and which has not all parts. */
static void serve_on_deinit(xev_shard *shard, void *userdata) {
    xev_serve *serve = userdata;
    uint32_t id = xev_shard_id(shard);
    for (xev_service *v = serve->services; v != NULL; v = v->next) {
        if (id == 0) {
            xev__serve_unlink(v);
        }
        if (v->on != NULL && v->on[id].conns != NULL) {
            xev_conn_service_free(v->on[id].conns);
            v->on[id].conns = NULL;
            xev__serve_free_peers(&v->on[id]);
        }
    }
    bool began = serve->shards > 0 && serve->user_began[id] != 0;
    if (serve->options.init == NULL ||
        (began && (serve->user_inited[id] != 0 || serve->options.deinit_failed))) {
        xev__serve_call_user(serve, shard, serve->options.deinit);
    }
}

/* ---- the run ---- */

/* What a run has left for xev_service_count and its kin. */
static void forget_run(xev_serve *serve) {
    for (xev_service *v = serve->services; v != NULL; v = v->next) {
        for (uint32_t i = 0; v->on != NULL && i < serve->shards; i++) {
            xev__heap_free(v->on[i].part);
        }
        xev__heap_free(v->on);
        v->on = NULL;
        v->bound = false;
        v->fd = XEV_INVALID_FD;
        v->addr = (xev_addr){0};
    }
    free(serve->user_began);
    free(serve->user_inited);
    free(serve->live);
    free(serve->seen);
    serve->user_began = serve->user_inited = NULL;
    serve->live = NULL;
    serve->seen = NULL;
    serve->shards = 0;
    serve->up = false;
}

int xev_serve_run(xev_serve *serve, xev_runtime *rt, const xev_runtime_options *options) {
    const char *call = "xev_serve_run";
    xev__serve_check(serve != NULL && rt != NULL && options != NULL, call,
                     "services, runtime or options are null");
    xev__serve_check(!serve->running, call, "it is running");
    serve->running = true;
    /* Before there are other threads that use the environment. */
    for (const xev_service *v = serve->services; v != NULL; v = v->next) {
        if (xev__serve_is_systemd(v)) {
            (void)xev_serve_inherited(NULL, 0);
        }
    }
    forget_run(serve);
    for (xev_service *v = serve->services; v != NULL; v = v->next) {
        xev__serve_take_descriptor(v);
    }
    serve->options = *options;
    serve->memory = xev_memory_limit();
    serve->cpus_len = options->cpus_len < XEV_SHARDS_MAX ? options->cpus_len : XEV_SHARDS_MAX;
    if (serve->cpus_len > 0) {
        memcpy(serve->cpus, options->cpus, serve->cpus_len * sizeof *serve->cpus);
    } else {
        serve->cpus_len = xev_cpu_order(serve->cpus, XEV_SHARDS_MAX);
    }
    xev_runtime_options o = *options;
    o.deinit_failed = true;
    o.init = serve_on_init;
    o.drain = serve_on_drain;
    o.stop = serve_on_stop;
    o.deinit = serve_on_deinit;
    o.hangup = options->hangup != NULL ? serve_on_hangup : NULL;
    o.stuck = options->stuck != NULL ? serve_on_stuck : NULL;
    o.userdata = serve;
    serve->total = 0;
    xev__peers_init(&serve->peers);
    xev__life_open(serve);
    int rc = xev_runtime_run(rt, &o);
    xev__life_close(serve);
    use_rules(serve, false);
    xev__peers_deinit(&serve->peers);
    for (xev_service *v = serve->services; v != NULL; v = v->next) {
        for (uint32_t i = 0; v->on != NULL && i < serve->shards; i++) {
            xev__serve_free_moves(&v->on[i]);
        }
        if (v->fd != XEV_INVALID_FD) { /* no listener took it */
            (void)xev_tcp_close_now(xev_tcp_from_fd(v->fd));
            v->fd = XEV_INVALID_FD;
        }
    }
    serve->running = false;
    return rc;
}

/* ---- the list ---- */

int xev_serve_new(xev_serve **serve) {
    xev__serve_check(serve != NULL, "xev_serve_new", "room is null");
    *serve = calloc(1, sizeof **serve);
    if (*serve == NULL) {
        return XEV_ENOMEM;
    }
    (*serve)->last = &(*serve)->services;
    pthread_mutex_init(&(*serve)->rules_lock, NULL);
    return xev__serve_parse_operators(&(*serve)->rules, OPERATORS);
}

static void free_service(xev_service *v) {
    if (v != NULL) {
        free((char *)(uintptr_t)v->options.name);
        free((char *)(uintptr_t)v->options.address);
        free(v->metrics);
        free(v);
    }
}

void xev_serve_free(xev_serve *serve) {
    if (serve == NULL) {
        return;
    }
    xev__serve_check(!serve->running, "xev_serve_free", "it is running");
    forget_run(serve);
    for (xev_service *v = serve->services, *next; v != NULL; v = next) {
        next = v->next;
        free_service(v);
    }
    pthread_mutex_destroy(&serve->rules_lock);
    free(serve);
}

bool xev__serve_has(const xev_serve *serve, const char *name) {
    const xev_service *v = serve->services;
    while (v != NULL && strcmp(v->options.name, name) != 0) {
        v = v->next;
    }
    return v != NULL;
}

/* NULL: nothing is wrong. */
static const char *wrong_service(const xev_serve *serve, const xev_service_options *o) {
    const size_t name_max = sizeof((xev_runtime_failure *)0)->part - 1;
    return o->name == NULL || o->name[0] == '\0' ? "there is no name"
           : strlen(o->name) > name_max          ? "name is longer than 31 bytes"
           : xev__serve_has(serve, o->name)
               ? "name is another service's" /* failures and metrics could not be told apart */
           : o->address == NULL               ? "address is null"
           : o->shard_bytes > SHARD_BYTES_MAX ? "shard_bytes is above 1 GiB"
                                              : NULL;
}

int xev_serve_add(xev_serve *serve, const xev_service_options *options, xev_service **service) {
    const char *call = "xev_serve_add";
    xev__serve_check(serve != NULL && options != NULL, call, "services or options are null");
    xev__serve_check(!serve->running, call, "it is running");
    if (service != NULL) {
        *service = NULL;
    }
    const char *why = wrong_service(serve, options);
    if (why != NULL) {
        return xev__refuse(why, NULL);
    }
    xev_service *v = calloc(1, sizeof *v);
    if (v == NULL) {
        return XEV_ENOMEM;
    }
    v->serve = serve;
    v->options = *options;
    v->options.name = strdup(options->name);
    v->options.address = strdup(options->address);
    v->fd = XEV_INVALID_FD;
    if (v->options.name == NULL || v->options.address == NULL) {
        free_service(v);
        return XEV_ENOMEM;
    }
    *serve->last = v;
    serve->last = &v->next;
    if (service != NULL) {
        *service = v;
    }
    return 0;
}

/* ---- what a service is ---- */

static void check_service(const xev_service *v, const char *call) {
    xev__serve_check(v != NULL, call, "service is null");
}

const char *xev_service_name(const xev_service *v) {
    check_service(v, "xev_service_name");
    return v->options.name;
}

void *xev_service_userdata(const xev_service *v) {
    check_service(v, "xev_service_userdata");
    return v->options.userdata;
}

int xev_service_addr(const xev_service *v, xev_addr *addr) {
    check_service(v, "xev_service_addr");
    xev__serve_check(addr != NULL, "xev_service_addr", "room is null");
    *addr = v->bound ? v->addr : (xev_addr){0};
    return v->bound ? 0 : XEV_EINVAL;
}

xev_serve_policy xev_service_policy(const xev_service *v) {
    check_service(v, "xev_service_policy");
    return v->policy;
}

void *xev_service_part(const xev_service *v, uint32_t id) {
    check_service(v, "xev_service_part");
    return v->on != NULL && id < v->serve->shards ? v->on[id].part : NULL;
}

xev_conn_service *xev_service_conns(const xev_service *v, xev_shard *shard) {
    check_service(v, "xev_service_conns");
    xev__serve_check(shard != NULL, "xev_service_conns", "shard is null");
    xev__check_thread("xev_service_conns", xev_shard_loop(shard));
    uint32_t id = xev_shard_id(shard);
    bool is_its = v->on != NULL && id < v->serve->shards && v->on[id].shard == shard;
    return is_its ? v->on[id].conns : NULL; /* else it is a shard of another runtime */
}

void xev_service_count(const xev_service *v, uint32_t id, xev_service_counters *out) {
    check_service(v, "xev_service_count");
    xev__serve_check(out != NULL, "xev_service_count", "room is null");
    *out = (xev_service_counters){0};
    if (v->on != NULL && id < v->serve->shards) {
        xev__serve_count(&v->on[id], out);
    }
}
