/* Calls of Windows that fail, each in turn and at each of its calls: every operation ends once, by
 * a result or a code, and no socket stays open. The linker puts what stands here before the calls
 * that the library imports (--wrap=__imp_NAME). */
#include "tests/inject.h"
#include "tests/loop_scene.h"

#include <mswsock.h>

static const char *target; /* the call that fails */
static DWORD inject_error; /* of it, in the stead of the usual one; 0: that one */

static bool fails(const char *call) {
    return target != NULL && strcmp(call, target) == 0 && inject_now();
}

/* parameters and arguments in parentheses; what it returns when it fails, with this error */
#define WRAP(type, call, parameters, arguments, failure, error)                                    \
    extern type(WINAPI *__real___imp_##call) parameters;                                           \
    static type WINAPI call##_or_failure parameters {                                              \
        if (fails(#call)) {                                                                        \
            SetLastError(inject_error != 0 ? inject_error : (DWORD)(error));                       \
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
WRAP(int, closesocket, (SOCKET s), (s), SOCKET_ERROR, WSAEWOULDBLOCK)

static LONG packet_status; /* of the next packet of an operation, once; 0: the true one */

typedef BOOL(WINAPI *packets_fn)(HANDLE, LPOVERLAPPED_ENTRY, ULONG, PULONG, DWORD, BOOL);
extern packets_fn __real___imp_GetQueuedCompletionStatusEx;
extern packets_fn __wrap___imp_GetQueuedCompletionStatusEx;

static BOOL WINAPI packets(HANDLE port, LPOVERLAPPED_ENTRY entries, ULONG room, PULONG n, DWORD ms,
                           BOOL alertable) {
    if (fails("GetQueuedCompletionStatusEx")) {
        SetLastError(ERROR_NO_SYSTEM_RESOURCES);
        return FALSE;
    }
    BOOL ok = __real___imp_GetQueuedCompletionStatusEx(port, entries, room, n, ms, alertable);
    for (ULONG i = 0; ok && i < *n; i++) {
        if (packet_status != 0 && entries[i].lpOverlapped != NULL) {
            entries[i].lpOverlapped->Internal = (ULONG_PTR)packet_status;
            packet_status = 0;
        }
    }
    return ok;
}

packets_fn __wrap___imp_GetQueuedCompletionStatusEx = packets;

/* ---- what is done meanwhile ---- */

enum { CLIENTS = 3, KEPT = 16 };

static xev_loop loop;
static struct op accepted, many, connected, received, sent, closed[3], datagram_in, datagram_out,
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

/* ---- several accepts at a time ---- */

static xev_fd kept[KEPT];    /* connections that the multishot accept has brought */
static int kept_count, told; /* told: of failures that do not end it */

static xev_cb_action on_many(xev_loop *l, xev_completion *c, int result, void *userdata) {
    if (result >= 0) {
        CHECK_LT(kept_count, KEPT);
        kept[kept_count++] = result;
    }
    bool more = xev_completion_more(c);
    told += result < 0 && more;
    (void)on_end(l, c, result, userdata);
    return more ? XEV_REARM : XEV_DISARM;
}

static int listen_at(xev_addr *addr, xev_tcp *at) {
    *at = (xev_tcp){XEV_INVALID_FD};
    CHECK_EQ(xev_addr_parse(addr, "127.0.0.1", 0), 0);
    int rc = xev_tcp_init(at, XEV_AF_INET);
    rc = rc < 0 ? rc : xev_tcp_bind(*at, addr, false);
    rc = rc < 0 ? rc : xev_tcp_listen(*at, 8);
    return rc < 0 ? rc : xev_tcp_local_addr(*at, addr);
}

static void accept_many(xev_tcp at) {
    kept_count = told = 0;
    xev_tcp_accept_multi(at, &loop, &begin(&many)->c, &many, on_many);
}

static int close_kept(void) {
    int rc = 0;
    while (kept_count > 0) {
        rc = first(rc, close_of(kept[--kept_count], &closed[2]));
    }
    return rc;
}

static int over_many(void) {
    xev_tcp at, clients[CLIENTS];
    xev_addr addr;
    int rc = listen_at(&addr, &at), connects = 0;
    bool accepts = rc == 0;
    if (accepts) {
        accept_many(at);
    }
    for (int i = 0; i < CLIENTS; i++) {
        clients[i].fd = XEV_INVALID_FD;
        rc = rc < 0 ? rc : xev_tcp_init(&clients[i], XEV_AF_INET);
        if (rc == 0) {
            xev_tcp_connect(clients[i], &loop, &begin(&connected)->c, &addr, &connected, on_end);
            rc = result_of(&connected);
            connects += rc == 0;
        }
    }
    while (accepts && kept_count + told < connects && many.terminal == 0 && broken == 0) {
        int run = xev_loop_run(&loop, XEV_RUN_ONCE);
        broken = run < 0 ? run : 0;
    }
    if (accepts && many.terminal > 0) {
        rc = first(rc, many.result);
    }
    rc = first(rc, close_of(at.fd, &closed[1]));
    for (int i = 0; i < CLIENTS; i++) {
        rc = first(rc, close_of(clients[i].fd, &closed[0]));
    }
    rc = first(rc, broken);
    return broken != 0 ? rc : first(rc, close_kept());
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
    rc = first(first(over_tcp(), over_many()), first(over_udp(), over_pipe()));
    xev_loop_deinit(&loop);
    while (kept_count > 0) { /* that came while the loop could not wait, or at its end */
        CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(kept[--kept_count])), 0);
    }
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

/* ---- accepts: as many as there should be, and none is lost ---- */

static void cancel_many(void) {
    static struct op cancel;
    memset(&cancel, 0, sizeof cancel);
    xev_cancel(&loop, &many.c, &cancel.c, &cancel, op_cb);
    while (cancel.terminal == 0) {
        run_once(&loop);
    }
    CHECK_EQ(many.terminal, 1);
    CHECK_EQ(many.result, XEV_ECANCELED);
}

/* Returns how many descriptors were open before. */
static int begin_listening(xev_addr *addr, xev_tcp *at) {
    begun = ended = 0;
    CHECK_EQ(xev_loop_init(&loop), 0);
    int before = test_open_descriptors();
    CHECK_EQ(listen_at(addr, at), 0);
    return before;
}

static xev_tcp client_of(const xev_addr *addr) {
    xev_tcp client;
    static struct op connect;
    memset(&connect, 0, sizeof connect);
    CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
    xev_tcp_connect(client, &loop, &connect.c, addr, &connect, op_cb);
    while (connect.terminal == 0) {
        run_once(&loop);
    }
    CHECK_EQ(connect.result, 0);
    return client;
}

TEST(a_multishot_accept_has_several_sockets_waiting) {
    xev_tcp at;
    xev_addr addr;
    int before = begin_listening(&addr, &at);
    target = "WSASocketW";
    inject_plan(INT_MAX, INJECT_ONCE);
    accept_many(at);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0);
    int waiting = atomic_load(&inject.calls);
    CHECK_GT(waiting, 1);
    xev_tcp client = client_of(&addr);
    while (kept_count < 1) {
        run_once(&loop);
    }
    inject_arm(false);
    target = NULL;
    CHECK_EQ(atomic_load(&inject.calls), waiting + 2); /* the client's, and one that waits again */
    cancel_many();
    CHECK_EQ(xev_tcp_close_now(client), 0);
    CHECK_EQ(xev_tcp_close_now(at), 0);
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(kept[0])), 0);
    kept_count = 0;
    CHECK_EQ(test_open_descriptors(), before);
    xev_loop_deinit(&loop);
}

/* Clients come while the loop does not look, and more of them than accepts wait. Those that the
 * system had given to an accept are delivered before its end, the others are there for the next. */
TEST(a_cancelled_multishot_accept_loses_nobody) {
    enum { MANY = 12 };
    xev_tcp at, clients[MANY];
    xev_addr addr;
    int before = begin_listening(&addr, &at);
    CHECK_EQ(xev_tcp_listen(at, MANY), 0);
    accept_many(at);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0);
    for (int i = 0; i < MANY; i++) {
        clients[i].fd = socket(AF_INET, SOCK_STREAM, 0);
        CHECK_EQ(connect(clients[i].fd, (const struct sockaddr *)(const void *)addr.storage,
                         (socklen_t)addr.len_bytes),
                 0);
    }
    cancel_many();
    CHECK_LE(kept_count, MANY);
    while (kept_count < MANY) {
        accepted = (struct op){0};
        xev_tcp_accept(at, &loop, &accepted.c, &accepted, op_cb);
        while (accepted.terminal == 0) {
            run_once(&loop);
        }
        CHECK_GE(accepted.result, 0);
        kept[kept_count++] = accepted.result;
    }
    for (int i = 0; i < MANY; i++) {
        CHECK_EQ(xev_tcp_close_now(clients[i]), 0);
        CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(kept[i])), 0);
    }
    kept_count = 0;
    CHECK_EQ(xev_tcp_close_now(at), 0);
    CHECK_EQ(test_open_descriptors(), before);
    xev_loop_deinit(&loop);
}

/* ---- what Windows says that POSIX does not ---- */

static void fail(const char *call, DWORD error, int mode) {
    target = call;
    inject_error = error;
    inject_plan(1, mode);
}

static void fail_no_more(void) {
    inject_arm(false);
    target = NULL;
    inject_error = 0;
}

/* A client that the library does not know of. */
static xev_tcp stranger(const xev_addr *addr) {
    xev_tcp client = {(xev_fd)(intptr_t)socket(AF_INET, SOCK_STREAM, 0)};
    CHECK_EQ(connect(client.fd, (const struct sockaddr *)(const void *)addr->storage,
                     (socklen_t)addr->len_bytes),
             0);
    return client;
}

/* More of them than accepts wait: a connection that has ended before it is taken is its own
 * failure. */
TEST(connections_that_are_gone_do_not_end_an_accept) {
    enum { GONE = 40 };
    xev_tcp at;
    xev_addr addr;
    int before = begin_listening(&addr, &at);
    accept_many(at);
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_NO_WAIT), 0);
    fail("setsockopt", WSAENOTCONN, INJECT_FROM_THERE_ON);
    for (int i = 1; i <= GONE; i++) {
        xev_tcp client = stranger(&addr);
        while (atomic_load(&inject.hits) < i) { /* no callback tells of it */
            run_no_wait(&loop);
            CHECK_EQ(many.terminal, 0);
        }
        CHECK_EQ(xev_tcp_close_now(client), 0);
    }
    fail_no_more();
    CHECK_EQ(kept_count, 0);
    xev_tcp client = stranger(&addr);
    while (kept_count == 0) {
        run_once(&loop);
        CHECK_EQ(many.terminal, 0);
    }
    cancel_many();
    CHECK_EQ(xev_tcp_close_now(client), 0);
    CHECK_EQ(xev_tcp_close_now(at), 0);
    CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(kept[--kept_count])), 0);
    CHECK_EQ(test_open_descriptors(), before);
    xev_loop_deinit(&loop);
}

/* The kernel's statuses of a connect, in the words of Winsock and not of files. */
TEST(failures_of_sockets_have_their_codes) {
    static const struct {
        DWORD status;
        int code;
    } known[] = {
        {0xC000020A /* ADDRESS_ALREADY_EXISTS */, XEV_EADDRINUSE},
        {0xC0000236 /* CONNECTION_REFUSED */, XEV_ECONNREFUSED},
        {0xC00000B5 /* IO_TIMEOUT */, XEV_ETIMEDOUT},
        {0xC000023C /* NETWORK_UNREACHABLE */, XEV_ENETUNREACH},
        {0xC000023D /* HOST_UNREACHABLE */, XEV_EHOSTUNREACH},
    };
    xev_tcp at;
    xev_addr addr;
    CHECK_EQ(xev_loop_init(&loop), 0);
    CHECK_EQ(listen_at(&addr, &at), 0);
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        xev_tcp client;
        CHECK_EQ(xev_tcp_init(&client, XEV_AF_INET), 0);
        memset(&connected, 0, sizeof connected);
        packet_status = (LONG)known[i].status;
        xev_tcp_connect(client, &loop, &connected.c, &addr, &connected, op_cb);
        while (connected.terminal == 0) {
            run_once(&loop);
        }
        printf("%#lx\n", known[i].status);
        CHECK_EQ(packet_status, 0);
        CHECK_EQ(connected.result, known[i].code);
        CHECK_EQ(xev_tcp_close_now(client), 0);
    }
    CHECK_EQ(xev_tcp_close_now(at), 0);
    xev_loop_deinit(&loop);
}

/* Winsock would take it all, since there is room for a part. */
TEST(a_large_send_is_not_given_to_the_system_as_a_whole) {
    enum { LARGE = 16 << 20, MOST = 1 << 20 };
    xev_tcp at;
    xev_addr addr;
    char *bytes = calloc(1, LARGE);
    CHECK(bytes != NULL);
    CHECK_EQ(xev_loop_init(&loop), 0);
    CHECK_EQ(listen_at(&addr, &at), 0);
    xev_tcp client = client_of(&addr);
    memset(&sent, 0, sizeof sent);
    xev_tcp_send(client, &loop, &sent.c, bytes, LARGE, &sent, op_cb);
    run_for(&loop, &sent, 1);
    CHECK_GT(sent.result, 0);
    CHECK_LE(sent.result, MOST);
    CHECK_EQ(xev_tcp_close_now(client), 0);
    CHECK_EQ(xev_tcp_close_now(at), 0);
    xev_loop_deinit(&loop);
    free(bytes);
}

/* Winsock leaves a socket open whose close would have to wait. */
TEST(a_close_that_would_wait_is_a_close) {
    xev_tcp tcp;
    int before = test_open_descriptors();
    CHECK_EQ(xev_tcp_init(&tcp, XEV_AF_INET), 0);
    CHECK_EQ(xev_tcp_set_linger(tcp, 5000), 0);
    fail("closesocket", WSAEWOULDBLOCK, INJECT_ONCE);
    CHECK_EQ(xev_tcp_close_now(tcp), 0);
    CHECK_EQ(atomic_load(&inject.calls), 2);
    fail_no_more();
    CHECK_EQ(test_open_descriptors(), before);
}

TEST(a_pipe_whose_name_is_taken_gets_another) {
    xev_fd reads, writes;
    static const DWORD taken[] = {ERROR_PIPE_BUSY, ERROR_ACCESS_DENIED};
    for (int i = 0; i < 2; i++) {
        fail("CreateNamedPipeW", taken[i], INJECT_ONCE);
        CHECK_EQ(xev_pipe_open(&reads, &writes), 0);
        CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(reads)), 0);
        CHECK_EQ(xev_tcp_close_now(xev_tcp_from_fd(writes)), 0);
    }
    fail("CreateNamedPipeW", ERROR_PIPE_BUSY, INJECT_FROM_THERE_ON);
    CHECK_EQ(xev_pipe_open(&reads, &writes), XEV_EBUSY);
    fail_no_more();
}

/* The network has said that a port cannot be reached: with one peer that is its refusal; else it is
 * about nobody in particular, and the datagram behind it is received. */
TEST(a_refused_datagram_is_told_of_the_one_peer_only) {
    static xev_datagram in, out;
    static char room[8];
    xev_udp a, b;
    xev_addr at;
    CHECK_EQ(xev_loop_init(&loop), 0);
    CHECK_EQ(xev_addr_parse(&at, "127.0.0.1", 0), 0);
    CHECK_EQ(xev_udp_init(&a, XEV_AF_INET), 0);
    CHECK_EQ(xev_udp_init(&b, XEV_AF_INET), 0);
    CHECK_EQ(xev_udp_bind(a, &at, 0), 0);
    CHECK_EQ(xev_udp_bind(b, &at, 0), 0);
    CHECK_EQ(xev_udp_local_addr(b, &at), 0);
    for (int connects = 0; connects < 2; connects++) {
        xev_addr from;
        in = (xev_datagram){.buf = room, .capacity_bytes = sizeof room};
        out = (xev_datagram){.data = "bytes", .len_bytes = 5, .peer = at};
        memset(&datagram_in, 0, sizeof datagram_in);
        memset(&datagram_out, 0, sizeof datagram_out);
        CHECK_EQ(xev_udp_local_addr(a, &from), 0);
        CHECK_EQ(connects ? xev_udp_connect(b, &from) : 0, 0);
        xev_udp_send(a, &loop, &datagram_out.c, &out, &datagram_out, op_cb);
        run_for(&loop, &datagram_out, 1);
        fail("WSARecvFrom", WSAECONNRESET, INJECT_ONCE);
        xev_udp_recv(b, &loop, &datagram_in.c, &in, &datagram_in, op_cb);
        run_for(&loop, &datagram_in, 1);
        CHECK_EQ(atomic_load(&inject.hits), 1);
        fail_no_more();
        CHECK_EQ(datagram_in.result, connects ? XEV_ECONNREFUSED : 5);
    }
    out = (xev_datagram){.data = "bytes", .len_bytes = 5};
    memset(&datagram_out, 0, sizeof datagram_out);
    fail("WSASendTo", WSAECONNRESET, INJECT_ONCE);
    xev_udp_send(b, &loop, &datagram_out.c, &out, &datagram_out, op_cb);
    run_for(&loop, &datagram_out, 1);
    fail_no_more();
    CHECK_EQ(datagram_out.result, XEV_ECONNREFUSED);
    CHECK_EQ(xev_udp_close_now(a), 0);
    CHECK_EQ(xev_udp_close_now(b), 0);
    xev_loop_deinit(&loop);
}

TEST(a_system_without_unix_sockets_says_so) {
    xev_unix sock;
    target = "WSASocketW";
    inject_error = WSAEAFNOSUPPORT;
    inject_plan(1, INJECT_ONCE);
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_STREAM), XEV_ENOTSUP);
    inject_arm(false);
    target = NULL;
    CHECK_EQ(sock.fd, XEV_INVALID_FD);
    CHECK_EQ(xev_unix_init(&sock, XEV_UNIX_DATAGRAM), XEV_ENOTSUP);
}
