/* Prints docs/support.md: how each backend carries out each operation. The program makes every
 * call, with a descriptor that is not open, to see which operation it begins. How a backend carries
 * out that operation is read from the backend's own table. */
#include <stdio.h>
#include <string.h>

#include "xev/backends/iocp_table.h"
#include "xev/backends/readiness.h"
#include "xev/backends/wasi_poll.h"
#include "xev/core/core.h"
#include "xev/xev.h"

static xev_loop loop;
static union {
    xev_completion c;
    xev_file_req file;
    xev_dns_req dns;
    xev_dial_req dial;
} at;
static const xev_completion *begun; /* the operation's completion, where that is not at.c */

static xev_cb_action done(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)l;
    (void)c;
    (void)result;
    (void)userdata;
    return XEV_DISARM;
}

static void written(xev_loop *l, xev_stream *s, xev_write_req *req, int result, void *userdata) {
    (void)l;
    (void)s;
    (void)req;
    (void)result;
    (void)userdata;
}

static int no_work(void *userdata) {
    (void)userdata;
    return 0;
}

/* The arguments of the calls. */
static const xev_tcp tcp = {XEV_INVALID_FD};
static const xev_udp udp = {XEV_INVALID_FD};
static const xev_unix un = {XEV_INVALID_FD};
static const xev_process process = {.fd = XEV_INVALID_FD};
static const xev_fd fd = XEV_INVALID_FD;
static xev_fs_event fs = {.fd = XEV_INVALID_FD};
static xev_addr addr, addrs[1];
static _Alignas(8) char buf[4096];
static xev_datagram datagram;
static xev_unix_msg msg;
static const xev_vec vec = {buf, 1};
static const xev_vec pieces = {buf, 1};
static xev_watcher async;
static xev_signal sig;
static xev_stream stream;
static xev_write_req write_req;
static xev_completion target;

#define L &loop, &at.c
#define F &loop, &at.file
#define END NULL, done
#define ROW(name, ...)                                                                             \
    static void call_##name(void) { name(__VA_ARGS__); }
#include "tools/support_matrix.h"
#undef ROW

static void call_write(void) {
    xev_stream_init(&stream, &loop, fd);
    xev_stream_write(&stream, &write_req, buf, 1, NULL, written);
    begun = &stream.send;
}

static void call_end(void) {
    xev_stream_init(&stream, &loop, fd);
    xev_stream_shutdown(&stream, &write_req, NULL, written);
    begun = &stream.send;
}

static const struct {
    const char *name;
    void (*call)(void);
} rows[] = {
#define ROW(name, ...) {#name, call_##name},
#include "tools/support_matrix.h"
#undef ROW
    {"xev_stream_write", call_write},
    {"xev_stream_shutdown", call_end},
};

/* A backend of this system, or the table of another system's. */
struct column {
    const char *name;
    const uint8_t *how;
    const char *request; /* who carries one out */
    bool no_threads;
    const char *const *absent; /* beginnings of calls that the system has nothing for; or NULL */
};

static const uint8_t how_kqueue[XEV__OP_COUNT] = XEV__HOW_BY_READINESS;
static const uint8_t how_iocp[XEV__OP_COUNT] = XEV__HOW_IOCP;
static const char *const absent_windows[] = XEV__ABSENT_WINDOWS;
static const uint8_t how_wasi_poll[XEV__OP_COUNT] = XEV__HOW_WASI_POLL;
static const char *const absent_wasi[] = XEV__ABSENT_WASI;

static const struct column columns[] = {
    {"io_uring", xev__io_uring_ops.how, "ring", false, NULL},
    {"epoll", xev__epoll_ops.how, NULL, false, NULL},
    {"kqueue", how_kqueue, NULL, false, NULL},
    {"iocp", how_iocp, "port", false, absent_windows},
    {"wasi_poll", how_wasi_poll, NULL, true, absent_wasi},
};
#define COLUMNS (sizeof columns / sizeof columns[0])

static const char *how_of(const struct column *column, int op, bool multi) {
    switch ((enum xev__how)column->how[op]) {
    case XEV__HOW_REQUEST:
        return column->request;
    case XEV__HOW_MULTI:
        return multi ? "ring, multishot" : column->request;
    case XEV__HOW_READY:
        return "ready, then call";
    case XEV__HOW_CALL:
        return "call";
    case XEV__HOW_NOT:
        break;
    }
    return "XEV_ENOTSUP";
}

static bool is_absent(const struct column *column, const char *call) {
    for (size_t i = 0; column->absent != NULL && column->absent[i] != NULL; i++) {
        if (strncmp(call, column->absent[i], strlen(column->absent[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* On the thread pool, or what serves as one. */
static const char *pooled(const struct column *column, const char *how) {
    return column->no_threads ? "loop, when submitted" : how;
}

static const char *how(const struct column *column, const xev_completion *c, const char *call) {
    static const char *const lanes[] = {[XEV_LANE_CPU] = "thread pool, as asked",
                                        [XEV_LANE_FS] = "thread pool, fs",
                                        [XEV_LANE_FSYNC] = "thread pool, fsync",
                                        [XEV_LANE_DNS] = "thread pool, dns"};
    if (is_absent(column, call)) {
        return "XEV_ENOTSUP";
    }
    switch ((enum xev__op)c->op) {
    case XEV__OP_WORK:
    case XEV__OP_REQUEST:
        return c->slot < XEV_LANE_COUNT ? pooled(column, lanes[c->slot]) : "loop";
    case XEV__OP_CLOSE:
        return c->arg.close.step != NULL ? pooled(column, "thread pool, fs") : "loop";
    case XEV__OP_SENDFILE:
        return column->no_threads ? "ready, then call" : "ready, then thread pool, fs";
    case XEV__OP_DIAL:
        return how_of(column, XEV__OP_CONNECT, false);
    case XEV__OP_TIMER:
    case XEV__OP_ASYNC:
    case XEV__OP_CANCEL:
        return "loop";
    default:
        return how_of(column, c->op, strstr(call, "_multi") != NULL);
    }
}

#if !defined(NDEBUG)
struct started {
    const char *call;
    bool found;
};

static void see(const xev_active *active, void *userdata) {
    struct started *started = userdata;
    if (active->completion == begun) {
        started->found = active->call != NULL && strcmp(active->call, started->call) == 0 &&
                         (active->from != NULL || begun == &stream.send);
    }
}
#endif

/* Debug builds know which call began it. */
static bool is_known(const char *call) {
#if !defined(NDEBUG)
    struct started started = {.call = call};
    xev_loop_walk(&loop, &started, see);
    return started.found;
#else
    (void)call;
    return true;
#endif
}

int main(void) {
    xev_threadpool pool;
    xev_loop_options options = {.backend = XEV_BACKEND_EPOLL, .thread_pool = &pool};
    if (xev_threadpool_init(&pool, NULL) < 0 || xev_loop_init_options(&loop, &options) < 0 ||
        xev_async_init(&async) < 0 || xev_addr_parse(&addr, "127.0.0.1", 1) < 0 ||
        xev_signal_init(&sig, 10) < 0) {
        fputs("support_matrix: cannot make a loop\n", stderr);
        return 1;
    }
    printf("<!-- Made by `bazel run //tools:support_matrix`; //tools:support_test compares. -->\n"
           "# Support matrix\n\n"
           "On Linux everything works on every backend, with the same results; this is how. What "
           "another system\nlacks is XEV_ENOTSUP; see [systems.md](systems.md).\n\n"
           "| | |\n|---|---|\n"
           "| ring | the kernel does it, as one request |\n"
           "| ring, multishot | ... which stays and brings one result after the other |\n"
           "| port | Windows does it, as one overlapped request |\n"
           "| ready, then call | when the descriptor will not block, the system call is made |\n"
           "| call | the system call, which does not block, in its turn |\n"
           "| thread pool, LANE | on a thread of the pool: XEV_ENOPOOL without one |\n"
           "| loop | in the loop itself |\n"
           "| loop, when submitted | where there are no threads: on the loop's thread, inside the "
           "turn that would give it to the pool; XEV_ENOPOOL without one |\n\n"
           "Features of the ring may be missing or switched off, see backends.md: a multishot is "
           "then one request\nper result, and a receive into a loaned buffer \"ready, then "
           "call\".\n\n"
           "| call | counted as |");
    for (size_t i = 0; i < COLUMNS; i++) {
        printf(" %s |", columns[i].name);
    }
    printf("\n|---|---|");
    for (size_t i = 0; i < COLUMNS; i++) {
        printf("---|");
    }
    printf("\n");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        memset(&at, 0, sizeof at);
        begun = &at.c;
        rows[i].call();
        if (!is_known(rows[i].name)) {
            fprintf(stderr, "%s: not written down by XEV__CALL\n", rows[i].name);
            return 1;
        }
        printf("| %s | %s |", rows[i].name, xev__op_name(begun->op));
        for (size_t b = 0; b < COLUMNS; b++) {
            printf(" %s |", how(&columns[b], begun, rows[i].name));
        }
        printf("\n");
        while (xev_loop_active(&loop) > 0) {
            if (xev_completion_state(&at.c) == XEV_COMPLETION_ACTIVE && at.c.op == XEV__OP_ASYNC) {
                (void)xev_async_notify(at.c.arg.async.watcher);
            }
            if (xev_loop_run(&loop, XEV_RUN_ONCE) < 0) {
                return 1;
            }
        }
    }
    xev_signal_deinit(&sig);
    xev_async_deinit(&async);
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
    return 0;
}
