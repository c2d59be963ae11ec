/* The snapshot of examples/kv_sharded: what a killed process had reported is there, and a file that
 * is not as it was written is refused. */
#include <sys/stat.h>

#include "tests/e2e/kv_scene.h"

static char path[256], temporary[264];

static void make_path(void) {
    const char *dir = getenv("TEST_TMPDIR");
    snprintf(path, sizeof path, "%s/kv.%d", dir != NULL ? dir : "/tmp", (int)getpid());
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
}

static void remove_files(void) {
    (void)unlink(path);
    (void)unlink(temporary);
}

static void start(struct server *s, uint32_t shards) {
    server_start_with(s, shards, (const char *const[]){"--snapshot", path, NULL}, NULL);
}

static void set_many(struct kv *c, int from, int to, int value) {
    for (int i = from; i < to; i++) {
        kv_request(c, "SET key:%d %d", i, value);
    }
    kv_flush(c);
    for (int i = from; i < to; i++) {
        CHECK_STR_EQ(kv_reply(c), "+OK\r\n");
    }
}

static char *file_read(const char *name, size_t *len) {
    struct stat st;
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    CHECK_GE(fd, 0);
    CHECK_EQ(fstat(fd, &st), 0);
    *len = (size_t)st.st_size;
    char *data = malloc(*len + 1);
    CHECK(data != NULL);
    CHECK_EQ(read(fd, data, *len), (ssize_t)*len);
    close_fd(fd);
    return data;
}

static void file_write(const char *name, const char *data, size_t len) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, data, len), (ssize_t)len);
    close_fd(fd);
}

/* ---- saving and loading ---- */

TEST(a_snapshot_is_loaded_by_any_number_of_shards) {
    struct server s;
    static char big[300000];
    make_path();
    memset(big, 'b', sizeof big);
    start(&s, 3);
    struct kv c = kv_connect(&s);
    set_many(&c, 0, 5000, 7);
    kv_expect(&c, "SET late 1 EX 100000", "+OK\r\n");
    kv_expect(&c, "SET gone 1 PX 1", "+OK\r\n");
    while (kv_number(&c, "EXISTS gone") != 0) {
    }
    kv_expect(&c, "SET  empty-name", "+OK\r\n");
    kv_expect(&c, "SET empty-value ", "+OK\r\n");
    kv_head(&c, '*', 3);
    kv_arg_text(&c, "SET");
    kv_arg(&c, "\0\r\n\xff", 4);
    kv_arg(&c, big, sizeof big);
    kv_flush(&c);
    CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
    kv_expect(&c, "SAVE", "+OK\r\n");
    kv_close(&c);
    kv_kill(&s);
    for (uint32_t shards = 1; shards <= 4; shards += 3) {
        start(&s, shards);
        c = kv_connect(&s);
        CHECK_EQ(kv_number(&c, "DBSIZE"), 5004);
        for (int i = 0; i < 5000; i++) {
            kv_request(&c, "GET key:%d", i);
        }
        kv_flush(&c);
        for (int i = 0; i < 5000; i++) {
            CHECK_STR_EQ(kv_reply(&c), "$1\r\n7\r\n");
        }
        CHECK_GT(kv_number(&c, "TTL late"), 90000);
        kv_expect(&c, "GET ", "$10\r\nempty-name\r\n");
        kv_expect(&c, "GET empty-value", "$0\r\n\r\n");
        kv_head(&c, '*', 2);
        kv_arg_text(&c, "STRLEN");
        kv_arg(&c, "\0\r\n\xff", 4);
        kv_flush(&c);
        CHECK_STR_EQ(kv_reply(&c), ":300000\r\n");
        kv_close(&c);
        kv_stop(&s);
    }
    remove_files();
}

TEST(bgsave_answers_at_once_and_info_tells_its_end) {
    struct server s;
    make_path();
    start(&s, 2);
    struct kv c = kv_connect(&s);
    set_many(&c, 0, 1000, 1);
    kv_expect(&c, "BGSAVE", "+Background saving started\r\n");
    while (kv_info(&c, "rdb_bgsave_in_progress") != 0) {
    }
    CHECK_EQ(kv_info(&c, "rdb_last_save_failed"), 0);
    kv_close(&c);
    kv_kill(&s);
    start(&s, 2);
    c = kv_connect(&s);
    CHECK_EQ(kv_number(&c, "DBSIZE"), 1000);
    kv_close(&c);
    kv_stop(&s);
    remove_files();
}

TEST(one_save_at_a_time) {
    struct server s;
    make_path();
    start(&s, 2);
    struct kv c = kv_connect(&s);
    set_many(&c, 0, 20000, 1);
    kv_request(&c, "SAVE");
    kv_request(&c, "BGSAVE");
    kv_request(&c, "PING");
    kv_flush(&c);
    CHECK_STR_EQ(kv_reply(&c), "+OK\r\n");
    CHECK_STR_EQ(kv_reply(&c), "-ERR Background save already in progress\r\n");
    CHECK_STR_EQ(kv_reply(&c), "+PONG\r\n");
    kv_close(&c);
    kv_stop(&s);
    remove_files();
}

/* ---- kill ---- */

/* Killed at some moment of writes and saves: what was answered before the last save that was
 * reported is there. */
TEST_TIMEOUT(a_killed_process_loses_nothing_that_a_save_had_reported, 120) {
    enum { ROUNDS = 12, KEYS = 4000 };
    struct server s;
    uint64_t rng = random_seed();
    int least = 0; /* each key's value, at least */
    make_path();
    for (int round = 0; round < ROUNDS; round++) {
        start(&s, 1 + (uint32_t)(random_next(&rng) % 3));
        struct kv c = kv_connect(&s);
        for (int i = 0; round > 0 && i < KEYS; i++) {
            kv_request(&c, "GET key:%d", i);
        }
        kv_flush(&c);
        for (int i = 0; round > 0 && i < KEYS; i++) {
            int value = -1;
            CHECK_EQ(sscanf(kv_reply(&c), "$%*d\r\n%d\r\n", &value), 1);
            CHECK_GE(value, least);
        }
        int value = round * 1000;
        for (int saves = 0; saves < 1 + (int)(random_next(&rng) % 3); saves++) {
            set_many(&c, 0, KEYS, ++value);
            kv_expect(&c, "SAVE", "+OK\r\n");
            least = value;
        }
        kv_request(&c, "SAVE"); /* killed in this one, somewhere */
        for (int i = 0; i < KEYS; i++) {
            kv_request(&c, "SET key:%d %d", i, value + 1);
        }
        kv_flush(&c);
        for (uint64_t n = random_next(&rng) % KEYS; n > 0 && random_next(&rng) % 4 != 0; n--) {
            (void)kv_reply(&c);
        }
        kv_kill(&s);
        kv_close(&c);
    }
    remove_files();
}

/* ---- files that are not as they were written ---- */

static void check_refused(const char *why) {
    struct server s;
    server_exec(&s, (const char *const[]){"--port", "0", "--shards", "2", "--snapshot", path, NULL},
                NULL);
    server_wait_end(&s);
    check_exit(&s, 1);
    CHECK_STR_EQ(s.out_text, "");
    if (strstr(s.err_text, "cannot load the snapshot") == NULL ||
        strstr(s.err_text, path) == NULL || strstr(s.err_text, why) == NULL) {
        CHECK_FAIL("%s", s.err_text);
    }
}

TEST_TIMEOUT(a_corrupt_or_truncated_snapshot_is_an_error, 120) {
    struct server s;
    uint64_t rng = random_seed();
    size_t len;
    make_path();
    start(&s, 2);
    struct kv c = kv_connect(&s);
    set_many(&c, 0, 50, 1);
    kv_expect(&c, "SAVE", "+OK\r\n");
    kv_close(&c);
    kv_stop(&s);
    char *data = file_read(path, &len);
    CHECK_GT(len, 1000);
    int step = test_slowdown() > 1 ? 4 : 1;
    for (int i = 0; i < 50; i += step) { /* one bit is wrong */
        size_t at = i < 30 ? (size_t)i : random_next(&rng) % len;
        char bit = (char)(1 << random_next(&rng) % 8);
        data[at] = (char)(data[at] ^ bit);
        file_write(path, data, len);
        check_refused(at < 8 ? "it is no snapshot of this program" : "it is c");
        data[at] = (char)(data[at] ^ bit);
    }
    for (int i = 0; i < 30; i += step) { /* the end is missing */
        size_t short_len = i < 15 ? (size_t)i * 2 : random_next(&rng) % len;
        file_write(path, data, short_len);
        check_refused(short_len < 8 ? "it is no snapshot of this program" : "it is cut off");
    }
    file_write(path, data, len - 1);
    check_refused("it is cut off");
    data[len] = '\0';
    file_write(path, data, len + 1);
    check_refused("it is cut off or corrupt");
    file_write(path, data, len);
    start(&s, 2);
    kv_stop(&s);
    free(data);
    remove_files();
}

TEST(a_snapshot_that_cannot_be_read_is_an_error) {
    struct server s;
    make_path();
    CHECK_EQ(mkdir(path, 0700), 0);
    check_refused("");
    CHECK_EQ(rmdir(path), 0);
    /* Too much for the memory it may take. */
    start(&s, 2);
    struct kv c = kv_connect(&s);
    set_many(&c, 0, 20000, 1);
    kv_expect(&c, "SAVE", "+OK\r\n");
    kv_close(&c);
    kv_stop(&s);
    server_exec(&s,
                (const char *const[]){"--port", "0", "--snapshot", path, "--maxmemory", "100k",
                                      "--maxmemory-policy", "noeviction", NULL},
                NULL);
    server_wait_end(&s);
    check_exit(&s, 1);
    CHECK(strstr(s.err_text, "there is no room for it in memory") != NULL);
    remove_files();
}

/* ---- disks that are full, folders that are gone ---- */

static void ignore_size_signal(void) { (void)signal(SIGXFSZ, SIG_IGN); }

/* A limit of the size of files stands for a disk that is full. */
TEST(a_full_disk_is_told_and_harms_nothing) {
    struct server s;
    const struct rlimit none = {0, 0};
    make_path();
    server_start_with(&s, 2, (const char *const[]){"--snapshot", path, NULL}, ignore_size_signal);
    struct kv c = kv_connect(&s);
    set_many(&c, 0, 1000, 1);
    kv_expect(&c, "SAVE", "+OK\r\n");
    set_many(&c, 0, 1000, 2);
    CHECK_EQ(prlimit(s.pid, RLIMIT_FSIZE, &none, NULL), 0);
    const char *reply = kv_ask(&c, "SAVE");
    CHECK_EQ(strncmp(reply, "-ERR the snapshot was not saved: ", 33), 0);
    CHECK(strstr(reply, "file too large") != NULL);
    CHECK_EQ(kv_info(&c, "rdb_last_save_failed"), 1);
    CHECK_EQ(access(temporary, F_OK), -1); /* nothing is left of it */
    kv_expect(&c, "GET key:1", "$1\r\n2\r\n");
    kv_close(&c);
    kv_kill(&s);
    start(&s, 2); /* the one before is as it was */
    c = kv_connect(&s);
    kv_expect(&c, "GET key:1", "$1\r\n1\r\n");
    kv_expect(&c, "SET key:1 3", "+OK\r\n");
    kv_expect(&c, "SAVE", "+OK\r\n");
    CHECK_EQ(kv_info(&c, "rdb_last_save_failed"), 0);
    kv_close(&c);
    kv_stop(&s);
    remove_files();
}

TEST(a_folder_that_is_gone_is_told) {
    struct server s;
    make_path();
    CHECK_EQ(mkdir(path, 0700), 0);
    char inside[300];
    snprintf(inside, sizeof inside, "%s/snapshot", path);
    server_start_with(&s, 2, (const char *const[]){"--snapshot", inside, NULL}, NULL);
    CHECK_EQ(rmdir(path), 0);
    struct kv c = kv_connect(&s);
    CHECK_EQ(strncmp(kv_ask(&c, "SAVE"), "-ERR the snapshot was not saved: ", 33), 0);
    kv_expect(&c, "PING", "+PONG\r\n");
    kv_close(&c);
    kv_stop(&s);
}
