/* A runtime's options: what they leave open, and which CPUs that makes. */
#include <string.h>

#include "shard/internal.h"
#include "shard/topology.h"
#include "threadpool/cpus.h"

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

int xev__options_fill(struct xev__runtime *rt, const xev_runtime_options *options) {
    rt->options = *options;
    xev_runtime_options *o = &rt->options;
    o->drain_ms = o->drain_ms != 0 ? o->drain_ms : 10000;
    o->listen_retry_ms = o->listen_retry_ms == 0            ? 500
                         : o->listen_retry_ms == UINT32_MAX ? 0
                                                            : o->listen_retry_ms;
    o->stuck_ms = o->stuck_ms != 0 ? o->stuck_ms : 10000;
    o->mailbox = o->mailbox != 0 ? o->mailbox : 65536;
    o->shards = o->alone && o->shards == 0 ? 1 : o->shards;
    choose_cpus(rt, o);
    rt->alone = o->alone || !xev__shards_have_threads;
    if (rt->alone && rt->count > 1) {
        return o->alone ? XEV_EINVAL : XEV_ENOTSUP;
    }
    if (o->alone) {
        rt->bind = rt->bind && o->cpus_len > 0;
        if (o->slow_ms > 0 || o->stuck != NULL) {
            return XEV_EINVAL;
        }
    }
    o->urgent = o->urgent != 0 ? o->urgent : 256;
    o->asks = o->asks != 0 ? o->asks : 65536;
    if (o->answers_max_bytes == 0) {
        o->answers_max_bytes = xev_memory_limit() / 8 / rt->count;
    }
    o->ask_bytes = o->ask_bytes != 0 ? o->ask_bytes : 1u << 20;
    return rt->count > XEV_SHARDS_MAX || o->mailbox >= XEV__MAILBOX_CLOSED / 2 ||
                   o->urgent >= XEV__MAILBOX_CLOSED / 2 || o->ask_bytes > XEV_ASK_BYTES_MAX
               ? XEV_EINVAL
               : 0;
}
