/* echo_sharded.exe, with a thousand connections at once: what each sends comes back byte for byte.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "tests/test.h"
#include "xev/xev.h"

enum { CLIENTS = 1000, BYTES = 8192, PIECE = 1500 };

struct client {
    xev_tcp tcp;
    xev_completion connect, recv, close;
    xev_stream stream;
    xev_write_req write;
    uint32_t number, received;
    char room[PIECE];
    char sent[BYTES];
};

static xev_loop loop;
static struct client *clients;
static uint32_t connected, echoed, closed;

/* No two clients send the same, and no part of what one sends repeats soon. */
static char byte_at(uint32_t client, uint32_t at) {
    return (char)((client * 2654435761u + at * 40503u) >> 11);
}

static xev_cb_action on_closed(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)l;
    (void)c;
    (void)userdata;
    CHECK_EQ(result, 0);
    closed++;
    return XEV_DISARM;
}

static xev_cb_action on_recv(xev_loop *l, xev_completion *c, int result, void *userdata) {
    struct client *cl = userdata;
    (void)c;
    CHECK_GT(result, 0);
    for (int i = 0; i < result; i++) {
        CHECK_LT(cl->received, BYTES);
        CHECK_EQ(cl->room[i], byte_at(cl->number, cl->received));
        cl->received++;
    }
    if (cl->received < BYTES) {
        return XEV_REARM;
    }
    /* None is closed before all have been answered: all are there at once. */
    if (++echoed == CLIENTS) {
        for (uint32_t i = 0; i < CLIENTS; i++) {
            xev_tcp_close(clients[i].tcp, l, &clients[i].close, NULL, on_closed);
        }
    }
    return XEV_DISARM;
}

static void on_written(xev_loop *l, xev_stream *s, xev_write_req *req, int result, void *userdata) {
    (void)l;
    (void)s;
    (void)req;
    (void)userdata;
    CHECK_GE(result, 0);
}

static void send_all(void) {
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client *cl = &clients[i];
        for (uint32_t at = 0; at < BYTES; at++) {
            cl->sent[at] = byte_at(i, at);
        }
        xev_stream_init(&cl->stream, &loop, cl->tcp.fd);
        xev_stream_write(&cl->stream, &cl->write, cl->sent, BYTES, NULL, on_written);
        xev_tcp_recv(cl->tcp, &loop, &cl->recv, cl->room, sizeof cl->room, cl, on_recv);
    }
}

static void begin_client(const xev_addr *at);

static xev_cb_action on_connected(xev_loop *l, xev_completion *c, int result, void *userdata) {
    (void)l;
    (void)c;
    CHECK_EQ(result, 0);
    if (++connected == CLIENTS) {
        send_all();
    }
    begin_client(userdata);
    return XEV_DISARM;
}

/* Up to as many connects at a time as there are calls of this before the loop runs. */
static void begin_client(const xev_addr *at) {
    static uint32_t begun;
    if (begun < CLIENTS) {
        struct client *cl = &clients[begun];
        cl->number = begun++;
        CHECK_EQ(xev_tcp_init(&cl->tcp, XEV_AF_INET), 0);
        xev_tcp_connect(cl->tcp, &loop, &cl->connect, at, (void *)(uintptr_t)at, on_connected);
    }
}

/* ---- the server ---- */

static PROCESS_INFORMATION server;

/* Starts it, and returns the port that it prints. */
static uint32_t server_start(const char *shards) {
    SECURITY_ATTRIBUTES inherited = {.nLength = sizeof inherited, .bInheritHandle = TRUE};
    HANDLE out, in;
    CHECK(CreatePipe(&out, &in, &inherited, 0));
    CHECK(SetHandleInformation(out, HANDLE_FLAG_INHERIT, 0));
    STARTUPINFOA startup = {.cb = sizeof startup,
                            .dwFlags = STARTF_USESTDHANDLES,
                            .hStdInput = INVALID_HANDLE_VALUE,
                            .hStdOutput = in,
                            .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
    char command[512], path[400];
    CHECK(getenv("SERVER") != NULL);
    snprintf(path, sizeof path, "%s", getenv("SERVER"));
    for (char *p = path; *p != '\0'; p++) {
        *p = *p == '/' ? '\\' : *p;
    }
    snprintf(command, sizeof command, "%s --port 0 --no-pin --shards %s", path, shards);
    CHECK(CreateProcessA(NULL, command, NULL, NULL, TRUE, 0, NULL, NULL, &startup, &server));
    CHECK(CloseHandle(in));
    char text[256] = "";
    DWORD len = 0, n;
    while (strchr(text, '\n') == NULL) {
        CHECK_LT(len, sizeof text - 1);
        CHECK(ReadFile(out, text + len, 1, &n, NULL) && n == 1);
        len += n;
    }
    unsigned port = 0;
    CHECK_EQ(sscanf(text, "listening on 127.0.0.1:%u", &port), 1);
    CHECK(strstr(text, "backend=iocp") != NULL);
    CHECK(CloseHandle(out));
    return port;
}

static void echo_through(const char *shards) {
    uint32_t port = server_start(shards);
    xev_addr at;
    clients = calloc(CLIENTS, sizeof *clients);
    CHECK(clients != NULL);
    CHECK_EQ(xev_addr_parse(&at, "127.0.0.1", port), 0);
    CHECK_EQ(xev_loop_init(&loop), 0);
    for (int i = 0; i < 64; i++) {
        begin_client(&at);
    }
    CHECK_EQ(xev_loop_run(&loop, XEV_RUN_UNTIL_DONE), 0);
    CHECK_EQ(connected, CLIENTS);
    CHECK_EQ(echoed, CLIENTS);
    CHECK_EQ(closed, CLIENTS);
    xev_loop_deinit(&loop);
    free(clients);
    /* It has served them all, and is still there. */
    CHECK_EQ(WaitForSingleObject(server.hProcess, 0), WAIT_TIMEOUT);
    CHECK(TerminateProcess(server.hProcess, 0));
}

TEST_TIMEOUT(a_thousand_connections_are_echoed_by_one_shard, 120) { echo_through("1"); }

TEST_TIMEOUT(a_thousand_connections_are_echoed_by_four_shards, 120) { echo_through("4"); }
