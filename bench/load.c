/*
 * Load generator for echo servers. It is one thread on io_uring, so that it needs less CPU per
 * message than most servers that it measures. Every connection keeps a fixed number of messages in
 * flight. All returned bytes are compared with the sent ones. Prints one JSON line.
 *
 * The bytes of a stream depend on its offset: connection c sends, at offset o, byte
 * (o + c * CONN_STRIDE) % PATTERN_PERIOD of a random pattern. So a send copies nothing, a check is
 * one memcmp, and the check finds bytes that are lost, repeated, reordered or of another
 * connection.
 *
 * The clock is read once per batch of completions, when the kernel has returned it. So a latency
 * includes the load generator's own work on that batch, and is an upper bound.
 */
#include "bench/common.h"
#include "bench/result.h"
#include "bench/ring.h"

#include <arpa/inet.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    SQ_ENTRIES = 2048,
    CQ_ENTRIES = 16 * 1024,
    BUFFER_COUNT = 256, /* a power of two */
    BUFFER_BYTES = 64 * 1024,
    BUFFER_GROUP = 0,
    PATTERN_PERIOD = 4093, /* prime, so that no message size repeats in step with it */
    CONN_STRIDE = 97,
    SEND_MAX_BYTES = 256 * 1024,
    TICK_MS = 100,
    STALL_TICKS = 50, /* the run is given up after so many ticks without a byte */
};

enum op { OP_RECV, OP_SEND, OP_TICK };

struct options {
    const char *host;
    uint16_t port;
    uint32_t connections;
    uint32_t size_bytes;
    uint32_t pipeline;
    double seconds;
    double warmup_seconds;
    uint64_t requests; /* 0 = until seconds are over */
    int cpu;
    pid_t server_pid;
};

struct conn {
    int fd;
    bool recv_armed;
    bool dead;
    bool send_busy;
    uint32_t message_got;  /* bytes received of the current message */
    uint32_t oldest;       /* index of the oldest message in flight in sent_ns */
    uint64_t sent_bytes;   /* handed to the kernel */
    uint64_t wanted_bytes; /* what should be handed to it so far */
    uint64_t got_bytes;
    uint32_t sending_bytes;
    int64_t *sent_ns; /* when each message in flight was issued, a ring of `pipeline` */
};

struct load {
    struct options options;
    struct io_uring ring;
    struct io_uring_buf_ring *buf_ring;
    char *buffers;
    char *pattern; /* PATTERN_PERIOD bytes, repeated over SEND_MAX_BYTES more */
    struct conn *conns;
    uint32_t live;
    uint32_t unarmed; /* connections whose recv must be started again after this batch */
    uint32_t returned;
    int64_t now_ns;
    uint64_t last_tick_bytes;
    uint32_t stalled_ticks;
    struct bench_counts counts;
};

static struct io_uring_sqe *get_sqe(struct load *load) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&load->ring);
    while (sqe == NULL) {
        int submitted = io_uring_submit(&load->ring);
        if (submitted < 0 && submitted != -EINTR && submitted != -EBUSY && submitted != -EAGAIN) {
            bench_die_errno(-submitted, "io_uring_submit");
        }
        sqe = io_uring_get_sqe(&load->ring);
    }
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum op op, uint32_t index) {
    io_uring_sqe_set_data64(sqe, (uint64_t)index << 8 | (uint64_t)op);
}

static void conn_failed(struct load *load, struct conn *conn) {
    ++load->counts.errors;
    if (!conn->dead) {
        conn->dead = true;
        --load->live;
        shutdown(conn->fd, SHUT_RDWR);
    }
}

static const char *pattern_at(const struct load *load, uint32_t index, uint64_t offset) {
    return load->pattern + (offset + (uint64_t)index * CONN_STRIDE) % PATTERN_PERIOD;
}

static void arm_recv(struct load *load, uint32_t index) {
    struct io_uring_sqe *sqe = get_sqe(load);
    io_uring_prep_recv_multishot(sqe, (int)index, NULL, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    tag(sqe, OP_RECV, index);
    load->conns[index].recv_armed = true;
}

/*
 * Sends what is wanted and not yet sent, one send at a time per connection. With one message in
 * flight its success needs no completion: the echo proves it.
 */
static void send_wanted(struct load *load, uint32_t index) {
    struct conn *conn = &load->conns[index];
    if (conn->send_busy || conn->dead || conn->sent_bytes == conn->wanted_bytes) {
        return;
    }
    uint64_t left = conn->wanted_bytes - conn->sent_bytes;
    uint32_t len = left < SEND_MAX_BYTES ? (uint32_t)left : SEND_MAX_BYTES;
    struct io_uring_sqe *sqe = get_sqe(load);
    io_uring_prep_send(sqe, (int)index, pattern_at(load, index, conn->sent_bytes), len,
                       MSG_WAITALL | MSG_NOSIGNAL);
    sqe->flags |= IOSQE_FIXED_FILE;
    if (load->options.pipeline == 1 && len == load->options.size_bytes) {
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    } else {
        conn->send_busy = true;
    }
    conn->sending_bytes = len;
    conn->sent_bytes += len;
    tag(sqe, OP_SEND, index);
}

static void issue_message(struct load *load, struct conn *conn, uint32_t at) {
    conn->sent_ns[at] = load->now_ns;
    conn->wanted_bytes += load->options.size_bytes;
}

static void message_done(struct load *load, struct conn *conn) {
    int64_t latency_ns = load->now_ns - conn->sent_ns[conn->oldest];
    bench_count(&load->counts, latency_ns);
    issue_message(load, conn, conn->oldest);
    conn->oldest = conn->oldest + 1 == load->options.pipeline ? 0 : conn->oldest + 1;
}

static void on_bytes(struct load *load, uint32_t index, const char *bytes, uint32_t len) {
    struct conn *conn = &load->conns[index];
    if (conn->got_bytes + len > conn->sent_bytes ||
        memcmp(bytes, pattern_at(load, index, conn->got_bytes), len) != 0) {
        conn_failed(load, conn);
        return;
    }
    conn->got_bytes += len;
    load->counts.bytes += len;
    uint64_t got = (uint64_t)conn->message_got + len;
    while (got >= load->options.size_bytes) {
        got -= load->options.size_bytes;
        message_done(load, conn);
    }
    conn->message_got = (uint32_t)got;
    send_wanted(load, index);
}

static void on_recv(struct load *load, const struct io_uring_cqe *cqe, uint32_t index) {
    struct conn *conn = &load->conns[index];
    if (cqe->res > 0) {
        uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        char *bytes = load->buffers + (size_t)id * BUFFER_BYTES;
        if (!conn->dead) {
            on_bytes(load, index, bytes, (uint32_t)cqe->res);
        }
        io_uring_buf_ring_add(load->buf_ring, bytes, BUFFER_BYTES, id, BUFFER_COUNT - 1,
                              (int)load->returned);
        ++load->returned;
    } else if (cqe->res != -ENOBUFS && !conn->dead) {
        conn_failed(load,
                    conn); /* also at the end of the stream: the server must not close first */
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        conn->recv_armed = false;
        ++load->unarmed;
    }
}

static void on_send(struct load *load, const struct io_uring_cqe *cqe, uint32_t index) {
    struct conn *conn = &load->conns[index];
    conn->send_busy = false;
    if (cqe->res < 0 || (uint32_t)cqe->res != conn->sending_bytes) {
        if (!conn->dead) {
            conn_failed(load, conn);
        }
        return;
    }
    send_wanted(load, index);
}

static void arm_tick(struct load *load) {
    static struct __kernel_timespec tick = {.tv_nsec = TICK_MS * 1000000L};
    struct io_uring_sqe *sqe = get_sqe(load);
    io_uring_prep_timeout(sqe, &tick, 0, 0);
    tag(sqe, OP_TICK, 0);
}

static void on_tick(struct load *load) {
    load->stalled_ticks = load->counts.bytes == load->last_tick_bytes ? load->stalled_ticks + 1 : 0;
    load->last_tick_bytes = load->counts.bytes;
    arm_tick(load);
}

/* After a batch: gives the buffers back, then restarts each recv that ended for want of them. */
static void end_batch(struct load *load) {
    if (load->returned > 0) {
        io_uring_buf_ring_advance(load->buf_ring, (int)load->returned);
        load->returned = 0;
    }
    for (uint32_t i = 0; load->unarmed > 0 && i < load->options.connections; ++i) {
        if (!load->conns[i].recv_armed && !load->conns[i].dead) {
            arm_recv(load, i);
        }
    }
    load->unarmed = 0;
}

/* Runs until the time or the count of requests is reached, or nothing moves any more. */
static void run(struct load *load, int64_t until_ns, uint64_t until_requests) {
    while (load->live > 0 && load->stalled_ticks < STALL_TICKS && load->now_ns < until_ns &&
           load->counts.requests < until_requests) {
        int result = io_uring_submit_and_wait(&load->ring, 1);
        if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN) {
            bench_die_errno(-result, "io_uring_submit_and_wait");
        }
        load->now_ns = bench_now_ns();
        struct io_uring_cqe *cqe = NULL;
        unsigned head = 0;
        unsigned seen = 0;
        io_uring_for_each_cqe(&load->ring, head, cqe) {
            uint64_t data = io_uring_cqe_get_data64(cqe);
            uint32_t index = (uint32_t)(data >> 8);
            ++seen;
            switch ((enum op)(data & 0xff)) {
            case OP_RECV:
                on_recv(load, cqe, index);
                break;
            case OP_SEND:
                on_send(load, cqe, index);
                break;
            case OP_TICK:
                on_tick(load);
                break;
            }
        }
        io_uring_cq_advance(&load->ring, seen);
        end_batch(load);
    }
}

static void setup_ring(struct load *load) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE,
        .cq_entries = CQ_ENTRIES,
    };
    bench_ring_init(SQ_ENTRIES, &load->ring, &params);
    int result = io_uring_register_ring_fd(&load->ring);
    if (result < 0) {
        bench_die_errno(-result, "io_uring_register_ring_fd");
    }
    size_t ring_bytes = BUFFER_COUNT * sizeof(struct io_uring_buf);
    load->buf_ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    load->buffers = malloc((size_t)BUFFER_COUNT * BUFFER_BYTES);
    if (load->buf_ring == MAP_FAILED || load->buffers == NULL) {
        bench_die_errno(ENOMEM, "buffers");
    }
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)load->buf_ring,
        .ring_entries = BUFFER_COUNT,
        .bgid = BUFFER_GROUP,
    };
    result = io_uring_register_buf_ring(&load->ring, &registration, 0);
    if (result < 0) {
        bench_die_errno(-result, "io_uring_register_buf_ring");
    }
    io_uring_buf_ring_init(load->buf_ring);
    for (int id = 0; id < BUFFER_COUNT; ++id) {
        io_uring_buf_ring_add(load->buf_ring, load->buffers + (size_t)id * BUFFER_BYTES,
                              BUFFER_BYTES, (unsigned short)id, BUFFER_COUNT - 1, id);
    }
    io_uring_buf_ring_advance(load->buf_ring, BUFFER_COUNT);
}

static void setup_pattern(struct load *load) {
    size_t len = PATTERN_PERIOD + SEND_MAX_BYTES;
    load->pattern = malloc(len);
    if (load->pattern == NULL) {
        bench_die_errno(ENOMEM, "pattern");
    }
    uint32_t state = 0x9e3779b9U; /* of xorshift32; any fixed sequence without a period will do */
    for (size_t i = 0; i < len; ++i) {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        load->pattern[i] =
            i < PATTERN_PERIOD ? (char)(state >> 24) : load->pattern[i - PATTERN_PERIOD];
    }
}

static void connect_all(struct load *load) {
    const struct options *options = &load->options;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(options->port)};
    if (inet_pton(AF_INET, options->host, &address.sin_addr) != 1) {
        bench_die("--host needs a numeric IPv4 address, not '%s'", options->host);
    }
    load->conns = calloc(options->connections, sizeof *load->conns);
    int64_t *sent_ns = calloc((size_t)options->connections * options->pipeline, sizeof *sent_ns);
    int *fds = calloc(options->connections, sizeof *fds);
    if (load->conns == NULL || sent_ns == NULL || fds == NULL) {
        bench_die_errno(ENOMEM, "connections");
    }
    for (uint32_t i = 0; i < options->connections; ++i) {
        struct conn *conn = &load->conns[i];
        conn->sent_ns = sent_ns + (size_t)i * options->pipeline;
        conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        int on = 1;
        /* The cheapest mode for this side, so that less of it is measured. An older kernel refuses
         * it. */
        (void)setsockopt(conn->fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4);
        if (conn->fd < 0 || setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
            connect(conn->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
            bench_die_errno(errno, "connect");
        }
        fds[i] = conn->fd;
    }
    int result = io_uring_register_files(&load->ring, fds, options->connections);
    if (result < 0) {
        bench_die_errno(-result, "io_uring_register_files");
    }
    free(fds);
    load->live = options->connections;
}

static void start_traffic(struct load *load) {
    load->now_ns = bench_now_ns();
    for (uint32_t i = 0; i < load->options.connections; ++i) {
        arm_recv(load, i);
        for (uint32_t m = 0; m < load->options.pipeline; ++m) {
            issue_message(load, &load->conns[i], m);
        }
        send_wanted(load, i);
    }
    arm_tick(load);
}

static int64_t seconds_from(const struct load *load, double seconds) {
    return load->now_ns + (int64_t)(seconds * 1e9);
}

/* Warms up, measures, prints; returns the exit status. */
static int measure(struct load *load) {
    const struct options *options = &load->options;
    run(load, seconds_from(load, options->warmup_seconds), UINT64_MAX);
    uint64_t errors = load->counts.errors;
    load->counts = (struct bench_counts){.errors = errors};
    load->last_tick_bytes = UINT64_MAX;

    struct bench_usage start = bench_usage_now(options->server_pid);
    load->now_ns = start.at_ns;
    if (options->requests > 0) {
        run(load, INT64_MAX, options->requests);
    } else {
        run(load, seconds_from(load, options->seconds), UINT64_MAX);
    }
    struct bench_usage end = bench_usage_now(options->server_pid);
    if (load->stalled_ticks >= STALL_TICKS) {
        ++load->counts.errors;
    }
    struct bench_shape shape = {options->connections, options->size_bytes, options->pipeline};
    return bench_print_result(&shape, &load->counts, &start, &end) ? 0 : 1;
}

static void parse_options(struct options *options, int argc, char **argv) {
    for (int i = 1; i < argc; i += 2) {
        const char *flag = argv[i];
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(flag, "--host") == 0) {
            options->host = value;
        } else if (strcmp(flag, "--port") == 0) {
            options->port = (uint16_t)bench_parse_int(flag, value, 1, UINT16_MAX);
        } else if (strcmp(flag, "--connections") == 0) {
            options->connections = (uint32_t)bench_parse_int(flag, value, 1, 65536);
        } else if (strcmp(flag, "--size") == 0) {
            options->size_bytes = (uint32_t)bench_parse_int(flag, value, 1, 1 << 30);
        } else if (strcmp(flag, "--pipeline") == 0) {
            options->pipeline = (uint32_t)bench_parse_int(flag, value, 1, 65536);
        } else if (strcmp(flag, "--seconds") == 0) {
            options->seconds = bench_parse_seconds(flag, value);
        } else if (strcmp(flag, "--warmup") == 0) {
            options->warmup_seconds = bench_parse_seconds(flag, value);
        } else if (strcmp(flag, "--requests") == 0) {
            options->requests = (uint64_t)bench_parse_int(flag, value, 0, INT64_MAX);
        } else if (strcmp(flag, "--cpu") == 0) {
            options->cpu = (int)bench_parse_int(flag, value, -1, 1023);
        } else if (strcmp(flag, "--server-pid") == 0) {
            options->server_pid = (pid_t)bench_parse_int(flag, value, 1, INT32_MAX);
        } else {
            bench_die("unknown flag '%s' (known: --host --port --connections --size --pipeline "
                      "--seconds --warmup --requests --cpu --server-pid)",
                      flag);
        }
    }
    if (options->port == 0) {
        bench_die("--port is needed");
    }
}

int main(int argc, char **argv) {
    static struct load load = {
        .options =
            {
                .host = "127.0.0.1",
                .connections = 64,
                .size_bytes = 1024,
                .pipeline = 1,
                .seconds = 5.0,
                .warmup_seconds = 1.0,
                .cpu = -1,
            },
    };
    parse_options(&load.options, argc, argv);
    bench_pin(load.options.cpu);
    setup_pattern(&load);
    setup_ring(&load);
    connect_all(&load);
    start_traffic(&load);
    return measure(&load);
}
