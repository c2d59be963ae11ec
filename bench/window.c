/*
 * Load generator that writes a message on each of W connections, then reads all echoes, and so on:
 * one thread on blocking sockets. All returned bytes are compared. Prints the JSON line of `load`.
 *
 * By default each request is a connection of its own, which is opened, sends a message, reads it
 * back and is closed; a request's latency is that of all this. The clients' addresses are 127.0.0.1
 * and those behind it, so that the ports of connections that have ended, which the kernel keeps for
 * a minute, do not run out.
 *
 * --lockstep 1: the connections stay open, and only the tenth of the windows that took the least of
 * the server's CPU count: what it costs where nothing disturbs it. A request's latency is then that
 * of its window. For a server on the same CPU, which finds all W messages there whenever it runs.
 *
 * --request TEXT --reply TEXT: for a server that is no echo. TEXT is one message, and __rand_int__
 * in it is the number of a key below --keys, 12 digits, another one each time.
 */
#include "bench/common.h"
#include "bench/result.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum {
    WINDOW_MAX = 16 * 1024,
    SIZE_MAX_BYTES = 64 * 1024,
    ADDRESSES = 200,
    STALL_S = 60,
    SAMPLES_MAX = 1024 * 1024,
};

struct options {
    struct sockaddr_in server;
    uint32_t connections;
    uint32_t size_bytes;         /* on each connection in a window: all its messages */
    uint32_t pipeline;           /* messages in that */
    const char *request, *reply; /* NULL: an echo */
    uint32_t reply_bytes;        /* as size_bytes */
    uint32_t keys;
    uint32_t key_at; /* in a message; UINT32_MAX: has none */
    bool lockstep;
    double seconds;
    double warmup_seconds;
    uint64_t requests; /* 0 = until seconds are over */
    pid_t server_pid;
};

static struct bench_counts counts;
static char sent[SIZE_MAX_BYTES], got[SIZE_MAX_BYTES], expected[SIZE_MAX_BYTES];
static const char any_key[] = "__rand_int__";

static int open_one(const struct options *options, uint64_t number) {
    struct sockaddr_in own = {.sin_family = AF_INET};
    struct timeval stall = {.tv_sec = STALL_S};
    int on = 1;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)(number % ADDRESSES));
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &stall, sizeof stall) != 0 ||
        bind(fd, (const struct sockaddr *)&own, sizeof own) != 0 ||
        connect(fd, (const struct sockaddr *)&options->server, sizeof options->server) != 0) {
        bench_die_errno(errno, "connect");
    }
    return fd;
}

/* False: the bytes are not those that were sent. */
static bool read_back(int fd, uint32_t size_bytes) {
    ssize_t n = recv(fd, got, size_bytes, MSG_WAITALL);
    return n == (ssize_t)size_bytes && memcmp(got, expected, size_bytes) == 0;
}

/* Another key in each of the messages. */
static void choose_keys(const struct options *options) {
    static uint64_t state = 1;
    uint32_t each_bytes = options->size_bytes / options->pipeline;
    for (uint32_t i = 0; options->key_at != UINT32_MAX && i < options->pipeline; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint32_t key = (uint32_t)((state >> 33) % options->keys);
        char *end = sent + i * each_bytes + options->key_at + sizeof any_key - 1;
        for (size_t digit = 1; digit < sizeof any_key; digit++, key /= 10) {
            end[-(ptrdiff_t)digit] = (char)('0' + key % 10);
        }
    }
}

/* In lockstep: the server's CPU for each window, since the measurement began. */
static struct sample {
    double cpu_s;
    int64_t took_ns;
} samples[SAMPLES_MAX];
static size_t sample_count;

static void sample(const struct bench_usage *start, const struct bench_usage *end) {
    if (sample_count < SAMPLES_MAX) {
        samples[sample_count++] = (struct sample){
            .cpu_s = end->server_cpu_s - start->server_cpu_s,
            .took_ns = end->at_ns - start->at_ns,
        };
    }
}

/* Opens, uses and closes as many connections as are to be open at once. In lockstep they stay. */
static void one_window(const struct options *options) {
    static int fds[WINDOW_MAX];
    static int64_t begun_ns[WINDOW_MAX];
    static uint64_t number;
    struct bench_usage start = bench_cpu_now(options->server_pid);
    for (uint32_t i = 0; i < options->connections; i++) {
        begun_ns[i] = bench_now_ns();
        if (!options->lockstep || number < options->connections) {
            fds[i] = open_one(options, number++);
        }
        choose_keys(options);
        if (send(fds[i], sent, options->size_bytes, MSG_NOSIGNAL) != (ssize_t)options->size_bytes) {
            ++counts.errors;
        }
    }
    for (uint32_t left = options->connections; left > 0; left--) {
        /* In lockstep the last one first, as the server comes to it last. */
        uint32_t i = options->lockstep ? left - 1 : options->connections - left;
        if (read_back(fds[i], options->reply_bytes)) {
            for (uint32_t k = 0; k < options->pipeline; k++) {
                bench_count(&counts, bench_now_ns() - begun_ns[i]);
            }
            counts.bytes += options->reply_bytes;
        } else {
            ++counts.errors;
        }
        if (!options->lockstep) {
            close(fds[i]);
        }
    }
    if (options->lockstep) {
        struct bench_usage end = bench_cpu_now(options->server_pid);
        sample(&start, &end);
    }
}

static void run(const struct options *options, double seconds, uint64_t requests) {
    int64_t until_ns = bench_now_ns() + (int64_t)(seconds * 1e9);
    while (counts.errors == 0 &&
           (requests > 0 ? counts.requests < requests : bench_now_ns() < until_ns)) {
        one_window(options);
    }
}

static void parse_options(struct options *options, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        const char *flag = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(flag, "--host") == 0) {
            if (inet_pton(AF_INET, value, &options->server.sin_addr) != 1) {
                bench_die("--host needs a numeric IPv4 address, not '%s'", value);
            }
        } else if (strcmp(flag, "--port") == 0) {
            options->server.sin_port = htons((uint16_t)bench_parse_int(flag, value, 1, UINT16_MAX));
        } else if (strcmp(flag, "--connections") == 0) {
            options->connections = (uint32_t)bench_parse_int(flag, value, 1, WINDOW_MAX);
        } else if (strcmp(flag, "--size") == 0) {
            options->size_bytes = (uint32_t)bench_parse_int(flag, value, 1, SIZE_MAX_BYTES);
        } else if (strcmp(flag, "--pipeline") == 0) {
            options->pipeline = (uint32_t)bench_parse_int(flag, value, 1, SIZE_MAX_BYTES);
        } else if (strcmp(flag, "--request") == 0) {
            options->request = value;
        } else if (strcmp(flag, "--reply") == 0) {
            options->reply = value;
        } else if (strcmp(flag, "--keys") == 0) {
            options->keys = (uint32_t)bench_parse_int(flag, value, 1, INT32_MAX);
        } else if (strcmp(flag, "--lockstep") == 0) {
            options->lockstep = bench_parse_int(flag, value, 0, 1) != 0;
        } else if (strcmp(flag, "--seconds") == 0) {
            options->seconds = bench_parse_seconds(flag, value);
        } else if (strcmp(flag, "--warmup") == 0) {
            options->warmup_seconds = bench_parse_seconds(flag, value);
        } else if (strcmp(flag, "--requests") == 0) {
            options->requests = (uint64_t)bench_parse_int(flag, value, 0, INT64_MAX);
        } else if (strcmp(flag, "--server-pid") == 0) {
            options->server_pid = (pid_t)bench_parse_int(flag, value, 1, INT32_MAX);
        } else {
            bench_die("unknown flag '%s' (known: --host --port --connections --size --pipeline "
                      "--seconds --warmup --requests --server-pid --lockstep --request --reply "
                      "--keys)",
                      flag);
        }
    }
    if (options->server.sin_port == 0) {
        bench_die("--port is needed");
    }
    if (!options->lockstep && options->pipeline != 1) {
        bench_die("--pipeline needs --lockstep 1");
    }
    if (options->lockstep && options->server_pid == 0) {
        bench_die("--lockstep needs --server-pid");
    }
}

/* `pipeline` times the text. */
static uint32_t repeat(char *to, const char *text, uint32_t pipeline) {
    size_t len_bytes = strlen(text);
    if (len_bytes == 0 || len_bytes * pipeline > SIZE_MAX_BYTES) {
        bench_die("--request and --reply, times --pipeline, have 1 to %d bytes", SIZE_MAX_BYTES);
    }
    for (uint32_t i = 0; i < pipeline; i++) {
        memcpy(to + i * len_bytes, text, len_bytes);
    }
    return (uint32_t)len_bytes * pipeline;
}

/* Fills `sent` and `expected`. */
static void make_messages(struct options *options) {
    options->key_at = UINT32_MAX;
    if ((options->request == NULL) != (options->reply == NULL)) {
        bench_die("--request and --reply need each other");
    }
    if (options->request != NULL) {
        const char *key = strstr(options->request, any_key);
        if (key != NULL) {
            options->key_at = (uint32_t)(key - options->request);
        }
        options->size_bytes = repeat(sent, options->request, options->pipeline);
        options->reply_bytes = repeat(expected, options->reply, options->pipeline);
        return;
    }
    if (options->size_bytes * (uint64_t)options->pipeline > SIZE_MAX_BYTES) {
        bench_die("--size times --pipeline is at most %d", SIZE_MAX_BYTES);
    }
    options->size_bytes *= options->pipeline;
    options->reply_bytes = options->size_bytes;
    for (size_t i = 0; i < sizeof sent; i++) {
        sent[i] = expected[i] = (char)(i * 7 + i / 251);
    }
}

static int by_cpu(const void *left, const void *right) {
    const struct sample *a = left, *b = right;
    return (a->cpu_s > b->cpu_s) - (a->cpu_s < b->cpu_s);
}

/* Only the tenth that took the least. */
static void keep_best(const struct options *options, const struct bench_usage *start,
                      struct bench_usage *end) {
    size_t kept = sample_count / 10 + 1;
    int64_t took_ns = 0;
    qsort(samples, sample_count, sizeof samples[0], by_cpu);
    end->server_cpu_s = start->server_cpu_s;
    end->server_wait_s = start->server_wait_s; /* for each other, and what disturbed is left out */
    end->client_wait_s = start->client_wait_s;
    for (size_t i = 0; i < kept; i++) {
        end->server_cpu_s += samples[i].cpu_s;
        took_ns += samples[i].took_ns;
    }
    end->at_ns = start->at_ns + took_ns;
    counts = (struct bench_counts){.errors = counts.errors};
    for (size_t i = 0; i < kept; i++) {
        for (uint64_t k = 0; k < (uint64_t)options->connections * options->pipeline; k++) {
            bench_count(&counts, samples[i].took_ns);
        }
    }
    counts.bytes = kept * options->connections * (uint64_t)options->reply_bytes;
}

int main(int argc, char **argv) {
    struct options options = {
        .server = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
        .connections = 16,
        .size_bytes = 1024,
        .pipeline = 1,
        .keys = 100000,
        .seconds = 5.0,
        .warmup_seconds = 1.0,
    };
    parse_options(&options, argc, argv);
    make_messages(&options);
    run(&options, options.warmup_seconds, 0);
    counts = (struct bench_counts){.errors = counts.errors};
    sample_count = 0;
    struct bench_usage start = bench_usage_now(options.server_pid);
    run(&options, options.seconds, options.requests);
    struct bench_usage end = bench_usage_now(options.server_pid);
    if (options.lockstep && sample_count > 0) {
        keep_best(&options, &start, &end);
    }
    struct bench_shape shape = {options.connections, options.size_bytes / options.pipeline,
                                options.pipeline};
    return bench_print_result(&shape, &counts, &start, &end) ? 0 : 1;
}
