/* Bad arguments for which the result is a code, the same on every backend: descriptors that are not
 * open or of another kind, numbers out of range. Bad arguments that end the program are in
 * misuse_test.c. api_test.sh checks that every argument of every call has a row in one of the two
 * files. long-file: a line per argument, and there are many.
 *
 *     REFUSES(function, argument, code, values...)  the call returns code
 *     ENDS(function, argument, code, values...)     the operation ends with code; values use CB, L
 *                                                   and C (or a request: F, D, DIAL)
 *     NO_FD(function, argument, values...)          so does one on FD, with XEV_EBADF, for each FD
 *                                                   that is no descriptor
 *     NO_FD_NOW                                     the same of a call
 *     NO_SOCKET, NO_SOCKET_NOW                      with XEV_ENOTSOCK, for each kind of FD that is
 *                                                   no socket
 *     TAKES(function, argument, values...)          any value is a good one
 *     WAITS(function, argument, values...)          so that the operation waits, until cancelled
 */
#include <fcntl.h>
#include <limits.h>
#include <sys/eventfd.h>

#include "tests/loop_scene.h"

#define TOO_LONG ((size_t)INT32_MAX + 1)
#define TOO_FAR ((uint64_t)INT64_MAX + 1)

static xev_threadpool pool;
static xev_loop loop, *const L = &loop;

/* The operation. */
static union {
    xev_completion c;
    xev_file_req f;
    xev_dns_req d;
    xev_dial_req dial;
} subject;
static xev_completion *const C = &subject.c;
static xev_file_req *const F = &subject.f;
static xev_dns_req *const D = &subject.d;
static xev_dial_req *const DIAL = &subject.dial;
static int calls, result;

static xev_fd FD;
#define TCP xev_tcp_from_fd(FD)
#define UDP xev_udp_from_fd(FD)
#define UNIX xev_unix_from_fd(FD)
#define PROCESS (&(xev_process){.fd = FD})

/* Descriptors of every kind; closed was one. */
static xev_fd local[2]; /* connected to each other */
static xev_fd closed, file, folder, pipe_end[2], event, listener_fd, stream_fd, udp_fd, unix_fd;

static xev_addr addr, unix_addr, bad_addr;
static char bytes[XEV_FILE_READDIR_MIN] __attribute__((aligned(8)));
static xev_vec vec[XEV_VEC_MAX + 1], long_vec = {bytes, TOO_LONG}, empty_vec = {bytes, 0};
static xev_datagram datagram;
static xev_unix_msg msg;

static xev_cb_action CB(xev_loop *l, xev_completion *c, int rc, void *userdata) {
    CHECK(l == L);
    CHECK(c == C);
    CHECK(userdata == NULL);
    CHECK(!xev_completion_more(c));
    calls++;
    result = rc;
    return XEV_DISARM;
}

static xev_cb_action cancelled(xev_loop *l, xev_completion *c, int rc, void *userdata) {
    (void)l;
    (void)c;
    (void)userdata;
    CHECK_EQ(rc, 0);
    return XEV_DISARM;
}

static void written(xev_loop *l, xev_stream *s, xev_write_req *req, int rc, void *userdata) {
    (void)l;
    (void)s;
    (void)req;
    (void)userdata;
    calls++;
    result = rc;
}

static void begin(void) {
    CHECK_EQ(xev_threadpool_init(&pool, NULL), 0);
    loop_start_options(&loop, &(xev_loop_options){.thread_pool = &pool});
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 9), 0);
    CHECK_EQ(xev_addr_unix(&unix_addr, "/nowhere/none", 13), 0);
    memset(&bad_addr, 0xff, sizeof bad_addr);
    for (size_t i = 0; i < XEV_VEC_MAX + 1; i++) {
        vec[i] = (xev_vec){bytes, 1};
    }
    datagram = (xev_datagram){.buf = bytes, .capacity_bytes = 1, .len_bytes = 1, .peer = addr};
    msg = (xev_unix_msg){.buf = bytes, .len_bytes = 1};

    file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK_EQ(xev_pipe_open(&pipe_end[0], &pipe_end[1]), 0);
    event = eventfd(0, EFD_CLOEXEC);
    listener_fd = listener(&addr, 1).fd;
    stream_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    unix_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, local), 0);
    closed = 16380; /* no system gives out such a number before those below it */
    CHECK_LT(fcntl(closed, F_GETFD), 0);
}

/* Nothing was closed that was not to be. */
static void end(void) {
    xev_loop_deinit(&loop);
    xev_threadpool_deinit(&pool);
    const xev_fd all[] = {file,     folder, pipe_end[0], pipe_end[1], unix_fd, local[0],
                          local[1], event,  listener_fd, stream_fd,   udp_fd};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        CHECK_EQ(close(all[i]), 0);
    }
}

static void check_code(const char *function, const char *argument, int64_t got, int64_t wanted) {
    if (got != wanted) {
        CHECK_FAIL("%s, bad %s (descriptor %d): %d (%s) and not %d (%s)", function, argument,
                   (int)FD, (int)got, xev_err_name((int)got), (int)wanted,
                   xev_err_name((int)wanted));
    }
}

static void check_end(const char *function, const char *argument, int wanted) {
    for (int i = 0; i < 100 && calls == 0 && xev_loop_active(L) > 0; i++) {
        run_once(L);
    }
    check_code(function, argument, calls, 1);
    check_code(function, argument, result, wanted);
    CHECK_EQ(xev_loop_active(L), 0);
}

#define REFUSES(function, argument, code, ...)                                                     \
    check_code(#function, #argument, function(__VA_ARGS__), code)

#define ENDS(function, argument, code, ...)                                                        \
    do {                                                                                           \
        calls = 0;                                                                                 \
        memset(&subject, 0xa5, sizeof subject);                                                    \
        function(__VA_ARGS__);                                                                     \
        CHECK_EQ(calls, 0);                                                                        \
        check_end(#function, #argument, code);                                                     \
    } while (0)

static xev_fd no_descriptor(int i) {
    const xev_fd all[] = {XEV_INVALID_FD, INT_MIN, closed, 1 << 30, INT_MAX};
    return i < 5 ? all[i] : 0;
}

static xev_fd no_socket(int i) {
    const xev_fd all[] = {file, folder, pipe_end[0], pipe_end[1], event};
    return i < 5 ? all[i] : 0;
}

#define FOR_EACH(of) for (int i = 0; (FD = of(i)) != 0; i++)
#define NO_FD(function, argument, ...)                                                             \
    FOR_EACH(no_descriptor) ENDS(function, argument, XEV_EBADF, __VA_ARGS__)
#define NO_FD_NOW(function, argument, ...)                                                         \
    FOR_EACH(no_descriptor) REFUSES(function, argument, XEV_EBADF, __VA_ARGS__)
#define NO_SOCKET(function, argument, ...)                                                         \
    FOR_EACH(no_socket) ENDS(function, argument, XEV_ENOTSOCK, __VA_ARGS__)
#define NO_SOCKET_NOW(function, argument, ...)                                                     \
    FOR_EACH(no_socket) REFUSES(function, argument, XEV_ENOTSOCK, __VA_ARGS__)
#define TAKES(function, argument, ...) function(__VA_ARGS__)

#define WAITS(function, argument, ...)                                                             \
    do {                                                                                           \
        xev_completion cancel;                                                                     \
        calls = 0;                                                                                 \
        function(__VA_ARGS__);                                                                     \
        xev_cancel(L, C, &cancel, NULL, cancelled);                                                \
        run_done(L);                                                                               \
        check_code(#function, #argument, calls, 1);                                                \
        check_code(#function, #argument, result, XEV_ECANCELED);                                   \
    } while (0)

/* Pieces that are too many, too long or none. */
#define NO_VEC(function, count, on)                                                                \
    ENDS(function, count, XEV_EINVAL, on, L, C, vec, 0, NULL, CB);                                 \
    ENDS(function, count, XEV_EINVAL, on, L, C, vec, XEV_VEC_MAX + 1, NULL, CB);                   \
    ENDS(function, count, XEV_EINVAL, on, L, C, vec, SIZE_MAX, NULL, CB);                          \
    ENDS(function, vec, XEV_EINVAL, on, L, C, &long_vec, 1, NULL, CB);                             \
    ENDS(function, vec, XEV_EINVAL, on, L, C, &empty_vec, 1, NULL, CB)

TEST(bad_arguments_of_addresses) {
    char text[XEV_ADDR_TEXT_BYTES], name[XEV_UNIX_NAME_MAX + 1];
    xev_addr a = {0};
    size_t len = 1;
    REFUSES(xev_addr_parse, addr, XEV_EINVAL, NULL, "127.0.0.1", 1);
    REFUSES(xev_addr_parse, host, XEV_EINVAL, &a, NULL, 1);
    REFUSES(xev_addr_parse, host, XEV_EINVAL, &a, "localhost", 1);
    REFUSES(xev_addr_parse, port, XEV_EINVAL, &a, "127.0.0.1", 65536);
    REFUSES(xev_addr_parse, port, XEV_EINVAL, &a, "127.0.0.1", UINT32_MAX);
    REFUSES(xev_addr_from_text, addr, XEV_EINVAL, NULL, "127.0.0.1:1");
    REFUSES(xev_addr_from_text, text, XEV_EINVAL, &a, NULL);
    REFUSES(xev_addr_from_text, text, XEV_EINVAL, &a, "127.0.0.1");
    REFUSES(xev_addr_format, addr, XEV_EINVAL, NULL, text, sizeof text);
    REFUSES(xev_addr_format, addr, XEV_EINVAL, &a, text, sizeof text);
    CHECK_EQ(xev_addr_parse(&a, "127.0.0.1", 1), 0);
    REFUSES(xev_addr_format, out, XEV_EINVAL, &a, NULL, sizeof text);
    REFUSES(xev_addr_format, len_bytes, XEV_EINVAL, &a, text, 0);
    REFUSES(xev_addr_format, len_bytes, XEV_EINVAL, &a, text, 1);
    REFUSES(xev_addr_bytes, addr, 0, NULL, text);
    REFUSES(xev_addr_from_bytes, addr, XEV_EINVAL, NULL, "abcd", 4, 1);
    REFUSES(xev_addr_from_bytes, bytes, XEV_EINVAL, &a, NULL, 4, 1);
    REFUSES(xev_addr_from_bytes, len_bytes, XEV_EINVAL, &a, "abcde", 5, 1);
    REFUSES(xev_addr_from_bytes, port, XEV_EINVAL, &a, "abcd", 4, 65536);
    REFUSES(xev_addr_family, addr, XEV_AF_UNSPEC, NULL);
    REFUSES(xev_addr_port, addr, 0, NULL);
    memset(name, 'n', sizeof name);
    REFUSES(xev_addr_unix, addr, XEV_EINVAL, NULL, "x", 1);
    REFUSES(xev_addr_unix, name, XEV_EINVAL, &a, NULL, 1);
    REFUSES(xev_addr_unix, name, XEV_EINVAL, &a, "x\0y", 3);
    REFUSES(xev_addr_unix, len_bytes, XEV_ENAMETOOLONG, &a, name, sizeof name);
    REFUSES(xev_addr_unix, len_bytes, XEV_ENAMETOOLONG, &a, name, SIZE_MAX);
    TAKES(xev_addr_unix_name, addr, NULL, &len);
    CHECK_EQ(len, 0);
}

TEST(bad_arguments_of_loops_and_timers) {
    xev_loop other;
    xev_watcher w;
    begin();
    CHECK_EQ(TAKES(xev_loop_init_options, options, &other, NULL), 0);
    xev_loop_deinit(&other);
    REFUSES(xev_loop_run, mode, XEV_EINVAL, L, (xev_run_mode_t)3);
    REFUSES(xev_loop_run, mode, XEV_EINVAL, L, (xev_run_mode_t)-1);
    for (int code = -5000; code <= 1; code++) {
        CHECK(TAKES(xev_err_name, code, code) != NULL);
        CHECK(TAKES(xev_strerror, code, code) != NULL);
    }
    CHECK_EQ(TAKES(xev_timer_init, w, NULL), 0);
    TAKES(xev_timer_deinit, w, NULL);
    WAITS(xev_timer_run, w, NULL, L, C, HOUR_MS, NULL, CB);
    WAITS(xev_timer_run, w, &w, L, C, HOUR_MS, NULL, CB);
    WAITS(xev_timer_run, next_ms, NULL, L, C, UINT64_MAX, NULL, CB);
    ENDS(xev_timer_run, next_ms, 0, NULL, L, C, 0, NULL, CB);
    WAITS(xev_timer_run_ns, w, NULL, L, C, UINT64_MAX / 2, NULL, CB);
    WAITS(xev_timer_run_ns, timeout_ns, NULL, L, C, UINT64_MAX, NULL, CB);
    ENDS(xev_timer_run_ns, timeout_ns, 0, NULL, L, C, 0, NULL, CB);
    WAITS(xev_timer_reset, w, NULL, L, C, NULL, HOUR_MS, NULL, CB);
    WAITS(xev_timer_reset, c_cancel, NULL, L, C, NULL, HOUR_MS, NULL, CB);
    WAITS(xev_timer_reset, next_ms, NULL, L, C, NULL, UINT64_MAX, NULL, CB);
    xev_completion spare = {0};
    calls = 0;
    TAKES(xev_timer_cancel, w, NULL, L, &spare, C, NULL, CB);
    check_end("xev_timer_cancel", "w", XEV_ENOENT);
#define POLLING (xev_fd_poll(event, L, C, XEV_POLL_HUP, NULL, CB), L)
    WAITS(xev_completion_set_timeout, timeout_ms, POLLING, C, UINT64_MAX);
    WAITS(xev_completion_set_timeout, timeout_ms, POLLING, C, 0);
    ENDS(xev_completion_set_timeout, timeout_ms, XEV_ETIMEDOUT, POLLING, C, 1);
    WAITS(xev_completion_set_timeout_ns, timeout_ns, POLLING, C, UINT64_MAX);
    WAITS(xev_completion_set_timeout_ns, timeout_ns, POLLING, C, 0);
    ENDS(xev_completion_set_timeout_ns, timeout_ns, XEV_ETIMEDOUT, POLLING, C, 1);
    end();
}

TEST(bad_arguments_of_descriptors) {
    begin();
    NO_FD(xev_fd_read, fd, FD, L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_read, fd, XEV_EISDIR, folder, L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_read, fd, XEV_EBADF, pipe_end[1], L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_read, fd, XEV_ENOTCONN, listener_fd, L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_read, len_bytes, XEV_EINVAL, event, L, C, bytes, 0, NULL, CB);
    ENDS(xev_fd_read, len_bytes, XEV_EINVAL, event, L, C, bytes, TOO_LONG, NULL, CB);
    ENDS(xev_fd_read, len_bytes, XEV_EINVAL, event, L, C, bytes, SIZE_MAX, NULL, CB);
    NO_FD(xev_fd_write, fd, FD, L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_write, fd, XEV_EBADF, folder, L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_write, fd, XEV_EBADF, pipe_end[0], L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_write, fd, XEV_EPIPE, listener_fd, L, C, bytes, 1, NULL, CB);
    ENDS(xev_fd_write, len_bytes, XEV_EINVAL, event, L, C, bytes, 0, NULL, CB);
    ENDS(xev_fd_write, len_bytes, XEV_EINVAL, event, L, C, bytes, TOO_LONG, NULL, CB);
    NO_FD(xev_fd_readv, fd, FD, L, C, vec, 1, NULL, CB);
    ENDS(xev_fd_readv, fd, XEV_EISDIR, folder, L, C, vec, 1, NULL, CB);
    NO_VEC(xev_fd_readv, count, event);
    NO_FD(xev_fd_writev, fd, FD, L, C, vec, 1, NULL, CB);
    ENDS(xev_fd_writev, fd, XEV_EBADF, folder, L, C, vec, 1, NULL, CB);
    NO_VEC(xev_fd_writev, count, event);
    NO_FD(xev_fd_poll, fd, FD, L, C, XEV_POLL_IN, NULL, CB);
    ENDS(xev_fd_poll, mask, XEV_EINVAL, event, L, C, 0, NULL, CB);
    ENDS(xev_fd_poll, mask, XEV_EINVAL, event, L, C, 32, NULL, CB);
    ENDS(xev_fd_poll, mask, XEV_EINVAL, event, L, C, UINT32_MAX, NULL, CB);
    NO_FD(xev_fd_poll_multi, fd, FD, L, C, XEV_POLL_IN, NULL, CB);
    ENDS(xev_fd_poll_multi, fd, XEV_EPERM, file, L, C, XEV_POLL_IN, NULL, CB);
    ENDS(xev_fd_poll_multi, mask, XEV_EINVAL, event, L, C, 0, NULL, CB);
    ENDS(xev_fd_poll_multi, mask, XEV_EINVAL, event, L, C, UINT32_MAX, NULL, CB);
    NO_FD(xev_fd_close, fd, FD, L, C, NULL, CB);
    REFUSES(xev_fd_release, fd, XEV_EBADF, XEV_INVALID_FD, L);
    end();
}

TEST(bad_arguments_of_streams) {
    xev_stream stream;
    xev_write_req req;
    begin();
#define STREAM_ENDS(function, argument, code, fd)                                                  \
    do {                                                                                           \
        calls = 0;                                                                                 \
        function(&stream, L, fd);                                                                  \
        xev_stream_write(&stream, &req, bytes, 1, NULL, written);                                  \
        check_end(#function, #argument, code);                                                     \
        CHECK_EQ(xev_stream_queued_bytes(&stream), 0);                                             \
    } while (0)
    FOR_EACH(no_descriptor) {
        STREAM_ENDS(xev_stream_init, fd, XEV_EBADF, FD);
        STREAM_ENDS(xev_stream_init_fd, fd, XEV_EBADF, FD);
    }
    FOR_EACH(no_socket) { STREAM_ENDS(xev_stream_init, fd, XEV_ENOTSOCK, FD); }
    STREAM_ENDS(xev_stream_init, fd, XEV_EPIPE, listener_fd);
    STREAM_ENDS(xev_stream_init_fd, fd, XEV_EBADF, folder);
    STREAM_ENDS(xev_stream_init_fd, fd, XEV_EBADF, pipe_end[0]);
    TAKES(xev_stream_set_timeout, timeout_ms, &stream, UINT64_MAX);
    TAKES(xev_stream_set_timeout, timeout_ms, &stream, 0);
    REFUSES(xev_stream_set_marks, low_bytes, XEV_EINVAL, &stream, 1, 0, NULL, NULL);
#define WRITE_ENDS(function, argument, code, buf, len_bytes)                                       \
    do {                                                                                           \
        calls = 0;                                                                                 \
        xev_stream_init(&stream, L, local[0]);                                                     \
        function(&stream, &req, buf, len_bytes, NULL, written);                                    \
        check_end(#function, #argument, code);                                                     \
        CHECK_EQ(xev_stream_queued_bytes(&stream), 0);                                             \
    } while (0)
    WRITE_ENDS(xev_stream_write, len_bytes, 0, bytes, 0);
    WRITE_ENDS(xev_stream_write, len_bytes, 0, NULL, 0);
    WRITE_ENDS(xev_stream_write, len_bytes, XEV_EINVAL, bytes, TOO_LONG);
    WRITE_ENDS(xev_stream_write, len_bytes, XEV_EINVAL, bytes, SIZE_MAX);
    REFUSES(xev_stream_try_write, len_bytes, XEV_EINVAL, &stream, bytes, TOO_LONG);
    REFUSES(xev_stream_set_marks, high_bytes, 0, &stream, 0, UINT64_MAX, NULL, NULL);
    REFUSES(xev_stream_set_marks, on_drain, 0, &stream, 0, 0, NULL, NULL);
    end();
}

/* A body of 0 bytes has no address. */
TEST(null_is_the_address_of_nothing) {
    xev_addr *const nothing = NULL;
    begin();
    ENDS(xev_fd_read, buf, XEV_EINVAL, event, L, C, NULL, 0, NULL, CB);
    ENDS(xev_fd_write, buf, XEV_EINVAL, event, L, C, NULL, 0, NULL, CB);
    ENDS(xev_fd_readv, vec, XEV_EINVAL, event, L, C, NULL, 0, NULL, CB);
    ENDS(xev_fd_writev, vec, XEV_EINVAL, event, L, C, NULL, 0, NULL, CB);
    xev_tcp tcp = xev_tcp_from_fd(local[0]);
    ENDS(xev_tcp_recv, buf, XEV_EINVAL, tcp, L, C, NULL, 0, NULL, CB);
    ENDS(xev_tcp_send, buf, XEV_EINVAL, tcp, L, C, NULL, 0, NULL, CB);
    ENDS(xev_tcp_recvv, vec, XEV_EINVAL, tcp, L, C, NULL, 0, NULL, CB);
    ENDS(xev_tcp_sendv, vec, XEV_EINVAL, tcp, L, C, NULL, 0, NULL, CB);
    ENDS(xev_tcp_dial, addrs, XEV_EINVAL, L, DIAL, NULL, 0, 0, NULL, CB);
    xev_udp udp = xev_udp_from_fd(udp_fd);
    ENDS(xev_udp_recv_batch, ds, XEV_EINVAL, udp, L, C, NULL, 0, NULL, CB);
    ENDS(xev_udp_send_batch, ds, XEV_EINVAL, udp, L, C, NULL, 0, NULL, CB);
    ENDS(xev_file_read, buf, XEV_EINVAL, file, L, F, NULL, 0, NULL, CB);
    ENDS(xev_file_pwrite, buf, XEV_EINVAL, file, L, F, NULL, 0, 0, NULL, CB);
    ENDS(xev_file_readv, vec, XEV_EINVAL, file, L, F, NULL, 0, NULL, CB);
    ENDS(xev_file_pwritev, vec, XEV_EINVAL, file, L, F, NULL, 0, 0, NULL, CB);
    ENDS(xev_file_readdir, buf, XEV_EINVAL, folder, L, F, NULL, 0, NULL, CB);
    ENDS(xev_dns_resolve, addrs, XEV_EINVAL, L, D, "x", NULL, XEV_AF_INET, nothing, 0, NULL, CB);
    ENDS(xev_dns_name, name, XEV_EINVAL, L, D, &addr, NULL, 0, NULL, CB);
    end();
}

TEST(bad_arguments_of_dials) {
    begin();
    ENDS(xev_tcp_dial, count, XEV_EINVAL, L, DIAL, &addr, 0, 0, NULL, CB);
    ENDS(xev_tcp_dial, addrs, XEV_EAFNOSUPPORT, L, DIAL, &(xev_addr){0}, 1, 0, NULL, CB);
    ENDS(xev_tcp_dial, addrs, XEV_EAFNOSUPPORT, L, DIAL, &unix_addr, 1, 0, NULL, CB);
    ENDS(xev_tcp_dial, stagger_ms, XEV_EAFNOSUPPORT, L, DIAL,
         ((const xev_addr[]){unix_addr, unix_addr}), 2, UINT64_MAX, NULL, CB);
    end();
}

TEST(bad_arguments_of_tcp_operations) {
    begin();
    NO_FD(xev_tcp_accept, tcp, TCP, L, C, NULL, CB);
    NO_SOCKET(xev_tcp_accept, tcp, TCP, L, C, NULL, CB);
    ENDS(xev_tcp_accept, tcp, XEV_ENOTSUP, xev_tcp_from_fd(udp_fd), L, C, NULL, CB);
    ENDS(xev_tcp_accept, tcp, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, NULL, CB);
    NO_FD(xev_tcp_accept_multi, tcp, TCP, L, C, NULL, CB);
    NO_SOCKET(xev_tcp_accept_multi, tcp, TCP, L, C, NULL, CB);
    ENDS(xev_tcp_accept_multi, tcp, XEV_ENOTSUP, xev_tcp_from_fd(udp_fd), L, C, NULL, CB);
    ENDS(xev_tcp_accept_multi, tcp, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, NULL, CB);
    NO_FD(xev_tcp_connect, tcp, TCP, L, C, &addr, NULL, CB);
    NO_SOCKET(xev_tcp_connect, tcp, TCP, L, C, &addr, NULL, CB);
    ENDS(xev_tcp_connect, tcp, XEV_EISCONN, xev_tcp_from_fd(listener_fd), L, C, &addr, NULL, CB);
    ENDS(xev_tcp_connect, addr, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, &bad_addr, NULL, CB);
    ENDS(xev_tcp_connect, addr, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, &(xev_addr){0}, NULL,
         CB);
    ENDS(xev_tcp_connect, addr, XEV_EAFNOSUPPORT, xev_tcp_from_fd(stream_fd), L, C, &unix_addr,
         NULL, CB);
    NO_FD(xev_tcp_recv, tcp, TCP, L, C, bytes, 1, NULL, CB);
    NO_SOCKET(xev_tcp_recv, tcp, TCP, L, C, bytes, 1, NULL, CB);
    ENDS(xev_tcp_recv, tcp, XEV_ENOTCONN, xev_tcp_from_fd(listener_fd), L, C, bytes, 1, NULL, CB);
    ENDS(xev_tcp_recv, tcp, XEV_ENOTCONN, xev_tcp_from_fd(stream_fd), L, C, bytes, 1, NULL, CB);
    ENDS(xev_tcp_recv, len_bytes, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, bytes, 0, NULL, CB);
    ENDS(xev_tcp_recv, len_bytes, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, bytes, TOO_LONG,
         NULL, CB);
    NO_FD(xev_tcp_recv_loan, tcp, TCP, L, C, NULL, CB);
    NO_SOCKET(xev_tcp_recv_loan, tcp, TCP, L, C, NULL, CB);
    ENDS(xev_tcp_recv_loan, tcp, XEV_ENOTCONN, xev_tcp_from_fd(listener_fd), L, C, NULL, CB);
    NO_FD(xev_tcp_recv_multi, tcp, TCP, L, C, NULL, CB);
    NO_SOCKET(xev_tcp_recv_multi, tcp, TCP, L, C, NULL, CB);
    ENDS(xev_tcp_recv_multi, tcp, XEV_ENOTCONN, xev_tcp_from_fd(listener_fd), L, C, NULL, CB);
    NO_FD(xev_tcp_send, tcp, TCP, L, C, bytes, 1, NULL, CB);
    NO_SOCKET(xev_tcp_send, tcp, TCP, L, C, bytes, 1, NULL, CB);
    ENDS(xev_tcp_send, tcp, XEV_EPIPE, xev_tcp_from_fd(listener_fd), L, C, bytes, 1, NULL, CB);
    ENDS(xev_tcp_send, tcp, XEV_EPIPE, xev_tcp_from_fd(stream_fd), L, C, bytes, 1, NULL, CB);
    ENDS(xev_tcp_send, len_bytes, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, bytes, 0, NULL, CB);
    ENDS(xev_tcp_send, len_bytes, XEV_EINVAL, xev_tcp_from_fd(stream_fd), L, C, bytes, TOO_LONG,
         NULL, CB);
    NO_FD(xev_tcp_recvv, tcp, TCP, L, C, vec, 1, NULL, CB);
    NO_SOCKET(xev_tcp_recvv, tcp, TCP, L, C, vec, 1, NULL, CB);
    ENDS(xev_tcp_recvv, tcp, XEV_ENOTCONN, xev_tcp_from_fd(listener_fd), L, C, vec, 1, NULL, CB);
    NO_VEC(xev_tcp_recvv, count, xev_tcp_from_fd(stream_fd));
    NO_FD(xev_tcp_sendv, tcp, TCP, L, C, vec, 1, NULL, CB);
    NO_SOCKET(xev_tcp_sendv, tcp, TCP, L, C, vec, 1, NULL, CB);
    ENDS(xev_tcp_sendv, tcp, XEV_EPIPE, xev_tcp_from_fd(listener_fd), L, C, vec, 1, NULL, CB);
    NO_VEC(xev_tcp_sendv, count, xev_tcp_from_fd(stream_fd));
    NO_FD(xev_tcp_shutdown, tcp, TCP, L, C, NULL, CB);
    NO_SOCKET(xev_tcp_shutdown, tcp, TCP, L, C, NULL, CB);
    ENDS(xev_tcp_shutdown, tcp, XEV_ENOTCONN, xev_tcp_from_fd(stream_fd), L, C, NULL, CB);
    NO_FD(xev_tcp_close, tcp, TCP, L, C, NULL, CB);
    end();
}

TEST(bad_arguments_of_tcp_calls) {
    xev_addr a;
    xev_tcp tcp;
    begin();
    const xev_tcp good = xev_tcp_from_fd(stream_fd), other = xev_tcp_from_fd(udp_fd);
    REFUSES(xev_tcp_init, family, XEV_EAFNOSUPPORT, &tcp, XEV_AF_UNSPEC);
    REFUSES(xev_tcp_init, family, XEV_EAFNOSUPPORT, &tcp, XEV_AF_UNIX);
    REFUSES(xev_tcp_init, family, XEV_EAFNOSUPPORT, &tcp, (enum xev_family)UINT32_MAX);
    CHECK_EQ(tcp.fd, XEV_INVALID_FD);
    CHECK_EQ(TAKES(xev_tcp_from_fd, fd, INT_MIN).fd, INT_MIN);
    NO_FD_NOW(xev_tcp_bind, tcp, TCP, &addr, false);
    NO_SOCKET_NOW(xev_tcp_bind, tcp, TCP, &addr, false);
    REFUSES(xev_tcp_bind, addr, XEV_EINVAL, good, NULL, false);
    REFUSES(xev_tcp_bind, addr, XEV_EINVAL, good, &bad_addr, false);
    REFUSES(xev_tcp_bind, addr, XEV_EINVAL, good, &(xev_addr){0}, true);
    REFUSES(xev_tcp_bind, addr, XEV_EAFNOSUPPORT, good, &unix_addr, false);
    NO_FD_NOW(xev_tcp_listen, tcp, TCP, 1);
    NO_SOCKET_NOW(xev_tcp_listen, tcp, TCP, 1);
    REFUSES(xev_tcp_listen, tcp, XEV_ENOTSUP, other, 1);
    REFUSES(xev_tcp_listen, backlog, XEV_EINVAL, good, 0);
    REFUSES(xev_tcp_listen, backlog, XEV_EINVAL, good, INT_MIN);
    NO_FD_NOW(xev_tcp_accept_now, tcp, TCP);
    REFUSES(xev_tcp_accept_now, tcp, XEV_ENOTSOCK, xev_tcp_from_fd(file));
    REFUSES(xev_tcp_accept_now, tcp, XEV_EINVAL, good);
    NO_FD_NOW(xev_tcp_close_now, tcp, TCP);
    NO_FD_NOW(xev_tcp_set_nodelay, tcp, TCP, true);
    NO_SOCKET_NOW(xev_tcp_set_nodelay, tcp, TCP, true);
    NO_FD_NOW(xev_tcp_set_keepalive, tcp, TCP, 1);
    NO_SOCKET_NOW(xev_tcp_set_keepalive, tcp, TCP, 1);
    REFUSES(xev_tcp_set_keepalive, idle_ms, XEV_EINVAL, good, 32767001);
    REFUSES(xev_tcp_set_keepalive, idle_ms, XEV_EINVAL, good, UINT32_MAX * UINT64_C(1000) + 1000);
    REFUSES(xev_tcp_set_keepalive, idle_ms, XEV_EINVAL, good, UINT64_MAX);
    NO_FD_NOW(xev_tcp_set_buffers, tcp, TCP, 4096, 4096);
    NO_SOCKET_NOW(xev_tcp_set_buffers, tcp, TCP, 4096, 4096);
    REFUSES(xev_tcp_set_buffers, send_bytes, XEV_EINVAL, good, UINT32_MAX, 0);
    REFUSES(xev_tcp_set_buffers, recv_bytes, XEV_EINVAL, good, 0, (uint32_t)INT32_MAX + 1);
    NO_FD_NOW(xev_tcp_set_linger, tcp, TCP, 1);
    NO_SOCKET_NOW(xev_tcp_set_linger, tcp, TCP, 1);
    REFUSES(xev_tcp_set_linger, timeout_ms, XEV_EINVAL, good, INT32_MAX * UINT64_C(1000) + 1);
    REFUSES(xev_tcp_set_linger, timeout_ms, XEV_EINVAL, good, UINT32_MAX * UINT64_C(1000) + 1000);
    REFUSES(xev_tcp_set_linger, timeout_ms, XEV_EINVAL, good, UINT64_MAX);
    NO_FD_NOW(xev_tcp_set_reset_on_close, tcp, TCP, true);
    NO_SOCKET_NOW(xev_tcp_set_reset_on_close, tcp, TCP, true);
    NO_FD_NOW(xev_tcp_local_addr, tcp, TCP, &a);
    NO_SOCKET_NOW(xev_tcp_local_addr, tcp, TCP, &a);
    NO_FD_NOW(xev_tcp_peer_addr, tcp, TCP, &a);
    NO_SOCKET_NOW(xev_tcp_peer_addr, tcp, TCP, &a);
    REFUSES(xev_tcp_peer_addr, tcp, XEV_ENOTCONN, good, &a);
    CHECK_EQ(xev_addr_family(&a), XEV_AF_UNSPEC);
    NO_FD_NOW(xev_tcp_unread_bytes, tcp, TCP);
    NO_SOCKET_NOW(xev_tcp_unread_bytes, tcp, TCP);
    end();
}

TEST(bad_arguments_of_udp_operations) {
    begin();
    const xev_udp good = xev_udp_from_fd(udp_fd), other = xev_udp_from_fd(listener_fd);
    NO_FD(xev_udp_recv, udp, UDP, L, C, &datagram, NULL, CB);
    NO_SOCKET(xev_udp_recv, udp, UDP, L, C, &datagram, NULL, CB);
    ENDS(xev_udp_recv, udp, XEV_ENOTCONN, other, L, C, &datagram, NULL, CB);
    datagram.capacity_bytes = UINT32_MAX;
    ENDS(xev_udp_recv, d, XEV_EINVAL, good, L, C, &datagram, NULL, CB);
    ENDS(xev_udp_recv_batch, ds, XEV_EINVAL, good, L, C, &datagram, 1, NULL, CB);
    ENDS(xev_udp_recv, d, XEV_EINVAL, good, L, C, &(xev_datagram){.capacity_bytes = 1}, NULL, CB);
    datagram.capacity_bytes = 1;
    NO_FD(xev_udp_recv_multi, udp, UDP, L, C, &datagram, NULL, CB);
    NO_SOCKET(xev_udp_recv_multi, udp, UDP, L, C, &datagram, NULL, CB);
    ENDS(xev_udp_recv_multi, udp, XEV_ENOTCONN, other, L, C, &datagram, NULL, CB);
    datagram = (xev_datagram){.buf = bytes, .capacity_bytes = 1};
    NO_FD(xev_udp_recv_batch, udp, UDP, L, C, &datagram, 1, NULL, CB);
    NO_SOCKET(xev_udp_recv_batch, udp, UDP, L, C, &datagram, 1, NULL, CB);
    ENDS(xev_udp_recv_batch, udp, XEV_ENOTCONN, other, L, C, &datagram, 1, NULL, CB);
    ENDS(xev_udp_recv_batch, count, XEV_EINVAL, good, L, C, &datagram, 0, NULL, CB);
    datagram = (xev_datagram){.data = bytes, .len_bytes = 1, .peer = addr};
    NO_FD(xev_udp_send, udp, UDP, L, C, &datagram, NULL, CB);
    NO_SOCKET(xev_udp_send, udp, UDP, L, C, &datagram, NULL, CB);
    ENDS(xev_udp_send, udp, XEV_EPIPE, other, L, C, &datagram, NULL, CB);
    NO_FD(xev_udp_send_batch, udp, UDP, L, C, &datagram, 1, NULL, CB);
    NO_SOCKET(xev_udp_send_batch, udp, UDP, L, C, &datagram, 1, NULL, CB);
    ENDS(xev_udp_send_batch, udp, XEV_EPIPE, other, L, C, &datagram, 1, NULL, CB);
    ENDS(xev_udp_send_batch, count, XEV_EINVAL, good, L, C, &datagram, 0, NULL, CB);
    datagram.len_bytes = (uint32_t)TOO_LONG;
    ENDS(xev_udp_send, d, XEV_EINVAL, good, L, C, &datagram, NULL, CB);
    ENDS(xev_udp_send_batch, ds, XEV_EINVAL, good, L, C, &datagram, 1, NULL, CB);
    datagram.len_bytes = 1;
    datagram.segment_bytes = UINT32_MAX;
    ENDS(xev_udp_send, d, XEV_EINVAL, good, L, C, &datagram, NULL, CB);
    datagram.segment_bytes = 0;
    datagram.peer = bad_addr;
    ENDS(xev_udp_send, d, XEV_EINVAL, good, L, C, &datagram, NULL, CB);
    ENDS(xev_udp_send, d, XEV_EINVAL, good, L, C, &(xev_datagram){.len_bytes = 1}, NULL, CB);
    NO_FD(xev_udp_close, udp, UDP, L, C, NULL, CB);
    end();
}

TEST(bad_arguments_of_udp_calls) {
    xev_addr a, group;
    xev_udp udp;
    begin();
    CHECK_EQ(xev_addr_parse(&group, "239.1.2.3", 0), 0);
    const xev_udp good = xev_udp_from_fd(udp_fd), other = xev_udp_from_fd(unix_fd);
    const uint32_t beyond = (uint32_t)INT32_MAX + 1;
    REFUSES(xev_udp_init, family, XEV_EAFNOSUPPORT, &udp, XEV_AF_UNSPEC);
    REFUSES(xev_udp_init, family, XEV_EAFNOSUPPORT, &udp, XEV_AF_UNIX);
    REFUSES(xev_udp_init, family, XEV_EAFNOSUPPORT, &udp, (enum xev_family)77);
    CHECK_EQ(udp.fd, XEV_INVALID_FD);
    CHECK_EQ(TAKES(xev_udp_from_fd, fd, INT_MIN).fd, INT_MIN);
    NO_FD_NOW(xev_udp_bind, udp, UDP, &addr, 0);
    NO_SOCKET_NOW(xev_udp_bind, udp, UDP, &addr, 0);
    REFUSES(xev_udp_bind, addr, XEV_EINVAL, good, NULL, 0);
    REFUSES(xev_udp_bind, addr, XEV_EINVAL, good, &bad_addr, 0);
    REFUSES(xev_udp_bind, addr, XEV_EINVAL, good, &(xev_addr){0}, 0);
    REFUSES(xev_udp_bind, flags, XEV_EINVAL, good, &addr, 4);
    REFUSES(xev_udp_bind, flags, XEV_EINVAL, good, &addr, UINT32_MAX);
    NO_FD_NOW(xev_udp_connect, udp, UDP, &addr);
    NO_SOCKET_NOW(xev_udp_connect, udp, UDP, &addr);
    REFUSES(xev_udp_connect, addr, XEV_EINVAL, good, &bad_addr);
    CHECK_EQ(TAKES(xev_udp_connect, addr, good, NULL), 0);
    NO_FD_NOW(xev_udp_close_now, udp, UDP);
    NO_FD_NOW(xev_udp_join, udp, UDP, &group, NULL, 1);
    NO_SOCKET_NOW(xev_udp_join, udp, UDP, &group, NULL, 1);
    REFUSES(xev_udp_join, group, XEV_EINVAL, good, NULL, NULL, 1);
    REFUSES(xev_udp_join, group, XEV_EINVAL, good, &bad_addr, NULL, 1);
    REFUSES(xev_udp_join, group, XEV_EINVAL, good, &addr, NULL, 1);
    REFUSES(xev_udp_join, source, XEV_EINVAL, good, &group, &bad_addr, 1);
    REFUSES(xev_udp_join, source, XEV_EINVAL, good, &group, &unix_addr, 1);
    REFUSES(xev_udp_join, interface_index, XEV_ENODEV, good, &group, NULL, INT32_MAX);
    REFUSES(xev_udp_join, interface_index, XEV_ENODEV, good, &group, NULL, UINT32_MAX);
    NO_FD_NOW(xev_udp_leave, udp, UDP, &group, NULL, 1);
    NO_SOCKET_NOW(xev_udp_leave, udp, UDP, &group, NULL, 1);
    REFUSES(xev_udp_leave, group, XEV_EINVAL, good, NULL, NULL, 1);
    REFUSES(xev_udp_leave, group, XEV_EINVAL, good, &bad_addr, NULL, 1);
    REFUSES(xev_udp_leave, source, XEV_EINVAL, good, &group, &bad_addr, 1);
    REFUSES(xev_udp_leave, interface_index, XEV_EADDRNOTAVAIL, good, &group, NULL, INT32_MAX);
    NO_FD_NOW(xev_udp_set_multicast_interface, udp, UDP, 1);
    NO_SOCKET_NOW(xev_udp_set_multicast_interface, udp, UDP, 1);
    REFUSES(xev_udp_set_multicast_interface, udp, XEV_EAFNOSUPPORT, other, 1);
    REFUSES(xev_udp_set_multicast_interface, interface_index, XEV_EINVAL, good, beyond);
    NO_FD_NOW(xev_udp_set_multicast_ttl, udp, UDP, 1);
    NO_SOCKET_NOW(xev_udp_set_multicast_ttl, udp, UDP, 1);
    REFUSES(xev_udp_set_multicast_ttl, ttl, XEV_EINVAL, good, 256);
    REFUSES(xev_udp_set_multicast_ttl, ttl, XEV_EINVAL, good, UINT32_MAX);
    NO_FD_NOW(xev_udp_set_multicast_loop, udp, UDP, true);
    NO_SOCKET_NOW(xev_udp_set_multicast_loop, udp, UDP, true);
    NO_FD_NOW(xev_udp_set_ttl, udp, UDP, 1);
    NO_SOCKET_NOW(xev_udp_set_ttl, udp, UDP, 1);
    REFUSES(xev_udp_set_ttl, ttl, XEV_EINVAL, good, 0);
    REFUSES(xev_udp_set_ttl, ttl, XEV_EINVAL, good, 256);
    NO_FD_NOW(xev_udp_set_broadcast, udp, UDP, true);
    NO_SOCKET_NOW(xev_udp_set_broadcast, udp, UDP, true);
    NO_FD_NOW(xev_udp_set_gro, udp, UDP, true);
    NO_SOCKET_NOW(xev_udp_set_gro, udp, UDP, true);
    NO_FD_NOW(xev_udp_set_buffers, udp, UDP, 4096, 4096);
    NO_SOCKET_NOW(xev_udp_set_buffers, udp, UDP, 4096, 4096);
    REFUSES(xev_udp_set_buffers, send_bytes, XEV_EINVAL, good, beyond, 0);
    REFUSES(xev_udp_set_buffers, recv_bytes, XEV_EINVAL, good, 0, beyond);
    FOR_EACH(no_descriptor) { REFUSES(xev_udp_has_gso, udp, false, UDP); }
    NO_FD_NOW(xev_udp_local_addr, udp, UDP, &a);
    NO_SOCKET_NOW(xev_udp_local_addr, udp, UDP, &a);
    NO_FD_NOW(xev_udp_peer_addr, udp, UDP, &a);
    NO_SOCKET_NOW(xev_udp_peer_addr, udp, UDP, &a);
    end();
}

TEST(bad_arguments_of_unix_operations) {
    begin();
    const xev_unix good = xev_unix_from_fd(unix_fd), other = xev_unix_from_fd(udp_fd);
    NO_FD(xev_unix_accept, sock, UNIX, L, C, NULL, CB);
    NO_SOCKET(xev_unix_accept, sock, UNIX, L, C, NULL, CB);
    ENDS(xev_unix_accept, sock, XEV_EINVAL, good, L, C, NULL, CB);
    NO_FD(xev_unix_accept_multi, sock, UNIX, L, C, NULL, CB);
    NO_SOCKET(xev_unix_accept_multi, sock, UNIX, L, C, NULL, CB);
    ENDS(xev_unix_accept_multi, sock, XEV_EINVAL, good, L, C, NULL, CB);
    NO_FD(xev_unix_connect, sock, UNIX, L, C, &unix_addr, NULL, CB);
    NO_SOCKET(xev_unix_connect, sock, UNIX, L, C, &unix_addr, NULL, CB);
    ENDS(xev_unix_connect, sock, XEV_EAFNOSUPPORT, other, L, C, &unix_addr, NULL, CB);
    ENDS(xev_unix_connect, addr, XEV_EINVAL, good, L, C, &bad_addr, NULL, CB);
    ENDS(xev_unix_connect, addr, XEV_EINVAL, good, L, C, &addr, NULL, CB);
    NO_FD(xev_unix_recv, sock, UNIX, L, C, bytes, 1, NULL, CB);
    NO_SOCKET(xev_unix_recv, sock, UNIX, L, C, bytes, 1, NULL, CB);
    ENDS(xev_unix_recv, sock, XEV_EINVAL, good, L, C, bytes, 1, NULL, CB);
    ENDS(xev_unix_recv, len_bytes, XEV_EINVAL, good, L, C, bytes, 0, NULL, CB);
    ENDS(xev_unix_recv, len_bytes, XEV_EINVAL, good, L, C, bytes, TOO_LONG, NULL, CB);
    NO_FD(xev_unix_recv_loan, sock, UNIX, L, C, NULL, CB);
    NO_SOCKET(xev_unix_recv_loan, sock, UNIX, L, C, NULL, CB);
    NO_FD(xev_unix_recv_multi, sock, UNIX, L, C, NULL, CB);
    NO_SOCKET(xev_unix_recv_multi, sock, UNIX, L, C, NULL, CB);
    NO_FD(xev_unix_send, sock, UNIX, L, C, bytes, 1, NULL, CB);
    NO_SOCKET(xev_unix_send, sock, UNIX, L, C, bytes, 1, NULL, CB);
    ENDS(xev_unix_send, sock, XEV_ENOTCONN, good, L, C, bytes, 1, NULL, CB);
    ENDS(xev_unix_send, len_bytes, XEV_EINVAL, good, L, C, bytes, 0, NULL, CB);
    ENDS(xev_unix_send, len_bytes, XEV_EINVAL, good, L, C, bytes, TOO_LONG, NULL, CB);
    NO_FD(xev_unix_recvv, sock, UNIX, L, C, vec, 1, NULL, CB);
    NO_SOCKET(xev_unix_recvv, sock, UNIX, L, C, vec, 1, NULL, CB);
    NO_VEC(xev_unix_recvv, count, good);
    NO_FD(xev_unix_sendv, sock, UNIX, L, C, vec, 1, NULL, CB);
    NO_SOCKET(xev_unix_sendv, sock, UNIX, L, C, vec, 1, NULL, CB);
    NO_VEC(xev_unix_sendv, count, good);
    NO_FD(xev_unix_shutdown, sock, UNIX, L, C, NULL, CB);
    NO_SOCKET(xev_unix_shutdown, sock, UNIX, L, C, NULL, CB);
    NO_FD(xev_unix_send_msg, sock, UNIX, L, C, &msg, NULL, CB);
    NO_SOCKET(xev_unix_send_msg, sock, UNIX, L, C, &msg, NULL, CB);
    NO_FD(xev_unix_recv_msg, sock, UNIX, L, C, &msg, NULL, CB);
    NO_SOCKET(xev_unix_recv_msg, sock, UNIX, L, C, &msg, NULL, CB);
    msg = (xev_unix_msg){.buf = bytes, .len_bytes = 1, .addr = bad_addr};
    ENDS(xev_unix_send_msg, msg, XEV_EINVAL, good, L, C, &msg, NULL, CB);
    msg = (xev_unix_msg){.buf = bytes, .len_bytes = TOO_LONG};
    ENDS(xev_unix_send_msg, msg, XEV_EINVAL, good, L, C, &msg, NULL, CB);
    ENDS(xev_unix_recv_msg, msg, XEV_EINVAL, good, L, C, &msg, NULL, CB);
    msg = (xev_unix_msg){.buf = bytes};
    ENDS(xev_unix_send_msg, msg, XEV_EINVAL, good, L, C, &msg, NULL, CB);
    ENDS(xev_unix_recv_msg, msg, XEV_EINVAL, good, L, C, &msg, NULL, CB);
    msg = (xev_unix_msg){.buf = bytes, .len_bytes = 1, .fds = &event, .fds_len = UINT32_MAX};
    ENDS(xev_unix_send_msg, msg, XEV_EINVAL, good, L, C, &msg, NULL, CB);
    msg.fds_max = XEV_UNIX_FDS_MAX + 1;
    ENDS(xev_unix_recv_msg, msg, XEV_EINVAL, good, L, C, &msg, NULL, CB);
    NO_FD(xev_unix_close, sock, UNIX, L, C, NULL, CB);
    end();
}

TEST(bad_arguments_of_unix_calls) {
    xev_addr a;
    xev_unix sock, pair[2];
    xev_unix_cred cred;
    begin();
    const xev_unix good = xev_unix_from_fd(unix_fd), other = xev_unix_from_fd(udp_fd);
    const uint32_t beyond = (uint32_t)INT32_MAX + 1;
    REFUSES(xev_unix_init, type, XEV_EINVAL, &sock, (enum xev_unix_type)2);
    REFUSES(xev_unix_init, type, XEV_EINVAL, &sock, (enum xev_unix_type)UINT32_MAX);
    CHECK_EQ(sock.fd, XEV_INVALID_FD);
    REFUSES(xev_unix_pair, type, XEV_EINVAL, pair, (enum xev_unix_type)2);
    CHECK_EQ(pair[1].fd, XEV_INVALID_FD);
    CHECK_EQ(TAKES(xev_unix_from_fd, fd, INT_MIN).fd, INT_MIN);
    NO_FD_NOW(xev_unix_bind, sock, UNIX, &unix_addr, XEV_UNIX_KEEP);
    NO_SOCKET_NOW(xev_unix_bind, sock, UNIX, &unix_addr, XEV_UNIX_STALE);
    REFUSES(xev_unix_bind, sock, XEV_EAFNOSUPPORT, other, &unix_addr, XEV_UNIX_KEEP);
    REFUSES(xev_unix_bind, addr, XEV_EINVAL, good, NULL, XEV_UNIX_KEEP);
    REFUSES(xev_unix_bind, addr, XEV_EINVAL, good, &addr, XEV_UNIX_KEEP);
    REFUSES(xev_unix_bind, addr, XEV_EINVAL, good, &bad_addr, XEV_UNIX_STALE);
    REFUSES(xev_unix_bind, policy, XEV_EINVAL, good, &unix_addr, (enum xev_unix_bind)2);
    REFUSES(xev_unix_unlink, addr, XEV_EINVAL, NULL);
    REFUSES(xev_unix_unlink, addr, XEV_EINVAL, &addr);
    REFUSES(xev_unix_unlink, addr, XEV_EINVAL, &bad_addr);
    NO_FD_NOW(xev_unix_listen, sock, UNIX, 1);
    NO_SOCKET_NOW(xev_unix_listen, sock, UNIX, 1);
    REFUSES(xev_unix_listen, backlog, XEV_EINVAL, good, 0);
    REFUSES(xev_unix_listen, backlog, XEV_EINVAL, good, -1);
    NO_FD_NOW(xev_unix_accept_now, sock, UNIX);
    NO_FD_NOW(xev_unix_close_now, sock, UNIX);
    NO_FD_NOW(xev_unix_set_buffers, sock, UNIX, 4096, 4096);
    NO_SOCKET_NOW(xev_unix_set_buffers, sock, UNIX, 4096, 4096);
    REFUSES(xev_unix_set_buffers, send_bytes, XEV_EINVAL, good, beyond, 0);
    REFUSES(xev_unix_set_buffers, recv_bytes, XEV_EINVAL, good, 0, beyond);
    NO_FD_NOW(xev_unix_local_addr, sock, UNIX, &a);
    NO_SOCKET_NOW(xev_unix_local_addr, sock, UNIX, &a);
    NO_FD_NOW(xev_unix_peer_addr, sock, UNIX, &a);
    NO_SOCKET_NOW(xev_unix_peer_addr, sock, UNIX, &a);
    NO_FD_NOW(xev_unix_peer_cred, sock, UNIX, &cred);
    NO_SOCKET_NOW(xev_unix_peer_cred, sock, UNIX, &cred);
    REFUSES(xev_unix_peer_cred, sock, XEV_ENOTCONN, good, &cred);
    end();
}

TEST(bad_arguments_of_file_transfers) {
    begin();
    NO_FD(xev_file_read, fd, FD, L, F, bytes, 1, NULL, CB);
    ENDS(xev_file_read, fd, XEV_EISDIR, folder, L, F, bytes, 1, NULL, CB);
    ENDS(xev_file_read, fd, XEV_EBADF, pipe_end[1], L, F, bytes, 1, NULL, CB);
    ENDS(xev_file_read, len_bytes, XEV_EINVAL, file, L, F, bytes, 0, NULL, CB);
    ENDS(xev_file_read, len_bytes, XEV_EINVAL, file, L, F, bytes, TOO_LONG, NULL, CB);
    NO_FD(xev_file_pread, fd, FD, L, F, bytes, 1, 0, NULL, CB);
    ENDS(xev_file_pread, fd, XEV_ESPIPE, pipe_end[0], L, F, bytes, 1, 0, NULL, CB);
    ENDS(xev_file_pread, len_bytes, XEV_EINVAL, file, L, F, bytes, 0, 0, NULL, CB);
    ENDS(xev_file_pread, len_bytes, XEV_EINVAL, file, L, F, bytes, TOO_LONG, 0, NULL, CB);
    ENDS(xev_file_pread, offset_bytes, XEV_EINVAL, file, L, F, bytes, 1, TOO_FAR, NULL, CB);
    ENDS(xev_file_pread, offset_bytes, XEV_EINVAL, file, L, F, bytes, 1, UINT64_MAX, NULL, CB);
    NO_FD(xev_file_readv, fd, FD, L, F, vec, 1, NULL, CB);
    ENDS(xev_file_readv, count, XEV_EINVAL, file, L, F, vec, 0, NULL, CB);
    ENDS(xev_file_readv, count, XEV_EINVAL, file, L, F, vec, XEV_VEC_MAX + 1, NULL, CB);
    ENDS(xev_file_readv, count, XEV_EINVAL, file, L, F, vec, SIZE_MAX, NULL, CB);
    NO_FD(xev_file_preadv, fd, FD, L, F, vec, 1, 0, NULL, CB);
    ENDS(xev_file_preadv, count, XEV_EINVAL, file, L, F, vec, 0, 0, NULL, CB);
    ENDS(xev_file_preadv, count, XEV_EINVAL, file, L, F, vec, SIZE_MAX, 0, NULL, CB);
    ENDS(xev_file_preadv, offset_bytes, XEV_EINVAL, file, L, F, vec, 1, UINT64_MAX, NULL, CB);
    NO_FD(xev_file_write, fd, FD, L, F, bytes, 1, NULL, CB);
    ENDS(xev_file_write, fd, XEV_EBADF, file, L, F, bytes, 1, NULL, CB); /* read only */
    ENDS(xev_file_write, len_bytes, XEV_EINVAL, event, L, F, bytes, 0, NULL, CB);
    ENDS(xev_file_write, len_bytes, XEV_EINVAL, event, L, F, bytes, TOO_LONG, NULL, CB);
    NO_FD(xev_file_pwrite, fd, FD, L, F, bytes, 1, 0, NULL, CB);
    ENDS(xev_file_pwrite, fd, XEV_ESPIPE, pipe_end[1], L, F, bytes, 1, 0, NULL, CB);
    ENDS(xev_file_pwrite, len_bytes, XEV_EINVAL, event, L, F, bytes, 0, 0, NULL, CB);
    ENDS(xev_file_pwrite, offset_bytes, XEV_EINVAL, event, L, F, bytes, 1, UINT64_MAX, NULL, CB);
    NO_FD(xev_file_writev, fd, FD, L, F, vec, 1, NULL, CB);
    ENDS(xev_file_writev, count, XEV_EINVAL, event, L, F, vec, 0, NULL, CB);
    ENDS(xev_file_writev, count, XEV_EINVAL, event, L, F, vec, SIZE_MAX, NULL, CB);
    NO_FD(xev_file_pwritev, fd, FD, L, F, vec, 1, 0, NULL, CB);
    ENDS(xev_file_pwritev, count, XEV_EINVAL, event, L, F, vec, 0, 0, NULL, CB);
    ENDS(xev_file_pwritev, offset_bytes, XEV_EINVAL, event, L, F, vec, 1, TOO_FAR, NULL, CB);
    NO_FD(xev_file_sendfile, socket, FD, L, F, file, 0, 1, NULL, CB);
    ENDS(xev_file_sendfile, socket, XEV_EPIPE, listener_fd, L, F, file, 0, 1, NULL, CB);
    ENDS(xev_file_sendfile, socket, XEV_EPIPE, stream_fd, L, F, file, 0, 1, NULL, CB);
    NO_FD(xev_file_sendfile, file, local[0], L, F, FD, 0, 1, NULL, CB);
    ENDS(xev_file_sendfile, offset_bytes, XEV_EINVAL, stream_fd, L, F, file, TOO_FAR, 1, NULL, CB);
    ENDS(xev_file_sendfile, len_bytes, XEV_EINVAL, stream_fd, L, F, file, 0, 0, NULL, CB);
    ENDS(xev_file_sendfile, len_bytes, XEV_EINVAL, stream_fd, L, F, file, 0, TOO_LONG, NULL, CB);
    end();
}

TEST(bad_arguments_of_files) {
    xev_file_entry entry;
    size_t at = 0;
    begin();
    ENDS(xev_file_open, flags, XEV_EINVAL, L, F, "/", 0, 0, NULL, CB);
    ENDS(xev_file_open, flags, XEV_EINVAL, L, F, "/", XEV_OPEN_ALL + 1, 0, NULL, CB);
    ENDS(xev_file_open, flags, XEV_EINVAL, L, F, "/", UINT32_MAX, 0, NULL, CB);
    ENDS(xev_file_open, mode, XEV_EINVAL, L, F, "/", XEV_OPEN_READ, 010000, NULL, CB);
    ENDS(xev_file_mkdir, mode, XEV_EINVAL, L, F, "/", UINT32_MAX, NULL, CB);
    ENDS(xev_file_copy, flags, XEV_EINVAL, L, F, "/", "/", 2, NULL, CB);
    NO_FD(xev_file_close, fd, FD, L, F, NULL, CB);
    NO_FD(xev_file_fsync, fd, FD, L, F, NULL, CB);
    ENDS(xev_file_fsync, fd, XEV_EINVAL, pipe_end[0], L, F, NULL, CB);
    NO_FD(xev_file_fdatasync, fd, FD, L, F, NULL, CB);
    ENDS(xev_file_fdatasync, fd, XEV_EINVAL, event, L, F, NULL, CB);
    NO_FD(xev_file_stat_fd, fd, FD, L, F, NULL, CB);
    NO_FD(xev_file_truncate, fd, FD, L, F, 0, NULL, CB);
    ENDS(xev_file_truncate, fd, XEV_EINVAL, pipe_end[1], L, F, 0, NULL, CB);
    ENDS(xev_file_truncate, size_bytes, XEV_EFBIG, file, L, F, TOO_FAR, NULL, CB);
    ENDS(xev_file_truncate_path, size_bytes, XEV_EFBIG, L, F, "/", UINT64_MAX, NULL, CB);
    NO_FD(xev_file_readdir, fd, FD, L, F, bytes, sizeof bytes, NULL, CB);
    ENDS(xev_file_readdir, fd, XEV_ENOTDIR, file, L, F, bytes, sizeof bytes, NULL, CB);
    ENDS(xev_file_readdir, len_bytes, XEV_EINVAL, folder, L, F, bytes, sizeof bytes - 1, NULL, CB);
    ENDS(xev_file_readdir, len_bytes, XEV_EINVAL, folder, L, F, bytes, TOO_LONG, NULL, CB);
    memset(bytes, 0, sizeof bytes); /* nothing that was read */
    REFUSES(xev_file_next_entry, filled_bytes, false, bytes, 1, &at, &entry);
    REFUSES(xev_file_next_entry, filled_bytes, false, bytes, sizeof bytes, &at, &entry);
    memset(bytes, 0xff, sizeof bytes);
    REFUSES(xev_file_next_entry, filled_bytes, false, bytes, sizeof bytes, &at, &entry);
    at = SIZE_MAX;
    REFUSES(xev_file_next_entry, at_bytes, false, bytes, sizeof bytes, &at, &entry);
    end();
}

TEST(bad_arguments_of_name_resolution) {
    begin();
#define RESOLVE(host, service, family, max) L, D, host, service, family, &addr, max, NULL, CB
    ENDS(xev_dns_resolve, host, XEV_EINVAL, RESOLVE("", NULL, XEV_AF_INET, 1));
    ENDS(xev_dns_resolve, service, XEV_EINVAL, RESOLVE("::1", "", XEV_AF_INET, 1));
    ENDS(xev_dns_resolve, service, XEV_EINVAL, RESOLVE("::1", "65536", XEV_AF_INET, 1));
    ENDS(xev_dns_resolve, service, 1, RESOLVE("127.0.0.1", NULL, XEV_AF_INET, 1));
    ENDS(xev_dns_resolve, family, XEV_EAFNOSUPPORT, RESOLVE("::1", NULL, XEV_AF_UNIX, 1));
    ENDS(xev_dns_resolve, family, XEV_EAFNOSUPPORT, RESOLVE("::1", NULL, (enum xev_family)9, 1));
    ENDS(xev_dns_resolve, max, XEV_EINVAL, RESOLVE("::1", NULL, XEV_AF_UNSPEC, 0));
    ENDS(xev_dns_resolve, max, XEV_EINVAL, RESOLVE("::1", NULL, XEV_AF_UNSPEC, 65536));
    ENDS(xev_dns_resolve, max, XEV_EINVAL, RESOLVE("::1", NULL, XEV_AF_UNSPEC, SIZE_MAX));
    ENDS(xev_dns_name, len_bytes, XEV_EINVAL, L, D, &addr, bytes, 0, NULL, CB);
    ENDS(xev_dns_name, len_bytes, XEV_EINVAL, L, D, &addr, bytes, TOO_LONG, NULL, CB);
    ENDS(xev_dns_name, addr, XEV_EINVAL, L, D, &(xev_addr){0}, bytes, sizeof bytes, NULL, CB);
    ENDS(xev_dns_name, addr, XEV_EINVAL, L, D, &bad_addr, bytes, sizeof bytes, NULL, CB);
    end();
}

TEST(bad_arguments_of_processes_and_signals) {
    static const int uncaught[] = {INT_MIN, -1, 0, SIGKILL, SIGSTOP, SIGSEGV, 65, INT_MAX};
    static const int none[] = {INT_MIN, -1, 65, INT_MAX};
    xev_process p;
    xev_signal sig;
    begin();
    REFUSES(xev_process_spawn, options, XEV_EINVAL, &p, &(xev_process_options){0});
    REFUSES(xev_process_open, pid, XEV_EINVAL, &p, 0);
    REFUSES(xev_process_open, pid, XEV_EINVAL, &p, -1);
    REFUSES(xev_process_open, pid, XEV_EINVAL, &p, INT_MIN);
    REFUSES(xev_process_open, pid, XEV_ESRCH, &p, INT_MAX);
    CHECK_EQ(p.fd, XEV_INVALID_FD);
    NO_FD(xev_process_wait, p, PROCESS, L, C, NULL, CB);
    ENDS(xev_process_wait, p, XEV_EBADF, &(xev_process){.fd = file}, L, C, NULL, CB);
    NO_FD_NOW(xev_process_kill, p, PROCESS, 0);
    REFUSES(xev_process_kill, p, XEV_EBADF, &(xev_process){.fd = file}, 0);
    NO_FD_NOW(xev_process_kill_group, p, PROCESS, 0);
    REFUSES(xev_process_kill_group, p, XEV_EBADF, &(xev_process){.fd = file}, 0);
    CHECK_EQ(xev_process_open(&p, getpid()), 0);
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        REFUSES(xev_process_kill, signal_number, XEV_EINVAL, &p, none[i]);
        REFUSES(xev_process_kill_group, signal_number, XEV_EINVAL, &p, none[i]);
    }
    ENDS(xev_process_wait, p, XEV_ECHILD, &p, L, C, NULL, CB);
    CHECK_EQ(xev_process_close_now(&p), 0);
    NO_FD(xev_process_close, p, PROCESS, L, C, NULL, CB);
    NO_FD_NOW(xev_process_close_now, p, PROCESS);
    REFUSES(xev_process_exit_code, result, -1, XEV_ECHILD);
    REFUSES(xev_process_exit_code, result, -1, INT_MAX);
    REFUSES(xev_process_signal, result, 0, INT_MIN);
    for (size_t i = 0; i < sizeof uncaught / sizeof uncaught[0]; i++) {
        REFUSES(xev_signal_init, signal_number, XEV_EINVAL, &sig, uncaught[i]);
    }
    ENDS(xev_signal_wait, s, XEV_EINVAL, &sig, L, C, NULL, CB); /* its init has failed */
    xev_signal_deinit(&sig);
    end();
}

TEST(bad_arguments_of_file_changes) {
    xev_fs_event w;
    xev_fs_change change;
    size_t at = 0;
    begin();
    REFUSES(xev_fs_event_init, path, XEV_ENOENT, &w, "");
    CHECK_EQ(w.fd, XEV_INVALID_FD);
    NO_FD(xev_fs_event_wait, w, (w.fd = FD, &w), L, C, NULL, CB);
    const char *backend = getenv("XEV_BACKEND");
    bool by_kevent = backend != NULL && strcmp(backend, "kqueue") == 0; /* no read finds out */
    ENDS(xev_fs_event_wait, w, by_kevent ? XEV_EBADF : XEV_EISDIR, (w.fd = folder, &w), L, C, NULL,
         CB);
    NO_FD(xev_fs_event_close, w, (w.fd = FD, &w), L, C, NULL, CB);
    NO_FD_NOW(xev_fs_event_close_now, w, (w.fd = FD, &w));
    memset(&w, 0xff, sizeof w);
    REFUSES(xev_fs_event_next, result, false, &w, XEV_EBADF, &at, &change);
    REFUSES(xev_fs_event_next, result, false, &w, 0, &at, &change);
    REFUSES(xev_fs_event_next, result, false, &w, INT_MAX, &at, &change);
    at = SIZE_MAX;
    REFUSES(xev_fs_event_next, at_bytes, false, &w, INT_MAX, &at, &change);
    end();
}
