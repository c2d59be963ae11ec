/* Random commands to examples/kv_sharded, in pipelines over several connections, against a model.
 * XEV_TEST_SEED repeats a run, KV_COMMANDS says how many commands (100 000). */
#include "tests/e2e/kv_model.h"

enum { BATCH_MAX = 200, CONNECTIONS = 4 };

static void run(uint32_t shards) {
    static struct model m;
    static struct step steps[BATCH_MAX];
    struct server s;
    const char *many = getenv("KV_COMMANDS");
    long count = many != NULL ? atol(many) : test_slowdown() > 1 ? 10000 : 100000;
    uint64_t seed = random_seed();
    struct kv c[CONNECTIONS];
    m.rng = seed;
    server_start(&s, shards);
    for (int i = 0; i < CONNECTIONS; i++) {
        c[i] = kv_connect(&s);
    }
    for (long done = 0; done < count;) {
        struct kv *on = &c[model_below(&m, CONNECTIONS)];
        int batch = 1 + (int)model_below(&m, model_below(&m, 4) == 0 ? BATCH_MAX : 8);
        for (int i = 0; i < batch; i++) {
            model_step(&m, &steps[i]);
            model_send(&m, on, &steps[i]);
        }
        kv_flush(on);
        for (int i = 0; i < batch; i++, done++) {
            const char *reply = kv_reply(on);
            if (!model_same(steps[i].how, reply, steps[i].reply)) {
                CHECK_FAIL("seed %" PRIu64 ", command %ld, %s: %s instead of %s", seed, done,
                           steps[i].words, reply, steps[i].reply);
            }
        }
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        kv_close(&c[i]);
    }
    kv_stop(&s);
}

TEST_TIMEOUT(random_commands_answer_as_a_model_on_one_shard, 240) { run(1); }

TEST_TIMEOUT(random_commands_answer_as_a_model_on_three_shards, 240) { run(3); }
