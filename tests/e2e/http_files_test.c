/* examples/http_files from outside: what it serves, refuses, and outlasts. */
#include "tests/e2e/server.h"

#include <dirent.h>
#include <sys/stat.h>

#include "tests/http1_cases.h"

enum { BIG = 3000000, REPLY_MAX = BIG + 4096 };

static char root[256];
static uint8_t big[BIG];
static char text[20000];

/* A literal, without its NUL. */
#define PUT(fd, text) put((fd), (text), sizeof(text) - 1)

static const char *path_of(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

static void write_file(const char *name, const void *data, size_t len) {
    FILE *f = fopen(path_of(name), "w");
    CHECK(f != NULL);
    CHECK_EQ(fwrite(data, 1, len, f), len);
    CHECK_EQ(fclose(f), 0);
}

/* A directory with some files, and a server of it. */
static void start_limited(struct server *s, const char *const *more, void (*setup)(void)) {
    const char *tmp = getenv("TEST_TMPDIR");
    const char *args[ARGS_MAX] = {"--root", root};
    snprintf(root, sizeof root, "%.200s/www.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CHECK(mkdtemp(root) != NULL);
    uint64_t rng = 1;
    for (size_t i = 0; i < BIG; i++) {
        big[i] = (uint8_t)random_next(&rng);
    }
    for (size_t i = 0; i < sizeof text; i++) {
        text[i] = i % 50 == 49 ? '\n' : (char)('a' + i % 7);
    }
    CHECK_EQ(mkdir(path_of("sub"), 0755), 0);
    write_file("index.html", "front\n", 6);
    write_file("sub/index.html", "below\n", 6);
    write_file("a b.txt", "spaced\n", 7);
    write_file("empty.png", "", 0);
    write_file("text.html", text, sizeof text);
    write_file("middle.bin", big, 100000);
    write_file("big.bin", big, BIG);
    CHECK_EQ(mkfifo(path_of("fifo"), 0600), 0);
    for (int i = 0; more != NULL && more[i] != NULL; i++) {
        args[2 + i] = more[i];
    }
    server_start_with(s, 2, args, setup);
}

static void start_with(struct server *s, const char *const *more) { start_limited(s, more, NULL); }

static void start(struct server *s) { start_with(s, NULL); }

static void stop(struct server *s) {
    server_signal(s, SIGTERM);
    server_wait_end(s);
    check_exit(s, 0);
    CHECK_STR_EQ(s->err_text, "");
}

/* ---- a client ---- */

struct reply {
    int status;
    char head[4096];
    const uint8_t *body;
    size_t len; /* of the body */
};

static uint8_t received[REPLY_MAX + 65536];

/* The value of a field, or "". */
static const char *field(const struct reply *r, const char *name) {
    static char value[256];
    char wanted[64];
    snprintf(wanted, sizeof wanted, "\r\n%s: ", name);
    const char *at = strstr(r->head, wanted);
    value[0] = '\0';
    if (at != NULL) {
        at += strlen(wanted);
        snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    }
    return value;
}

/* Reads one reply; to HEAD it has no body, to others of the length that it says. */
static void read_reply(int fd, struct reply *r, bool has_body) {
    size_t len = 0;
    const uint8_t *end = NULL;
    memset(r, 0, sizeof *r);
    while (end == NULL) { /* what is behind the head stays in the socket */
        size_t from = len > 3 ? len - 3 : 0;
        CHECK_LT(len, sizeof r->head - 1);
        ssize_t n = recv(fd, received + len, sizeof r->head - 1 - len, MSG_PEEK);
        if (n <= 0) {
            CHECK_FAIL("the end after %zu bytes of a head: %.*s", len, (int)len, received);
        }
        end = memmem(received + from, len + (size_t)n - from, "\r\n\r\n", 4);
        size_t used = end != NULL ? (size_t)(end + 4 - received) - len : (size_t)n;
        take(fd, received + len, used);
        len += used;
    }
    memcpy(r->head, received, len);
    CHECK_EQ(sscanf(r->head, "HTTP/1.1 %d ", &r->status), 1);
    if (r->status == 100) {
        read_reply(fd, r, has_body);
        return;
    }
    CHECK_STR_EQ(field(r, "Server"), "xev");
    CHECK(field(r, "Date")[0] != '\0');
    r->len = strtoul(field(r, "Content-Length"), NULL, 10);
    CHECK_LE(r->len, REPLY_MAX);
    r->body = received;
    if (has_body && r->len > 0) {
        take(fd, received, r->len);
    }
}

static void ask_on(int fd, struct reply *r, const char *method, const char *target,
                   const char *fields) {
    char q[4096];
    int len = snprintf(q, sizeof q, "%s %s HTTP/1.1\r\nHost: a\r\n%s\r\n", method, target, fields);
    put(fd, q, (size_t)len);
    read_reply(fd, r, strcmp(method, "HEAD") != 0);
}

static void ask(const struct server *s, struct reply *r, const char *method, const char *target,
                const char *fields) {
    int fd = client(s);
    ask_on(fd, r, method, target, fields);
    close_fd(fd);
}

static void get(const struct server *s, struct reply *r, const char *target, const char *fields) {
    ask(s, r, "GET", target, fields);
}

static void check_body(const struct reply *r, int status, const void *data, size_t len) {
    CHECK_EQ(r->status, status);
    CHECK_EQ(r->len, len);
    CHECK_MEM_EQ(r->body, data, len);
}

/* ---- files ---- */

TEST(files_of_every_size_are_served) {
    struct server s;
    struct reply r;
    start(&s);
    for (int round = 0; round < 2; round++) { /* from the disk, and from the cache */
        get(&s, &r, "/", "");
        check_body(&r, 200, "front\n", 6);
        CHECK_STR_EQ(field(&r, "Content-Type"), "text/html; charset=utf-8");
        get(&s, &r, "/sub/", "");
        check_body(&r, 200, "below\n", 6);
        get(&s, &r, "/sub/../sub/./index.html?a=b", "");
        check_body(&r, 200, "below\n", 6);
        get(&s, &r, "/a%20b.txt", "");
        check_body(&r, 200, "spaced\n", 7);
        get(&s, &r, "/empty.png", "");
        check_body(&r, 200, "", 0);
        CHECK_STR_EQ(field(&r, "Content-Type"), "image/png");
        get(&s, &r, "/middle.bin", "");
        check_body(&r, 200, big, 100000);
        CHECK_STR_EQ(field(&r, "Content-Type"), "application/octet-stream");
        get(&s, &r, "/big.bin", "");
        check_body(&r, 200, big, BIG);
        ask(&s, &r, "HEAD", "/big.bin", "");
        CHECK_EQ(r.len, BIG);
    }
    stop(&s);
}

TEST(what_is_not_there_or_not_a_file_is_refused) {
    struct server s;
    struct reply r;
    start(&s);
    get(&s, &r, "/nothing", "");
    CHECK_EQ(r.status, 404);
    get(&s, &r, "/index.html/x", "");
    CHECK_EQ(r.status, 404);
    get(&s, &r, "/fifo", "");
    CHECK_EQ(r.status, 403);
    get(&s, &r, "/sub", "");
    CHECK_EQ(r.status, 301);
    CHECK_STR_EQ(field(&r, "Location"), "/sub/");
    get(&s, &r, "//sub", ""); /* no other host's */
    CHECK_EQ(r.status, 301);
    CHECK_STR_EQ(field(&r, "Location"), "/sub/");
    static const char *const outside[] = {"/..",       "/../etc/passwd",     "/sub/../../x",
                                          "/%2e%2e/x", "/..%2f..%2fetc/x",   "/a%00b",
                                          "/%",        "/sub/%2e%2E%2f../x", "/%2"};
    for (size_t i = 0; i < sizeof outside / sizeof outside[0]; i++) {
        get(&s, &r, outside[i], "");
        CHECK_EQ(r.status, 400);
    }
    ask(&s, &r, "DELETE", "/", "");
    CHECK_EQ(r.status, 405);
    CHECK_STR_EQ(field(&r, "Allow"), "GET, HEAD, OPTIONS");
    ask(&s, &r, "OPTIONS", "*", "");
    CHECK_EQ(r.status, 204);
    stop(&s);
}

TEST(ranges_and_conditions) {
    struct server s;
    struct reply r;
    char tag[128], fields[256];
    start(&s);
    get(&s, &r, "/big.bin", "Range: bytes=1000-2000999\r\n");
    check_body(&r, 206, big + 1000, 2000000);
    CHECK_STR_EQ(field(&r, "Content-Range"), "bytes 1000-2000999/3000000");
    get(&s, &r, "/middle.bin", "Range: bytes=-1\r\n");
    check_body(&r, 206, big + 99999, 1);
    get(&s, &r, "/index.html", "Range: bytes=6-\r\n");
    CHECK_EQ(r.status, 416);
    CHECK_STR_EQ(field(&r, "Content-Range"), "bytes */6");
    get(&s, &r, "/index.html", "");
    snprintf(tag, sizeof tag, "%s", field(&r, "ETag"));
    snprintf(fields, sizeof fields, "If-None-Match: %s\r\n", tag);
    int fd = client(&s);
    ask_on(fd, &r, "GET", "/index.html", fields);
    CHECK_EQ(r.status, 304);
    CHECK_STR_EQ(field(&r, "ETag"), tag);
    snprintf(fields, sizeof fields, "If-Modified-Since: %s\r\n", field(&r, "Last-Modified"));
    ask_on(fd, &r, "GET", "/index.html", fields);
    CHECK_EQ(r.status, 304);
    ask_on(fd, &r, "GET", "/index.html", "If-Match: \"x\"\r\n");
    CHECK_EQ(r.status, 412);
    ask_on(fd, &r, "GET", "/index.html", "If-Range: \"x\"\r\nRange: bytes=1-2\r\n");
    check_body(&r, 200, "front\n", 6);
    close_fd(fd);
    stop(&s);
}

/* Parts of a file from memory, and of one from the disk. */
TEST(several_ranges_come_in_one_body) {
    static const struct {
        const char *target, *ranges;
        size_t size, spans[3][2];
    } rows[] = {
        {"/index.html", "0-1,4-", 6, {{0, 2}, {4, 2}}},
        {"/middle.bin", "99999-,0-0,50000-79999", 100000, {{99999, 1}, {0, 1}, {50000, 30000}}},
        {"/big.bin", "5-5,1000-2000999,-1", BIG, {{5, 1}, {1000, 2000000}, {BIG - 1, 1}}},
    };
    struct server s;
    struct reply r;
    start(&s);
    int fd = client(&s);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char fields[128], boundary[64], expected[256];
        snprintf(fields, sizeof fields, "Range: bytes=%s\r\nAccept-Encoding: gzip\r\n",
                 rows[i].ranges);
        ask_on(fd, &r, "GET", rows[i].target, fields);
        CHECK_EQ(r.status, 206);
        CHECK_STR_EQ(field(&r, "Content-Range"), "");
        CHECK_EQ(sscanf(field(&r, "Content-Type"), "multipart/byteranges; boundary=%63s", boundary),
                 1);
        const uint8_t *at = r.body, *from = i == 0 ? (const uint8_t *)"front\n" : big;
        for (int j = 0; j < 3 && rows[i].spans[j][1] > 0; j++) {
            const size_t *span = rows[i].spans[j];
            int len = snprintf(expected, sizeof expected,
                               "%s--%s\r\nContent-Type: %s\r\nContent-Range: bytes %zu-%zu/%zu"
                               "\r\n\r\n",
                               j > 0 ? "\r\n" : "", boundary,
                               i == 0 ? "text/html; charset=utf-8" : "application/octet-stream",
                               span[0], span[0] + span[1] - 1, rows[i].size);
            CHECK_MEM_EQ(at, expected, (size_t)len);
            CHECK_MEM_EQ(at + len, from + span[0], span[1]);
            at += (size_t)len + span[1];
        }
        int len = snprintf(expected, sizeof expected, "\r\n--%s--\r\n", boundary);
        CHECK_MEM_EQ(at, expected, (size_t)len);
        CHECK_EQ((size_t)(at - r.body) + (size_t)len, r.len);
    }
    close_fd(fd);
    stop(&s);
}

TEST(text_is_compressed_for_those_who_accept_it) {
    struct server s;
    struct reply r;
    start(&s);
    for (int round = 0; round < 2; round++) {
        get(&s, &r, "/text.html", "Accept-Encoding: br, gzip\r\n");
        CHECK_EQ(r.status, 200);
        CHECK_STR_EQ(field(&r, "Content-Encoding"), "gzip");
        CHECK_STR_EQ(field(&r, "Vary"), "Accept-Encoding");
        CHECK_LT(r.len, 5000);
        CHECK_EQ(r.body[0], 0x1f);
        CHECK_EQ(r.body[1], 0x8b);
        /* The length of the data, at the end (RFC 1952). */
        uint32_t size = r.body[r.len - 4] | (uint32_t)r.body[r.len - 3] << 8;
        CHECK_EQ(size, sizeof text);
        get(&s, &r, "/text.html", "Accept-Encoding: gzip;q=0\r\n");
        check_body(&r, 200, text, sizeof text);
        CHECK_STR_EQ(field(&r, "Vary"), "Accept-Encoding");
        get(&s, &r, "/middle.bin", "Accept-Encoding: gzip\r\n");
        check_body(&r, 200, big, 100000);
    }
    stop(&s);
}

static void few_descriptors(void) {
    const struct rlimit limit = {256, 256};
    CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* Files that stay on disk are kept open, but not so many that others find no descriptor. */
TEST_TIMEOUT(many_large_files_leave_descriptors_for_others, 60) {
    enum { LARGE = 300000 };
    struct server s;
    struct reply r;
    start_limited(&s, NULL, few_descriptors);
    int fd = client(&s);
    for (int i = 0; i < 280; i++) {
        char name[32];
        snprintf(name, sizeof name, "/large%d.bin", i);
        write_file(name, "", 0);
        CHECK_EQ(truncate(path_of(name), LARGE), 0);
        ask_on(fd, &r, "HEAD", name, "");
        CHECK_EQ(r.status, 200);
        CHECK_EQ(r.len, LARGE);
        CHECK_EQ(unlink(path_of(name)), 0);
    }
    int another = client(&s);
    ask_on(another, &r, "GET", "/", "");
    check_body(&r, 200, "front\n", 6);
    close_fd(another);
    close_fd(fd);
    stop(&s);
}

/* ---- listings ---- */

static void start_listing(struct server *s, int files) {
    start_with(s, (const char *const[]){"--list", NULL});
    CHECK_EQ(mkdir(path_of("many"), 0755), 0);
    for (int i = 0; i < files; i++) {
        char name[64];
        snprintf(name, sizeof name, "many/file <%d>", i);
        write_file(name, "", 0);
    }
}

/* Reads a body in chunks up to its end; returns it, ended by a NUL. */
static char *read_chunks(int fd) {
    size_t at = 0, end = 0, chunk;
    do {
        size_t line = end;
        while (line == end || received[end - 1] != '\n') {
            take(fd, received + end++, 1);
        }
        received[end] = '\0';
        CHECK_EQ(sscanf((char *)received + line, "%zx\r\n", &chunk), 1);
        CHECK_LT(at + chunk + 64, sizeof received);
        end = at;
        take(fd, received + end, chunk + 2); /* over the line */
        CHECK_MEM_EQ(received + end + chunk, "\r\n", 2);
        at = end += chunk;
    } while (chunk > 0);
    received[at] = '\0';
    return (char *)received;
}

/* From one that fits into a chunk to some chunks; one of the counts may end with one. */
TEST_TIMEOUT(directories_are_listed_in_chunks, 60) {
    struct server s;
    struct reply r;
    start_listing(&s, 0);
    int fd = client(&s);
    for (int files = 0, chunks = 0; files < 230; files++) {
        char q[] = "GET /many/ HTTP/1.1\r\nHost: a\r\n\r\n", name[128];
        if (files % 50 == 0 || files > 195) {
            put(fd, q, sizeof q - 1);
            read_reply(fd, &r, false);
            CHECK_EQ(r.status, 200);
            CHECK_STR_EQ(field(&r, "Transfer-Encoding"), "chunked");
            CHECK_STR_EQ(field(&r, "Content-Length"), "");
            const char *list = read_chunks(fd);
            for (int i = 0; i < files; i++) {
                snprintf(name, sizeof name,
                         "<a href=\"file%%20%%3C%d%%3E\">file &#60;%d&#62;</a>\n", i, i);
                CHECK(strstr(list, name) != NULL);
            }
            for (chunks = 0; (list = strstr(list, "<a href")) != NULL; list++) {
                chunks++;
            }
            CHECK_EQ(chunks, files + 1); /* and the directory above */
        }
        snprintf(name, sizeof name, "many/file <%d>", files);
        write_file(name, "", 0);
    }
    close_fd(fd);
    stop(&s);
}

TEST(a_listing_to_clients_of_all_kinds) {
    struct server s;
    struct reply r;
    start_listing(&s, 3000);
    int fd = client(&s);
    /* Nothing of what follows in the pipeline is answered before its end. */
    PUT(fd, "GET /many/ HTTP/1.1\r\nHost: a\r\n\r\nGET /sub/ HTTP/1.1\r\nHost: a\r\n\r\n");
    read_reply(fd, &r, false);
    CHECK(strstr(read_chunks(fd), "2999") != NULL);
    read_reply(fd, &r, true);
    check_body(&r, 200, "below\n", 6);
    ask_on(fd, &r, "HEAD", "/many/", "");
    CHECK_EQ(r.status, 200);
    CHECK_STR_EQ(field(&r, "Transfer-Encoding"), "chunked");
    ask_on(fd, &r, "GET", "/none/", "");
    CHECK_EQ(r.status, 404);
    ask_on(fd, &r, "GET", "/index.html/", "");
    CHECK_EQ(r.status, 404);
    ask_on(fd, &r, "GET", "/many", "");
    CHECK_EQ(r.status, 301);
    PUT(fd, "GET /many/ HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    read_reply(fd, &r, false); /* the end of the connection is the end of the body */
    CHECK_STR_EQ(field(&r, "Transfer-Encoding"), "");
    CHECK_STR_EQ(field(&r, "Connection"), "close");
    size_t len = 0;
    for (ssize_t n; (n = recv(fd, received + len, sizeof received - 1 - len, 0)) > 0;) {
        len += (size_t)n;
    }
    received[len] = '\0';
    CHECK(strstr((char *)received, "2999") != NULL);
    CHECK_MEM_EQ(received + len - 5, "</a>\n", 5);
    close_fd(fd);
    for (int i = 0; i < 50; i++) { /* that leave early */
        fd = client(&s);
        PUT(fd, "GET /many/ HTTP/1.1\r\nHost: a\r\n\r\n");
        if (i % 2 == 0) {
            reset_close(fd);
        } else {
            close_fd(fd);
        }
    }
    /* One that reads slowly, into the drain. */
    int slow = client_socket(&s);
    small_buffers(slow);
    connect_fd(&s, slow);
    PUT(slow, "GET /many/ HTTP/1.1\r\nHost: a\r\n\r\n");
    uint8_t first;
    take(slow, &first, 1);
    server_signal(&s, SIGTERM);
    take(slow, received, 12);
    CHECK_MEM_EQ(received, "TTP/1.1 200 ", 12);
    len = 0;
    for (ssize_t n; (n = recv(slow, received + len, sizeof received - 1 - len, 0)) > 0;) {
        len += (size_t)n;
    }
    CHECK_MEM_EQ(received + len - 7, "\r\n0\r\n\r\n", 7);
    close_fd(slow);
    server_wait_end(&s);
    check_exit(&s, 0);
    CHECK_STR_EQ(s.err_text, "");
}

TEST(directories_are_not_listed_unless_that_was_asked_for) {
    struct server s;
    struct reply r;
    start(&s);
    CHECK_EQ(mkdir(path_of("bare"), 0755), 0);
    get(&s, &r, "/bare/", "");
    CHECK_EQ(r.status, 404);
    stop(&s);
}

/* Within some time: the clock of the cache is not the test's. */
TEST_TIMEOUT(a_changed_file_is_noticed, 60) {
    struct server s;
    struct reply r;
    start(&s);
    int fd = client(&s);
    ask_on(fd, &r, "GET", "/index.html", "");
    check_body(&r, 200, "front\n", 6);
    write_file("new", "later\n", 6);
    char from[512];
    snprintf(from, sizeof from, "%s", path_of("new"));
    CHECK_EQ(rename(from, path_of("index.html")), 0);
    do {
        ask_on(fd, &r, "GET", "/index.html", "");
        CHECK_EQ(r.status, 200);
    } while (memcmp(r.body, "later\n", 6) != 0);
    CHECK_EQ(unlink(path_of("index.html")), 0);
    do {
        ask_on(fd, &r, "GET", "/index.html", "");
    } while (r.status == 200);
    CHECK_EQ(r.status, 404);
    close_fd(fd);
    stop(&s);
}

/* ---- connections ---- */

TEST(requests_of_a_pipeline_are_answered_in_their_order) {
    static const char *const targets[] = {"/", "/big.bin", "/nothing", "/sub/", "/text.html", "/x"};
    struct server s;
    struct reply r;
    char q[8192];
    size_t len = 0;
    start(&s);
    for (int i = 0; i < 60; i++) {
        len += (size_t)snprintf(q + len, sizeof q - len, "GET %s HTTP/1.1\r\nHost: a\r\n\r\n",
                                targets[i % 6]);
    }
    int fd = client(&s);
    put(fd, q, len);
    end_writing(fd); /* what was asked before is answered */
    for (int i = 0; i < 60; i += 6) {
        read_reply(fd, &r, true);
        check_body(&r, 200, "front\n", 6);
        read_reply(fd, &r, true);
        check_body(&r, 200, big, BIG);
        read_reply(fd, &r, true);
        CHECK_EQ(r.status, 404);
        read_reply(fd, &r, true);
        check_body(&r, 200, "below\n", 6);
        read_reply(fd, &r, true);
        check_body(&r, 200, text, sizeof text);
        read_reply(fd, &r, true);
        CHECK_EQ(r.status, 404);
    }
    check_end(fd);
    close_fd(fd);
    stop(&s);
}

TEST(a_request_in_single_bytes) {
    static const char q[] = "GET /sub/ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    struct server s;
    struct reply r;
    start(&s);
    int fd = client(&s), on = 1;
    CHECK_EQ(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
    for (size_t i = 0; i < sizeof q - 1; i++) {
        put(fd, q + i, 1);
    }
    read_reply(fd, &r, true);
    check_body(&r, 200, "below\n", 6);
    CHECK_STR_EQ(field(&r, "Connection"), "close");
    check_end(fd);
    close_fd(fd);
    stop(&s);
}

TEST(bodies_of_requests_are_dropped) {
    struct server s;
    struct reply r;
    start(&s);
    int fd = client(&s);
    PUT(fd, "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    read_reply(fd, &r, true);
    check_body(&r, 200, "front\n", 6);
    ask_on(fd, &r, "GET", "/sub/", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n");
    check_body(&r, 200, "below\n", 6);
    PUT(fd, "5\r\nhello\r\n0\r\nA: b\r\n\r\n");
    ask_on(fd, &r, "GET", "/", "Transfer-Encoding: chunked\r\n");
    check_body(&r, 200, "front\n", 6);
    PUT(fd, "5\r\nhello!");
    read_reply(fd, &r, true);
    CHECK_EQ(r.status, 400);
    check_end(fd);
    close_fd(fd);
    get(&s, &r, "/", "Content-Length: 1048577\r\n");
    CHECK_EQ(r.status, 413);
    stop(&s);
}

/* The answer, and the end: nothing behind a request that another server may read differently is
 * taken for a request. */
TEST_TIMEOUT(requests_that_are_malformed_are_refused, 60) {
    struct server s;
    struct reply r;
    start(&s);
    for (int i = 0; i < HTTP1_CASES; i++) {
        const struct http1_case *t = &http1_cases[i];
        if (t->status == 0) {
            continue;
        }
        int fd = client(&s);
        put(fd, t->text, t->len);
        PUT(fd, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        read_reply(fd, &r, true);
        if (r.status != t->status) {
            CHECK_FAIL("%s: %d", t->what, r.status);
        }
        check_end(fd);
        close_fd(fd);
    }
    get(&s, &r, "/", "");
    CHECK_EQ(r.status, 200);
    stop(&s);
}

/* Clients that go away at any moment, and others that are served meanwhile. */
TEST_TIMEOUT(clients_that_leave_early_harm_nobody, 60) {
    struct server s;
    struct reply r;
    start(&s);
    for (int i = 0; i < 200; i++) {
        char q[128];
        int fd = client(&s);
        int len = snprintf(q, sizeof q, "GET /%s%d HTTP/1.1\r\nHost: a\r\n\r\n",
                           i % 2 == 0 ? "big.bin?" : "x", i);
        put(fd, q, (size_t)len);
        if (i % 4 < 2) {
            reset_close(fd);
        } else {
            close_fd(fd);
        }
    }
    get(&s, &r, "/big.bin", "");
    check_body(&r, 200, big, BIG);
    stop(&s);
}

TEST(a_drain_ends_what_was_asked) {
    struct server s;
    struct reply r;
    start(&s);
    int idle = client(&s), slow = client_socket(&s);
    small_buffers(slow);
    connect_fd(&s, slow);
    ask_on(idle, &r, "GET", "/", "");
    PUT(slow, "GET /big.bin HTTP/1.1\r\nHost: a\r\n\r\n");
    uint8_t first;
    take(slow, &first, 1);
    server_signal(&s, SIGTERM);
    check_end(idle);
    size_t len = 1;
    ssize_t n;
    while ((n = recv(slow, received, sizeof received, 0)) > 0) {
        len += (size_t)n;
    }
    CHECK_EQ(n, 0);
    CHECK_GT(len, BIG);
    close_fd(slow);
    close_fd(idle);
    server_wait_end(&s);
    check_exit(&s, 0);
}

/* ---- by another's client ---- */

static const char *curl(const char *arguments, const struct server *s, const char *target) {
    static char out[4096];
    char command[1024];
    snprintf(command, sizeof command, "curl -s %s 'http://127.0.0.1:%u%s'", arguments, s->port,
             target);
    FILE *f = popen(command, "r");
    CHECK(f != NULL);
    out[fread(out, 1, sizeof out - 1, f)] = '\0';
    CHECK_EQ(pclose(f), 0);
    return out;
}

TEST(curl_is_served) {
    struct server s;
    char compare[1024];
    if (access("/usr/bin/curl", X_OK) != 0) {
        fprintf(stderr, "SKIPPED: there is no curl\n");
        return;
    }
    start(&s);
    CHECK_STR_EQ(curl("-L", &s, "/sub"), "below\n");
    CHECK_STR_EQ(curl("--compressed", &s, "/"), "front\n");
    CHECK_STR_EQ(curl("-r 1-3", &s, "/"), "ron");
    CHECK(strstr(curl("-r 1-3,0-0", &s, "/"), "bytes 1-3/6\r\n\r\nron\r\n--") != NULL);
    CHECK_STR_EQ(curl("-o /dev/null -w '%{http_code}' -d 'x=y'", &s, "/"), "405");
    CHECK_STR_EQ(curl("-H 'Transfer-Encoding: chunked' -X GET -d hello", &s, "/"), "front\n");
    CHECK_STR_EQ(curl("--http1.0", &s, "/"), "front\n");
    CHECK_STR_EQ(curl("-o /dev/null -w '%{http_code}' --path-as-is", &s, "/../../etc/passwd"),
                 "400");
    snprintf(compare, sizeof compare, "--compressed -o %s/got", root);
    (void)curl(compare, &s, "/text.html");
    snprintf(compare, sizeof compare, "cmp %s/got %s/text.html", root, root);
    CHECK_EQ(system(compare), 0);
    stop(&s);
}

/* ---- beside nginx ---- */

/* Its status and every Content-Range, of the head or of a part. */
static void ranges_of(char *out, size_t room, const char *server, const char *ranges) {
    char command[1024];
    snprintf(command, sizeof command,
             "curl -s -i -H 'Range: bytes=%s' %s | tr -d '\\r' |"
             " grep -aoE '^HTTP/1.1 [0-9]*|^Content-Range: .*'",
             ranges, server);
    FILE *f = popen(command, "r");
    CHECK(f != NULL);
    out[fread(out, 1, room - 1, f)] = '\0';
    CHECK_EQ(pclose(f), 0);
}

TEST_TIMEOUT(ranges_are_answered_as_nginx_does, 60) {
    static const char *const rows[] = {"0-9",      "5-5",         "90-10000000",  "-5",
                                       "-0",       "20000-",      "20000-30000",  "0-1,3-4",
                                       "3-4, 0-1", "0-1,20000-",  "20000-,-0",    "0-9999,9999-",
                                       "0-,0-",    "5-5,5-5,5-5", "0-9999,10000-"};
    struct server s;
    struct server nginx;
    if (access("/usr/bin/curl", X_OK) != 0 || access("/usr/sbin/nginx", X_OK) != 0) {
        fprintf(stderr, "SKIPPED: there is no curl or no nginx\n");
        return;
    }
    start(&s);
    char config[4096], path[512], ours[512], theirs[1024], got[1024], expected[1024];
    char folder[] = "/tmp/nginx.XXXXXX"; /* the names of sockets are short */
    CHECK(mkdtemp(folder) != NULL);
    int len = snprintf(config, sizeof config,
                       "user root; daemon off; master_process off; pid %s/pid; error_log %s/log;\n"
                       "events {}\nhttp { access_log off; client_body_temp_path %s;"
                       " proxy_temp_path %s; fastcgi_temp_path %s; uwsgi_temp_path %s;"
                       " scgi_temp_path %s;\n server { listen unix:%s/nginx; root %s; } }\n",
                       root, root, root, root, root, root, root, folder, root);
    write_file("config", config, (size_t)len);
    snprintf(path, sizeof path, "%s", path_of("config"));
    program_exec(&nginx, "/usr/sbin/nginx",
                 (const char *const[]){"-p", root, "-e", "stderr", "-c", path, NULL}, NULL);
    snprintf(ours, sizeof ours, "http://127.0.0.1:%u/text.html", s.port);
    snprintf(path, sizeof path, "%s/nginx", folder);
    snprintf(theirs, sizeof theirs, "--unix-socket %s http://a/text.html", path);
    while (access(path, F_OK) != 0) { /* from then on connections wait in its backlog */
        if (waitpid(nginx.pid, NULL, WNOHANG) != 0) {
            size_t said = 0;
            append_text(nginx.err, nginx.err_text, &said);
            CHECK_FAIL("nginx does not start: %s", nginx.err_text);
        }
        (void)poll(NULL, 0, 10);
    }
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ranges_of(expected, sizeof expected, theirs, rows[i]);
        ranges_of(got, sizeof got, ours, rows[i]);
        if (strcmp(got, expected) != 0) {
            CHECK_FAIL("%s: %s, not %s", rows[i], got, expected);
        }
    }
    server_signal(&nginx, SIGTERM);
    CHECK_EQ(waitpid(nginx.pid, NULL, 0), nginx.pid);
    CHECK_EQ(close(nginx.out), 0);
    CHECK_EQ(close(nginx.err), 0);
    (void)unlink(path);
    CHECK_EQ(rmdir(folder), 0);
    stop(&s);
}

/* ---- under load ---- */

TEST_TIMEOUT(wrk_is_served, 60) {
    struct server s;
    char command[256], out[4096], *errors;
    if (access("/usr/bin/wrk", X_OK) != 0) {
        fprintf(stderr, "SKIPPED: there is no wrk\n");
        return;
    }
    start(&s);
    snprintf(command, sizeof command,
             "wrk -t 1 -c 32 -d 1s --timeout 300s http://127.0.0.1:%u/middle.bin", s.port);
    FILE *f = popen(command, "r");
    CHECK(f != NULL);
    out[fread(out, 1, sizeof out - 1, f)] = '\0';
    CHECK_EQ(pclose(f), 0);
    CHECK(strstr(out, "requests in") != NULL);
    errors = strstr(out, "Socket errors");
    CHECK(errors == NULL && strstr(out, "Non-2xx") == NULL);
    stop(&s);
}
