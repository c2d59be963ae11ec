/* examples/kv_sharded beside Redis: the same commands to both, and Redis's own clients. Where Redis
 * is not installed (Debian: redis-server, redis-tools) this says so and checks nothing. */
#include <sys/un.h>

#include "tests/e2e/kv_model.h"

static bool is_installed(const char *program) {
    char path[64];
    snprintf(path, sizeof path, "/usr/bin/%s", program);
    if (access(path, X_OK) == 0) {
        return true;
    }
    printf("SKIPPED: %s is not installed\n", path);
    return false;
}

/* ---- the same commands to both ---- */

static void redis_start(struct server *redis, char *path, size_t size) {
    /* Bazel's folder has too long a name for a socket, and another test in another namespace may
     * have this process's number. */
    snprintf(path, size, "/tmp/xev_redis.XXXXXX");
    CHECK(mkdtemp(path) != NULL);
    snprintf(path + strlen(path), size - strlen(path), "/socket");
    program_exec(redis, "/usr/bin/redis-server",
                 (const char *const[]){"--port", "0", "--unixsocket", path, "--save", "",
                                       "--appendonly", "no", "--loglevel", "warning", NULL},
                 NULL);
}

static struct kv redis_connect(const struct server *redis, const char *path) {
    struct sockaddr_un sun = {.sun_family = AF_UNIX};
    CHECK_LT(strlen(path), sizeof sun.sun_path);
    memcpy(sun.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_GE(fd, 0);
    while (connect(fd, (struct sockaddr *)(void *)&sun, sizeof sun) < 0) {
        CHECK(errno == ENOENT || errno == ECONNREFUSED);
        CHECK_EQ(waitpid(redis->pid, NULL, WNOHANG), 0); /* it still starts */
        usleep(1000);
    }
    return kv_of_fd(fd);
}

/* What the random commands have no place for, and is the same on both. */
static const char *const fixed[] = {
    "SET a 1 NX NX",
    "SET a 1 XX NX",
    "SET a 1 PX 0",
    "SET a 1 EX 99999999999999999",
    "SET a  ",
    "SET  x",
    "GET ",
    "STRLEN ",
    "INCR ",
    "SET n 10",
    "INCRBY n 1.5",
    "INCRBY n  ",
    "INCRBY n 00",
    "INCRBY n -0",
    "INCRBY n 9223372036854775807",
    "SET n -9223372036854775808",
    "DECR n",
    "INCRBY n 9223372036854775807",
    "GETSET n 5",
    "APPEND n ",
    "EXPIRE n 9223372036854775807",
    "EXPIRE n -9223372036854775808",
    "PEXPIRE n 9223372036854775807",
    "EXPIRE n",
    "EXPIRE n x",
    "EXPIRE nope x",
    "TTL n",
    "PERSIST n",
    "TYPE nope",
    "MSET a",
    "MSET a 1 b",
    "MGET",
    "DEL",
    "EXISTS",
    "PING a b",
    "PING a",
    "ECHO",
    "ECHO a b",
    "SELECT 0",
    "SELECT x",
    "SELECT 99",
    "foo",
    "foo bar",
    "foo bar baz",
    "DBSIZE x",
    "FLUSHALL",
    "KEYS",
    "RANDOMKEY x",
    "SCAN x",
    "SCAN 0 COUNT x",
    "SCAN 0 COUNT 0",
    "SCAN 0 FOO bar",
    "CLIENT SETNAME me",
    "CLIENT GETNAME",
    "CLIENT SETNAME ",
    "CLIENT GETNAME",
    "HELLO 9",
    "HELLO x",
    "CLIENT",
    "GETSET a",
    "SETNX a",
    "STRLEN a b",
};

static void check_both(struct kv *kv, struct kv *redis, const char *words, enum how how) {
    const char *theirs = kv_reply(redis), *ours = kv_reply(kv);
    if (!model_same(how, ours, theirs)) {
        CHECK_FAIL("%s: Redis says %s, this one %s", words, theirs, ours);
    }
}

TEST_TIMEOUT(commands_answer_as_redis_does, 240) {
    static struct model m;
    static struct step steps[100];
    static const char *const patterns[] = {"*",      "k*1",    "k[1-3]*", "k[^1-3]", "k?",
                                           "k[3-1]", "*[0-4]", "k\\1",    "[k]1",    "k[1"};
    struct server s, redis;
    char path[128];
    if (!is_installed("redis-server")) {
        return;
    }
    m.rng = random_seed();
    redis_start(&redis, path, sizeof path);
    server_start(&s, 3);
    struct kv theirs = redis_connect(&redis, path), ours = kv_connect(&s);
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        kv_words(&theirs, fixed[i]);
        kv_words(&ours, fixed[i]);
        kv_flush(&theirs);
        kv_flush(&ours);
        check_both(&ours, &theirs, fixed[i], EXACT);
    }
    for (int batch = 0; batch < (test_slowdown() > 1 ? 50 : 500); batch++) {
        for (int i = 0; i < 100; i++) {
            model_step(&m, &steps[i]);
            kv_words(&ours, steps[i].words);
            kv_words(&theirs, steps[i].words);
        }
        kv_flush(&ours);
        kv_flush(&theirs);
        for (int i = 0; i < 100; i++) {
            check_both(&ours, &theirs, steps[i].words, steps[i].how);
        }
        char words[64];
        snprintf(words, sizeof words, "KEYS %s", patterns[batch % 10]);
        kv_words(&ours, words);
        kv_words(&theirs, words);
        kv_flush(&ours);
        kv_flush(&theirs);
        check_both(&ours, &theirs, words, LENGTH);
    }
    kv_close(&ours);
    kv_close(&theirs);
    kv_stop(&s);
    server_signal(&redis, SIGTERM);
    server_wait_end(&redis);
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    CHECK_EQ(rmdir(path), 0);
}

/* ---- its clients ---- */

/* What program with these arguments prints. */
static const char *run_client(struct server *p, const struct server *s, const char *program,
                              const char *const *more) {
    const char *args[ARGS_MAX] = {"-p"};
    char port[16];
    int n = 2;
    snprintf(port, sizeof port, "%u", s->port);
    args[1] = port;
    for (; *more != NULL; more++) {
        args[n++] = *more;
    }
    program_exec(p, program, args, NULL);
    server_wait_end(p);
    check_exit(p, 0);
    return p->out_text;
}

TEST(redis_cli_understands_the_answers) {
    struct server s, p;
    static const char cli[] = "/usr/bin/redis-cli";
    if (!is_installed("redis-cli")) {
        return;
    }
    server_start(&s, 3);
    CHECK_STR_EQ(run_client(&p, &s, cli, (const char *const[]){"set", "a", "1 2", NULL}), "OK\n");
    CHECK_STR_EQ(run_client(&p, &s, cli, (const char *const[]){"get", "a", NULL}), "1 2\n");
    CHECK_STR_EQ(run_client(&p, &s, cli, (const char *const[]){"incr", "n", NULL}), "1\n");
    CHECK_STR_EQ(run_client(&p, &s, cli, (const char *const[]){"-3", "mget", "a", "x", "n", NULL}),
                 "1 2\n\n1\n");
    CHECK_STR_EQ(run_client(&p, &s, cli, (const char *const[]){"--scan", "--pattern", "a", NULL}),
                 "a\n");
    CHECK(strstr(run_client(&p, &s, cli, (const char *const[]){"-3", "info", NULL}),
                 "total_commands_processed:") != NULL);
    CHECK(strstr(run_client(&p, &s, cli, (const char *const[]){"-3", "hello", NULL}), "xev-kv") !=
          NULL);
    kv_stop(&s);
}

TEST_TIMEOUT(redis_benchmark_runs, 120) {
    struct server s, p;
    static const char *const pipelines[] = {"1", "16"};
    if (!is_installed("redis-benchmark")) {
        return;
    }
    server_start(&s, 2);
    for (int i = 0; i < 2; i++) {
        const char *text = run_client(&p, &s, "/usr/bin/redis-benchmark",
                                      (const char *const[]){"-n", "2000", "-P", pipelines[i], "-c",
                                                            "20", "-r", "1000", "--csv", "-t",
                                                            "ping,set,get,incr,mset", NULL});
        for (const char *p0 = "SET\0GET\0INCR\0MSET (10 keys)\0"; *p0 != '\0';
             p0 += strlen(p0) + 1) {
            if (strstr(text, p0) == NULL) {
                CHECK_FAIL("no %s in %s", p0, text);
            }
        }
    }
    kv_stop(&s);
}
