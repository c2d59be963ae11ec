/* Rare answers of the kernel to a ring: requests of each kind that fail, end or are interrupted,
 * and failures of io_uring_enter and of the ring's setup. Linked with --wrap for liburing's calls.
 * The wrappers turn a request into a no-op just before it is submitted, and replace its result.
 * long-file: all cases share the script of the kernel's answers and its wrappers. */
#include "tests/net_scene.h"
#include "tests/refuse.h"

#include <liburing.h>
#include <pthread.h>

static const xev_loop_options by_io_uring = {.backend = XEV_BACKEND_IO_URING};

/* ---- the script ---- */

enum { ANY = -1, CANCELS = -2, WAKES = -3 };

/* The next requests of one kind have these results instead of being carried out. */
static struct {
    int what; /* an opcode, or one of the above */
    int results[8], count, next;
    struct {
        uint64_t data;
        int res;
    } made[64];
    int made_len;
    int submit; /* what submitting and waiting say, if not 0, so many times */
    int submit_times;
    int peek_nothing;  /* times */
    int fail_buffered; /* times: what came with a buffer is an error */
    uint32_t flags_refused, features_hidden;
    int no_buffer_ring; /* times: no memory for it */
    bool for_ever;      /* the first result is that of all requests that are meant */
    bool lose;          /* no result of a request that is meant arrives */
    int64_t waited_ns;  /* how long the last wait with a limit may take */
} script;

/* NOTHING: no more results. */
#define NOTHING 99999
#define TAMPER(kind, ...)                                                                          \
    do {                                                                                           \
        static const int list[] = {__VA_ARGS__, NOTHING};                                          \
        tamper_with(kind, list);                                                                   \
    } while (0)

static void tamper_with(int what, const int *results) {
    memset(&script, 0, sizeof script);
    script.what = what;
    while (results[script.count] != NOTHING) {
        script.results[script.count] = results[script.count];
        script.count++;
    }
}

static bool is_meant(const struct io_uring_sqe *sqe) {
    int kind = (int)(sqe->user_data >> 62);
    return script.what == CANCELS ? kind == 1
           : script.what == WAKES ? kind == 2
                                  : kind == 0 && (script.what == ANY || script.what == sqe->opcode);
}

static void tamper(struct io_uring *ring) {
    struct io_uring_sq *sq = &ring->sq;
    for (unsigned i = sq->sqe_head; i != sq->sqe_tail && script.next < script.count; i++) {
        struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];
        if (is_meant(sqe)) {
            uint64_t data = sqe->user_data;
            CHECK_LT(script.made_len, 64);
            script.made[script.made_len].data = data;
            script.made[script.made_len++].res = script.results[script.next];
            script.next += !script.for_ever;
            io_uring_prep_nop(sqe);
            sqe->user_data = script.lose ? UINT32_MAX : data; /* no slot's */
        }
    }
}

int __real_io_uring_submit(struct io_uring *ring);
int __real_io_uring_submit_and_get_events(struct io_uring *ring);
int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);
unsigned __real_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes,
                                        unsigned count);
int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                      struct io_uring_params *p);
int __wrap_io_uring_submit(struct io_uring *ring);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask);
unsigned __wrap_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes,
                                        unsigned count);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                      struct io_uring_params *p);

static bool submit_fails(void) {
    if (script.submit_times == 0) {
        return false;
    }
    script.submit_times--;
    return true;
}

int __wrap_io_uring_submit(struct io_uring *ring) {
    tamper(ring);
    return submit_fails() ? script.submit : __real_io_uring_submit(ring);
}

int __wrap_io_uring_submit_and_get_events(struct io_uring *ring) {
    tamper(ring);
    return submit_fails() ? script.submit : __real_io_uring_submit_and_get_events(ring);
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe,
                                            unsigned n, struct __kernel_timespec *ts,
                                            sigset_t *mask) {
    tamper(ring);
    if (ts != NULL) {
        script.waited_ns = ts->tv_sec * 1000000000 + ts->tv_nsec;
    }
    return submit_fails() ? script.submit
                          : __real_io_uring_submit_and_wait_timeout(ring, cqe, n, ts, mask);
}

unsigned __wrap_io_uring_peek_batch_cqe(struct io_uring *ring, struct io_uring_cqe **cqes,
                                        unsigned count) {
    if (script.peek_nothing > 0) {
        script.peek_nothing--;
        return 0;
    }
    unsigned n = __real_io_uring_peek_batch_cqe(ring, cqes, count);
    for (unsigned i = 0; i < n; i++) {
        for (int j = 0; j < script.made_len; j++) {
            if (script.made[j].data == cqes[i]->user_data) {
                cqes[i]->res = script.made[j].res;
                script.made[j] = script.made[--script.made_len];
                break;
            }
        }
        if (script.fail_buffered > 0 && (cqes[i]->flags & IORING_CQE_F_BUFFER) != 0) {
            script.fail_buffered--;
            cqes[i]->res = -EIO;
            cqes[i]->flags &= ~IORING_CQE_F_MORE;
        }
    }
    return n;
}

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
                                      struct io_uring_params *p) {
    if ((p->flags & script.flags_refused) != 0) {
        return -EINVAL;
    }
    int rc = __real_io_uring_queue_init_params(entries, ring, p);
    p->features &= ~script.features_hidden;
    return rc;
}

int __real_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
                                      unsigned flags);
int __wrap_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
                                      unsigned flags);

int __wrap_io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg,
                                      unsigned flags) {
    if (script.no_buffer_ring > 0) {
        script.no_buffer_ring--;
        return -ENOMEM;
    }
    return __real_io_uring_register_buf_ring(ring, reg, flags);
}

/* ---- requests ---- */

enum verb {
    RECV,
    RECV_LOAN,
    RECV_MULTI,
    SEND,
    ACCEPT,
    ACCEPT_MULTI,
    READ,
    WRITE,
    POLL,
    POLL_MULTI,
    UDP_RECV,
    UDP_RECV_MULTI,
    SHUTDOWN,
    VERBS,
};

struct stage {
    struct net n;
    int stream[2], listener, client, udp[2];
    char buf[64];
    xev_datagram datagram;
};

/* Everything that any verb wants is ready. */
static void stage_open(struct stage *s, const xev_loop_options *options) {
    memset(s, 0, sizeof *s);
    net_open(&s->n, options);
    local_pair(s->stream);
    plain_send(s->stream[1], "data", 4);
    s->listener = plain_listener(4);
    s->client = plain_connect(s->listener);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, s->udp), 0);
    plain_send(s->udp[1], "data", 4);
}

static void stage_close(struct stage *s) {
    close_fd(&s->n, s->stream[0]);
    close_fd(&s->n, s->listener);
    close_fd(&s->n, s->udp[0]);
    CHECK_EQ(close(s->stream[1]), 0);
    CHECK_EQ(close(s->client), 0);
    CHECK_EQ(close(s->udp[1]), 0);
    net_close(&s->n);
}

static void stage_close_descriptors(struct stage *s) {
    int fds[] = {s->stream[0], s->stream[1], s->listener, s->client, s->udp[0], s->udp[1]};
    for (int i = 0; i < 6; i++) {
        CHECK_EQ(close(fds[i]), 0);
    }
    CHECK_EQ(open_fds(), s->n.fds_before);
}

/* The loop serves no more; op was under way. */
static void stage_abandon(struct stage *s, struct op *op) {
    xev_loop_deinit(&s->n.loop);
    CHECK_EQ(op->ends, 1);
    CHECK_EQ(op->result, XEV_ECANCELED);
    stage_close_descriptors(s);
}

static xev_cb_action close_accepted(struct op *op, int result) {
    if (result >= 0) {
        CHECK_EQ(close(result), 0);
    }
    return op->ends == 0 ? XEV_REARM : XEV_DISARM;
}

static void start(struct stage *s, struct op *op, enum verb verb) {
    xev_loop *l = &op_new(op, &s->n)->net->loop;
    xev_tcp stream = xev_tcp_from_fd(s->stream[0]), listener = xev_tcp_from_fd(s->listener);
    xev_udp udp = xev_udp_from_fd(s->udp[0]);
    xev_completion *c = &op->c;
    s->datagram = (xev_datagram){.buf = s->buf, .capacity_bytes = sizeof s->buf};
    if (verb == ACCEPT || verb == ACCEPT_MULTI) {
        op->then = close_accepted;
    }
    switch (verb) {
    case RECV:
        xev_tcp_recv(stream, l, c, s->buf, sizeof s->buf, op, op_called);
        break;
    case RECV_LOAN:
        xev_tcp_recv_loan(stream, l, c, op, op_called);
        break;
    case RECV_MULTI:
        xev_tcp_recv_multi(stream, l, c, op, op_called);
        break;
    case SEND:
        xev_tcp_send(stream, l, c, "more", 4, op, op_called);
        break;
    case ACCEPT:
        xev_tcp_accept(listener, l, c, op, op_called);
        break;
    case ACCEPT_MULTI:
        xev_tcp_accept_multi(listener, l, c, op, op_called);
        break;
    case READ:
        xev_fd_read(s->stream[0], l, c, s->buf, sizeof s->buf, op, op_called);
        break;
    case WRITE:
        xev_fd_write(s->stream[0], l, c, "more", 4, op, op_called);
        break;
    case POLL:
        xev_fd_poll(s->stream[0], l, c, XEV_POLL_IN, op, op_called);
        break;
    case POLL_MULTI:
        xev_fd_poll_multi(s->stream[0], l, c, XEV_POLL_IN, op, op_called);
        break;
    case UDP_RECV:
        xev_udp_recv(udp, l, c, &s->datagram, op, op_called);
        break;
    case UDP_RECV_MULTI:
        xev_udp_recv_multi(udp, l, c, &s->datagram, op, op_called);
        break;
    default:
        xev_tcp_shutdown(stream, l, c, op, op_called);
    }
}

/* It reports result; where it goes on, it is stopped. */
static void reports(struct op *op, int result) {
    run_until(op->net, &op->calls, 1);
    CHECK(result == 0 ? op->result >= 0 : op->result == result);
    if (op->ends == 0) {
        cancel_op(op, 0);
    }
}

TEST(an_error_of_a_request_is_its_operations_result) {
    for (int verb = 0; verb < VERBS; verb++) {
        struct stage s;
        struct op op;
        stage_open(&s, &by_io_uring);
        TAMPER(ANY, -EIO);
        start(&s, &op, (enum verb)verb);
        reports(&op, XEV_EIO);
        CHECK_EQ(op.ends, 1);
        start(&s, &op, (enum verb)verb);
        reports(&op, 0); /* the next one works */
        stage_close(&s);
    }
}

TEST(an_interrupted_request_is_made_again) {
    for (int verb = 0; verb < VERBS; verb++) {
        struct stage s;
        struct op op;
        if (verb == POLL || verb == POLL_MULTI) {
            continue; /* a poll is not interrupted */
        }
        stage_open(&s, &by_io_uring);
        TAMPER(ANY, -EINTR, -EINTR);
        start(&s, &op, (enum verb)verb);
        reports(&op, 0);
        CHECK_EQ(script.next, 2);
        stage_close(&s);
    }
}

TEST(a_request_that_would_block_waits_for_readiness) {
    for (int verb = 0; verb < VERBS; verb++) {
        struct stage s;
        struct op op;
        if (verb == POLL || verb == POLL_MULTI || verb == SHUTDOWN) {
            continue;
        }
        stage_open(&s, &by_io_uring);
        TAMPER(ANY, -EAGAIN);
        start(&s, &op, (enum verb)verb);
        reports(&op, 0);
        stage_close(&s);
    }
}

TEST(a_polled_accept_without_descriptors_reports_it_once) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    TAMPER(ANY, -EAGAIN);
    refuse(SYS_accept4, ENFILE);
    start(&s, &op, ACCEPT_MULTI);
    run_until(&s.n, &op.calls, 1);
    CHECK_EQ(op.result, XEV_ENFILE);
    CHECK_LT(run_for(&s.n, 60), 40);
    CHECK_EQ(op.calls, 1);
    CHECK_EQ(op.ends, 0);
    cancel_op(&op, 0);
    stage_close(&s);
}

/* The second result is the poll's: it was ready, and somebody else was faster. */
TEST(readiness_that_has_passed_is_waited_for_again) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    plain_recv(s.stream[0], s.buf, 4);
    TAMPER(ANY, -EAGAIN, POLLIN, POLLIN);
    start(&s, &op, RECV);
    settle(&s.n);
    settle(&s.n);
    CHECK_EQ(script.next, 3);
    CHECK_EQ(op.calls, 0);
    plain_send(s.stream[1], "late", 4);
    reports(&op, 0);
    CHECK_MEM_EQ(s.buf, "late", 4);
    stage_close(&s);
}

TEST(a_kernel_without_a_multishot_form_is_asked_for_single_ones) {
    static const enum verb verbs[] = {RECV_MULTI, ACCEPT_MULTI, UDP_RECV_MULTI};
    for (int i = 0; i < 3; i++) {
        struct stage s;
        struct op op;
        stage_open(&s, &by_io_uring);
        uint32_t feature =
            verbs[i] == ACCEPT_MULTI ? XEV_FEATURE_MULTISHOT_ACCEPT : XEV_FEATURE_MULTISHOT_RECV;
        if ((xev_loop_features(&s.n.loop) & feature) != 0) {
            TAMPER(ANY, -EINVAL);
            start(&s, &op, verbs[i]);
            reports(&op, 0);
            CHECK_EQ(xev_loop_features(&s.n.loop) & feature, 0); /* not asked again */
        }
        stage_close(&s);
    }
}

TEST(a_request_that_is_invalid_in_any_form_says_so) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    uint32_t features = xev_loop_features(&s.n.loop);
    TAMPER(ANY, -EINVAL, -EINVAL);
    start(&s, &op, RECV_MULTI);
    reports(&op, XEV_EINVAL);
    CHECK_EQ(op.ends, 1);
    CHECK_EQ(xev_loop_features(&s.n.loop), features);
    stage_close(&s);
}

/* The cancel comes before the ring is entered: both requests are there at once. */
TEST(a_cancelled_request_is_not_made_again) {
    static const int ends[] = {-EINTR, -EAGAIN, -ECANCELED};
    for (int verb = 0; verb < VERBS; verb++) {
        for (int i = 0; i < 3; i++) {
            struct stage s;
            struct op op, cancel;
            if ((verb == POLL || verb == POLL_MULTI || verb == SHUTDOWN) && i < 2) {
                continue;
            }
            stage_open(&s, &by_io_uring);
            settle(&s.n);
            const int list[] = {ends[i], NOTHING};
            tamper_with(ANY, list);
            start(&s, &op, (enum verb)verb);
            xev_cancel(&s.n.loop, &op.c, &op_new(&cancel, &s.n)->c, &cancel, op_called);
            run_op(&cancel);
            CHECK_EQ(op.ends, 1);
            CHECK_EQ(op.result, XEV_ECANCELED);
            CHECK_EQ(cancel.result, 0);
            stage_close(&s);
        }
    }
}

/* The kernel drops a repeated poll when it has no room for results. */
TEST(a_repeated_poll_that_the_kernel_ended_goes_on) {
    struct stage s;
    struct op op, cancel;
    stage_open(&s, &by_io_uring);
    TAMPER(ANY, 0, POLLIN, 0);
    start(&s, &op, POLL_MULTI);
    run_until(&s.n, &op.calls, 2);
    CHECK_EQ(op.ends, 0);
    CHECK_EQ(script.next, 3);
    cancel_op(&op, 0);
    /* And one that was cancelled meanwhile has its event, and then its end. */
    TAMPER(ANY, POLLIN);
    start(&s, &op, POLL_MULTI);
    xev_cancel(&s.n.loop, &op.c, &op_new(&cancel, &s.n)->c, &cancel, op_called);
    run_op(&cancel);
    CHECK_EQ(op.calls, 2);
    CHECK_EQ(op.results[0], XEV_POLL_IN);
    CHECK_EQ(op.result, XEV_ECANCELED);
    stage_close(&s);
}

TEST(a_cancel_that_came_at_the_wrong_moment_is_repeated) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    plain_recv(s.stream[0], s.buf, 4);
    start(&s, &op, RECV);
    settle(&s.n);
    TAMPER(CANCELS, -ENOENT, -EALREADY, -ENOENT);
    cancel_op(&op, 0);
    CHECK_EQ(op.result, XEV_ECANCELED);
    CHECK_EQ(script.next, 3);
    stage_close(&s);
}

static void *notify(void *async) {
    CHECK_EQ(xev_async_notify(async), 0);
    return NULL;
}

TEST(a_wake_descriptors_poll_that_ended_is_made_again) {
    struct net n;
    struct op op;
    xev_watcher async;
    TAMPER(WAKES, POLLIN, 0, -ENOMEM);
    net_open(&n, &by_io_uring);
    CHECK_EQ(xev_async_init(&async), 0);
    for (int i = 0; i < 6; i++) {
        pthread_t thread;
        op_new(&op, &n);
        xev_async_wait(&async, &n.loop, &op.c, &op, op_called);
        settle(&n);
        CHECK_EQ(pthread_create(&thread, NULL, notify, &async), 0);
        run_op(&op);
        CHECK_EQ(pthread_join(thread, NULL), 0);
        CHECK_EQ(op.result, 0);
    }
    CHECK_EQ(script.next, 3);
    xev_async_deinit(&async);
    net_close(&n);
}

/* Its buffer goes back into the ring: 200 times more than there are. */
static void *notify_later(void *arg) {
    usleep(30000);
    CHECK_EQ(xev_async_notify(arg), 0);
    return NULL;
}

TEST(a_wakes_poll_that_is_refused_for_ever_makes_nothing_spin_or_sleep_in) {
    struct net n;
    struct op op;
    xev_watcher async;
    pthread_t thread;
    TAMPER(WAKES, -ENOMEM);
    script.for_ever = true;
    net_open(&n, &by_io_uring);
    CHECK_EQ(xev_async_init(&async), 0);
    CHECK_LE(run_for(&n, 100), 50);
    xev_async_wait(&async, &n.loop, &op_new(&op, &n)->c, &op, op_called);
    CHECK_EQ(pthread_create(&thread, NULL, notify_later, &async), 0);
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(op.calls, 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    net_close(&n);
}

TEST(a_loop_can_be_woken_that_has_lost_the_poll_of_its_wakes) {
    struct net n;
    struct op op;
    xev_watcher async;
    pthread_t thread;
    TAMPER(WAKES, 0);
    script.lose = true;
    net_open(&n, &by_io_uring);
    CHECK_EQ(xev_async_init(&async), 0);
    xev_async_wait(&async, &n.loop, &op_new(&op, &n)->c, &op, op_called);
    settle(&n);
    CHECK_EQ(script.next, 1);
    script.submit = -EBADR;
    script.submit_times = 1;
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_ONCE), XEV_EBADR);
    CHECK_EQ(op.calls, 0);
    CHECK_EQ(pthread_create(&thread, NULL, notify_later, &async), 0);
    run_op(&op);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    xev_async_deinit(&async);
    net_close(&n);
}

/* A wait that an arriving byte ends. */
static void wait_for_byte(struct net *n, const int *pair) {
    struct op op;
    char byte;
    xev_tcp_recv(xev_tcp_from_fd(pair[0]), &n->loop, &op_new(&op, n)->c, &byte, 1, &op, op_called);
    CHECK_EQ(xev_loop_run(&n->loop, XEV_RUN_NO_WAIT), 0);
    plain_send(pair[1], "x", 1);
    run_op(&op);
}

/* Nothing of it has come, and its time is still ahead. */
TEST(a_timer_whose_alarm_is_lost_is_not_waited_for_without_limit) {
    struct net n;
    struct op timer;
    int pair[2];
    net_open(&n, &by_io_uring);
    local_pair(pair);
    wait_for_byte(&n, pair); /* the wake descriptor is polled from here on */
    TAMPER(WAKES, 0);
    script.lose = true;
    xev_timer_run(NULL, &n.loop, &op_new(&timer, &n)->c, 1000, &timer, op_called);
    for (int i = 0; i < 40 && script.next == 0; i++) { /* they have the same end */
        wait_for_byte(&n, pair);
    }
    script.submit = -EBADR;
    script.submit_times = 1;
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_ONCE), XEV_EBADR);
    run_op(&timer);
    CHECK_EQ(timer.result, 0);
    close_fd(&n, pair[0]);
    CHECK_EQ(close(pair[1]), 0);
    net_close(&n);
}

TEST(an_error_that_comes_with_a_buffer_does_not_lose_it) {
    static const xev_loop_options few = {
        .backend = XEV_BACKEND_IO_URING, .buffers = 2, .buffers_max = 4, .buffer_bytes = 64};
    struct stage s;
    struct op op;
    stage_open(&s, &few);
    for (int i = 0; i < 200; i++) {
        memset(&script, 0, sizeof script);
        script.fail_buffered = 1;
        plain_send(s.stream[1], "x", 1);
        start(&s, &op, RECV_LOAN);
        run_op(&op);
        CHECK_EQ(op.result, script.fail_buffered == 0 ? XEV_EIO : op.result);
    }
    script.fail_buffered = 0;
    plain_send(s.stream[1], "x", 1);
    start(&s, &op, RECV_LOAN);
    reports(&op, 0);
    stage_close(&s);
}

/* ---- entering ---- */

TEST(entering_that_fails_for_a_moment_is_tried_again) {
    static const int codes[] = {-EINTR, -EAGAIN, -EBUSY, -ETIME, -ENOMEM, -ENOBUFS};
    for (int i = 0; i < 6; i++) {
        struct stage s;
        struct op op;
        stage_open(&s, &by_io_uring);
        settle(&s.n);
        memset(&script, 0, sizeof script);
        script.submit = codes[i];
        script.submit_times = 5;
        start(&s, &op, RECV);
        reports(&op, 0);
        CHECK_EQ(script.submit_times, 0);
        stage_close(&s);
    }
}

TEST(results_that_are_not_there_yet_are_taken_later) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    start(&s, &op, RECV);
    memset(&script, 0, sizeof script);
    script.peek_nothing = 3;
    reports(&op, 0);
    CHECK_EQ(script.peek_nothing, 0);
    stage_close(&s);
}

/* What found no room waits in order, its cancels too. */
TEST(requests_wait_where_the_ring_takes_none) {
    enum { MANY = 40 };
    static const xev_loop_options one = {
        .backend = XEV_BACKEND_IO_URING, .entries = 1, .cq_entries = 64};
    static struct op op[MANY], cancel[MANY];
    struct stage s;
    stage_open(&s, &one);
    plain_recv(s.stream[0], s.buf, 4);
    start(&s, &op[0], POLL);
    settle(&s.n);
    script.submit = -EBUSY;
    script.submit_times = 1000000;
    for (int i = 1; i < MANY; i++) {
        start(&s, &op[i], POLL);
    }
    settle(&s.n);
    script.submit_times = 0;
    settle(&s.n);
    script.submit_times = 1000000;
    for (int i = 0; i < MANY / 2; i++) {
        op_new(&cancel[i], &s.n);
        xev_cancel(&s.n.loop, &op[i].c, &cancel[i].c, &cancel[i], op_called);
    }
    settle(&s.n);
    script.submit_times = 0;
    for (int i = 0; i < MANY / 2; i++) {
        if (cancel[i].ends == 0) {
            run_op(&cancel[i]);
        }
        CHECK_EQ(cancel[i].result, 0);
        CHECK_EQ(op[i].result, XEV_ECANCELED);
    }
    plain_send(s.stream[1], "x", 1);
    for (int i = MANY / 2; i < MANY; i++) {
        if (op[i].ends == 0) {
            run_op(&op[i]);
        }
        CHECK_EQ(op[i].result, XEV_POLL_IN);
    }
    stage_close(&s);
}

TEST(entering_that_fails_for_good_ends_the_run_and_then_the_loop) {
    static const int codes[] = {-EBADF, -EEXIST, -EPERM};
    for (int i = 0; i < 3; i++) {
        struct stage s;
        struct op op;
        memset(&script, 0, sizeof script);
        stage_open(&s, &by_io_uring);
        plain_recv(s.stream[0], s.buf, 4);
        start(&s, &op, RECV);
        settle(&s.n);
        script.submit = codes[i];
        script.submit_times = 1000000;
        CHECK_EQ(xev_loop_run(&s.n.loop, XEV_RUN_ONCE), codes[i]);
        stage_abandon(&s, &op);
    }
}

static xev_cb_action send_and_connect(struct op *op, int result) {
    struct stage *s = op->user;
    CHECK_EQ(result, XEV_ECANCELED);
    plain_send(s->stream[1], "late", 4);
    CHECK_EQ(close(s->client), 0);
    s->client = plain_connect(s->listener);
    wait_connections(s->listener, 1);
    return XEV_DISARM;
}

/* What comes when its operations have ended is left to others. */
TEST(a_ring_that_is_given_up_takes_nothing_more) {
    static const char *const without[] = {"", "defer_taskrun", "all"};
    for (int i = 0; i < 3; i++) {
        struct stage s;
        struct op recv, accept;
        char late[4];
        CHECK_EQ(setenv("XEV_DISABLE", without[i], 1), 0);
        memset(&script, 0, sizeof script);
        stage_open(&s, &by_io_uring);
        plain_recv(s.stream[0], s.buf, 4);
        memset(s.buf, 0, sizeof s.buf);
        start(&s, &accept, ACCEPT_MULTI);
        start(&s, &recv, RECV);
        recv.then = send_and_connect;
        recv.user = &s;
        settle(&s.n);
        CHECK_EQ(accept.calls, 1); /* s.client */
        script.submit = -EBADF;
        script.submit_times = 1000000;
        CHECK_EQ(xev_loop_run(&s.n.loop, XEV_RUN_ONCE), XEV_EBADF);
        xev_loop_deinit(&s.n.loop);
        CHECK_EQ(accept.result, XEV_ECANCELED);
        CHECK_EQ(s.buf[0], 0);
        plain_recv(s.stream[0], late, 4);
        CHECK_MEM_EQ(late, "late", 4);
        wait_connections(s.listener, 1);
        stage_close_descriptors(&s);
    }
}

/* The kernel says EBADR once. An operation whose result is gone does not hold the loop's end. */
TEST(results_that_were_lost_end_the_run_and_do_not_hold_the_end) {
    struct stage s;
    struct op lost, other;
    stage_open(&s, &by_io_uring);
    TAMPER(ANY, 0);
    script.lose = true;
    start(&s, &lost, RECV);
    settle(&s.n);
    CHECK_EQ(script.next, 1);
    start(&s, &other, POLL);
    script.submit = -EBADR;
    script.submit_times = 1;
    CHECK_EQ(xev_loop_run(&s.n.loop, XEV_RUN_ONCE), XEV_EBADR);
    CHECK_STR_EQ(xev_loop_failed_call(&s.n.loop), "io_uring_enter");
    stage_abandon(&s, &lost);
    CHECK_EQ(other.ends, 1);
}

/* ---- set-up ---- */

static void works_by(struct stage *s, const char *backend, uint32_t without) {
    struct op op;
    CHECK_STR_EQ(xev_loop_backend(&s->n.loop), backend);
    CHECK_EQ(xev_loop_features(&s->n.loop) & without, 0);
    for (int verb = 0; verb < SHUTDOWN; verb++) {
        start(s, &op, (enum verb)verb);
        reports(&op, 0);
        plain_send(s->stream[1], "data", 4);
        plain_send(s->udp[1], "data", 4);
        if (verb == ACCEPT || verb == ACCEPT_MULTI) {
            CHECK_EQ(close(s->client), 0);
            s->client = plain_connect(s->listener);
        }
    }
    stage_close(s);
}

TEST(a_kernel_that_knows_no_deferred_work_or_no_submit_all_gets_a_plain_ring) {
    struct stage s;
    memset(&script, 0, sizeof script);
    script.flags_refused = IORING_SETUP_DEFER_TASKRUN;
    stage_open(&s, &by_io_uring);
    works_by(&s, "io_uring", XEV_FEATURE_DEFER_TASKRUN);
    script.flags_refused |= IORING_SETUP_SUBMIT_ALL;
    stage_open(&s, &by_io_uring);
    works_by(&s, "io_uring", XEV_FEATURE_DEFER_TASKRUN | XEV_FEATURE_SUBMIT_ALL);
}

TEST(a_kernel_whose_rings_lack_what_we_need_gets_epoll) {
    struct stage s;
    xev_loop loop;
    CHECK_EQ(unsetenv("XEV_BACKEND"), 0);
    memset(&script, 0, sizeof script);
    script.features_hidden = IORING_FEAT_NODROP;
    int before = open_fds();
    CHECK_EQ(xev_loop_init_options(&loop, &by_io_uring), XEV_ENOSYS);
    CHECK_EQ(open_fds(), before);
    stage_open(&s, NULL);
    CHECK(xev_loop_fallback_reason(&s.n.loop) != NULL);
    works_by(&s, "epoll", 0);
}

TEST(a_ring_that_cannot_be_registered_is_used_by_its_descriptor) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    refuse_arg(SYS_io_uring_register, 1, IORING_REGISTER_RING_FDS, EINVAL);
    start(&s, &op, RECV);
    reports(&op, 0);
    plain_send(s.stream[1], "data", 4);
    works_by(&s, "io_uring", XEV_FEATURE_REGISTERED_RING);
}

TEST(a_ring_that_cannot_be_enabled_ends_the_run) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    if ((xev_loop_features(&s.n.loop) & XEV_FEATURE_DEFER_TASKRUN) == 0) {
        stage_close(&s);
        return;
    }
    refuse_arg(SYS_io_uring_register, 1, IORING_REGISTER_ENABLE_RINGS, EPERM);
    start(&s, &op, RECV);
    CHECK_EQ(xev_loop_backend_fd(&s.n.loop), XEV_EPERM);
    CHECK_EQ(xev_loop_prepare_wait_ns(&s.n.loop), 0); /* the run says why */
    CHECK_EQ(xev_loop_run(&s.n.loop, XEV_RUN_ONCE), XEV_EPERM);
    stage_abandon(&s, &op);
}

TEST(a_ring_that_cannot_wake_a_host_does_not_let_it_wait) {
    struct stage s;
    struct op op;
    stage_open(&s, &by_io_uring);
    CHECK_GE(xev_loop_backend_fd(&s.n.loop), 0);
    start(&s, &op, RECV);
    settle(&s.n);
    CHECK(xev_loop_prepare_wait_ns(&s.n.loop) == UINT64_MAX);
    refuse_arg(SYS_io_uring_register, 1, IORING_REGISTER_EVENTFD, EPERM);
    CHECK_EQ(xev_loop_prepare_wait_ns(&s.n.loop), 0);
    plain_send(s.stream[1], "data", 4);
    reports(&op, 4);
    stage_close(&s);
}

TEST(without_a_buffer_ring_loans_are_polled_for) {
    struct stage s;
    refuse_arg(SYS_io_uring_register, 1, IORING_REGISTER_PBUF_RING, EINVAL);
    stage_open(&s, &by_io_uring);
    works_by(&s, "io_uring", XEV_FEATURE_BUFFER_RING | XEV_FEATURE_MULTISHOT_RECV);
}

/* The kernel gives the locked memory of rings that were closed back a little later. */
TEST(a_buffer_ring_waits_for_memory_that_is_coming_back) {
    struct stage s;
    memset(&script, 0, sizeof script);
    stage_open(&s, &by_io_uring);
    uint32_t usual = xev_loop_features(&s.n.loop);
    stage_close(&s);
    script.no_buffer_ring = 3;
    stage_open(&s, &by_io_uring);
    CHECK_EQ(script.no_buffer_ring, (usual & XEV_FEATURE_BUFFER_RING) != 0 ? 0 : 3);
    CHECK_EQ(xev_loop_features(&s.n.loop), usual);
    stage_close(&s);
}

static void stop_after_a_turn(xev_loop *loop, xev_hook *hook) {
    (void)hook;
    xev_loop_stop(loop);
}

/* Timers that are due within a thread's slack of each other share a wake, as they do by epoll. */
TEST(a_wait_may_take_the_threads_timer_slack_longer) {
    static const int64_t slacks_ns[] = {1, 2000000000}, hour_ns = 3600 * 1000000000ll;
    for (int i = 0; i < 2; i++) {
        struct net n;
        struct op timer;
        xev_hook hook = {.callback = stop_after_a_turn};
        memset(&script, 0, sizeof script);
        script.submit = -ETIME; /* instead of the wait */
        script.submit_times = 1;
        CHECK_EQ(prctl(PR_SET_TIMERSLACK, slacks_ns[i]), 0);
        net_open(&n, &by_io_uring);
        xev_loop_hook_add(&n.loop, XEV_HOOK_AFTER_POLL, &hook);
        int64_t begin = (int64_t)clock_ns();
        xev_timer_run_ns(NULL, &n.loop, &op_new(&timer, &n)->c, (uint64_t)hour_ns, &timer,
                         op_called);
        CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), 0);
        int64_t took = (int64_t)clock_ns() - begin;
        CHECK_LE(script.waited_ns, hour_ns + slacks_ns[i]);
        CHECK_GE(script.waited_ns, hour_ns + slacks_ns[i] - took);
        net_close(&n);
        CHECK_EQ(timer.result, XEV_ECANCELED);
    }
}

/* A thread of the kernel's is at the request, on a disk that does not answer, say. */
TEST(a_cancel_that_the_kernel_cannot_carry_out_yet_does_not_spin) {
    struct stage s;
    struct op op, cancel;
    stage_open(&s, &by_io_uring);
    plain_recv(s.stream[0], s.buf, 4);
    start(&s, &op, RECV);
    settle(&s.n);
    TAMPER(CANCELS, -EALREADY, -EALREADY, -EALREADY);
    uint64_t begin = clock_ns();
    xev_cancel(&s.n.loop, &op.c, &op_new(&cancel, &s.n)->c, &cancel, op_called);
    for (int i = 0; i < 20; i++) {
        CHECK_EQ(xev_loop_run(&s.n.loop, XEV_RUN_NO_WAIT), 0);
        CHECK_LE(script.next, 1 + (int)((clock_ns() - begin) / 10000000));
    }
    CHECK_GE(script.next, 1);
    run_op(&cancel);
    CHECK_EQ(cancel.result, 0);
    CHECK_EQ(op.result, XEV_ECANCELED);
    stage_close(&s);
}

TEST(a_loop_that_nobody_could_wake_does_not_sleep_for_long) {
    enum { ENTRIES = 8 };
    static const xev_loop_options few = {.backend = XEV_BACKEND_IO_URING, .entries = ENTRIES};
    struct net n;
    struct op ops[ENTRIES];
    xev_hook hook = {.callback = stop_after_a_turn};
    int fds[2];
    memset(&script, 0, sizeof script);
    net_open(&n, &few);
    local_pair(fds);
    xev_loop_hook_add(&n.loop, XEV_HOOK_AFTER_POLL, &hook);
    for (int i = 0; i < ENTRIES; i++) {
        xev_fd_poll(fds[0], &n.loop, &op_new(&ops[i], &n)->c, XEV_POLL_IN, &ops[i], op_called);
    }
    script.submit = -EAGAIN; /* what would make room for the poll of the wake */
    script.submit_times = 1;
    CHECK_EQ(xev_loop_run(&n.loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(script.submit_times, 0);
    CHECK_GT(script.waited_ns, 0);
    CHECK_LE(script.waited_ns, 1000000000);
    close_fd(&n, fds[0]);
    CHECK_EQ(close(fds[1]), 0);
    net_close(&n);
}
