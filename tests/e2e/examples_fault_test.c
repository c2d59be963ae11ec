/* What the examples do when a call of the library fails (faults.c). */
#include "tests/e2e/server.h"

static const char *fault;

static void set_fault(void) { (void)setenv("FAULT", fault, 1); }

/* The program, linked with faults.c: FAULTY is the path of one of them. */
static void exec_faulty(struct server *s, const char *name, const char *fault_name,
                        const char *const *args) {
    char path[512];
    const char *one = getenv("FAULTY");
    CHECK(one != NULL);
    snprintf(path, sizeof path, "%.*s/%s_faulty", (int)(strrchr(one, '/') - one), one, name);
    fault = fault_name;
    program_exec(s, path, args, set_fault);
}

/* It says this, nothing else, and ends with 1. */
static void check_says(const char *name, const char *fault_name, const char *const *args,
                       const char *text) {
    struct server s;
    exec_faulty(&s, name, fault_name, args);
    server_wait_end(&s);
    CHECK_STR_EQ(s.out_text, "");
    CHECK_STR_EQ(s.err_text, text);
    check_exit(&s, 1);
}

static const char *const no_args[] = {NULL};

/* No sum of some of the shards, and one stop: a second one would cut the drain short. */
TEST(submit_to_refused) {
    check_says("submit_to", "shard 0 is full", no_args,
               "submit_to: shard 0: resource temporarily unavailable\n");
    check_says("submit_to", "shard 2 is full", no_args,
               "submit_to: shard 2: resource temporarily unavailable\n");
}

/* What was counted is output; what could not be is none. */
TEST(threadpool_that_takes_no_work) {
    check_says("threadpool", "pool", no_args,
               "threadpool: up to 10000: operation cancelled\n"
               "threadpool: up to 20000: operation cancelled\n"
               "threadpool: up to 30000: operation cancelled\n"
               "threadpool: up to 40000: operation cancelled\n");
}

/* The old file is as it was, and nothing is beside it. */
TEST(replace_file_that_fails_late) {
    static const char *const faults[][2] = {
        {"fsync", "replace_file: fsync: bad or closed descriptor\n"},
        {"rename", "replace_file: rename: not found\n"},
    };
    const char *tmp = getenv("TEST_TMPDIR");
    char dir[400], path[420], text[8] = "";
    snprintf(dir, sizeof dir, "%s/xev.example.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/file", dir);
    for (int i = 0; i < 2; i++) {
        const char *const args[] = {path, "new", NULL};
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        CHECK_EQ(write(fd, "old", 3), 3);
        close_fd(fd);
        check_says("replace_file", faults[i][0], args, faults[i][1]);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        CHECK_EQ(read(fd, text, sizeof text), 3);
        CHECK_MEM_EQ(text, "old", 3);
        close_fd(fd);
        CHECK_EQ(unlink(path), 0);
    }
    CHECK_EQ(rmdir(dir), 0);
}

/* Whatever else they say of what was cancelled by it. */
TEST(a_loop_that_cannot_wait) {
    static const char *const names[] = {"async", "embed", "replace_file", "threadpool", "timer"};
    static const char *const args[] = {"/nowhere/file", "text", NULL};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct server s;
        char says[64];
        exec_faulty(&s, names[i], "wait", strcmp(names[i], "replace_file") == 0 ? args : no_args);
        server_wait_end(&s);
        snprintf(says, sizeof says, "%s: input/output error\n", names[i]);
        if (strstr(s.err_text, says) == NULL) {
            CHECK_FAIL("%s says: %s", names[i], s.err_text);
        }
        check_exit(&s, 1);
    }
}

/* A server that has to give up says so, also to who started it. */
static void check_gives_up(const char *name, const char *fault_name, const char *text) {
    static const char *const any_port[] = {"0", NULL};
    struct server s;
    exec_faulty(&s, name, fault_name, any_port);
    server_wait_end(&s);
    CHECK(strncmp(s.out_text, "listening on ", 13) == 0);
    CHECK_STR_EQ(s.err_text, text);
    check_exit(&s, 1);
}

TEST(tcp_echo_that_cannot_accept) {
    check_gives_up("tcp_echo", "accept", "tcp_echo: accept: bad or closed descriptor\n");
}

TEST(udp_echo_that_cannot_receive) {
    check_gives_up("udp_echo", "receive", "udp_echo: receive: bad or closed descriptor\n");
}

TEST(process_output_that_cannot_be_read) {
    static const char *const args[] = {"sh", "-c", "exit 0", NULL};
    check_says("process", "read", args, "process: output: bad or closed descriptor\n");
}
