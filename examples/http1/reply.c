/* Replies: their heads, chunks, and several ranges in one body. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "examples/http1/http1.h"

const char *http1_reason(int status) {
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {100, "Continue"},
        {200, "OK"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++) {
        if (reasons[i].status == status) {
            return reasons[i].reason;
        }
    }
    return "Unknown";
}

void http1_put(http1_out *out, const char *format, ...) {
    size_t room = sizeof out->text - out->len;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(out->text + out->len, room, format, args);
    va_end(args);
    bool fits = n >= 0 && (size_t)n < room;
    out->len += fits ? (size_t)n : 0;
    out->full |= !fits;
}

/* HTML: all but what has a meaning there. A link: only what is not reserved (RFC 3986, 2.3). */
static bool is_plain(unsigned char c, bool link) {
    bool alphanumeric = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    return link ? alphanumeric || strchr("-._~", c) != NULL
                : c >= 0x80 || (c >= ' ' && c != 0x7f && strchr("&<>\"'", c) == NULL);
}

static void put_escaped(http1_out *out, const char *text, bool link) {
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (is_plain(c, link)) {
            http1_put(out, "%c", c);
        } else if (link) {
            http1_put(out, "%%%02X", c);
        } else {
            http1_put(out, "&#%u;", c);
        }
    }
}

void http1_put_html(http1_out *out, const char *name) { put_escaped(out, name, false); }

void http1_put_link(http1_out *out, const char *name) { put_escaped(out, name, true); }

void http1_begin(http1_out *out, int status, const http1_request *request, http1_clock *clock) {
    int64_t now = (int64_t)time(NULL);
    bool stays = request != NULL && request->keep_alive;
    if (now != clock->second || clock->date[0] == '\0') {
        clock->second = now;
        http1_date(now, clock->date);
    }
    http1_put(out, "HTTP/1.1 %d %s\r\nServer: xev\r\nDate: %s\r\n%s", status, http1_reason(status),
              clock->date,
              !stays                ? "Connection: close\r\n"
              : request->minor == 0 ? "Connection: keep-alive\r\n"
                                    : "");
}

uint64_t http1_multipart(http1_out *out, const http1_span *spans, uint32_t count, uint64_t size,
                         const char *type, const char *boundary, size_t ends[HTTP1_SPANS_MAX]) {
    uint64_t len = 0;
    for (uint32_t i = 0; i < count; i++) {
        http1_put(out, "%s--%s\r\nContent-Type: %s\r\nContent-Range: bytes %llu-%llu/%llu\r\n\r\n",
                  i > 0 ? "\r\n" : "", boundary, type, (unsigned long long)spans[i].at,
                  (unsigned long long)(spans[i].at + spans[i].len - 1), (unsigned long long)size);
        ends[i] = out->len;
        len += spans[i].len;
    }
    http1_put(out, "\r\n--%s--\r\n", boundary);
    return len + out->len;
}

size_t http1_chunk(size_t len, char out[HTTP1_CHUNK_BYTES]) {
    int n = snprintf(out, HTTP1_CHUNK_BYTES, "%zx\r\n", len);
    return n > 0 ? (size_t)n : 0;
}
