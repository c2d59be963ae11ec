/* An HTTP/1.1 server of the files below a directory, on every core.
 *
 * Each shard has its own connections and its own cache of files. A request whose file is not in the
 * cache leaves its bytes unconsumed and pauses the connection; when the file is there the data
 * handler gets them again. So requests of a pipeline are answered in their order, and nothing of a
 * request has to be kept.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "examples/http_files/files.h"
#include "examples/random.h"
#include "examples/server.h"

struct shard {
    http1_server http;
    struct files files;
};

static const char *root = ".";
static bool lists;

/* ---- requests ---- */

/* To the same path with a slash behind it. "//a/" would be another host's. */
static void redirect(xev_conn *conn, const http1_request *request) {
    char location[HTTP1_TARGET_MAX + 32];
    http1_text path = request->path;
    for (; path.len > 1 && path.at[1] == '/'; path.len--) {
        path.at++;
    }
    snprintf(location, sizeof location, "Location: %.*s/\r\n", (int)path.len, path.at);
    http1_reply(conn, request, 301, location);
}

static bool on_request(xev_conn *conn, const http1_request *request) {
    static const char allow[] = "Allow: GET, HEAD, OPTIONS\r\n";
    struct shard *s = xev_conn_service_userdata(xev_conn_service_of(conn));
    struct client *k = xev_conn_user(conn);
    http1_content *content;
    char path[2048];
    if (http1_is(request->method, "OPTIONS")) {
        http1_reply(conn, request, 204, allow);
        return true;
    }
    if (!http1_is(request->method, "GET") && !http1_is(request->method, "HEAD")) {
        http1_reply(conn, NULL, 405, allow);
        return true;
    }
    k->conn = conn;
    int rc = http1_path(request->path, path, sizeof path);
    int status = rc < 0 ? -rc : files_get(&s->files, path, k, &content);
    switch (status) {
    case 0:
        return false;
    case FILES_LIST:
        return list_reply(conn, request, root, path);
    case 200:
        http1_reply_content(conn, request, content);
        return true;
    case 301:
        redirect(conn, request);
        return true;
    default:
        http1_reply(conn, request, status, "");
        return true;
    }
}

static void on_closed(xev_conn *conn, xev_conn_reason reason, int code) {
    files_forget(xev_conn_user(conn));
    http1_on_closed(conn, reason, code);
}

static const xev_conn_handlers handlers = {.data = http1_on_data,
                                           .writable = http1_on_writable,
                                           .late = http1_on_late,
                                           .closed = on_closed};

/* ---- the server ---- */

static int on_init(xev_shard *self, void *userdata) {
    struct server *server = userdata;
    struct shard *s = xev_service_part(server->service, xev_shard_id(self));
    s->http.request = on_request;
    s->files.loop = xev_shard_loop(self);
    s->files.root = root;
    s->files.lists = lists;
    /* All shards together keep a quarter of the descriptors; the others are for connections. */
    s->files.open_bytes =
        FILES_BYTES_MAX * 4 * xev_runtime_shards(&server->handle) / (uint64_t)sysconf(_SC_OPEN_MAX);
    return random_fill(&s->http.boundary, sizeof s->http.boundary) ? 0 : XEV_ENOSYS;
}

static void on_deinit(xev_shard *self, void *userdata) {
    struct server *server = userdata;
    struct shard *s = xev_service_part(server->service, xev_shard_id(self));
    files_free(&s->files);
}

int main(int argc, char **argv) {
    static const struct server_flag flags[] = {
        {"root", "DIR", "the directory that is served (.)", .text = &root},
        {"list", NULL, "list directories that have no index.html", .on = &lists},
        {.name = NULL}};
    struct server server = {
        .program = "http_files", .host = "127.0.0.1", .port = 8080, .flags = flags};
    server_parse(&server, argc, argv);
    struct stat st;
    if (stat(root, &st) < 0 || !S_ISDIR(st.st_mode)) {
        fprintf(stderr, "http_files: --root takes a directory, not '%s'\n", root);
        return 2;
    }
    server.runtime.init = on_init;
    server.runtime.deinit = on_deinit;
    const xev_service_options options = {
        .shard_bytes = sizeof(struct shard),
        .conns = {.handlers = &handlers,
                  .user_bytes = sizeof(struct client),
                  .unconsumed_max_bytes = 2 * HTTP1_HEAD_MAX,
                  .deadlines = {.idle_ms = 75000}},
    };
    return server_serve(&server, &options);
}
