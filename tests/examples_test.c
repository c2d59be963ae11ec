/* The small programs in examples/ do what their comments say. */
#include "tests/e2e/server.h"

#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>

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

/* Ends with 1 and one line on stderr that begins so. */
static void check_fails(const char *name, const char *const *args, void (*setup)(void),
                        const char *says) {
    struct server s;
    program_exec(&s, example(name), args, setup);
    server_wait_end(&s);
    check_exit(&s, 1);
    CHECK_STR_EQ(s.out_text, "");
    if (strncmp(s.err_text, says, strlen(says)) != 0 ||
        strchr(s.err_text, '\n') != s.err_text + strlen(s.err_text) - 1) {
        CHECK_FAIL("it says: %s", s.err_text);
    }
}

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

TEST(ask) {
    struct server s;
    run_example(&s, "ask");
    CHECK_STR_EQ(s.out_text, "13 words, 10 different ones\n");
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

/* The server's end of the connection that is ours at fd, as a descriptor here; or -1 where that is
 * forbidden. */
static int steal_server_end(const struct server *s, int fd) {
    struct sockaddr_in ours, peer;
    socklen_t len = sizeof ours;
    CHECK_EQ(getsockname(fd, (struct sockaddr *)(void *)&ours, &len), 0);
    int pidfd = (int)syscall(SYS_pidfd_open, s->pid, 0);
    for (int i = 0; i < 64; i++) {
        int theirs = (int)syscall(SYS_pidfd_getfd, pidfd, i, 0);
        if (pidfd < 0 || (theirs < 0 && errno != EBADF)) {
            printf("not tested: pidfd_getfd: %s\n", strerror(errno));
            return -1;
        }
        len = sizeof peer;
        if (theirs >= 0 && getpeername(theirs, (struct sockaddr *)(void *)&peer, &len) == 0 &&
            peer.sin_port == ours.sin_port) {
            close_fd(pidfd);
            return theirs;
        }
        if (theirs >= 0) {
            close_fd(theirs);
        }
    }
    CHECK_FAIL("the server has no such connection");
}

static int option(int fd, int level, int name) {
    int value = -1;
    socklen_t len = sizeof value;
    CHECK_EQ(getsockopt(fd, level, name, &value, &len), 0);
    return value;
}

/* They inherit them from the listener. */
TEST(tcp_echo_sets_the_options_of_its_connections) {
    struct server s;
    start_listening(&s, "tcp_echo");
    int fd = client(&s);
    check_echo(fd, "hello");
    int theirs = steal_server_end(&s, fd);
    if (theirs >= 0) {
        CHECK_EQ(option(theirs, IPPROTO_TCP, TCP_NODELAY), 1);
        CHECK_EQ(option(theirs, SOL_SOCKET, SO_KEEPALIVE), 1);
        CHECK_EQ(option(theirs, IPPROTO_TCP, TCP_KEEPIDLE), 60);
        close_fd(theirs);
    }
    close_fd(fd);
    stop_listening(&s);
}

static int udp_client(const struct server *s) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sa = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)s->port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    CHECK_EQ(connect(fd, (struct sockaddr *)(void *)&sa, sizeof sa), 0);
    return fd;
}

TEST(udp_echo) {
    struct server s;
    start_listening(&s, "udp_echo");
    int fd = udp_client(&s);
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

/* As far as IPv4 goes, and down to nothing. */
TEST(udp_echo_of_datagrams_of_any_length) {
    enum { LONGEST = 65535 - 20 - 8 };
    static const int lens[] = {0, LONGEST, 1, 0, 32 * 1024 - 128, 32 * 1024, 60000, LONGEST};
    static char out[LONGEST], in[LONGEST + 1];
    struct server s;
    start_listening(&s, "udp_echo");
    int fd = udp_client(&s);
    for (size_t i = 0; i < sizeof out; i++) {
        out[i] = (char)(i * 31 + i / 256);
    }
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        CHECK_EQ(send(fd, out, (size_t)lens[i], 0), lens[i]);
        CHECK_EQ(recv(fd, in, sizeof in, 0), lens[i]);
        CHECK_MEM_EQ(in, out, (size_t)lens[i]);
    }
    close_fd(fd);
    stop_listening(&s);
}

/* More than it can answer at once: it drops some, and goes on. */
TEST(udp_echo_of_many_empty_datagrams) {
    struct server s;
    start_listening(&s, "udp_echo");
    int fd = udp_client(&s);
    char in[8];
    for (int i = 0; i < 1000; i++) {
        CHECK_EQ(send(fd, "", 0, 0), 0);
    }
    CHECK_EQ(recv(fd, in, sizeof in, 0), 0);
    close_fd(fd);
    fd = udp_client(&s);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    do { /* may be dropped too */
        CHECK_EQ(send(fd, "last", 4, 0), 4);
    } while (poll(&p, 1, 50) == 0);
    CHECK_EQ(recv(fd, in, sizeof in, 0), 4);
    close_fd(fd);
    stop_listening(&s);
}

TEST(a_port_that_is_none) {
    static const char *const ports[] = {"x", "80x", "-1", "65536", "99999999999999999999"};
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        const char *const args[] = {ports[i], NULL};
        char says[64];
        snprintf(says, sizeof says, "tcp_echo: %s: invalid argument\n", ports[i]);
        check_fails("tcp_echo", args, NULL, says);
        snprintf(says, sizeof says, "udp_echo: %s: invalid argument\n", ports[i]);
        check_fails("udp_echo", args, NULL, says);
    }
}

TEST(a_port_that_is_in_use) {
    struct server tcp, udp;
    char port[16];
    const char *const args[] = {port, NULL};
    start_listening(&tcp, "tcp_echo");
    snprintf(port, sizeof port, "%u", tcp.port);
    check_fails("tcp_echo", args, NULL, "tcp_echo: start: address already in use\n");
    stop_listening(&tcp);
    start_listening(&udp, "udp_echo");
    snprintf(port, sizeof port, "%u", udp.port);
    check_fails("udp_echo", args, NULL, "udp_echo: start: address already in use\n");
    stop_listening(&udp);
}

/* ---- replace_file ---- */

/* A directory of its own. */
static const char *folder(void) {
    static char path[400];
    const char *tmp = getenv("TEST_TMPDIR");
    snprintf(path, sizeof path, "%s/xev.example.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(path) != NULL);
    return path;
}

static const char *path_in(const char *dir, const char *name) {
    static char path[440];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    CHECK(fputs(text, f) >= 0);
    CHECK_EQ(fclose(f), 0);
}

/* All that is in it, and at most 127 bytes. */
static void check_text(const char *path, const char *wanted) {
    char text[128];
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    CHECK_EQ(fclose(f), 0);
    CHECK_STR_EQ(text, wanted);
}

static void check_mode(const char *path, unsigned mode) {
    struct stat st;
    CHECK_EQ(lstat(path, &st), 0);
    CHECK_EQ(st.st_mode & 07777, mode);
}

/* That dir has these files and no others; takes them away, and dir. */
static void clear_folder(const char *dir, const char *const *names) {
    for (int i = 0; names[i] != NULL; i++) {
        CHECK_EQ(unlink(path_in(dir, names[i])), 0);
    }
    if (rmdir(dir) != 0) {
        CHECK_FAIL("there is more in %s: %s", dir, strerror(errno));
    }
}

static const char *const only_file[] = {"file", NULL}, *const nothing[] = {NULL};

static void replace(const char *path, const char *text) {
    const char *const args[] = {path, text, NULL};
    struct server s;
    run_example_with(&s, "replace_file", args);
    CHECK_STR_EQ(s.out_text, "");
}

TEST(replace_file) {
    const char *dir = folder(), *path = path_in(dir, "file");
    replace(path, "old");
    check_text(path, "old");
    replace(path, "new");
    check_text(path, "new");
    clear_folder(dir, only_file);
    static const char *const nowhere[] = {"/nowhere/file", "text", NULL};
    check_fails("replace_file", nowhere, NULL, "replace_file: open: not found\n");
}

TEST(replace_file_in_the_working_directory) {
    const char *dir = folder();
    char program[PATH_MAX];
    CHECK(realpath(example("replace_file"), program) != NULL);
    CHECK_EQ(chdir(dir), 0);
    static const char *const args[] = {"file", "text", NULL};
    struct server s;
    program_exec(&s, program, args, NULL);
    server_wait_end(&s);
    check_exit(&s, 0);
    check_text("file", "text");
    clear_folder(dir, only_file);
}

static void no_mask(void) { (void)umask(0); }
static void strict_mask(void) { (void)umask(077); }

TEST(replace_file_keeps_permissions) {
    static const unsigned modes[] = {0600, 0664, 0400};
    const char *dir = folder(), *path = path_in(dir, "file");
    for (int i = 0; i < 3; i++) {
        write_text(path, "old");
        CHECK_EQ(chmod(path, modes[i]), 0);
        const char *const args[] = {path, "new", NULL};
        struct server s;
        program_exec(&s, example("replace_file"), args, i % 2 == 0 ? no_mask : strict_mask);
        server_wait_end(&s);
        check_exit(&s, 0);
        check_text(path, "new");
        check_mode(path, modes[i]);
        CHECK_EQ(unlink(path), 0);
    }
    const char *const args[] = {path, "new", NULL};
    struct server s;
    program_exec(&s, example("replace_file"), args, strict_mask);
    server_wait_end(&s);
    check_exit(&s, 0);
    check_mode(path, 0600); /* a new file is as the mask wants it */
    clear_folder(dir, only_file);
}

/* What another one is still writing, under the name that all of them once used. */
TEST(replace_file_has_a_temporary_file_of_its_own) {
    static const char *const both[] = {"file", "file.new", NULL};
    const char *dir = folder();
    char theirs[440];
    snprintf(theirs, sizeof theirs, "%s", path_in(dir, "file.new"));
    write_text(theirs, "another's");
    replace(path_in(dir, "file"), "mine");
    check_text(path_in(dir, "file"), "mine");
    check_text(theirs, "another's");
    clear_folder(dir, both);
}

static char taken[440]; /* by whoever had our number before, or has it in another container */

static void take_temporary_name(void) {
    char path[470];
    snprintf(path, sizeof path, "%s.%d.new", taken, getpid());
    write_text(path, "another's");
}

TEST(replace_file_takes_over_nobody_elses_temporary_file) {
    const char *dir = folder();
    snprintf(taken, sizeof taken, "%s", path_in(dir, "file"));
    write_text(taken, "old");
    const char *const args[] = {taken, "new", NULL};
    struct server s;
    program_exec(&s, example("replace_file"), args, take_temporary_name);
    server_wait_end(&s);
    check_exit(&s, 1);
    CHECK_STR_EQ(s.err_text, "replace_file: open: already exists\n");
    check_text(taken, "old");
    char name[40];
    snprintf(name, sizeof name, "file.%d.new", s.pid);
    const char *const both[] = {"file", name, NULL};
    check_text(path_in(dir, name), "another's");
    clear_folder(dir, both);
}

TEST(replace_file_by_many_at_once) {
    enum { RUNS = 6, ROUNDS = 10 };
    static char text[RUNS][100 * RUNS + 1]; /* each of another length */
    const char *dir = folder(), *path = path_in(dir, "file");
    for (int i = 0; i < RUNS; i++) {
        memset(text[i], 'a' + i, 100 * (size_t)(i + 1));
    }
    for (int round = 0; round < ROUNDS; round++) {
        static struct server s[RUNS];
        char last[sizeof text[0]] = "";
        for (int i = 0; i < RUNS; i++) {
            const char *const args[] = {path, text[i], NULL};
            program_exec(&s[i], example("replace_file"), args, NULL);
        }
        for (int i = 0; i < RUNS; i++) {
            server_wait_end(&s[i]);
            check_exit(&s[i], 0);
            CHECK_STR_EQ(s[i].err_text, "");
        }
        FILE *f = fopen(path, "r");
        CHECK(f != NULL);
        CHECK_GT(fread(last, 1, sizeof last - 1, f), 0);
        CHECK_EQ(fclose(f), 0);
        CHECK(last[0] >= 'a' && last[0] < 'a' + RUNS);
        CHECK_STR_EQ(last, text[last[0] - 'a']);
    }
    clear_folder(dir, only_file);
}

/* Neither a link nor a device becomes a file. */
TEST(replace_file_replaces_regular_files_only) {
    static const char *const names[] = {"link", "target", "pipe", NULL};
    const char *dir = folder();
    char path[440];
    struct stat st;
    write_text(path_in(dir, "target"), "old");
    CHECK_EQ(symlink("target", path_in(dir, "link")), 0);
    CHECK_EQ(mkfifo(path_in(dir, "pipe"), 0600), 0);
    for (int i = 0; i < 3; i += 2) {
        snprintf(path, sizeof path, "%s", path_in(dir, names[i]));
        const char *const args[] = {path, "new", NULL};
        check_fails("replace_file", args, NULL, "replace_file: ");
        CHECK_EQ(lstat(path, &st), 0);
        CHECK(i == 0 ? S_ISLNK(st.st_mode) : S_ISFIFO(st.st_mode));
    }
    check_text(path_in(dir, "target"), "old");
    clear_folder(dir, names);
}

static void small_files_only(void) {
    struct rlimit limit = {3, 3};
    (void)setrlimit(RLIMIT_FSIZE, &limit);
    (void)signal(SIGXFSZ, SIG_IGN);
    (void)setenv("TMPDIR", "/nowhere", 1); /* ThreadSanitizer would write a longer one there */
}

TEST(replace_file_that_cannot_be_written_leaves_the_old_one) {
    const char *dir = folder(), *path = path_in(dir, "file");
    const char *const args[] = {path, "longer than the limit", NULL};
    check_fails("replace_file", args, small_files_only, "replace_file: write: file too large\n");
    clear_folder(dir, nothing);
    CHECK_EQ(mkdir(dir, 0700), 0);
    write_text(path, "old");
    check_fails("replace_file", args, small_files_only, "replace_file: write: file too large\n");
    check_text(path, "old");
    clear_folder(dir, only_file);
}

/* As long as a path may be: there is no room for the temporary name. */
TEST(replace_file_with_a_path_too_long_to_add_to) {
    const char *dir = folder();
    static char path[4096];
    size_t len = (size_t)snprintf(path, sizeof path, "%s", dir);
    while (len < sizeof path - 1 - 6) {
        len += (size_t)snprintf(path + len, sizeof path - len, "/.");
    }
    memset(path + len, '/', sizeof path - 1 - 4 - len);
    memcpy(path + sizeof path - 1 - 4, "file", 5);
    write_text(path, "old");
    const char *const args[] = {path, "new", NULL};
    check_fails("replace_file", args, NULL, "replace_file: ");
    check_text(path, "old");
    clear_folder(dir, only_file);
}

/* ---- process ---- */

static void run_program(struct server *s, const char *const *args, const char *verdict) {
    program_exec(s, example("process"), args, NULL);
    server_wait_end(s);
    check_exit(s, 0);
    CHECK_STR_EQ(s->err_text, verdict);
}

TEST(process) {
    static const char *const good[] = {"sh", "-c", "echo hello; exit 42", NULL};
    static const char *const killed[] = {"sh", "-c", "kill -9 $$", NULL};
    static const char *const none[] = {"/nowhere/program", NULL};
    struct server s;
    run_program(&s, good, "process: exit code 42\n");
    CHECK_STR_EQ(s.out_text, "hello\n");
    run_program(&s, killed, "process: ended by signal 9\n");
    CHECK_STR_EQ(s.out_text, "");
    check_fails("process", none, NULL, "process: /nowhere/program: not found\n");
}

/* Byte for byte, however it comes. */
TEST(process_output_is_passed_on_as_it_is) {
    static const char *const zeros[] = {"sh", "-c", "printf 'a\\000b\\n\\000'", NULL};
    static const char *const pieces[] = {"sh", "-c", "printf one; sleep 0.1; printf ' two'", NULL};
    static const char *const many[] = {"sh", "-c", "head -c 8000 /dev/zero", NULL};
    static const char nothing_but_zeros[8000];
    struct server s;
    run_program(&s, zeros, "process: exit code 0\n");
    CHECK_EQ(s.out_len, 5);
    CHECK_MEM_EQ(s.out_text, "a\0b\n\0", 5);
    run_program(&s, pieces, "process: exit code 0\n");
    CHECK_STR_EQ(s.out_text, "one two");
    run_program(&s, many, "process: exit code 0\n");
    CHECK_EQ(s.out_len, sizeof nothing_but_zeros);
    CHECK_MEM_EQ(s.out_text, nothing_but_zeros, sizeof nothing_but_zeros);
}

static void full_output(void) {
    int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    if (fd < 0 || dup2(fd, STDOUT_FILENO) < 0) {
        _exit(126);
    }
}

TEST(process_output_that_cannot_be_passed_on) {
    static const char *const args[] = {"echo", "hello", NULL};
    check_fails("process", args, full_output, "process: output: no space left on device\n");
}
