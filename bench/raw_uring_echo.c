/*
 * An echo server on bare io_uring, as a limit to compare with: one thread, direct calls of
 * liburing. A multishot accept puts connections into the ring's own file table, and a multishot
 * recv puts data into buffers of a provided-buffer ring. Each buffer is sent without a copy, and
 * goes back to the ring when its send has completed.
 *
 * Invariants. A connection has at most one send in flight. Data that arrives meanwhile queues
 * behind it, and the next send takes the whole queue. A slot of the file table is closed only when
 * the kernel has neither its recv nor its send, so no completion can reach the slot's next
 * connection.
 */
#include "bench/common.h"
#include "bench/ring.h"

#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum {
    SQ_ENTRIES = 1024,
    CQ_ENTRIES = 16 * 1024,
    MAX_CONNS = 16 * 1024,
    BUFFER_GROUP = 0,
    GATHER = 16,     /* buffers in one vectored send */
    QUEUE_HIGH = 16, /* buffers a connection may hold before its recv is stopped */
    QUEUE_LOW = 4,   /* ... and when it is started again */
    NONE = UINT16_MAX,
    HUGE_PAGE_BYTES = 2 * 1024 * 1024,
};

/* The low byte of user_data; the slot stands above it. */
enum op { OP_ACCEPT, OP_RECV, OP_SEND, OP_IGNORE };

struct conn {
    uint16_t head; /* received buffers not yet sent, oldest first; NONE = empty */
    uint16_t tail;
    uint16_t queued;
    uint16_t sending; /* how many from head are in the send in flight */
    bool recv_armed;
    bool cancelling;       /* recv was asked to stop because the queue is full */
    bool starving;         /* in the list of those that wait for buffers */
    bool ended;            /* end of stream or error: close once the queue is empty */
    bool broken;           /* nothing more can be sent: drop the queue */
    struct msghdr *gather; /* allocated at the first vectored send; iovecs follow it */
};

struct buffer {
    uint32_t len_bytes;
    uint16_t next;
};

struct server {
    struct io_uring ring;
    struct io_uring_buf_ring *buf_ring;
    char *memory;
    uint32_t buffer_count; /* a power of two */
    uint32_t buffer_bytes;
    uint32_t held;     /* buffers with received bytes that are not yet put back */
    uint32_t returned; /* buffers put back in this turn, not yet shown to the kernel */
    struct buffer *buffers;
    struct conn *conns;
    uint32_t max_conns;
    uint32_t *starving; /* slots whose recv waits for buffers, a ring of max_conns */
    uint32_t starving_head;
    uint32_t starving_count;
    bool accept_armed;
    int listener;
};

static struct io_uring_sqe *get_sqe(struct server *server) {
    struct io_uring_sqe *sqe = io_uring_get_sqe(&server->ring);
    while (sqe == NULL) {
        int submitted = io_uring_submit(&server->ring);
        if (submitted < 0 && submitted != -EINTR && submitted != -EBUSY && submitted != -EAGAIN) {
            bench_die_errno(-submitted, "io_uring_submit");
        }
        sqe = io_uring_get_sqe(&server->ring);
    }
    return sqe;
}

static void tag(struct io_uring_sqe *sqe, enum op op, uint32_t slot) {
    io_uring_sqe_set_data64(sqe, (uint64_t)slot << 8 | (uint64_t)op);
}

static char *buffer_at(const struct server *server, uint16_t id) {
    return server->memory + (size_t)id * server->buffer_bytes;
}

static void buffer_return(struct server *server, uint16_t id) {
    io_uring_buf_ring_add(server->buf_ring, buffer_at(server, id), server->buffer_bytes, id,
                          (int)server->buffer_count - 1, (int)server->returned);
    ++server->returned;
}

static void arm_accept(struct server *server) {
    struct io_uring_sqe *sqe = get_sqe(server);
    io_uring_prep_multishot_accept_direct(sqe, server->listener, NULL, NULL, 0);
    tag(sqe, OP_ACCEPT, 0);
    server->accept_armed = true;
}

static void arm_recv(struct server *server, uint32_t slot) {
    struct io_uring_sqe *sqe = get_sqe(server);
    io_uring_prep_recv_multishot(sqe, (int)slot, NULL, 0, 0);
    sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
    sqe->buf_group = BUFFER_GROUP;
    tag(sqe, OP_RECV, slot);
    server->conns[slot].recv_armed = true;
}

static void cancel_recv(struct server *server, uint32_t slot) {
    struct io_uring_sqe *sqe = get_sqe(server);
    io_uring_prep_cancel64(sqe, (uint64_t)slot << 8 | (uint64_t)OP_RECV, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
    tag(sqe, OP_IGNORE, slot);
    server->conns[slot].cancelling = true;
}

/* Fills the connection's msghdr with up to GATHER queued buffers; NULL when out of memory. */
static struct msghdr *gather_queue(struct server *server, struct conn *conn) {
    if (conn->gather == NULL) {
        conn->gather = calloc(1, sizeof(struct msghdr) + GATHER * sizeof(struct iovec));
        if (conn->gather == NULL) {
            return NULL;
        }
        conn->gather->msg_iov = (struct iovec *)(conn->gather + 1);
    }
    uint16_t count = 0;
    for (uint16_t id = conn->head; id != NONE && count < GATHER; id = server->buffers[id].next) {
        conn->gather->msg_iov[count].iov_base = buffer_at(server, id);
        conn->gather->msg_iov[count].iov_len = server->buffers[id].len_bytes;
        ++count;
    }
    conn->gather->msg_iovlen = count;
    return conn->gather;
}

/* MSG_WAITALL makes the kernel finish a partial send itself, so a short result is an error. */
static void start_send(struct server *server, uint32_t slot) {
    struct conn *conn = &server->conns[slot];
    const int flags = MSG_WAITALL | MSG_NOSIGNAL;
    struct msghdr *message = conn->queued > 1 ? gather_queue(server, conn) : NULL;
    struct io_uring_sqe *sqe = get_sqe(server);
    if (message != NULL) {
        io_uring_prep_sendmsg(sqe, (int)slot, message, (unsigned)flags);
        conn->sending = (uint16_t)message->msg_iovlen;
    } else {
        io_uring_prep_send(sqe, (int)slot, buffer_at(server, conn->head),
                           server->buffers[conn->head].len_bytes, flags);
        conn->sending = 1;
    }
    sqe->flags |= IOSQE_FIXED_FILE;
    tag(sqe, OP_SEND, slot);
}

static void drop_head(struct server *server, struct conn *conn) {
    uint16_t id = conn->head;
    conn->head = server->buffers[id].next;
    --conn->queued;
    buffer_return(server, id);
    --server->held;
}

/* Decides what the connection needs next; called after each of its completions. */
static void conn_advance(struct server *server, uint32_t slot) {
    struct conn *conn = &server->conns[slot];
    if (conn->sending > 0) {
        return;
    }
    if (conn->broken) {
        while (conn->head != NONE) {
            drop_head(server, conn);
        }
        if (conn->recv_armed && !conn->cancelling) {
            cancel_recv(server, slot);
        }
    }
    if (conn->head != NONE) {
        start_send(server, slot);
        return;
    }
    if (conn->ended && !conn->recv_armed && !conn->starving) {
        struct io_uring_sqe *sqe = get_sqe(server);
        io_uring_prep_close_direct(sqe, slot);
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
        tag(sqe, OP_IGNORE, slot);
        if (!server->accept_armed) {
            arm_accept(server);
        }
    }
}

static void on_accept(struct server *server, const struct io_uring_cqe *cqe) {
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        server->accept_armed = false;
        /* A full file table is not asked again until a connection has closed. */
        if (cqe->res != -ENFILE && cqe->res != -EMFILE) {
            arm_accept(server);
        }
    }
    if (cqe->res < 0) {
        return;
    }
    uint32_t slot = (uint32_t)cqe->res;
    struct conn *conn = &server->conns[slot];
    struct msghdr *gather = conn->gather;
    *conn = (struct conn){.head = NONE, .gather = gather};
    arm_recv(server, slot);
}

static void starve(struct server *server, uint32_t slot) {
    uint32_t at = (server->starving_head + server->starving_count) % server->max_conns;
    server->starving[at] = slot;
    ++server->starving_count;
    server->conns[slot].starving = true;
}

static void on_recv(struct server *server, const struct io_uring_cqe *cqe, uint32_t slot) {
    struct conn *conn = &server->conns[slot];
    if (cqe->res > 0) {
        uint16_t id = (uint16_t)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        server->buffers[id] = (struct buffer){.len_bytes = (uint32_t)cqe->res, .next = NONE};
        if (conn->head == NONE) {
            conn->head = id;
        } else {
            server->buffers[conn->tail].next = id;
        }
        conn->tail = id;
        ++conn->queued;
        ++server->held;
        if (conn->queued >= QUEUE_HIGH && conn->recv_armed && !conn->cancelling) {
            cancel_recv(server, slot);
        }
    }
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        conn->recv_armed = false;
        conn->cancelling = false;
        if (cqe->res == -ENOBUFS) {
            starve(server, slot);
        } else if (cqe->res == 0 || (cqe->res < 0 && cqe->res != -ECANCELED)) {
            conn->ended = true;
        } else if (conn->broken) {
            conn->ended = true;
        } else if (conn->queued <= QUEUE_LOW) {
            arm_recv(server, slot);
        } /* otherwise on_send starts it again */
    }
    conn_advance(server, slot);
}

static void on_send(struct server *server, const struct io_uring_cqe *cqe, uint32_t slot) {
    struct conn *conn = &server->conns[slot];
    uint32_t expected = 0;
    for (; conn->sending > 0; --conn->sending) {
        expected += server->buffers[conn->head].len_bytes;
        drop_head(server, conn);
    }
    if (cqe->res < 0 || (uint32_t)cqe->res != expected) {
        conn->broken = true;
        conn->ended |= !conn->recv_armed;
    } else if (!conn->recv_armed && !conn->starving && !conn->ended && conn->queued <= QUEUE_LOW) {
        arm_recv(server, slot);
    }
    conn_advance(server, slot);
}

/*
 * Shows returned buffers to the kernel and lets as many starving connections read again as there
 * are buffers not held here. Not "as many as came back in this turn": the last buffer may have
 * come back before the ENOBUFS was seen, and then no later turn would wake the connection.
 */
static void publish_buffers(struct server *server) {
    uint32_t free_buffers = server->buffer_count - server->held;
    io_uring_buf_ring_advance(server->buf_ring, (int)server->returned);
    server->returned = 0;
    for (; server->starving_count > 0 && free_buffers > 0; --free_buffers) {
        uint32_t slot = server->starving[server->starving_head];
        server->starving_head = (server->starving_head + 1) % server->max_conns;
        --server->starving_count;
        struct conn *conn = &server->conns[slot];
        conn->starving = false;
        if (conn->broken || conn->ended) {
            conn->ended = true;
            conn_advance(server, slot);
        } else if (conn->queued <= QUEUE_LOW) {
            arm_recv(server, slot);
        }
    }
}

static _Noreturn void serve(struct server *server) {
    arm_accept(server);
    for (;;) {
        /* Not everyone who is let read takes a buffer: the next in line may not have to wait. */
        bool more = server->starving_count > 0 && server->held < server->buffer_count;
        int result = more ? io_uring_submit_and_get_events(&server->ring)
                          : io_uring_submit_and_wait(&server->ring, 1);
        if (result < 0 && result != -EINTR && result != -EBUSY && result != -EAGAIN) {
            bench_die_errno(-result, "io_uring_submit_and_wait");
        }
        struct io_uring_cqe *cqe = NULL;
        unsigned head = 0;
        unsigned seen = 0;
        io_uring_for_each_cqe(&server->ring, head, cqe) {
            uint64_t data = io_uring_cqe_get_data64(cqe);
            uint32_t slot = (uint32_t)(data >> 8);
            ++seen;
            switch ((enum op)(data & 0xff)) {
            case OP_ACCEPT:
                on_accept(server, cqe);
                break;
            case OP_RECV:
                on_recv(server, cqe, slot);
                break;
            case OP_SEND:
                on_send(server, cqe, slot);
                break;
            case OP_IGNORE:
                break;
            }
        }
        io_uring_cq_advance(&server->ring, seen);
        if (server->returned > 0 || server->starving_count > 0) {
            publish_buffers(server);
        }
    }
}

/* Zeroed memory on huge pages where there are any: the kernel copies through these addresses. */
static void *map_pages(size_t len_bytes) {
    size_t rounded = (len_bytes + HUGE_PAGE_BYTES - 1) & ~(size_t)(HUGE_PAGE_BYTES - 1);
    void *memory = aligned_alloc(HUGE_PAGE_BYTES, rounded);
    if (memory == NULL) {
        bench_die_errno(ENOMEM, "buffers");
    }
    (void)madvise(memory, rounded, MADV_HUGEPAGE);
    memset(memory, 0, rounded);
    return memory;
}

static void setup_ring(struct server *server) {
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
                 IORING_SETUP_CQSIZE,
        .cq_entries = CQ_ENTRIES,
    };
    bench_ring_init(SQ_ENTRIES, &server->ring, &params);
    int result = io_uring_register_ring_fd(&server->ring);
    if (result < 0) {
        bench_die_errno(-result, "io_uring_register_ring_fd");
    }
    result = io_uring_register_files_sparse(&server->ring, server->max_conns);
    if (result < 0) {
        bench_die_errno(-result, "io_uring_register_files_sparse");
    }
}

static void setup_buffers(struct server *server) {
    server->memory = map_pages((size_t)server->buffer_count * server->buffer_bytes);
    server->buffers = calloc(server->buffer_count, sizeof *server->buffers);
    server->conns = calloc(server->max_conns, sizeof *server->conns);
    server->starving = calloc(server->max_conns, sizeof *server->starving);
    size_t ring_bytes = server->buffer_count * sizeof(struct io_uring_buf);
    server->buf_ring = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (server->buffers == NULL || server->conns == NULL || server->starving == NULL ||
        server->buf_ring == MAP_FAILED) {
        bench_die_errno(ENOMEM, "buffers");
    }
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)server->buf_ring,
        .ring_entries = server->buffer_count,
        .bgid = BUFFER_GROUP,
    };
    int result = io_uring_register_buf_ring(&server->ring, &registration, 0);
    if (result < 0) {
        bench_die_errno(-result, "io_uring_register_buf_ring");
    }
    io_uring_buf_ring_init(server->buf_ring);
    for (uint32_t id = 0; id < server->buffer_count; ++id) {
        buffer_return(server, (uint16_t)id);
    }
    publish_buffers(server);
}

int main(int argc, char **argv) {
    static struct server server = {.buffer_count = 256, .buffer_bytes = 64 * 1024};
    struct bench_server_options options = {.host = "127.0.0.1", .cpu = -1};
    int at = 1;
    while ((at = bench_parse_server_flag(&options, argc, argv, at)) != 0) {
        const char *value = at + 1 < argc ? argv[at + 1] : "";
        if (strcmp(argv[at], "--buffers") == 0) {
            server.buffer_count = (uint32_t)bench_parse_int(argv[at], value, 1, 32768);
            if ((server.buffer_count & (server.buffer_count - 1)) != 0) {
                bench_die("--buffers needs a power of two");
            }
        } else if (strcmp(argv[at], "--buffer-bytes") == 0) {
            server.buffer_bytes = (uint32_t)bench_parse_int(argv[at], value, 1, 1 << 20);
        } else {
            bench_die("unknown flag '%s' (known: --host --port --cpu --buffers --buffer-bytes)",
                      argv[at]);
        }
        at += 2;
    }
    bench_pin(options.cpu);
    bench_exit_on_sigterm();

    struct rlimit files;
    server.max_conns = MAX_CONNS;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < MAX_CONNS) {
        server.max_conns = (uint32_t)files.rlim_cur;
    }
    setup_ring(&server);
    setup_buffers(&server);
    server.listener = bench_listen(&options, false);
    bench_print_ready(server.listener, options.host);
    serve(&server);
}
