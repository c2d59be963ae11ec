/* examples/run_jobs: output and ends of jobs, the queue, limits, clients that go, the drain. */
#include "tests/e2e/server.h"

#include <sys/stat.h>

enum { OUTPUT_MAX = 8 << 20 };

static char output[OUTPUT_MAX];
static size_t output_len;

/* ---- files ---- */

static const char *path_of(const char *name) {
    static char paths[8][300];
    static int next;
    char *path = paths[next++ % 8];
    const char *dir = getenv("TEST_TMPDIR");
    snprintf(path, 300, "%s/%d.%s", dir != NULL ? dir : "/tmp", (int)getpid(), name);
    return path;
}

/* A shell script; its arguments are words without spaces. */
static const char *script(const char *name, const char *text) {
    const char *path = path_of(name);
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    CHECK_GE(fputs(text, f), 0);
    CHECK_EQ(fclose(f), 0);
    return path;
}

static const char *fifo(const char *name) {
    const char *path = path_of(name);
    CHECK_EQ(mkfifo(path, 0600), 0);
    return path;
}

/* Lets a job that reads it go on. */
static void feed(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC); /* waits for the job */
    CHECK_GE(fd, 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close_fd(fd);
}

/* The number that a job has written to a file, once it has. */
static int pid_in(const char *path) {
    for (;;) {
        int pid = 0;
        char end = 0;
        FILE *f = fopen(path, "r");
        if (f != NULL) {
            int n = fscanf(f, "%d%c", &pid, &end);
            CHECK_EQ(fclose(f), 0);
            if (n == 2 && end == '\n') {
                return pid;
            }
        }
        usleep(1000);
    }
}

static bool lives(int pid) {
    char path[64], state = 'Z';
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *f = fopen(path, "r");
    if (f != NULL) {
        (void)fscanf(f, "%*d (%*[^)]) %c", &state);
        CHECK_EQ(fclose(f), 0);
    }
    return state != 'Z' && state != 'X';
}

static void wait_dead(int pid) {
    while (lives(pid)) {
        usleep(1000);
    }
}

/* ---- talk ---- */

static const char *next_line(int fd) {
    static char line[256];
    size_t len = 0;
    while (len < sizeof line - 1 && recv(fd, line + len, 1, 0) == 1 && line[len] != '\n') {
        len++;
    }
    line[len] = '\0';
    return line;
}

static void run(int fd, const char *what, const char *arg) {
    char line[512];
    int len = snprintf(line, sizeof line, "run %s%s%s\n", what, arg[0] != '\0' ? " " : "", arg);
    put(fd, line, (size_t)len);
}

/* Reads output up to the line that ends the job, and returns that. */
static const char *job_end(int fd) {
    for (output_len = 0;;) {
        const char *line = next_line(fd);
        size_t len;
        if (sscanf(line, "out %zu", &len) != 1) {
            return line;
        }
        CHECK_GT(len, 0);
        CHECK_LE(output_len + len, OUTPUT_MAX);
        take(fd, output + output_len, len);
        output_len += len;
    }
}

static void check_job(int fd, const char *what, const char *arg, const char *out, const char *end) {
    run(fd, what, arg);
    CHECK_STR_EQ(job_end(fd), end);
    CHECK_EQ(output_len, strlen(out));
    CHECK_MEM_EQ(output, out, output_len);
}

static void jobs_start(struct server *s, const char *const *more) {
    const char *flags[ARGS_MAX] = {"--allow", "sh",      "--allow", "head",    "--allow",
                                   "cat",     "--allow", "sleep",   "--allow", "no_such_program"};
    for (int n = 10; more != NULL && *more != NULL; more++) {
        flags[n++] = *more;
    }
    server_start_with(s, 1, flags, NULL);
}

static void jobs_stop(struct server *s) {
    server_signal(s, SIGTERM);
    server_wait_end(s);
    check_exit(s, 0);
    CHECK_STR_EQ(s->err_text, "");
}

/* ---- tests ---- */

TEST(output_and_exit_codes) {
    struct server s;
    jobs_start(&s, NULL);
    int fd = client(&s);
    const char *three = script("three", "echo one; echo two >&2; echo \"$1\"; exit 3\n");
    char arg[400];
    snprintf(arg, sizeof arg, "%s  x;y", three);
    check_job(fd, "sh", arg, "one\ntwo\nx;y\n", "end exit 3");
    check_job(fd, "sh", script("silent", ""), "", "end exit 0");
    check_job(fd, "sh", script("killed", "kill -9 $$\n"), "", "end signal 9");
    check_job(fd, "sh", script("input", "read x; echo $?\n"), "1\n", "end exit 0");
    run(fd, "head", "-c 5000000 /dev/zero");
    CHECK_STR_EQ(job_end(fd), "end exit 0");
    CHECK_EQ(output_len, 5000000);
    close_fd(fd);
    jobs_stop(&s);
}

TEST(requests_that_are_refused) {
    struct server s;
    char many[300] = "";
    jobs_start(&s, NULL);
    int fd = client(&s);
    for (int i = 0; i < 40; i++) {
        strcat(many, "a ");
    }
    check_job(fd, "", "", "", "error: that command is not allowed");
    check_job(fd, "ls", "", "", "error: that command is not allowed");
    check_job(fd, "/bin/sh", "", "", "error: that command is not allowed");
    check_job(fd, "sh;ls", "", "", "error: that command is not allowed");
    check_job(fd, "sh", many, "", "error: too many words");
    check_job(fd, "no_such_program", "", "", "error: not found");
    put(fd, "walk\n", 5);
    CHECK_STR_EQ(next_line(fd), "error: say run COMMAND ARG...");
    check_job(fd, "sh", script("fine", "echo fine\n"), "fine\n", "end exit 0"); /* all is well */
    put(fd, "run sh\t\n", 8);
    CHECK_STR_EQ(next_line(fd), "error: the line is too long, or not text");
    check_end(fd);
    close_fd(fd);
    fd = client(&s);
    memset(output, 'a', 600);
    put(fd, output, 600);
    CHECK_STR_EQ(next_line(fd), "error: the line is too long, or not text");
    close_fd(fd);
    jobs_stop(&s);
}

TEST(jobs_wait_for_their_turn) {
    static const char *const flags[] = {"--jobs", "1", "--queue", "1", NULL};
    const char *gate = fifo("gate");
    struct server s;
    jobs_start(&s, flags);
    int first = client(&s), second = client(&s), third = client(&s);
    run(first, "cat", gate);
    put(first, "run cat x\n", 10);
    CHECK_STR_EQ(next_line(first), "error: you have a job");
    run(second, "head", "-c 3 /dev/zero");
    CHECK_STR_EQ(next_line(second), "queued");
    run(third, "cat", "x");
    CHECK_STR_EQ(next_line(third), "error: too many jobs wait");
    reset_close(second); /* who is gone waits no more */
    for (bool waits = false; !waits;) {
        run(third, "head", "-c 2 /dev/zero");
        waits = strcmp(next_line(third), "queued") == 0;
    }
    feed(gate, "open");
    CHECK_STR_EQ(job_end(first), "end exit 0");
    CHECK_EQ(output_len, 4);
    CHECK_STR_EQ(job_end(third), "end exit 0");
    CHECK_EQ(output_len, 2);
    close_fd(first);
    close_fd(third);
    jobs_stop(&s);
}

TEST(a_job_has_a_deadline) {
    const char *stubborn = script("stubborn", "trap '' TERM\necho $$\nsleep 1000\nsleep 1000\n");
    bool trapped = false;
    for (unsigned job_ms = 100; !trapped; job_ms *= 2) { /* until the script comes to its trap */
        char number[16];
        const char *const flags[] = {"--job-ms", number, "--grace-ms", "100", NULL};
        struct server s;
        snprintf(number, sizeof number, "%u", job_ms);
        jobs_start(&s, flags);
        int fd = client(&s);
        check_job(fd, "sleep", "1000", "", "end signal 15 late");
        run(fd, "sh", stubborn);
        const char *end = job_end(fd);
        trapped = output_len > 0;
        /* And its child, which inherited that. */
        CHECK_STR_EQ(end, trapped ? "end signal 9 late" : "end signal 15 late");
        close_fd(fd);
        jobs_stop(&s);
    }
}

TEST(a_job_may_write_so_much) {
    static const char *const flags[] = {"--output-kib", "64", NULL};
    struct server s;
    jobs_start(&s, flags);
    int fd = client(&s);
    run(fd, "cat", "/dev/zero");
    CHECK_STR_EQ(job_end(fd), "end signal 15 full");
    CHECK_EQ(output_len, 65536);
    run(fd, "head", "-c 65536 /dev/zero");
    CHECK_STR_EQ(job_end(fd), "end exit 0");
    CHECK_EQ(output_len, 65536);
    close_fd(fd);
    jobs_stop(&s);
}

TEST(what_a_job_leaves_behind_is_killed) {
    struct server s;
    const char *pid = path_of("pid");
    jobs_start(&s, (const char *const[]){"--grace-ms", "100", NULL});
    char arg[700];
    int fd = client(&s);
    snprintf(arg, sizeof arg, "%s %s", script("leaves", "sleep 1000 &\necho $! >$1\necho done\n"),
             pid);
    check_job(fd, "sh", arg, "done\n", "end exit 0");
    wait_dead(pid_in(pid));
    close_fd(fd);
    jobs_stop(&s);
}

TEST(the_job_of_a_client_that_is_gone_is_ended) {
    struct server s;
    jobs_start(&s, NULL);
    for (int how = 0; how < 3; how++) {
        char arg[700];
        const char *pid = path_of(how == 0 ? "closed" : how == 1 ? "reset" : "ended");
        int fd = client(&s);
        snprintf(arg, sizeof arg, "%s %s",
                 script("waits", "sleep 1000 &\necho $! >$1\nwait\nsleep 1000\n"), pid);
        run(fd, "sh", arg);
        int child = pid_in(pid);
        if (how == 0) {
            close_fd(fd);
        } else if (how == 1) {
            reset_close(fd);
        } else {
            end_writing(fd);
            check_end(fd);
            close_fd(fd);
        }
        wait_dead(child);
    }
    jobs_stop(&s);
}

TEST(a_client_that_reads_slowly_holds_its_job_back) {
    enum { TOTAL = 64 << 20 };
    struct server s;
    char arg[64];
    size_t got = 0;
    jobs_start(&s, (const char *const[]){"--grace-ms", "1", NULL});
    int fd = client_socket(&s);
    small_buffers(fd);
    connect_fd(&s, fd);
    uint64_t before = server_rss_kib(&s);
    snprintf(arg, sizeof arg, "-c %d /dev/zero", TOTAL);
    run(fd, "head", arg);
    for (;;) {
        const char *line = next_line(fd);
        size_t len;
        if (sscanf(line, "out %zu", &len) != 1) {
            CHECK_STR_EQ(line, "end exit 0");
            break;
        }
        CHECK_LE(len, OUTPUT_MAX);
        take(fd, output, len);
        got += len;
        if (got < 3000000) {
            usleep(500); /* slow at first */
            CHECK_LT(server_rss_kib(&s), before + server_wait_kib());
        }
    }
    CHECK_EQ(got, TOTAL);
    close_fd(fd);
    jobs_stop(&s);
}

TEST(a_drain_waits_for_jobs) {
    const char *gate = fifo("gate");
    struct server s;
    jobs_start(&s, (const char *const[]){"--jobs", "1", NULL});
    int fd = client(&s), second = client(&s), idle = client(&s);
    run(fd, "cat", gate);
    put(fd, "run cat x\n", 10);
    CHECK_STR_EQ(next_line(fd), "error: you have a job"); /* before the second one asks */
    check_job(idle, "ls", "", "", "error: that command is not allowed");
    run(second, "head", "-c 3 /dev/zero");
    CHECK_STR_EQ(next_line(second), "queued");
    server_signal(&s, SIGTERM);
    check_end(idle); /* the drain has begun */
    feed(gate, "late, but there");
    CHECK_STR_EQ(job_end(fd), "end exit 0");
    CHECK_EQ(output_len, 15);
    check_end(fd);
    CHECK_STR_EQ(job_end(second), "end exit 0");
    CHECK_EQ(output_len, 3);
    check_end(second);
    close_fd(fd);
    close_fd(second);
    close_fd(idle);
    server_wait_end(&s);
    check_exit(&s, 0);
}

TEST(a_drain_that_is_cut_short_kills_them) {
    struct server s;
    const char *pid = path_of("pid");
    char arg[700];
    jobs_start(&s, (const char *const[]){"--jobs", "1", "--drain-ms", "100", NULL});
    int fd = client(&s), second = client(&s);
    snprintf(arg, sizeof arg, "%s %s", script("waits", "echo $$ >$1\nsleep 1000\n"), pid);
    run(fd, "sh", arg);
    int child = pid_in(pid);
    run(second, "sleep", "1000");
    CHECK_STR_EQ(next_line(second), "queued");
    server_signal(&s, SIGTERM);
    server_wait_end(&s);
    check_exit(&s, 0);
    wait_dead(child);
    close_fd(fd);
    close_fd(second);
}

/* Clients that ask, and go in any way: afterwards all is as at first. */
TEST_TIMEOUT(clients_may_do_as_they_like, 120) {
    enum { CLIENTS = 8, STEPS = 400 };
    static const char *const lines[] = {"run head -c 100000 /dev/zero\n",
                                        "run sleep 1000\n",
                                        "run no_such_program\n",
                                        "run cat /dev/zero\n",
                                        "run sh x\n",
                                        "nonsense\n"};
    struct server s;
    int fd[CLIENTS];
    uint64_t rng = random_seed();
    jobs_start(&s, (const char *const[]){"--jobs", "3", "--queue", "3", "--grace-ms", "10",
                                         "--job-ms", "50", NULL});
    for (int i = 0; i < CLIENTS; i++) {
        fd[i] = client(&s);
    }
    for (int step = 0; step < STEPS; step++) {
        uint64_t r = random_next(&rng);
        int i = (int)(r % CLIENTS);
        const char *line = lines[(r >> 32) % 6];
        (void)send(fd[i], line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT);
        while ((r >> 20 & 1) == 0 && recv(fd[i], output, 65536, MSG_DONTWAIT) > 0) {
        }
        if ((r >> 24 & 3) == 0) {
            if ((r >> 30 & 1) != 0) {
                reset_close(fd[i]);
            } else {
                close_fd(fd[i]);
            }
            fd[i] = client(&s);
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        close_fd(fd[i]);
    }
    int last = client(&s);
    const char *end = "";
    while (strcmp(end, "end exit 0") != 0) { /* may have to wait for a place, or be late */
        run(last, "head", "-c 10 /dev/zero");
        while (strcmp(end = job_end(last), "queued") == 0) {
        }
    }
    CHECK_EQ(output_len, 10);
    close_fd(last);
    jobs_stop(&s);
}

TEST(flags_that_are_wrong) {
    static const char *const wrong[][2] = {
        {"--allow", ""},   {"--allow", "ls -l"}, {"--jobs", "0"},       {"--jobs", "65"},
        {"--queue", "-1"}, {"--job-ms", "0"},    {"--output-kib", "0"}, {"--grace-ms", "x"},
    };
    struct server s;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const char *const args[] = {"--allow", "ls", wrong[i][0], wrong[i][1], NULL};
        server_exec(&s, args, NULL);
        server_wait_end(&s);
        check_exit(&s, 2);
        CHECK(strstr(s.err_text, "run_jobs: ") == s.err_text);
        CHECK(strstr(s.err_text, wrong[i][0]) != NULL);
    }
    server_exec(&s, (const char *const[]){"--port", "0", NULL}, NULL);
    server_wait_end(&s);
    check_exit(&s, 2);
    CHECK(strstr(s.err_text, "no --allow") != NULL);
}
