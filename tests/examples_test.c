/* The small examples do what they say. */
#include "tests/e2e/server.h"

static const char *const no_args[] = {NULL};

/* The path of an example: EXAMPLES is the path of one of them. */
static const char *example(const char *name) {
    static char path[512];
    const char *one = getenv("EXAMPLES");
    CHECK(one != NULL);
    const char *slash = strrchr(one, '/');
    CHECK(slash != NULL);
    snprintf(path, sizeof path, "%.*s/%s", (int)(slash - one), one, name);
    return path;
}

static void run_example_with(struct server *s, const char *name, const char *const *args) {
    program_exec(s, example(name), args, NULL);
    server_wait_end(s);
    check_exit(s, 0);
    CHECK_STR_EQ(s->err_text, "");
}

static void run_example(struct server *s, const char *name) { run_example_with(s, name, no_args); }

/* Until it has said where it listens. */
static void start_listening(struct server *s, const char *name) {
    static const char *const args[] = {"0", NULL};
    program_exec(s, example(name), args, NULL);
    while (memchr(s->out_text, '\n', s->out_len) == NULL) {
        ssize_t n = read(s->out, s->out_text + s->out_len, TEXT_BYTES - 1 - s->out_len);
        CHECK_GT(n, 0);
        s->out_len += (size_t)n;
    }
    CHECK_EQ(sscanf(s->out_text, "listening on 127.0.0.1:%u", &s->port), 1);
}

/* It has no other end. */
static void stop_listening(struct server *s) {
    server_signal(s, SIGTERM);
    server_wait_end(s);
    CHECK(WIFSIGNALED(s->status));
    CHECK_STR_EQ(s->err_text, "");
}

/* That these lines are in text, in this order, whatever is between them. Returns their length. */
static size_t check_lines(const char *text, const char *const *lines, size_t count) {
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        const char *at = strstr(text, lines[i]);
        CHECK(at != NULL);
        text = at + strlen(lines[i]);
        len += strlen(lines[i]);
    }
    return len;
}

TEST(timer) {
    static const char *const ticks[] = {"tick 1\n", "tick 2\n", "tick 3\n"},
                             *const late[] = {"late timer: XEV_ECANCELED\n", "cancel: XEV_OK\n"};
    struct server s;
    run_example(&s, "timer");
    /* As a rule the cancelled one comes first; but ticks are due when their time has come. */
    CHECK_EQ(check_lines(s.out_text, ticks, 3) + check_lines(s.out_text, late, 2),
             strlen(s.out_text));
}

TEST(async) {
    struct server s;
    run_example(&s, "async");
    CHECK_STR_EQ(s.out_text, "the thread says 42\n");
}

TEST(embed) {
    struct server s;
    program_exec(&s, example("embed"), no_args, NULL);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.out_text, "host: got 'x'\nloop: tick 1\nloop: tick 2\nloop: tick 3\n");
    CHECK(strstr(s.err_text, "1 active, 1 of them keep it going\n  timer ") != NULL);
}

TEST(submit_to) {
    struct server s;
    run_example(&s, "submit_to");
    CHECK_STR_EQ(s.out_text, "sum of squares over 4 shards: 14\n");
}

TEST(threadpool) {
    static const char *const lines[] = {
        "up to 10000: 1229 primes\n",
        "up to 20000: 2262 primes\n",
        "up to 30000: 3245 primes\n",
        "up to 40000: 4203 primes\n",
    };
    struct server s;
    size_t len = 0;
    run_example(&s, "threadpool");
    for (int i = 0; i < 4; i++) { /* in any order */
        CHECK(strstr(s.out_text, lines[i]) != NULL);
        len += strlen(lines[i]);
    }
    CHECK_EQ(strlen(s.out_text), len);
}

TEST(tcp_echo) {
    struct server s;
    int fds[20];
    start_listening(&s, "tcp_echo");
    for (int i = 0; i < 20; i++) {
        fds[i] = client(&s);
    }
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 20; i++) {
            check_echo(fds[i], "hello, hello");
        }
    }
    reset_close(fds[0]);
    for (int i = 1; i < 20; i++) {
        close_fd(fds[i]);
    }
    int fd = client(&s);
    check_echo(fd, "still there");
    close_fd(fd);
    stop_listening(&s);
}

TEST(udp_echo) {
    struct server s;
    start_listening(&s, "udp_echo");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)s.port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_EQ(connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    for (int i = 0; i < 200; i++) {
        char out[40], in[sizeof out] = "";
        int len = snprintf(out, sizeof out, "datagram %d", i);
        CHECK_EQ(send(fd, out, (size_t)len, 0), len);
        CHECK_EQ(recv(fd, in, sizeof in, 0), len);
        CHECK_STR_EQ(in, out);
    }
    close_fd(fd);
    stop_listening(&s);
}

TEST(replace_file) {
    const char *tmp = getenv("TEST_TMPDIR");
    char path[512], text[16] = "", beside[520];
    snprintf(path, sizeof path, "%s/xev.example.%d", tmp != NULL ? tmp : "/tmp", getpid());
    snprintf(beside, sizeof beside, "%s.new", path);
    for (int i = 0; i < 2; i++) {
        const char *const args[] = {path, i == 0 ? "old" : "new", NULL};
        struct server s;
        run_example_with(&s, "replace_file", args);
        CHECK_STR_EQ(s.out_text, "");
        FILE *f = fopen(path, "r");
        CHECK(f != NULL);
        CHECK(fgets(text, sizeof text, f) != NULL);
        fclose(f);
        CHECK_STR_EQ(text, args[1]);
        CHECK_EQ(access(beside, F_OK), -1);
    }
    CHECK_EQ(unlink(path), 0);
    static const char *const nowhere[] = {"/nowhere/file", "text", NULL};
    struct server s;
    program_exec(&s, example("replace_file"), nowhere, NULL);
    server_wait_end(&s);
    check_exit(&s, 1);
    CHECK_STR_EQ(s.err_text, "replace_file: open: not found\n");
}

TEST(process) {
    static const char *const good[] = {"sh", "-c", "echo hello; exit 42", NULL};
    static const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    static const char *const none[] = {"/nowhere/program", NULL};
    struct server s;
    run_example_with(&s, "process", good);
    CHECK_STR_EQ(s.out_text, "output: hello\nexit code 42\n");
    run_example_with(&s, "process", killed);
    CHECK_STR_EQ(s.out_text, "ended by signal 9\n");
    program_exec(&s, example("process"), none, NULL);
    server_wait_end(&s);
    check_exit(&s, 1);
    CHECK_STR_EQ(s.err_text, "process: /nowhere/program: not found\n");
}
