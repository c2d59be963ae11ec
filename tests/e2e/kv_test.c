/* examples/kv_sharded from outside: what each command answers, pipelines over several shards, and
 * what bad peers do to others. */
#include "tests/e2e/kv_scene.h"

struct row {
    const char *words, *reply;
};

#define WRONG_ARGS(name) "-ERR wrong number of arguments for '" name "' command\r\n"
#define NOT_INTEGER "-ERR value is not an integer or out of range\r\n"
#define SYNTAX "-ERR syntax error\r\n"

static const struct row conformance[] = {
    /* strings */
    {"GET a", "$-1\r\n"},
    {"SET a 1", "+OK\r\n"},
    {"get a", "$1\r\n1\r\n"},
    {"GeT a", "$1\r\n1\r\n"},
    {"SET a", WRONG_ARGS("set")},
    {"GET", WRONG_ARGS("get")},
    {"GET a b", WRONG_ARGS("get")},
    {"SET a 2 NX", "$-1\r\n"},
    {"SET n 2 NX", "+OK\r\n"},
    {"SET a 2 XX", "+OK\r\n"},
    {"SET nope 2 XX", "$-1\r\n"},
    {"SET a 2 NX XX", SYNTAX},
    {"SET a 2 EX", SYNTAX},
    {"SET a 2 EX 10 PX 10", SYNTAX},
    {"SET a 2 FOO", SYNTAX},
    {"SET a 2 EX x", NOT_INTEGER},
    {"SET a 2 EX 0", "-ERR invalid expire time in 'set' command\r\n"},
    {"SET a 2 PX -5", "-ERR invalid expire time in 'set' command\r\n"},
    {"SET a 2 EX 9223372036854775807", "-ERR invalid expire time in 'set' command\r\n"},
    {"SET a 4 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16", SYNTAX},
    {"SETNX a 5", ":0\r\n"},
    {"SETNX b 5", ":1\r\n"},
    {"GETSET b 6", "$1\r\n5\r\n"},
    {"GETSET c 6", "$-1\r\n"},
    {"APPEND c 78", ":3\r\n"},
    {"APPEND d xyz", ":3\r\n"},
    {"GET c", "$3\r\n678\r\n"},
    {"STRLEN c", ":3\r\n"},
    {"STRLEN nope", ":0\r\n"},
    /* numbers */
    {"INCR i", ":1\r\n"},
    {"INCRBY i 41", ":42\r\n"},
    {"DECR i", ":41\r\n"},
    {"INCRBY i -50", ":-9\r\n"},
    {"INCRBY i -1", ":-10\r\n"},
    {"GET i", "$3\r\n-10\r\n"},
    {"INCRBY i x", NOT_INTEGER},
    {"INCRBY i 9223372036854775808", NOT_INTEGER},
    {"INCR d", NOT_INTEGER},
    {"SET i 9223372036854775807", "+OK\r\n"},
    {"INCR i", "-ERR increment or decrement would overflow\r\n"},
    {"SET i -9223372036854775808", "+OK\r\n"},
    {"DECR i", "-ERR increment or decrement would overflow\r\n"},
    {"SET i 01", "+OK\r\n"},
    {"INCR i", NOT_INTEGER},
    {"SET i +1", "+OK\r\n"},
    {"INCR i", NOT_INTEGER},
    /* several keys */
    {"MSET a 1 b 2 c 3 d 4 e 5 f 6 g 7 h 8", "+OK\r\n"},
    {"MGET a b nope h g", "*5\r\n$1\r\n1\r\n$1\r\n2\r\n$-1\r\n$1\r\n8\r\n$1\r\n7\r\n"},
    {"MSET a", WRONG_ARGS("mset")},
    {"MSET a 1 b", WRONG_ARGS("mset")},
    {"MGET", WRONG_ARGS("mget")},
    {"EXISTS a b c nope a", ":4\r\n"},
    {"DEL a b nope a", ":2\r\n"},
    {"DEL a", ":0\r\n"},
    {"DEL c d", ":2\r\n"},
    {"EXISTS a", ":0\r\n"},
    {"MSET dup 1 dup 2", "+OK\r\n"},
    {"GET dup", "$1\r\n2\r\n"},
    /* expiry */
    {"TTL nope", ":-2\r\n"},
    {"PTTL nope", ":-2\r\n"},
    {"TTL e", ":-1\r\n"},
    {"EXPIRE nope 10", ":0\r\n"},
    {"EXPIRE e 100", ":1\r\n"},
    {"PERSIST e", ":1\r\n"},
    {"PERSIST e", ":0\r\n"},
    {"PERSIST nope", ":0\r\n"},
    {"EXPIRE e 1000", ":1\r\n"},
    {"SET e 1", "+OK\r\n"},
    {"TTL e", ":-1\r\n"},
    {"EXPIRE e 1000", ":1\r\n"},
    {"INCR e", ":2\r\n"},
    {"APPEND e 0123456789012345678901234567890123456789", ":41\r\n"},
    {"PERSIST e", ":1\r\n"},
    {"EXPIRE e 1000", ":1\r\n"},
    {"GETSET e 1", "$41\r\n20123456789012345678901234567890123456789\r\n"},
    {"TTL e", ":-1\r\n"},
    {"EXPIRE e x", NOT_INTEGER},
    {"EXPIRE e 9223372036854775807", "-ERR invalid expire time in 'expire' command\r\n"},
    {"PEXPIRE e 9223372036854775807", "-ERR invalid expire time in 'pexpire' command\r\n"},
    {"EXPIRE e 1 FOO", WRONG_ARGS("expire")},
    {"EXPIRE e", WRONG_ARGS("expire")},
    {"EXPIRE e -1", ":1\r\n"},
    {"EXISTS e", ":0\r\n"},
    /* the rest */
    {"TYPE f", "+string\r\n"},
    {"TYPE nope", "+none\r\n"},
    {"PING", "+PONG\r\n"},
    {"PING hello", "$5\r\nhello\r\n"},
    {"PING a b", WRONG_ARGS("ping")},
    {"ECHO hello", "$5\r\nhello\r\n"},
    {"ECHO", WRONG_ARGS("echo")},
    {"SELECT 0", "+OK\r\n"},
    {"SELECT 1", "-ERR DB index is out of range\r\n"},
    {"SELECT x", NOT_INTEGER},
    {"CLIENT GETNAME", "$-1\r\n"},
    {"CLIENT SETNAME me", "+OK\r\n"},
    {"CLIENT GETNAME", "$2\r\nme\r\n"},
    {"CLIENT SETNAME a\nb",
     "-ERR Client names cannot contain spaces, newlines or special characters.\r\n"},
    {"CLIENT SETINFO lib-name x", "+OK\r\n"},
    {"CLIENT", WRONG_ARGS("client")},
    {"COMMAND DOCS", "*0\r\n"},
    {"HELLO 4", "-NOPROTO unsupported protocol version\r\n"},
    {"HELLO 2 FOO", "-ERR syntax error in HELLO option 'FOO'\r\n"},
    {"nonsense a b", "-ERR unknown command 'nonsense', with args beginning with: 'a' 'b' \r\n"},
    {"non\r\nsense", "-ERR unknown command 'non  sense', with args beginning with: \r\n"},
    {"GETT a", "-ERR unknown command 'GETT', with args beginning with: 'a' \r\n"},
    {"SAVE", "-ERR the server was started without a snapshot\r\n"},
    {"BGSAVE", "-ERR the server was started without a snapshot\r\n"},
    {"SCAN x", "-ERR invalid cursor\r\n"},
    {"SCAN 0 COUNT 0", SYNTAX},
    {"SCAN 0 COUNT x", NOT_INTEGER},
    {"SCAN 0 FOO", SYNTAX},
    {"SCAN 99999999999999", "-ERR invalid cursor\r\n"},
    {"FLUSHALL", "+OK\r\n"},
    {"DBSIZE", ":0\r\n"},
    {"RANDOMKEY", "$-1\r\n"},
    {"KEYS *", "*0\r\n"},
    {"SET only 1", "+OK\r\n"},
    {"RANDOMKEY", "$4\r\nonly\r\n"},
    {"DBSIZE", ":1\r\n"},
    {"KEYS *", "*1\r\n$4\r\nonly\r\n"},
    {"KEYS on??", "*1\r\n$4\r\nonly\r\n"},
    {"KEYS o[a-n]l[^a]", "*1\r\n$4\r\nonly\r\n"},
    {"KEYS *n*y", "*1\r\n$4\r\nonly\r\n"},
    {"KEYS o\\nly", "*1\r\n$4\r\nonly\r\n"},
    {"KEYS o?", "*0\r\n"},
    {"KEYS only?", "*0\r\n"},
    {"KEYS [x]*", "*0\r\n"},
    {"FLUSHALL", "+OK\r\n"},
};

static void conform(uint32_t shards) {
    struct server s;
    server_start(&s, shards);
    struct kv c = kv_connect(&s);
    for (size_t i = 0; i < sizeof conformance / sizeof *conformance; i++) {
        kv_expect(&c, conformance[i].words, conformance[i].reply);
    }
    kv_close(&c);
    kv_stop(&s);
}

TEST(each_command_answers_as_redis_on_one_shard) { conform(1); }

TEST(each_command_answers_as_redis_on_four_shards) { conform(4); }

/* All at once: the replies are the same, and in order. */
TEST(a_pipeline_over_shards_is_answered_in_order) {
    const int rounds = test_slowdown() > 1 ? 3 : 20;
    struct server s;
    server_start(&s, 3);
    struct kv c = kv_connect(&s);
    size_t count = sizeof conformance / sizeof *conformance;
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            kv_words(&c, conformance[i].words);
            kv_request(&c, "ECHO %d-%zu", round, i);
        }
        kv_request(&c, "HELLO 2 SETNAME"); /* an error, and nothing else */
        kv_request(&c, "CLIENT SETNAME ");
    }
    kv_flush(&c);
    for (int round = 0; round < rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            const char *reply = kv_reply(&c);
            if (strcmp(reply, conformance[i].reply) != 0) {
                CHECK_FAIL("round %d, %s: %s", round, conformance[i].words, reply);
            }
            char wanted[64], text[32];
            snprintf(text, sizeof text, "%d-%zu", round, i);
            snprintf(wanted, sizeof wanted, "$%zu\r\n%s\r\n", strlen(text), text);
            CHECK_STR_EQ(kv_reply(&c), wanted);
        }
        CHECK_STR_EQ(kv_reply(&c), "-ERR syntax error in HELLO option 'SETNAME'\r\n");
        CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
    }
    kv_close(&c);
    kv_stop(&s);
}

TEST(resp3_has_its_own_nil_map_and_text) {
    struct server s;
    server_start(&s, 2);
    struct kv c = kv_connect(&s);
    CHECK_EQ(strncmp(kv_ask(&c, "HELLO"), "*14\r\n$6\r\nserver\r\n", 17), 0);
    CHECK_EQ(strncmp(kv_ask(&c, "HELLO 3"), "%7\r\n$6\r\nserver\r\n", 16), 0);
    kv_expect(&c, "CLIENT GETNAME", "_\r\n");
    CHECK_EQ(strncmp(kv_ask(&c, "INFO"), "$", 1), 0);
    kv_expect(&c, "MGET a b c d", "*4\r\n_\r\n_\r\n_\r\n_\r\n");
    kv_expect(&c, "GET a", "_\r\n");
    kv_expect(&c, "RANDOMKEY", "_\r\n");
    kv_expect(&c, "COMMAND DOCS", "%0\r\n");
    CHECK_EQ(strncmp(kv_ask(&c, "HELLO 2"), "*14\r\n", 5), 0);
    kv_expect(&c, "GET a", "$-1\r\n");
    kv_close(&c);
    kv_stop(&s);
}

TEST(requests_may_be_lines_of_text) {
    static const struct row rows[] = {
        {"PING\r\n", "+PONG\r\n"},
        {"\r\n\nPING\n", "+PONG\r\n"},
        {"*0\r\n*-1\r\nPING\n", "+PONG\r\n"},
        {"  SET \t key   value \r\n", "+OK\r\n"},
        {"GET key\r\n", "$5\r\nvalue\r\n"},
        {"ECHO a\"b\r\n", "$3\r\na\"b\r\n"},
    };
    struct server s;
    server_start(&s, 2);
    struct kv c = kv_connect(&s);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kv_raw_text(&c, rows[i].words);
        kv_flush(&c);
        CHECK_STR_EQ(kv_reply(&c), rows[i].reply);
    }
    kv_close(&c);
    kv_stop(&s);
}

/* Every way to cut a request in two. */
TEST(requests_may_come_in_pieces) {
    static const char text[] = "*3\r\n$3\r\nSET\r\n$2\r\nab\r\n$12\r\nhello, world\r\nGET ab\r\n";
    struct server s;
    server_start(&s, 2);
    struct kv c = kv_connect(&s);
    for (size_t cut = 1; cut < sizeof text - 1; cut++) {
        put(c.fd, text, cut);
        wait_acknowledged(c.fd);
        put(c.fd, text + cut, sizeof text - 1 - cut);
        CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
        CHECK_STR_EQ(kv_reply(&c), "$12\r\nhello, world\r\n");
    }
    kv_close(&c);
    kv_stop(&s);
}

/* ---- bad peers ---- */

#define PROTOCOL(text) "-ERR Protocol error: " text "\r\n"

TEST(malformed_requests_get_an_error_and_the_end) {
    static const struct row rows[] = {
        {"*x\r\n", PROTOCOL("invalid multibulk length")},
        {"*\r\n", PROTOCOL("invalid multibulk length")},
        {"*1\n", PROTOCOL("invalid multibulk length")},
        {"*1\rx", PROTOCOL("invalid multibulk length")},
        {"*99999999\r\n", PROTOCOL("invalid multibulk length")},
        {"*99999999999999999999\r\n", PROTOCOL("invalid multibulk length")},
        {"*1\r\nPING\r\n", PROTOCOL("expected '$'")},
        {"*1\r\n$-1\r\n", PROTOCOL("invalid bulk length")},
        {"*1\r\n$x\r\n", PROTOCOL("invalid bulk length")},
        {"*1\r\n$999999999\r\n", PROTOCOL("invalid bulk length")},
        {"*2\r\n$1\r\na\r\n$16777216\r\n", PROTOCOL("too big request")},
        {"*1\r\n$4\r\nPINGxx", PROTOCOL("expected CRLF after a bulk")},
    };
    struct server s;
    server_start(&s, 2);
    struct kv other = kv_connect(&s);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct kv c = kv_connect(&s);
        kv_request(&c, "SET before %zu", i);
        kv_raw_text(&c, rows[i].words);
        kv_flush(&c);
        CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
        CHECK_STR_EQ(kv_reply(&c), rows[i].reply);
        kv_end(&c);
        kv_close(&c);
        kv_expect(&other, "PING", "+PONG\r\n");
    }
    struct kv c = kv_connect(&s); /* a line without end */
    static char line[70000];
    memset(line, 'x', sizeof line);
    (void)send(c.fd, line, sizeof line, MSG_NOSIGNAL);
    CHECK_STR_EQ(kv_reply(&c), PROTOCOL("too big inline request"));
    kv_close(&c);
    kv_close(&other);
    kv_stop(&s);
}

/* Random bytes, and requests with bytes changed: an answer or the end, and the server lives. */
TEST_TIMEOUT(random_bytes_harm_nobody, 60) {
    static const char *const good[] = {
        "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nbc\r\n",
        "*2\r\n$4\r\nMGET\r\n$1\r\na\r\n",
        "SET a  b\t\r\n",
        "*1\r\n$4\r\nINFO\r\n",
        "*4\r\n$4\r\nSCAN\r\n$1\r\n0\r\n$5\r\nMATCH\r\n$4\r\n[a-\\\r\n",
    };
    struct server s;
    server_start(&s, 2);
    struct kv other = kv_connect(&s);
    uint64_t rng = random_seed();
    for (int i = 0; i < (test_slowdown() > 1 ? 60 : 300); i++) {
        int fd = client(&s);
        char data[512];
        const char *from = good[random_next(&rng) % 5];
        size_t len = strlen(from);
        memcpy(data, from, len);
        for (uint64_t n = random_next(&rng) % 4; n > 0; n--) {
            data[random_next(&rng) % len] = (char)random_next(&rng);
        }
        if (i % 3 == 0) {
            len = sizeof data;
            for (size_t k = 0; k < len; k++) {
                data[k] = (char)random_next(&rng);
            }
        }
        (void)send(fd, data, len, MSG_NOSIGNAL);
        end_writing(fd);
        while (recv(fd, data, sizeof data, 0) > 0) {
        }
        close_fd(fd);
    }
    kv_expect(&other, "PING", "+PONG\r\n");
    kv_close(&other);
    kv_stop(&s);
}

/* A peer that ends its side in the middle of a request, or vanishes with replies under way. */
TEST(half_open_peers_are_closed) {
    struct server s;
    server_start(&s, 3);
    struct kv other = kv_connect(&s);
    for (int i = 0; i < 20; i++) {
        struct kv c = kv_connect(&s);
        for (int k = 0; k < 50; k++) {
            kv_request(&c, "INCR %d", k);
        }
        kv_raw_text(&c, "*2\r\n$3\r\nGET\r\n$5");
        kv_flush(&c);
        end_writing(c.fd);
        for (int k = 0; k < 50; k++) {
            CHECK_EQ(kv_reply(&c)[0], ':');
        }
        kv_end(&c);
        kv_close(&c);
    }
    for (int i = 0; i < 20; i++) { /* with commands of many parts under way */
        struct kv c = kv_connect(&s);
        for (int k = 0; k < 50; k++) {
            kv_request(&c, "MSET a%d 1 b%d 2 c%d 3", k, k, k);
            kv_request(&c, "DEL a%d b%d c%d", k, k, k);
            kv_request(&c, "DBSIZE");
        }
        kv_flush(&c);
        reset_close(c.fd);
        c.fd = client_socket(&s);
        kv_close(&c);
    }
    while (kv_info(&other, "connected_clients") != 1) {
    }
    kv_expect(&other, "PING", "+PONG\r\n");
    kv_close(&other);
    kv_stop(&s);
}

/* Pipelined MGETs, of more than a hundred times what the server may hold, and nobody reads. */
TEST_TIMEOUT(a_peer_that_does_not_read_takes_bounded_memory, 60) {
    enum { KEYS = 64, LEN = 256 * 1024 };
    const int mgets = test_slowdown() > 1 ? 5 : 40;
    static char value[LEN];
    struct server s;
    server_start(&s, 2);
    struct kv other = kv_connect(&s), c = kv_connect(&s);
    memset(value, 'v', sizeof value);
    for (int i = 0; i < KEYS; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%d", i);
        kv_head(&other, '*', 3);
        kv_arg_text(&other, "SET");
        kv_arg_text(&other, key);
        kv_arg(&other, value, sizeof value);
        kv_flush(&other);
        CHECK_STR_EQ(kv_reply(&other), "+OK\r\n");
    }
    uint64_t before = server_rss_kib(&s);
    for (int i = 0; i < mgets; i++) {
        kv_head(&c, '*', KEYS + 1);
        kv_arg_text(&c, "MGET");
        for (int k = 0; k < KEYS; k++) {
            char key[16];
            snprintf(key, sizeof key, "k%d", k);
            kv_arg_text(&c, key);
        }
    }
    kv_request(&c, "PING");
    put(c.fd, c.out, c.out_len);
    wait_acknowledged(c.fd);
    for (int i = 0; i < 100; i++) { /* the others are served */
        kv_expect(&other, "STRLEN k1", ":262144\r\n");
    }
    if (test_slowdown() == 1) {
        CHECK_LT(server_rss_kib(&s), before + 32 * 1024);
    }
    for (int i = 0; i < mgets; i++) {
        const char *reply = kv_reply(&c);
        CHECK_EQ(c.reply_len, 5 + KEYS * (LEN + 11));
        CHECK_EQ(strncmp(reply, "*64\r\n$262144\r\nvvv", 17), 0);
    }
    CHECK_STR_EQ(kv_reply(&c), "+PONG\r\n");
    kv_close(&c);
    kv_close(&other);
    kv_stop(&s);
}

TEST(quit_answers_what_came_before_it) {
    struct server s;
    server_start(&s, 3);
    struct kv c = kv_connect(&s);
    for (int i = 0; i < 100; i++) {
        kv_request(&c, "SET k%d 1", i);
    }
    kv_request(&c, "QUIT");
    kv_request(&c, "SET late 1");
    kv_flush(&c);
    for (int i = 0; i < 101; i++) {
        CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
    }
    kv_end(&c);
    kv_close(&c);
    c = kv_connect(&s);
    CHECK_EQ(kv_number(&c, "DBSIZE"), 100);
    kv_close(&c);
    kv_stop(&s);
}

TEST(sigterm_answers_what_was_sent) {
    struct server s;
    server_start(&s, 3);
    struct kv c = kv_connect(&s), idle = kv_connect(&s);
    kv_expect(&idle, "PING", "+PONG\r\n");
    kv_expect(&c, "PING", "+PONG\r\n");
    for (int i = 0; i < 1000; i++) {
        kv_request(&c, "MSET a%d 1 b%d 2", i, i);
    }
    kv_flush(&c);
    wait_acknowledged(c.fd);
    server_signal(&s, SIGTERM);
    for (int i = 0; i < 1000; i++) {
        CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
    }
    kv_end(&c);
    kv_end(&idle);
    kv_close(&c);
    kv_close(&idle);
    server_wait_end(&s);
    check_exit(&s, 0);
}

/* With commands of many parts under way, in the middle of their parts, and nobody who reads. */
TEST(a_drain_that_is_cut_short_ends_in_order) {
    struct server s;
    static char value[200000];
    server_start_with(&s, 3, (const char *const[]){"--drain-ms", "1", NULL}, NULL);
    struct kv c[10];
    for (int i = 0; i < 10; i++) {
        c[i] = kv_connect(&s);
        kv_head(&c[i], '*', 3);
        kv_arg_text(&c[i], "SET");
        kv_arg_text(&c[i], "big");
        kv_arg(&c[i], value, sizeof value);
        kv_flush(&c[i]);
        CHECK_STR_EQ(kv_reply(&c[i]), "+OK\r\n");
        for (int k = 0; k < 200; k++) {
            kv_request(&c[i], "MSET a%d 1 b%d 2 c%d 3 d%d 4 e%d 5", k, k, k, k, k);
            kv_request(&c[i], "MGET big big big a%d big", k);
            kv_request(&c[i], "DEL a%d b%d c%d d%d e%d", k, k, k, k, k);
            kv_request(&c[i], "DBSIZE");
        }
        put(c[i].fd, c[i].out, c[i].out_len);
    }
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.err_text,
                 "kv_sharded: the drain's deadline passed; the connections left were cut\n");
    for (int i = 0; i < 10; i++) {
        kv_close(&c[i]);
    }
}

/* ---- many keys ---- */

/* Keys that are there all the time are seen exactly once, while the table grows and shrinks. */
TEST_TIMEOUT(scan_sees_each_key_once_while_the_table_changes, 60) {
    enum { KEYS = 2000 };
    static int seen[KEYS];
    struct server s;
    server_start(&s, 3);
    struct kv c = kv_connect(&s);
    uint64_t rng = random_seed();
    char cursor[32] = "0";
    int filler = 0, rounds = 0;
    for (int i = 0; i < KEYS; i++) {
        kv_request(&c, "SET stay:%d 1", i);
    }
    kv_flush(&c);
    for (int i = 0; i < KEYS; i++) {
        CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
    }
    do {
        const char *reply = kv_ask(&c, "SCAN %s MATCH stay:* COUNT 50", cursor), *p;
        CHECK_EQ(sscanf(reply, "*2\r\n$%*d\r\n%30[0-9]\r\n", cursor), 1);
        for (p = reply; (p = strstr(p, "stay:")) != NULL; p++) {
            seen[atoi(p + 5)]++;
        }
        int changes = (int)(random_next(&rng) % 1500);
        bool add = rounds++ % 2 == 0;
        for (int i = 0; i < changes; i++) {
            kv_request(&c, add ? "SET move:%d 1" : "DEL move:%d", add ? filler++ : i);
        }
        kv_flush(&c);
        for (int i = 0; i < changes; i++) {
            (void)kv_reply(&c);
        }
    } while (strcmp(cursor, "0") != 0);
    for (int i = 0; i < KEYS; i++) {
        if (seen[i] != 1) {
            CHECK_FAIL("stay:%d was seen %d times", i, seen[i]);
        }
    }
    kv_close(&c);
    kv_stop(&s);
}

TEST_TIMEOUT(expired_and_flushed_keys_are_freed_in_the_background, 60) {
    enum { KEYS = 20000 };
    struct server s;
    server_start(&s, 2);
    struct kv c = kv_connect(&s);
    long long empty = kv_info(&c, "used_memory");
    for (int i = 0; i < KEYS; i++) {
        kv_request(&c, i % 2 == 0 ? "SET k%d 1 PX 1" : "SET k%d 1", i);
    }
    kv_flush(&c);
    for (int i = 0; i < KEYS; i++) {
        CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
    }
    while (kv_number(&c, "DBSIZE") != KEYS / 2) {
    }
    CHECK_EQ(kv_info(&c, "expired_keys"), KEYS / 2);
    CHECK_EQ(kv_info(&c, "expires"), 0);
    kv_expect(&c, "FLUSHALL", "+OK\r\n");
    CHECK_EQ(kv_info(&c, "used_memory"), empty);
    kv_close(&c);
    kv_stop(&s);
}

/* What is used stays, what is not goes, and the limit holds. */
TEST_TIMEOUT(maxmemory_evicts_what_was_used_longest_ago, 60) {
    enum { KEYS = 20000, LIMIT = 2 << 20 };
    struct server s;
    server_start_with(&s, 2, (const char *const[]){"--maxmemory", "2m", NULL}, NULL);
    struct kv c = kv_connect(&s);
    kv_expect(&c, "MSET hot1 1 hot2 2 hot3 3", "+OK\r\n");
    for (int i = 0; i < KEYS; i += 20) {
        for (int k = i; k < i + 20; k++) {
            kv_request(&c, "SET k%d 0123456789012345678901234567890123456789012345678901234567", k);
        }
        kv_request(&c, "MGET hot1 hot2 hot3");
        kv_flush(&c);
        for (int k = i; k < i + 20; k++) {
            CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
        }
        CHECK_STR_EQ(kv_reply(&c), "*3\r\n$1\r\n1\r\n$1\r\n2\r\n$1\r\n3\r\n");
        CHECK_LE(kv_info(&c, "used_memory"), LIMIT);
    }
    CHECK_GT(kv_info(&c, "used_memory"), LIMIT * 3 / 4);
    CHECK_EQ(kv_info(&c, "evicted_keys"), KEYS + 3 - kv_number(&c, "DBSIZE"));
    kv_close(&c);
    kv_stop(&s);
}

TEST_TIMEOUT(maxmemory_without_eviction_refuses_writes, 60) {
    struct server s;
    server_start_with(
        &s, 2, (const char *const[]){"--maxmemory", "1m", "--maxmemory-policy", "noeviction", NULL},
        NULL);
    struct kv c = kv_connect(&s);
    static const char oom[] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n";
    const char *reply = "+OK\r\n";
    int i = 0;
    kv_expect(&c, "SET first 1", "+OK\r\n");
    for (; strcmp(reply, oom) != 0; i++) {
        CHECK_LT(i, 100000);
        CHECK_STR_EQ(reply, "+OK\r\n");
        reply = kv_ask(&c, "SET k%d 0123456789012345678901234567890123456789012345678901234567", i);
    }
    CHECK_LE(kv_info(&c, "used_memory"), 1 << 20);
    CHECK_EQ(kv_info(&c, "evicted_keys"), 0);
    CHECK_STR_EQ(kv_ask(&c, "GET first"), "$1\r\n1\r\n");
    CHECK_STR_EQ(kv_ask(&c, "DEL first k0 k1 k2 k3 k4 k5 k6 k7"), ":9\r\n");
    kv_close(&c);
    kv_stop(&s);
}

/* ---- the command line ---- */

TEST(bad_flags_are_named) {
    static const char *const rows[][4] = {
        {"--shards", "0", NULL, "--shards takes a number from 1 to 1024, not '0'"},
        {"--maxmemory", "1x", NULL, "--maxmemory takes a number of bytes"},
        {"--maxmemory", "9999999999g", NULL, "--maxmemory takes a number of bytes"},
        {"--maxmemory-policy", "lfu", NULL, "takes allkeys-lru or noeviction, not 'lfu'"},
        {"--backend", "kqueue", NULL, "takes auto, io_uring or epoll, not 'kqueue'"},
        {"--what", NULL, NULL, "no such flag or no value taken: '--what'"},
        {"--port", NULL, NULL, "no value after '--port'"},
        {"word", NULL, NULL, "unexpected argument 'word'"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct server s;
        server_exec(&s, rows[i], NULL);
        server_wait_end(&s);
        check_exit(&s, 2);
        if (strstr(s.err_text, rows[i][3]) == NULL) {
            CHECK_FAIL("%s %s: %s", rows[i][0], rows[i][1], s.err_text);
        }
    }
}

TEST(an_address_in_use_is_named) {
    struct server s, second;
    char port[16];
    server_start(&s, 2);
    snprintf(port, sizeof port, "%u", s.port);
    server_exec(&second, (const char *const[]){"--port", port, "--shards", "2", NULL}, NULL);
    server_wait_end(&second);
    check_exit(&second, 1);
    CHECK(strstr(second.err_text, port) != NULL);
    CHECK(strstr(second.err_text, "cannot listen on") != NULL);
    kv_stop(&s);
}
