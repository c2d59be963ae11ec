/* A runtime's options: what they leave open, and which CPUs that makes. */
#include <stdio.h>
#include <string.h>

#include "shard/internal.h"
#include "shard/topology.h"
#include "threadpool/cpus.h"

uint32_t xev_cpu_count(void) { return xev__cpu_count(); }

uint64_t xev_memory_limit(void) { return xev__memory_limit(); }

uint32_t xev_cpu_order(uint32_t *order, uint32_t max) {
    struct xev__cpu cpus[XEV_SHARDS_MAX];
    uint32_t len = xev__topology_read(cpus, XEV_SHARDS_MAX);
    xev__shard_check(order != NULL || max == 0, "xev_cpu_order", "room is null");
    if (len > 0) {
        (void)xev__topology_choose(cpus, len, UINT32_MAX, 0);
    }
    for (uint32_t i = 0; i < len && i < max; i++) {
        order[i] = cpus[i].number;
    }
    return len;
}

static void choose_cpus(struct xev__runtime *rt, const xev_runtime_options *o) {
    static const struct xev__cpu one;
    struct xev__cpu cpus[XEV_SHARDS_MAX] = {one};
    if (o->cpus_len > 0) {
        rt->cpus_len = o->cpus_len < XEV_SHARDS_MAX ? o->cpus_len : XEV_SHARDS_MAX;
        memcpy(rt->cpus, o->cpus, rt->cpus_len * sizeof *rt->cpus);
        rt->count = o->shards != 0 ? o->shards : rt->cpus_len;
        rt->bind = true;
        return;
    }
    uint32_t len = xev__topology_read(cpus, XEV_SHARDS_MAX), known = len > 0 ? len : 1;
    struct xev__choice choice =
        xev__topology_choose(cpus, known, xev__cpu_quota(xev__cpu_root), o->shards);
    rt->count = choice.shards;
    rt->bind = choice.bind && len > 0 && !o->no_pin;
    rt->cpus_len = known;
    for (uint32_t i = 0; i < known; i++) {
        rt->cpus[i] = cpus[i].number;
    }
}

/* The option that is out of range, or that does not go with another; NULL: none. */
static const char *wrong_option(const struct xev__runtime *rt) {
    const xev_runtime_options *o = &rt->options;
    return o->alone && rt->count > 1               ? "shards with alone"
           : o->alone && o->slow_ms > 0            ? "slow_ms with alone"
           : o->alone && o->stuck != NULL          ? "stuck with alone"
           : rt->count > XEV_SHARDS_MAX            ? "shards"
           : o->mailbox >= XEV__MAILBOX_CLOSED / 2 ? "mailbox"
           : o->urgent >= XEV__MAILBOX_CLOSED / 2  ? "urgent"
           : o->ask_bytes > XEV_ASK_BYTES_MAX      ? "ask_bytes"
                                                   : NULL;
}

int xev__options_fill(struct xev__runtime *rt, const xev_runtime_options *options,
                      const char **wrong) {
    rt->options = *options;
    xev_runtime_options *o = &rt->options;
    o->drain_ms = o->drain_ms != 0 ? o->drain_ms : 10000;
    o->listen_retry_ms = o->listen_retry_ms == 0            ? 500
                         : o->listen_retry_ms == UINT32_MAX ? 0
                                                            : o->listen_retry_ms;
    o->stuck_ms = o->stuck_ms != 0 ? o->stuck_ms : 10000;
    o->mailbox = o->mailbox != 0 ? o->mailbox : 65536;
    o->urgent = o->urgent != 0 ? o->urgent : 256;
    o->asks = o->asks != 0 ? o->asks : 65536;
    o->ask_bytes = o->ask_bytes != 0 ? o->ask_bytes : 1u << 20;
    o->shards = o->alone && o->shards == 0 ? 1 : o->shards;
    choose_cpus(rt, o);
    rt->alone = o->alone || !xev__shards_have_threads;
    rt->bind = rt->bind && (!o->alone || o->cpus_len > 0);
    if (o->answers_max_bytes == 0) {
        o->answers_max_bytes = xev_memory_limit() / 8 / rt->count;
    }
    *wrong = wrong_option(rt);
    if (*wrong != NULL) {
        return XEV_EINVAL;
    }
    if (rt->alone && rt->count > 1) {
        *wrong = "shards";
        return XEV_ENOTSUP; /* the system has no threads */
    }
    return 0;
}

/* Of a bind: the system, or a rule of a container, does not let threads be bound. */
static bool is_no_binding(int code) {
    return code == XEV_EPERM || code == XEV_EACCES || code == XEV_ENOSYS || code == XEV_ENOTSUP;
}

int xev__bind_shard(xev_shard *s, xev_runtime_failure *f) {
    uint32_t cpu = s->cpu;
    int rc = xev__cpu_pin((int)cpu);
    s->cpu = rc == 0 ? cpu : XEV_NO_CPU;
    if (rc == 0 || is_no_binding(rc) || s->rt->options.cpus_len == 0) {
        return 0;
    }
    *f = (xev_runtime_failure){.code = rc, .shard = s->id, .call = "cpus"};
    f->why = rc == XEV_EINVAL ? "there is no such CPU, or the process may not use it" : "";
    snprintf(f->object, sizeof f->object, "CPU %u", cpu);
    return rc;
}
