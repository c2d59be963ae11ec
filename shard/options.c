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

/* 0, or a code, with the first option that is out of range or does not go with another, and why. */
static int check_options(const struct xev__runtime *rt, const char **option, const char **why) {
    static const char *const caps[] = {
        "pool_lane_caps[XEV_LANE_CPU]", "pool_lane_caps[XEV_LANE_FS]",
        "pool_lane_caps[XEV_LANE_FSYNC]", "pool_lane_caps[XEV_LANE_DNS]",
        "pool_lane_caps[XEV_LANE_PROCESS]"};
    _Static_assert(sizeof caps / sizeof caps[0] == XEV_LANE_COUNT, "a name for each");
    const xev_runtime_options *o = &rt->options;
    const struct {
        bool wrong;
        const char *option, *why;
    } rules[] = {
        {o->alone && rt->count > 1, "shards with alone", "alone is for one shard"},
        {o->alone && o->slow_ms > 0, "slow_ms with alone", "no other thread looks at the shard"},
        {o->alone && o->stuck != NULL, "stuck with alone", "no other thread looks at the shard"},
        {rt->count > XEV_SHARDS_MAX, "shards", "it is above 1024"},
        {o->mailbox >= XEV__MAILBOX_CLOSED / 2, "mailbox", "it is 2^30 or more"},
        {o->urgent >= XEV__MAILBOX_CLOSED / 2, "urgent", "it is 2^30 or more"},
        {o->ask_bytes > XEV_ASK_BYTES_MAX, "ask_bytes", "it is above 256 MiB"},
        {o->pool_threads > XEV_THREADPOOL_MAX_THREADS, "pool_threads", "it is above 1024"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (rules[i].wrong) {
            *option = rules[i].option;
            *why = rules[i].why;
            return XEV_EINVAL;
        }
    }
    for (int lane = 0; lane < XEV_LANE_COUNT; lane++) {
        uint32_t most = o->pool_threads != 0 ? o->pool_threads : XEV_THREADPOOL_MAX_THREADS;
        if (o->pool_lane_caps[lane] > most) {
            *option = caps[lane];
            *why = o->pool_threads != 0 ? "it is above pool_threads" : "it is above 1024";
            return XEV_EINVAL;
        }
    }
    if (rt->alone && rt->count > 1) {
        *option = "shards";
        *why = "the system has no threads";
        return XEV_ENOTSUP;
    }
    return 0;
}

int xev__options_fill(struct xev__runtime *rt, const xev_runtime_options *options,
                      const char **option, const char **why) {
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
    return check_options(rt, option, why);
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
