/* Paths, dates and types. */
#include <string.h>
#include <time.h>

#include "examples/http1/http1.h"

static int hex_value(char c) {
    const char *digits = "0123456789abcdef", *at;
    char lower = c >= 'A' && c <= 'F' ? (char)(c + 'a' - 'A') : c;
    at = c != '\0' ? strchr(digits, lower) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* One segment is behind its slash, from start on: "." and empty ones go, ".." takes one with it. */
static int end_segment(const char *out, size_t start, size_t *len) {
    size_t n = *len - start;
    if (n == 0 || (n == 1 && out[start] == '.')) {
        *len = start;
    } else if (n == 2 && out[start] == '.' && out[start + 1] == '.') {
        if (start == 1) {
            return -400; /* above the root */
        }
        size_t slash = start - 1; /* the one before the ".." */
        while (out[slash - 1] != '/') {
            slash--;
        }
        *len = slash;
    }
    return 0;
}

int http1_path(http1_text path, char *out, size_t out_bytes) {
    size_t len = 0, start = 1;
    if (path.len == 0 || path.at[0] != '/') {
        return -400;
    }
    if (out_bytes < 2) {
        return -414;
    }
    out[len++] = '/';
    for (size_t i = 1; i <= path.len; i++) {
        char c = i < path.len ? path.at[i] : '/';
        if (c == '%') {
            int high = i + 2 < path.len ? hex_value(path.at[i + 1]) : -1;
            int low = high >= 0 ? hex_value(path.at[i + 2]) : -1;
            if (low < 0 || high * 16 + low == 0) {
                return -400;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (c != '/') {
            if (len + 1 == out_bytes) {
                return -414;
            }
            out[len++] = c;
            continue;
        }
        int rc = end_segment(out, start, &len);
        if (rc < 0) {
            return rc;
        }
        if (i < path.len && len > 1 && out[len - 1] != '/') {
            if (len + 1 == out_bytes) {
                return -414;
            }
            out[len++] = '/';
        }
        start = len;
    }
    out[len] = '\0';
    return (int)len;
}

void http1_date(int64_t seconds, char out[HTTP1_DATE_BYTES]) {
    time_t t = (time_t)seconds;
    struct tm tm;
    if (gmtime_r(&t, &tm) == NULL || tm.tm_year > 9999 - 1900 || tm.tm_year < 0) {
        memset(&tm, 0, sizeof tm);
        tm.tm_year = 70; /* a time that has no such form */
        tm.tm_mday = 1;
        tm.tm_wday = 4;
    }
    /* The program has the "C" locale, unless it asks for another. */
    if (strftime(out, HTTP1_DATE_BYTES, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0) {
        out[0] = '\0';
    }
}

bool http1_parse_date(http1_text text, int64_t *seconds) {
    static const char *const forms[] = {"%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT",
                                        "%a %b %d %H:%M:%S %Y"};
    char copy[64];
    if (text.len >= sizeof copy) {
        return false;
    }
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        struct tm tm;
        memset(&tm, 0, sizeof tm);
        const char *end = strptime(copy, forms[i], &tm);
        if (end != NULL && *end == '\0') {
            *seconds = (int64_t)timegm(&tm);
            return true;
        }
    }
    return false;
}

const char *http1_type(const char *name, bool *is_text) {
    static const struct {
        const char *suffix, *type;
        bool is_text;
    } types[] = {
        {".html", "text/html; charset=utf-8", true},
        {".css", "text/css; charset=utf-8", true},
        {".js", "text/javascript; charset=utf-8", true},
        {".json", "application/json", true},
        {".txt", "text/plain; charset=utf-8", true},
        {".svg", "image/svg+xml", true},
        {".xml", "application/xml", true},
        {".md", "text/markdown; charset=utf-8", true},
        {".png", "image/png", false},
        {".jpg", "image/jpeg", false},
        {".gif", "image/gif", false},
        {".webp", "image/webp", false},
        {".ico", "image/vnd.microsoft.icon", false},
        {".wasm", "application/wasm", false},
        {".pdf", "application/pdf", false},
        {".woff2", "font/woff2", false},
        {"", "application/octet-stream", false},
    };
    size_t i = 0, len = strlen(name), n;
    for (; (n = strlen(types[i].suffix)) > 0; i++) {
        if (len > n && strcmp(name + len - n, types[i].suffix) == 0) {
            break;
        }
    }
    *is_text = types[i].is_text;
    return types[i].type;
}
