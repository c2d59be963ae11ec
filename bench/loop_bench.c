/* What the micro-benchmarks of event loops share; see loop_bench.h. */
#include "bench/loop_bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/common.h"

enum { TIME_LIMIT_S = 300 };

/* ---- failing ---- */

static const char *running = "";

void loop_bench_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: %s: ", program_invocation_short_name, running);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

void loop_bench_expect(const char *what, int64_t got, int64_t want) {
    if (got != want) {
        loop_bench_fail("%s: %lld instead of %lld", what, (long long)got, (long long)want);
    }
}

/* A callback that never comes must not look like a slow machine. */
static void on_alarm(int signal_number) {
    (void)signal_number;
    static const char text[] = "the benchmark did not end\n";
    (void)!write(STDERR_FILENO, text, sizeof text - 1);
    _exit(1);
}

/* ---- clocks ---- */

static int64_t cpu_ns_of(int who) {
    struct rusage u;
    if (getrusage(who, &u) != 0) {
        loop_bench_fail("getrusage: %s", strerror(errno));
    }
    return ((int64_t)u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000000 +
           ((int64_t)u.ru_utime.tv_usec + u.ru_stime.tv_usec) * 1000;
}

struct loop_bench_clock loop_bench_now(void) {
    return (struct loop_bench_clock){
        .wall_ns = bench_now_ns(),
        .cpu_ns = cpu_ns_of(RUSAGE_SELF),
        .thread_cpu_ns = cpu_ns_of(RUSAGE_THREAD),
        .children_cpu_ns = cpu_ns_of(RUSAGE_CHILDREN),
    };
}

static struct loop_bench_clock since(const struct loop_bench_clock *start) {
    struct loop_bench_clock now = loop_bench_now();
    return (struct loop_bench_clock){
        .wall_ns = now.wall_ns - start->wall_ns,
        .cpu_ns = now.cpu_ns - start->cpu_ns,
        .thread_cpu_ns = now.thread_cpu_ns - start->thread_cpu_ns,
        .children_cpu_ns = now.children_cpu_ns - start->children_cpu_ns,
    };
}

/* run->used holds the start until the end. */
void loop_bench_begin(struct loop_bench_run *run) { run->used = loop_bench_now(); }
void loop_bench_end(struct loop_bench_run *run) { run->used = since(&run->used); }

void loop_bench_figure(struct loop_bench_run *run, const char *name, double value) {
    if (run->figures_len == LOOP_BENCH_FIGURES_MAX) {
        loop_bench_fail("too many figures");
    }
    run->figures[run->figures_len].name = name;
    run->figures[run->figures_len].value = value;
    run->figures_len++;
}

void loop_bench_part(struct loop_bench_run *run, const char *wall, const char *cpu,
                     const struct loop_bench_clock *start) {
    struct loop_bench_clock used = since(start);
    loop_bench_figure(run, wall, (double)used.wall_ns / (double)run->count);
    loop_bench_figure(run, cpu, (double)used.cpu_ns / (double)run->count);
}

void loop_bench_pummel_figures(struct loop_bench_run *run, int64_t notifies) {
    double n = (double)notifies;
    if (notifies < run->count) {
        loop_bench_fail("fewer notifications than callbacks");
    }
    loop_bench_figure(run, "loop_cpu_ns", (double)run->used.thread_cpu_ns / (double)run->count);
    loop_bench_figure(run, "notifies_per_callback", n / (double)run->count);
    loop_bench_figure(run, "notify_ns", (double)run->used.wall_ns * run->threads / n);
}

static void print_run(const struct loop_bench_run *run, const char *who) {
    int64_t cpu_ns = run->thread_cpu_only ? run->used.thread_cpu_ns : run->used.cpu_ns;
    double n = (double)run->count;
    printf("{\"bench\":\"%s\",\"who\":\"%s\",\"backend\":\"%s\",\"count\":%lld,\"threads\":%d,"
           "\"window\":%d,\"ns_per_op\":%.2f,\"cpu_ns_per_op\":%.2f,\"ops_per_s\":%.0f",
           run->name, who, run->backend, (long long)run->count, run->threads, run->window,
           (double)run->used.wall_ns / n, (double)cpu_ns / n, n * 1e9 / (double)run->used.wall_ns);
    for (int i = 0; i < run->figures_len; i++) {
        printf(",\"%s\":%.2f", run->figures[i].name, run->figures[i].value);
    }
    puts("}");
}

/* ---- main ---- */

static _Noreturn void print_list(const struct loop_bench *benches) {
    for (const struct loop_bench *b = benches; b->name != NULL; b++) {
        printf("%-21s%s\n", b->name, b->what);
    }
    exit(0);
}

static const struct loop_bench *find(const struct loop_bench *benches, const char *name) {
    for (const struct loop_bench *b = benches; b->name != NULL; b++) {
        if (strcmp(b->name, name) == 0) {
            return b;
        }
    }
    bench_die("no benchmark '%s' (--list names all)", name);
}

static const char *find_backend(const char *const *backends, const char *name) {
    for (; *backends != NULL; backends++) {
        if (strcmp(*backends, name) == 0) {
            return *backends;
        }
    }
    bench_die("no backend '%s' here", name);
}

static void parse_flag(struct loop_bench_run *run, const struct loop_bench *bench,
                       const char *const *backends, const char *flag, const char *value) {
    bool threads = strcmp(flag, "--threads") == 0, window = strcmp(flag, "--window") == 0;
    if ((threads && bench->threads == 0) || (window && bench->window == 0)) {
        bench_die("%s takes no %s", bench->name, flag);
    }
    if (threads) {
        run->threads = (int)bench_parse_int(flag, value, 1, LOOP_BENCH_THREADS_MAX);
    } else if (window) {
        run->window = (int)bench_parse_int(flag, value, 1, LOOP_BENCH_WINDOW_MAX);
    } else if (strcmp(flag, "--count") == 0) {
        run->count = bench_parse_int(flag, value, 1, 100 * 1000 * 1000);
    } else if (strcmp(flag, "--backend") == 0) {
        run->backend = find_backend(backends, value);
    } else {
        bench_die("unknown flag '%s' (known: --list --count --threads --window --backend)", flag);
    }
}

int loop_bench_main(int argc, char **argv, const char *who, const char *const *backends,
                    const struct loop_bench *benches) {
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        print_list(benches);
    }
    if (argc < 2) {
        bench_die("usage: %s NAME [--count N] [--threads T] [--window W] [--backend NAME] | --list",
                  program_invocation_short_name);
    }
    const struct loop_bench *bench = find(benches, argv[1]);
    struct loop_bench_run run = {.name = bench->name,
                                 .count = bench->count,
                                 .threads = bench->threads,
                                 .window = bench->window};
    for (int i = 2; i < argc; i += 2) {
        parse_flag(&run, bench, backends, argv[i], i + 1 < argc ? argv[i + 1] : "");
    }
    running = bench->name;
    signal(SIGALRM, on_alarm);
    signal(SIGPIPE, SIG_IGN);
    alarm(TIME_LIMIT_S);
    bench->run(&run);
    print_run(&run, who);
    return 0;
}

/* ---- threads ---- */

struct loop_bench_thread loop_bench_thread_start(void *(*entry)(void *), void *arg) {
    pthread_t id;
    int error = pthread_create(&id, NULL, entry, arg);
    if (error != 0) {
        loop_bench_fail("pthread_create: %s", strerror(error));
    }
    return (struct loop_bench_thread){id};
}

void loop_bench_thread_join(struct loop_bench_thread thread) {
    int error = pthread_join(thread.id, NULL);
    if (error != 0) {
        loop_bench_fail("pthread_join: %s", strerror(error));
    }
}

/* ---- data ---- */

void *loop_bench_memory(size_t count, size_t bytes) {
    void *memory = malloc(count * bytes);
    if (memory == NULL) {
        loop_bench_fail("no memory for %zu times %zu bytes", count, bytes);
    }
    memset(memory, 1, count * bytes); /* not 0, which the compiler makes a calloc of */
    memset(memory, 0, count * bytes);
    return memory;
}

uint64_t loop_bench_delay_ms(int64_t i) {
    /* Between one hour and one and a half, in an order that is the same each time. */
    uint64_t mixed = (uint64_t)i * 0x9e3779b97f4a7c15u;
    return 3600000 + (mixed >> 32) % 1800000;
}

const char *loop_bench_pattern(int64_t offset) {
    static const char text[LOOP_BENCH_PATTERN_BYTES + 1] = "Hello, world.";
    static char repeated[LOOP_BENCH_PUMP_BYTES + LOOP_BENCH_PATTERN_BYTES];
    if (repeated[0] == '\0') {
        for (size_t i = 0; i < sizeof repeated; i++) {
            repeated[i] = text[i % LOOP_BENCH_PATTERN_BYTES];
        }
    }
    return repeated + offset % LOOP_BENCH_PATTERN_BYTES;
}

void loop_bench_check_pattern(int64_t offset, const void *data, size_t len, size_t most) {
    size_t compared = len < most ? len : most;
    if (compared > LOOP_BENCH_PUMP_BYTES ||
        memcmp(data, loop_bench_pattern(offset), compared) != 0) {
        loop_bench_fail("wrong bytes at offset %lld", (long long)offset);
    }
}

/* ---- the clients of `accepts` ---- */

static struct {
    struct sockaddr_in address;
    int64_t count;
    int window;
    struct loop_bench_thread thread;
} clients;

static int open_client(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* A reset, once the server has closed: else its end would wait a minute for late packets. */
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0 ||
        connect(fd, (const struct sockaddr *)&clients.address, sizeof clients.address) != 0) {
        loop_bench_fail("client: cannot connect: %s", strerror(errno));
    }
    return fd;
}

static void send_and_read_back(const int *fds, int n) {
    const char *sent = loop_bench_pattern(0);
    for (int i = 0; i < n; i++) {
        loop_bench_expect("client: send", send(fds[i], sent, LOOP_BENCH_ECHO_BYTES, 0),
                          LOOP_BENCH_ECHO_BYTES);
    }
    for (int i = 0; i < n; i++) {
        char got[LOOP_BENCH_ECHO_BYTES + 1];
        ssize_t len = recv(fds[i], got, LOOP_BENCH_ECHO_BYTES, MSG_WAITALL);
        loop_bench_expect("client: bytes echoed", len, LOOP_BENCH_ECHO_BYTES);
        loop_bench_check_pattern(0, got, LOOP_BENCH_ECHO_BYTES, LOOP_BENCH_ECHO_BYTES);
        loop_bench_expect("client: end of stream", recv(fds[i], got, sizeof got, 0), 0);
        close(fds[i]);
    }
}

static void *run_clients(void *arg) {
    (void)arg;
    static int fds[LOOP_BENCH_WINDOW_MAX];
    for (int64_t done = 0; done < clients.count;) {
        int64_t left = clients.count - done;
        int n = left < clients.window ? (int)left : clients.window;
        for (int i = 0; i < n; i++) {
            fds[i] = open_client();
        }
        send_and_read_back(fds, n);
        done += n;
    }
    return NULL;
}

void loop_bench_clients_start(const struct loop_bench_run *run, int port) {
    (void)loop_bench_pattern(0); /* made before there are two threads */
    clients.address.sin_family = AF_INET;
    clients.address.sin_port = htons((uint16_t)port);
    clients.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    clients.count = run->count;
    clients.window = run->window;
    clients.thread = loop_bench_thread_start(run_clients, NULL);
}

void loop_bench_clients_join(void) { loop_bench_thread_join(clients.thread); }

/* ---- the file of the file_reads ---- */

enum { FILE_PAGES_MAX = 16384, PAGES_PER_WRITE = 64 };

static void fill_file(int fd, uint64_t pages) {
    static uint64_t block[PAGES_PER_WRITE][LOOP_BENCH_PAGE_BYTES / sizeof(uint64_t)];
    for (uint64_t page = 0; page < pages;) {
        uint64_t n = pages - page < PAGES_PER_WRITE ? pages - page : PAGES_PER_WRITE;
        for (uint64_t i = 0; i < n; i++) {
            block[i][0] = page++;
        }
        size_t len = (size_t)n * LOOP_BENCH_PAGE_BYTES;
        loop_bench_expect("file: bytes written", write(fd, block, len), (int64_t)len);
    }
}

char *loop_bench_page_memory(void) {
    void *memory = aligned_alloc(LOOP_BENCH_PAGE_BYTES, LOOP_BENCH_PAGE_BYTES);
    if (memory == NULL) {
        loop_bench_fail("no memory");
    }
    return memset(memory, 0, LOOP_BENCH_PAGE_BYTES);
}

struct loop_bench_file loop_bench_file_make(const struct loop_bench_run *run, bool cached) {
    const char *dir = getenv("TEST_TMPDIR");
    dir = dir != NULL ? dir : getenv("TMPDIR");
    char path[1024];
    int len = snprintf(path, sizeof path, "%s/file_reads.XXXXXX", dir != NULL ? dir : "/tmp");
    struct loop_bench_file file = {.fd = len < (int)sizeof path ? mkstemp(path) : -1, .pages = 1};
    if (file.fd < 0 || unlink(path) != 0) {
        loop_bench_fail("no file in %s: %s", dir, strerror(errno));
    }
    while (file.pages < (uint64_t)run->count && (!cached || file.pages < FILE_PAGES_MAX)) {
        file.pages *= 2;
    }
    fill_file(file.fd, file.pages);
    int error = posix_fadvise(file.fd, 0, 0, POSIX_FADV_RANDOM);
    if (!cached && error == 0) {
        error = fsync(file.fd) != 0 ? errno : posix_fadvise(file.fd, 0, 0, POSIX_FADV_DONTNEED);
    }
    if (error != 0) {
        loop_bench_fail("file: %s", strerror(error));
    }
    return file;
}

uint64_t loop_bench_page(const struct loop_bench_file *file, int64_t i) {
    return (uint64_t)i * 2654435761u % file->pages; /* odd, so each once before one comes again */
}

void loop_bench_fill_page(uint64_t page, void *data) { memcpy(data, &page, sizeof page); }

void loop_bench_check_page(uint64_t page, const void *data, int64_t len_bytes) {
    uint64_t number;
    loop_bench_expect("bytes read", len_bytes, LOOP_BENCH_PAGE_BYTES);
    memcpy(&number, data, sizeof number);
    loop_bench_expect("page read", (int64_t)number, (int64_t)page);
}

/* ---- the client of file_reads_beside ---- */

static struct {
    int fd;
    int64_t count, *ns;
    struct loop_bench_thread thread;
} echoes;

static void *run_echoes(void *arg) {
    (void)arg;
    const char *sent = loop_bench_pattern(0);
    char got[LOOP_BENCH_ECHO_BYTES];
    for (int64_t i = 0; i < echoes.count; i++) {
        int64_t start = bench_now_ns();
        loop_bench_expect("client: send", send(echoes.fd, sent, sizeof got, 0), sizeof got);
        loop_bench_expect("client: recv", recv(echoes.fd, got, sizeof got, MSG_WAITALL),
                          sizeof got);
        echoes.ns[i] = bench_now_ns() - start;
        loop_bench_check_pattern(0, got, sizeof got, sizeof got);
    }
    close(echoes.fd);
    return NULL;
}

int loop_bench_echoes_start(const struct loop_bench_run *run) {
    struct bench_server_options options = {.host = "127.0.0.1", .cpu = -1};
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    int listener = bench_listen(&options, false);
    echoes.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (echoes.fd < 0 || getsockname(listener, (struct sockaddr *)&at, &len) != 0 ||
        setsockopt(echoes.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        connect(echoes.fd, (const struct sockaddr *)&at, len) != 0) {
        loop_bench_fail("client: cannot connect: %s", strerror(errno));
    }
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        loop_bench_fail("client: no connection: %s", strerror(errno));
    }
    close(listener);
    (void)loop_bench_pattern(0); /* made before there are two threads */
    echoes.count = run->count;
    echoes.ns = loop_bench_memory((size_t)run->count, sizeof *echoes.ns);
    echoes.thread = loop_bench_thread_start(run_echoes, NULL);
    return fd;
}

static int by_time(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x < y ? -1 : x > y;
}

void loop_bench_echoes_join(struct loop_bench_run *run) {
    loop_bench_thread_join(echoes.thread);
    qsort(echoes.ns, (size_t)echoes.count, sizeof *echoes.ns, by_time);
    loop_bench_figure(run, "p50_us", (double)echoes.ns[echoes.count / 2] / 1e3);
    loop_bench_figure(run, "p99_us", (double)echoes.ns[echoes.count * 99 / 100] / 1e3);
    free(echoes.ns);
}
