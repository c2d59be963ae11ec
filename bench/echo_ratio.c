/*
 * Compares echo servers. Starts each server in turn, pinned on one CPU, and drives it with `load`
 * pinned on another. The rounds are interleaved (A B C A B C ...), so that a disturbance of the
 * machine for a while reaches all servers. Prints one JSON line per server, with the medians over
 * the rounds, and a last line with the medians of the ratios of given pairs in each round. With
 * --markdown a table instead, best first.
 *
 * --lockstep has server and client share a CPU and take turns, and counts the undisturbed turns
 * only: for differences of one per cent, also on a machine that is in use.
 *
 * All servers are pinned in the same way, by the affinity that their process inherits.
 */
#include "bench/common.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MAX_ROUNDS = 64,
    MAX_ARGS = 20,
    KIND_ARGS = 8,
    BUILT_IN = 11,
    MAX_KINDS = 24,
    PATH_BYTES = 4096,
    LINE_BYTES = 4096,
    READY_TIMEOUT_MS = 60000,
    EXIT_TIMEOUT_MS = 60000,
    LOAD_GRACE_MS = 30000,
};

struct server_kind {
    const char *name;
    const char *program; /* relative to this program's folder */
    const char *args[KIND_ARGS];
    const char
        *ready_must_hold; /* e.g. the backend, so that a fallback to another one is not measured */
};

/* Here the kinds of --peer follow. */
static struct server_kind kinds[MAX_KINDS] = {
    {"raw_uring", "raw_uring_echo", {NULL}, NULL},
    {"raw_epoll", "raw_epoll_echo", {NULL}, NULL},
    {"uv", "uv_echo", {NULL}, NULL},
    {"uv_try_write", "uv_echo", {"--try-write"}, NULL},
    {"uv_guide", "uv_echo", {"--guide"}, NULL},
    {"xev_uring",
     "../examples/echo_sharded",
     {"--shards", "1", "--backend", "io_uring", "--no-pin"},
     "backend=io_uring"},
    {"xev_epoll",
     "../examples/echo_sharded",
     {"--shards", "1", "--backend", "epoll", "--no-pin"},
     "backend=epoll"},
    {"xev_uring_alone",
     "../examples/echo_sharded",
     {"--alone", "--backend", "io_uring"},
     "backend=io_uring"},
    {"xev_epoll_alone",
     "../examples/echo_sharded",
     {"--alone", "--backend", "epoll"},
     "backend=epoll"},
    {"xev_uring_spin",
     "../examples/echo_sharded",
     {"--shards", "1", "--backend", "io_uring", "--no-pin", "--spin-us", "100"},
     "backend=io_uring"},
    {"xev_epoll_spin",
     "../examples/echo_sharded",
     {"--shards", "1", "--backend", "epoll", "--no-pin", "--spin-us", "100"},
     "backend=epoll"},
};

static int kind_count = BUILT_IN;

static const char *const PAIRS[][2] = {
    {"xev_uring", "raw_uring"},    {"xev_epoll", "raw_epoll"}, {"xev_uring", "uv"},
    {"xev_uring", "uv_try_write"}, {"xev_uring", "uv_guide"},  {"xev_epoll", "uv"},
    {"raw_uring", "uv"},           {"raw_uring", "raw_epoll"},
};

/* The fields taken over from load's JSON line. */
static const char *const FIELDS[] = {
    "requests_per_s", "requests_per_server_cpu_s",
    "mb_per_s",       "p50_us",
    "p99_us",         "p999_us",
    "server_cpu_s",   "client_cpu_s",
    "server_wait_s",  "client_wait_s",
    "user_us",        "system_us",
    "seconds",        "errors",
};

enum {
    REQUESTS_PER_S,
    REQUESTS_PER_SERVER_CPU_S,
    P50_US = 3,
    P99_US,
    P999_US,
    SERVER_WAIT_S = 8,
    CLIENT_WAIT_S,
    USER_US,
    SYSTEM_US,
    SECONDS,
    ERRORS,
    FIELD_COUNT,
};

_Static_assert(FIELD_COUNT == sizeof FIELDS / sizeof FIELDS[0], "one enumerator per field");

struct run {
    double fields[FIELD_COUNT];
};

struct options {
    int rounds;
    int retries; /* how often a run that neighbours disturbed is repeated */
    int server_cpu;
    int load_cpu;
    const char *seconds;
    const char *requests; /* the run ends after so many; 0: after seconds */
    const char *warmup;
    const char *connections;
    const char *size;
    const char *pipeline;
    const char *echo_sharded;
    const char *servers; /* comma-separated names */
    bool windows;        /* the load is `window`: all messages, then all echoes */
    bool lockstep;       /* ... on connections that stay, on the server's CPU */
    bool markdown;
    char folder[PATH_BYTES];
};

struct driver {
    struct options options;
    bool chosen[MAX_KINDS];
    struct run runs[MAX_KINDS][MAX_ROUNDS];
};

/* Starts argv pinned on a CPU. *out_fd reads its stdout. It is killed when this process ends. */
static pid_t spawn(const char *const *argv, int cpu, int *out_fd) {
    int ends[2];
    if (pipe(ends) != 0) {
        bench_die_errno(errno, "pipe");
    }
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        bench_die_errno(errno, "fork");
    }
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) {
            _exit(126);
        }
        bench_pin(cpu);
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        execv(argv[0], (char *const *)(uintptr_t)argv);
        fprintf(stderr, "echo_ratio: cannot run %s: %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(ends[1]);
    *out_fd = ends[0];
    return pid;
}

/* Reads one line without its newline; false at a timeout, the end of the stream or a long line. */
static bool read_line(int fd, char line[LINE_BYTES], int64_t timeout_ms) {
    int64_t until_ns = bench_now_ns() + timeout_ms * 1000000;
    for (size_t len = 0; len < LINE_BYTES - 1;) {
        int64_t left_ms = (until_ns - bench_now_ns()) / 1000000;
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (left_ms <= 0 || poll(&ready, 1, (int)left_ms) == 0) {
            return false;
        }
        ssize_t n = read(fd, line + len, 1);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return false;
        }
        if (n == 1 && line[len] == '\n') {
            line[len] = '\0';
            return true;
        }
        len += n == 1 ? 1U : 0U;
    }
    return false;
}

/* Waits for a child's end, and kills it at the timeout. Returns its exit status, or -1 where a
 * signal ended it. */
static int reap(pid_t pid, int timeout_ms) {
    int status = 0;
    for (int waited_ms = 0; waitpid(pid, &status, WNOHANG) == 0; waited_ms += 5) {
        if (waited_ms >= timeout_ms) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return -1;
        }
        usleep(5000);
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int ready_port(const char *line) {
    const char *prefix = "listening on ";
    if (strncmp(line, prefix, strlen(prefix)) != 0) {
        return 0;
    }
    const char *colon = strchr(line + strlen(prefix), ':');
    return colon != NULL ? atoi(colon + 1) : 0;
}

static void program_path(const struct options *options, const char *program,
                         char path[PATH_BYTES]) {
    bool sharded = strstr(program, "echo_sharded") != NULL;
    int len = sharded && options->echo_sharded != NULL
                  ? snprintf(path, PATH_BYTES, "%s", options->echo_sharded)
                  : snprintf(path, PATH_BYTES, "%s/%s", options->folder, program);
    if (len < 0 || len >= PATH_BYTES) {
        bench_die("path too long: %s", program);
    }
}

static void kind_path(const struct options *options, const struct server_kind *kind,
                      char path[PATH_BYTES]) {
    if (kind >= &kinds[BUILT_IN]) { /* a path, as given by --peer */
        snprintf(path, PATH_BYTES, "%s", kind->program);
    } else {
        program_path(options, kind->program, path);
    }
}

static const char *load_program(const struct options *options) {
    return options->windows ? "window" : "load";
}

static void parse_result(const char *name, const char *line, struct run *run) {
    for (int i = 0; i < FIELD_COUNT; ++i) {
        char key[64];
        snprintf(key, sizeof key, "\"%s\":", FIELDS[i]);
        const char *at = strstr(line, key);
        if (at == NULL) {
            bench_die("%s: no %s in load's line: %s", name, FIELDS[i], line);
        }
        run->fields[i] = strtod(at + strlen(key), NULL);
    }
}

static void run_load(const struct options *options, const char *name, int port, pid_t server,
                     struct run *run) {
    char path[PATH_BYTES];
    char port_text[16];
    char pid_text[24];
    program_path(options, load_program(options), path);
    snprintf(port_text, sizeof port_text, "%d", port);
    snprintf(pid_text, sizeof pid_text, "%ld", (long)server);
    const char *argv[] = {
        path,
        "--port",
        port_text,
        "--server-pid",
        pid_text,
        "--seconds",
        options->seconds,
        "--requests",
        options->requests,
        "--warmup",
        options->warmup,
        "--connections",
        options->connections,
        "--size",
        options->size,
        "--pipeline",
        options->pipeline,
        options->lockstep ? "--lockstep" : NULL,
        "1",
        NULL,
    };
    int out = -1;
    char line[LINE_BYTES];
    pid_t load = spawn(argv, options->lockstep ? options->server_cpu : options->load_cpu, &out);
    double wanted_s = strtod(options->seconds, NULL) + strtod(options->warmup, NULL);
    bool got = read_line(out, line, (int64_t)(wanted_s * 1e3) + LOAD_GRACE_MS);
    close(out);
    int status = reap(load, EXIT_TIMEOUT_MS);
    if (!got || status != 0) {
        bench_die("%s: load failed (status %d): %s", name, status, got ? line : "no result");
    }
    parse_result(name, line, run);
}

/* One server's life: start, measure, stop. */
static void run_once(const struct options *options, const struct server_kind *kind,
                     struct run *run) {
    char path[PATH_BYTES];
    char line[LINE_BYTES];
    const char *argv[MAX_ARGS] = {path, "--host", "127.0.0.1", "--port", "0"};
    kind_path(options, kind, path);
    for (int i = 0; i < KIND_ARGS && kind->args[i] != NULL; ++i) {
        argv[5 + i] = kind->args[i];
    }
    int out = -1;
    pid_t server = spawn(argv, options->server_cpu, &out);
    bool ready = read_line(out, line, READY_TIMEOUT_MS);
    int port = ready ? ready_port(line) : 0;
    if (port <= 0 || (kind->ready_must_hold != NULL && !strstr(line, kind->ready_must_hold))) {
        bench_die("%s: no proper ready line: '%s'", kind->name, ready ? line : "");
    }
    run_load(options, kind->name, port, server, run);
    kill(server, SIGTERM);
    int status = reap(server, EXIT_TIMEOUT_MS);
    close(out);
    if (status != 0) {
        bench_die("%s: exit status %d after SIGTERM", kind->name, status);
    }
}

/* The share of the window in which neighbours held a CPU that the server or the load wanted. */
static double disturbance(const struct run *run) {
    return (run->fields[SERVER_WAIT_S] + run->fields[CLIENT_WAIT_S]) / run->fields[SECONDS];
}

/* Runs a server. Where neighbours disturbed it, runs it again, and keeps the least disturbed run.
 */
static void run_quiet(const struct options *options, const struct server_kind *kind,
                      struct run *best) {
    const double disturbed = 0.05;
    run_once(options, kind, best);
    for (int i = 0; i < options->retries && disturbance(best) > disturbed; ++i) {
        struct run again;
        run_once(options, kind, &again);
        if (disturbance(&again) < disturbance(best)) {
            *best = again;
        }
    }
}

static int compare_doubles(const void *left, const void *right) {
    double a = *(const double *)left;
    double b = *(const double *)right;
    return (a > b) - (a < b);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    return count % 2 == 1 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2.0;
}

static double median_field(const struct driver *driver, int kind, int field) {
    double values[MAX_ROUNDS];
    for (int round = 0; round < driver->options.rounds; ++round) {
        values[round] = driver->runs[kind][round].fields[field];
    }
    return median(values, driver->options.rounds);
}

/* Whether a process was in its program or in the kernel is what the kernel's tick finds: a sample,
 * of which the mean over all rounds is worth more than a median. */
static double mean_field(const struct driver *driver, int kind, int field) {
    double sum = 0.0;
    for (int round = 0; round < driver->options.rounds; ++round) {
        sum += driver->runs[kind][round].fields[field];
    }
    return sum / driver->options.rounds;
}

static double field_of_all(const struct driver *driver, int kind, int field) {
    return field == USER_US || field == SYSTEM_US ? mean_field(driver, kind, field)
                                                  : median_field(driver, kind, field);
}

static double median_disturbance(const struct driver *driver, int kind) {
    double values[MAX_ROUNDS];
    for (int round = 0; round < driver->options.rounds; ++round) {
        values[round] = disturbance(&driver->runs[kind][round]);
    }
    return median(values, driver->options.rounds);
}

static void print_server(const struct driver *driver, int kind) {
    const struct options *options = &driver->options;
    printf("{\"server\":\"%s\",\"rounds\":%d,\"connections\":%s,\"size\":%s,\"pipeline\":%s",
           kinds[kind].name, options->rounds, options->connections, options->size,
           options->pipeline);
    for (int field = 0; field < FIELD_COUNT; ++field) {
        printf(",\"%s\":%.*f", FIELDS[field], field < 2 || field == ERRORS ? 0 : 3,
               field_of_all(driver, kind, field));
    }
    printf(",\"disturbance\":%.3f}\n", median_disturbance(driver, kind));
}

static int kind_by_name(const char *name, size_t len) {
    for (int i = 0; i < kind_count; ++i) {
        if (strlen(kinds[i].name) == len && memcmp(kinds[i].name, name, len) == 0) {
            return i;
        }
    }
    return -1;
}

static double median_ratio(const struct driver *driver, int over, int under, int field) {
    double values[MAX_ROUNDS];
    for (int round = 0; round < driver->options.rounds; ++round) {
        values[round] =
            driver->runs[over][round].fields[field] / driver->runs[under][round].fields[field];
    }
    return median(values, driver->options.rounds);
}

static void print_ratio(const struct driver *driver, int over, int under, const char **separator) {
    if (over < 0 || under < 0 || !driver->chosen[over] || !driver->chosen[under]) {
        return;
    }
    printf("%s\"%s/%s\":{\"requests_per_s\":%.3f,\"requests_per_server_cpu_s\":%.3f}", *separator,
           kinds[over].name, kinds[under].name, median_ratio(driver, over, under, REQUESTS_PER_S),
           median_ratio(driver, over, under, REQUESTS_PER_SERVER_CPU_S));
    *separator = ",";
}

static int kind_named(const char *name) { return kind_by_name(name, strlen(name)); }

static void print_ratios(const struct driver *driver) {
    const char *separator = "";
    printf("{\"ratios\":{");
    for (size_t i = 0; i < sizeof PAIRS / sizeof PAIRS[0]; ++i) {
        print_ratio(driver, kind_named(PAIRS[i][0]), kind_named(PAIRS[i][1]), &separator);
    }
    for (int peer = BUILT_IN; peer < kind_count; ++peer) {
        print_ratio(driver, kind_named("xev_uring"), peer, &separator);
        print_ratio(driver, kind_named("xev_epoll"), peer, &separator);
    }
    printf("}}\n");
}

/* ---- the table ---- */

/* Those that a table puts the others in relation to. */
static const char *const BASES[] = {"raw_uring", "raw_epoll", "uv"};
enum { BASE_COUNT = sizeof BASES / sizeof BASES[0] };

/* The chosen servers, most requests per second of CPU first; returns how many. */
static int rank(const struct driver *driver, int order[MAX_KINDS]) {
    int len = 0;
    for (int kind = 0; kind < kind_count; ++kind) {
        int at = len;
        if (!driver->chosen[kind]) {
            continue;
        }
        double mine = median_field(driver, kind, REQUESTS_PER_SERVER_CPU_S);
        for (; at > 0 && median_field(driver, order[at - 1], REQUESTS_PER_SERVER_CPU_S) < mine;
             --at) {
            order[at] = order[at - 1];
        }
        order[at] = kind;
        ++len;
    }
    return len;
}

static void print_row(const struct driver *driver, int kind) {
    printf("| %s | %.0f |", kinds[kind].name,
           median_field(driver, kind, REQUESTS_PER_SERVER_CPU_S));
    for (int i = 0; i < BASE_COUNT; ++i) {
        int base = kind_named(BASES[i]);
        if (driver->chosen[base]) {
            printf(" %.2f |", median_ratio(driver, kind, base, REQUESTS_PER_SERVER_CPU_S));
        }
    }
    printf(" %.2f | %.2f | %.1f | %.1f | %.1f | %.0f | %.0f %% |\n",
           mean_field(driver, kind, USER_US), mean_field(driver, kind, SYSTEM_US),
           median_field(driver, kind, P50_US), median_field(driver, kind, P99_US),
           median_field(driver, kind, P999_US), median_field(driver, kind, REQUESTS_PER_S),
           median_disturbance(driver, kind) * 100.0);
}

static void print_table(const struct driver *driver) {
    int order[MAX_KINDS];
    int len = rank(driver, order);
    int columns = 9;
    printf("| server | requests per CPU second |");
    for (int i = 0; i < BASE_COUNT; ++i) {
        if (driver->chosen[kind_named(BASES[i])]) {
            printf(" to %s |", BASES[i]);
            ++columns;
        }
    }
    printf(" user us | system us | p50 us | p99 us | p99.9 us | requests per s | disturbed |\n|");
    for (int i = 0; i < columns; ++i) {
        printf(" --- |");
    }
    printf("\n");
    for (int i = 0; i < len; ++i) {
        print_row(driver, order[i]);
    }
}

static void choose_servers(struct driver *driver) {
    for (int peer = BUILT_IN; peer < kind_count; ++peer) {
        driver->chosen[peer] = true;
    }
    for (const char *at = driver->options.servers; *at != '\0';) {
        size_t len = strcspn(at, ",");
        int kind = kind_by_name(at, len);
        if (kind < 0) {
            bench_die("unknown server in --servers: '%.*s'", (int)len, at);
        }
        driver->chosen[kind] = true;
        at += len;
        at += *at == ',' ? 1 : 0;
    }
}

/* Looks for the programs before the first round. False where one is missing. */
static bool programs_exist(const struct driver *driver) {
    bool all = true;
    char path[PATH_BYTES];
    program_path(&driver->options, load_program(&driver->options), path);
    if (access(path, X_OK) != 0) {
        fprintf(stderr, "echo_ratio: missing load generator: %s\n", path);
        all = false;
    }
    for (int kind = 0; kind < kind_count; ++kind) {
        kind_path(&driver->options, &kinds[kind], path);
        if (driver->chosen[kind] && access(path, X_OK) != 0) {
            fprintf(stderr, "echo_ratio: missing server %s: %s\n", kinds[kind].name, path);
            all = false;
        }
    }
    return all;
}

/* The two highest CPUs this process may use; the same one twice where there is only one. */
static void default_cpus(struct options *options) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return;
    }
    for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET((size_t)cpu, &set)) {
            options->load_cpu = options->server_cpu >= 0 ? options->server_cpu : cpu;
            options->server_cpu = cpu;
        }
    }
}

static bool take_text_flag(struct options *options, const char *flag, const char *value) {
    struct {
        const char *flag;
        const char **to;
        bool seconds;
    } const flags[] = {
        {"--seconds", &options->seconds, true},          {"--warmup", &options->warmup, true},
        {"--connections", &options->connections, false}, {"--size", &options->size, false},
        {"--pipeline", &options->pipeline, false},
    };
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; ++i) {
        if (strcmp(flag, flags[i].flag) == 0) {
            if (flags[i].seconds) {
                bench_parse_seconds(flag, value);
            } else {
                bench_parse_int(flag, value, 1, INT32_MAX);
            }
            *flags[i].to = value;
            return true;
        }
    }
    return false;
}

/* NAME=PROGRAM: a server with the same flags and the same ready line as the others. */
static void add_peer(char *value) {
    char *equals = strchr(value, '=');
    if (equals == NULL || equals == value || equals[1] == '\0') {
        bench_die("--peer is NAME=PROGRAM, not '%s'", value);
    }
    *equals = '\0';
    if (kind_count == MAX_KINDS || kind_named(value) >= 0) {
        bench_die("--peer %s: no room, or there is one of that name", value);
    }
    kinds[kind_count++] = (struct server_kind){.name = value, .program = equals + 1};
}

static void parse_options(struct options *options, int argc, char **argv) {
    for (int i = 1; i < argc; ++i) {
        const char *flag = argv[i];
        if (strcmp(flag, "--size-small") == 0) {
            options->rounds = 1;
            options->retries = 0;
            options->requests =
                "2000"; /* in a short time a loaded machine may not get to one request */
            options->warmup = "0.05";
            continue;
        }
        if (strcmp(flag, "--reconnect") == 0 || strcmp(flag, "--lockstep") == 0) {
            options->windows = true;
            options->lockstep = flag[2] == 'l';
            continue;
        }
        if (strcmp(flag, "--markdown") == 0) {
            options->markdown = true;
            continue;
        }
        const char *value = ++i < argc ? argv[i] : "";
        if (strcmp(flag, "--rounds") == 0) {
            options->rounds = (int)bench_parse_int(flag, value, 1, MAX_ROUNDS);
        } else if (strcmp(flag, "--retries") == 0) {
            options->retries = (int)bench_parse_int(flag, value, 0, 100);
        } else if (strcmp(flag, "--server-cpu") == 0) {
            options->server_cpu = (int)bench_parse_int(flag, value, -1, CPU_SETSIZE - 1);
        } else if (strcmp(flag, "--load-cpu") == 0) {
            options->load_cpu = (int)bench_parse_int(flag, value, -1, CPU_SETSIZE - 1);
        } else if (strcmp(flag, "--peer") == 0 && i < argc) {
            add_peer(argv[i]);
        } else if (strcmp(flag, "--servers") == 0) {
            options->servers = value;
        } else if (strcmp(flag, "--echo-sharded") == 0) {
            options->echo_sharded = value;
        } else if (!take_text_flag(options, flag, value)) {
            bench_die("unknown flag '%s' (known: --servers --rounds --seconds --warmup "
                      "--connections --size --pipeline --retries --server-cpu --load-cpu "
                      "--echo-sharded --peer --size-small --reconnect --lockstep --markdown)",
                      flag);
        }
    }
}

/* Server and client take turns, and nobody else, where this process may ask for that. Round robin,
 * as a server's threads may wait for each other in loops. */
static void keep_others_away(void) {
    const struct sched_param least = {.sched_priority = sched_get_priority_min(SCHED_RR)};
    (void)sched_setscheduler(0, SCHED_RR, &least);
}

/* The program's folder by the name that it was started by. Links are not followed, as in Bazel's
 * runfiles tree all programs are links. */
static void find_folder(struct options *options, const char *self) {
    const char *slash = strrchr(self, '/');
    int len = slash != NULL ? (int)(slash - self) : 1;
    snprintf(options->folder, sizeof options->folder, "%.*s", len, slash != NULL ? self : ".");
}

int main(int argc, char **argv) {
    static struct driver driver = {
        .options =
            {
                .rounds = 5,
                .retries = 2,
                .server_cpu = -1,
                .load_cpu = -1,
                .seconds = "3",
                .requests = "0",
                .warmup = "0.5",
                .connections = "64",
                .size = "1024",
                .pipeline = "1",
                .servers = "raw_uring,xev_uring,uv,uv_try_write,uv_guide,raw_epoll,xev_epoll",
            },
    };
    default_cpus(&driver.options);
    parse_options(&driver.options, argc, argv);
    find_folder(&driver.options, argv[0]);
    choose_servers(&driver);
    if (driver.options.lockstep) {
        keep_others_away();
    }
    if (!programs_exist(&driver)) {
        return 1;
    }
    for (int round = 0; round < driver.options.rounds; ++round) {
        for (int kind = 0; kind < kind_count; ++kind) {
            if (driver.chosen[kind]) {
                run_quiet(&driver.options, &kinds[kind], &driver.runs[kind][round]);
            }
        }
    }
    if (driver.options.markdown) {
        print_table(&driver);
        return fflush(stdout) == 0 ? 0 : 1;
    }
    for (int kind = 0; kind < kind_count; ++kind) {
        if (driver.chosen[kind]) {
            print_server(&driver, kind);
        }
    }
    print_ratios(&driver);
    return fflush(stdout) == 0 ? 0 : 1;
}
