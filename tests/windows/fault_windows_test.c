/* Calls of Windows that fail, each in turn and at each of its calls: every operation ends once, by
 * a result or a code, and no socket stays open. The linker puts what stands here before the calls
 * that the library imports (--wrap=__imp_NAME). */
#include "tests/inject.h"
#include "tests/loop_scene.h"

#include <mswsock.h>

static const char *target; /* the call that fails */

static bool fails(const char *call) {
    return target != NULL && strcmp(call, target) == 0 && inject_now();
}

/* parameters and arguments in parentheses; what it returns when it fails, with this error */
#define WRAP(type, call, parameters, arguments, failure, error)                                    \
    extern type(WINAPI *__real___imp_##call) parameters;                                           \
    static type WINAPI call##_or_failure parameters {                                              \
        if (fails(#call)) {                                                                        \
            SetLastError(error);                                                                   \
            return failure;                                                                        \
        }                                                                                          \
        return __real___imp_##call arguments;                                                      \
    }                                                                                              \
    extern type(WINAPI *__wrap___imp_##call) parameters;                                           \
    type(WINAPI *__wrap___imp_##call) parameters = call##_or_failure;

WRAP(HANDLE, CreateIoCompletionPort, (HANDLE h, HANDLE port, ULONG_PTR key, DWORD threads),
     (h, port, key, threads), NULL, ERROR_NO_SYSTEM_RESOURCES)
WRAP(SOCKET, WSASocketW,
     (int domain, int type, int protocol, LPWSAPROTOCOL_INFOW info, GROUP group, DWORD flags),
     (domain, type, protocol, info, group, flags), INVALID_SOCKET, WSAEMFILE)
WRAP(int, WSAIoctl,
     (SOCKET s, DWORD what, LPVOID in, DWORD in_len, LPVOID out, DWORD out_len, LPDWORD n,
      LPWSAOVERLAPPED o, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine),
     (s, what, in, in_len, out, out_len, n, o, routine), SOCKET_ERROR, WSAENOBUFS)
WRAP(int, WSARecv,
     (SOCKET s, LPWSABUF to, DWORD count, LPDWORD n, LPDWORD flags, LPWSAOVERLAPPED o,
      LPWSAOVERLAPPED_COMPLETION_ROUTINE routine),
     (s, to, count, n, flags, o, routine), SOCKET_ERROR, WSAENOBUFS)
WRAP(int, WSASend,
     (SOCKET s, LPWSABUF from, DWORD count, LPDWORD n, DWORD flags, LPWSAOVERLAPPED o,
      LPWSAOVERLAPPED_COMPLETION_ROUTINE routine),
     (s, from, count, n, flags, o, routine), SOCKET_ERROR, WSAECONNRESET)
WRAP(int, WSARecvFrom,
     (SOCKET s, LPWSABUF to, DWORD count, LPDWORD n, LPDWORD flags, struct sockaddr *peer,
      LPINT peer_len, LPWSAOVERLAPPED o, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine),
     (s, to, count, n, flags, peer, peer_len, o, routine), SOCKET_ERROR, WSAENOBUFS)
WRAP(int, WSASendTo,
     (SOCKET s, LPWSABUF from, DWORD count, LPDWORD n, DWORD flags, const struct sockaddr *peer,
      int peer_len, LPWSAOVERLAPPED o, LPWSAOVERLAPPED_COMPLETION_ROUTINE routine),
     (s, from, count, n, flags, peer, peer_len, o, routine), SOCKET_ERROR, WSAENOBUFS)
WRAP(int, ioctlsocket, (SOCKET s, long what, u_long *value), (s, what, value), SOCKET_ERROR,
     WSAENETDOWN)
WRAP(int, setsockopt, (SOCKET s, int level, int name, const char *value, int len),
     (s, level, name, value, len), SOCKET_ERROR, WSAENOBUFS)
WRAP(int, getsockname, (SOCKET s, struct sockaddr *addr, int *len), (s, addr, len), SOCKET_ERROR,
     WSAENETDOWN)
WRAP(int, bind, (SOCKET s, const struct sockaddr *addr, int len), (s, addr, len), SOCKET_ERROR,
     WSAEADDRINUSE)
WRAP(int, listen, (SOCKET s, int backlog), (s, backlog), SOCKET_ERROR, WSAENOBUFS)
WRAP(HANDLE, CreateNamedPipeW,
     (LPCWSTR name, DWORD open, DWORD mode, DWORD instances, DWORD out, DWORD in, DWORD time,
      LPSECURITY_ATTRIBUTES security),
     (name, open, mode, instances, out, in, time, security), INVALID_HANDLE_VALUE,
     ERROR_NO_SYSTEM_RESOURCES)
WRAP(HANDLE, CreateFileW,
     (LPCWSTR name, DWORD access, DWORD share, LPSECURITY_ATTRIBUTES security, DWORD how,
      DWORD flags, HANDLE like),
     (name, access, share, security, how, flags, like), INVALID_HANDLE_VALUE,
     ERROR_TOO_MANY_OPEN_FILES)
WRAP(BOOL, ReadFile, (HANDLE h, LPVOID to, DWORD len, LPDWORD n, LPOVERLAPPED o),
     (h, to, len, n, o), FALSE, ERROR_NOT_ENOUGH_MEMORY)
WRAP(BOOL, WriteFile, (HANDLE h, LPCVOID from, DWORD len, LPDWORD n, LPOVERLAPPED o),
     (h, from, len, n, o), FALSE, ERROR_NOT_ENOUGH_MEMORY)
WRAP(BOOL, GetQueuedCompletionStatusEx,
     (HANDLE port, LPOVERLAPPED_ENTRY entries, ULONG room, PULONG n, DWORD ms, BOOL alertable),
     (port, entries, room, n, ms, alertable), FALSE, ERROR_NO_SYSTEM_RESOURCES)

/* ---- what is done meanwhile ---- */

static xev_loop loop;
static struct op accepted, connected, received, sent, closed[3], datagram_in, datagram_out,
    piped[2];
static uint32_t begun, ended;
static int broken; /* a run of the loop has failed */

static xev_cb_action on_end(xev_loop *l, xev_completion *c, int result, void *userdata) {
    ended += !xev_completion_more(c);
    return op_cb(l, c, result, userdata);
}

static struct op *begin(struct op *o) {
    memset(o, 0, sizeof *o);
    begun++;
    return o;
}

/* Until o has ended, or the loop cannot wait. */
static int result_of(struct op *o) {
    while (o->terminal == 0 && broken == 0) {
        CHECK_GT(xev_loop_active(&loop), 0);
        int rc = xev_loop_run(&loop, XEV_RUN_ONCE);
        broken = rc < 0 ? rc : 0;
    }
    return broken != 0 ? broken : o->result;
}

static int first(int a, int b) { return a < 0 ? a : b < 0 ? b : 0; }

static int close_of(xev_fd fd, struct op *o) {
    if (fd == XEV_INVALID_FD) {
        return 0;
    }
    if (broken != 0) {
        return xev_tcp_close_now(xev_tcp_from_fd(fd));
    }
    xev_tcp_close(xev_tcp_from_fd(fd), &loop, &begin(o)->c, o, on_end);
    return result_of(o);
}

static int exchange(xev_fd a, xev_fd b) {
    static char in[8];
    xev_tcp_recv(xev_tcp_from_fd(b), &loop, &begin(&received)->c, in, 8, &received, on_end);
    xev_tcp_send(xev_tcp_from_fd(a), &loop, &begin(&sent)->c, "bytes", 5, &sent, on_end);
    int rc = result_of(&sent);
    return rc < 0 ? rc : result_of(&received); /* else the close of b ends it */
}

static int over_tcp(void) {
    xev_tcp at = {XEV_INVALID_FD}, client = {XEV_INVALID_FD};
    xev_fd server = XEV_INVALID_FD;
    xev_addr addr;
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    int rc = xev_tcp_init(&at, XEV_AF_INET);
    rc = rc < 0 ? rc : xev_tcp_bind(at, &addr, false);
    rc = rc < 0 ? rc : xev_tcp_listen(at, 8);
    rc = rc < 0 ? rc : xev_tcp_local_addr(at, &addr);
    rc = rc < 0 ? rc : xev_tcp_init(&client, XEV_AF_INET);
    if (rc == 0) {
        xev_tcp_accept(at, &loop, &begin(&accepted)->c, &accepted, on_end);
        xev_tcp_connect(client, &loop, &begin(&connected)->c, &addr, &connected, on_end);
        rc = result_of(&connected);
        server = rc == 0 ? result_of(&accepted) : XEV_INVALID_FD;
        rc = rc == 0 && server < 0 ? server : rc;
        server = server < 0 ? XEV_INVALID_FD : server;
        rc = rc < 0 ? rc : exchange(client.fd, server);
    }
    rc = first(rc, close_of(client.fd, &closed[0]));
    rc = first(rc, close_of(at.fd, &closed[1]));
    if (server == XEV_INVALID_FD && accepted.terminal > 0 && accepted.result >= 0) {
        server = accepted.result; /* it came although the connect had failed */
    }
    accepted.result = -1;
    return first(rc, close_of(server, &closed[2]));
}

static int over_udp(void) {
    static xev_datagram in, out;
    static char room[8];
    xev_udp a = {XEV_INVALID_FD}, b = {XEV_INVALID_FD};
    xev_addr addr;
    CHECK_EQ(xev_addr_parse(&addr, "127.0.0.1", 0), 0);
    int rc = xev_udp_init(&a, XEV_AF_INET);
    rc = rc < 0 ? rc : xev_udp_init(&b, XEV_AF_INET);
    rc = rc < 0 ? rc : xev_udp_bind(b, &addr, 0);
    rc = rc < 0 ? rc : xev_udp_local_addr(b, &addr);
    if (rc == 0) {
        in = (xev_datagram){.buf = room, .capacity_bytes = sizeof room};
        out = (xev_datagram){.data = "bytes", .len_bytes = 5, .peer = addr};
        xev_udp_recv(b, &loop, &begin(&datagram_in)->c, &in, &datagram_in, on_end);
        xev_udp_send(a, &loop, &begin(&datagram_out)->c, &out, &datagram_out, on_end);
        rc = result_of(&datagram_out);
        rc = rc < 0 ? rc : result_of(&datagram_in);
    }
    rc = first(rc, close_of(a.fd, &closed[0]));
    return first(rc, close_of(b.fd, &closed[1]));
}

static int over_pipe(void) {
    static char room[8];
    xev_fd reads = XEV_INVALID_FD, writes = XEV_INVALID_FD;
    int rc = xev_pipe_open(&reads, &writes);
    if (rc == 0) {
        xev_fd_read(reads, &loop, &begin(&piped[0])->c, room, 8, &piped[0], on_end);
        xev_fd_write(writes, &loop, &begin(&piped[1])->c, "bytes", 5, &piped[1], on_end);
        rc = result_of(&piped[1]);
        rc = rc < 0 ? rc : result_of(&piped[0]);
    }
    rc = first(rc, close_of(writes, &closed[0]));
    return first(rc, close_of(reads, &closed[1]));
}

static int all(void) {
    begun = ended = 0;
    broken = 0;
    int rc = xev_loop_init(&loop);
    if (rc < 0) {
        return rc;
    }
    rc = first(over_tcp(), first(over_udp(), over_pipe()));
    xev_loop_deinit(&loop);
    CHECK_EQ(ended, begun);
    return rc;
}

static void fails_at_each_call(const char *call) {
    int hits = 1;
    for (int at = 1; hits > 0; at++) {
        int before = test_open_descriptors();
        target = call;
        inject_plan(at, INJECT_ONCE);
        int rc = all();
        inject_arm(false);
        target = NULL;
        hits = atomic_load(&inject.hits);
        printf("%s %d: %d\n", call, at, rc);
        CHECK(hits > 0 || rc == 0);
        CHECK(hits > 0 || at > 1); /* it is called at all */
        CHECK_EQ(test_open_descriptors(), before);
        CHECK_EQ(all(), 0); /* and all is well again */
    }
}

TEST_TIMEOUT(sockets_cannot_be_made, 60) { fails_at_each_call("WSASocketW"); }
TEST_TIMEOUT(nothing_is_known_of_a_socket, 60) { fails_at_each_call("WSAIoctl"); }
TEST_TIMEOUT(options_are_refused, 60) {
    fails_at_each_call("setsockopt");
    fails_at_each_call("ioctlsocket");
}
TEST_TIMEOUT(addresses_are_refused, 60) {
    fails_at_each_call("bind");
    fails_at_each_call("listen");
    fails_at_each_call("getsockname");
}
TEST_TIMEOUT(receives_fail, 60) {
    fails_at_each_call("WSARecv");
    fails_at_each_call("WSARecvFrom");
}
TEST_TIMEOUT(sends_fail, 60) {
    fails_at_each_call("WSASend");
    fails_at_each_call("WSASendTo");
}
TEST_TIMEOUT(pipes_fail, 60) {
    fails_at_each_call("CreateNamedPipeW");
    fails_at_each_call("CreateFileW");
    fails_at_each_call("ReadFile");
    fails_at_each_call("WriteFile");
}
TEST_TIMEOUT(ports_cannot_be_made, 60) { fails_at_each_call("CreateIoCompletionPort"); }
TEST_TIMEOUT(the_wait_fails, 60) { fails_at_each_call("GetQueuedCompletionStatusEx"); }
