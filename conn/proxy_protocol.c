/* The PROXY protocol. Strict where the text lets a reader be: a header that two readers understand
 * differently is one by which a client can claim an address. */
#include "xev/proxy_protocol.h"

#include <stdio.h>
#include <string.h>

#include "conn/internal.h"

#define LINE_MAX 107 /* of version 1, with CR LF */
#define HEAD_BYTES 16
#define UNIX_BYTES 108

enum { LOCAL = 0x20, PROXY = 0x21, UNSPEC = 0x00, TCP4 = 0x11, TCP6 = 0x21, UNIX_STREAM = 0x31 };

static const char signature[] = "\r\n\r\n\0\r\nQUIT\n";

/* ---- version 1 ---- */

/* The word that ends at the space or end, and what is behind it; no word: NULL. */
static const char *next_word(const char *at, const char *end, char *word, size_t room) {
    size_t len = 0;
    while (at + len < end && at[len] != ' ') {
        len++;
    }
    if (len == 0 || len >= room) {
        return NULL;
    }
    memcpy(word, at, len);
    word[len] = '\0';
    return at + len + (at + len < end);
}

static bool parse_proxy_port(const char *text, uint32_t *port) {
    uint32_t n = 0;
    size_t len = strspn(text, "0123456789");
    for (size_t i = 0; i < len && len <= 5; i++) {
        n = n * 10 + (uint32_t)(text[i] - '0');
    }
    *port = n;
    return len > 0 && len <= 5 && text[len] == '\0' && n <= 65535 && (text[0] != '0' || len == 1);
}

static bool parse_proxy_addr(xev_addr *addr, const char *host, const char *port,
                             enum xev_family family) {
    uint32_t number;
    const char *of = family == XEV_AF_INET ? "0123456789." : "0123456789abcdefABCDEF:.";
    return host[strspn(host, of)] == '\0' && parse_proxy_port(port, &number) &&
           xev_addr_parse(addr, host, number) == 0 && xev_addr_family(addr) == family;
}

/* Behind "PROXY " and before CR LF. */
static bool read_v1_line(xev_proxy_header *h, const char *at, const char *end) {
    char word[5][48];
    if (end - at >= 7 && memcmp(at, "UNKNOWN", 7) == 0 && (end - at == 7 || at[7] == ' ')) {
        return true;
    }
    if (end > at && end[-1] == ' ') {
        return false;
    }
    for (int i = 0; i < 5; i++) {
        at = at != NULL ? next_word(at, end, word[i], sizeof word[i]) : NULL;
    }
    if (at != end) {
        return false;
    }
    bool four = strcmp(word[0], "TCP4") == 0;
    enum xev_family family = four ? XEV_AF_INET : XEV_AF_INET6;
    return (four || strcmp(word[0], "TCP6") == 0) &&
           parse_proxy_addr(&h->source, word[1], word[3], family) &&
           parse_proxy_addr(&h->destination, word[2], word[4], family);
}

static int read_text(xev_proxy_header *h, const char *data, size_t len) {
    size_t most = len < LINE_MAX ? len : LINE_MAX;
    if (memcmp(data, "PROXY ", most < 6 ? most : 6) != 0) {
        return XEV_EPROTO;
    }
    const char *cr = memchr(data, '\r', most);
    if (memchr(data, '\0', cr != NULL ? (size_t)(cr - data) : most) != NULL) {
        return XEV_EPROTO;
    }
    if (cr == NULL || cr + 1 == data + most) {
        return most < LINE_MAX ? 0 : XEV_EPROTO;
    }
    return cr[1] == '\n' && cr - data >= 6 && read_v1_line(h, data + 6, cr) ? (int)(cr + 2 - data)
                                                                            : XEV_EPROTO;
}

/* ---- version 2 ---- */

static uint32_t read_port(const uint8_t *at) { return (uint32_t)at[0] << 8 | at[1]; }

static bool read_unix(xev_addr *addr, const uint8_t *name) {
    bool path = name[0] != '\0';
    size_t len = path ? strnlen((const char *)name, UNIX_BYTES) : UNIX_BYTES;
    while (!path && len > 0 && name[len - 1] == '\0') {
        len--; /* an abstract name, or none */
    }
    return xev_addr_unix(addr, (const char *)name, len) == 0;
}

/* The addresses: len bytes at at. */
static bool read_addrs(xev_proxy_header *h, uint8_t family, const uint8_t *at, size_t len) {
    size_t n = family == TCP4 ? 4 : 16;
    switch (family) {
    case TCP4:
    case TCP6:
        return len >= 2 * n + 4 &&
               xev_addr_from_bytes(&h->source, at, n, read_port(at + 2 * n)) == 0 &&
               xev_addr_from_bytes(&h->destination, at + n, n, read_port(at + 2 * n + 2)) == 0;
    case UNIX_STREAM:
        return len >= 2 * UNIX_BYTES && read_unix(&h->source, at) &&
               read_unix(&h->destination, at + UNIX_BYTES);
    default: /* not known, or of datagrams */
        return family >> 4 <= 3 && (family & 15) <= 2;
    }
}

static int read_binary(xev_proxy_header *h, const uint8_t *data, size_t len) {
    size_t known = sizeof signature - 1;
    if (memcmp(data, signature, len < known ? len : known) != 0 ||
        (len > known && data[known] != LOCAL && data[known] != PROXY)) {
        return XEV_EPROTO;
    }
    if (len < HEAD_BYTES) {
        return 0;
    }
    size_t rest = read_port(data + 14);
    if (HEAD_BYTES + rest > XEV_PROXY_READ_MAX) {
        return XEV_EMSGSIZE;
    }
    if (len < HEAD_BYTES + rest) {
        return 0;
    }
    if (data[known] == PROXY && !read_addrs(h, data[13], data + HEAD_BYTES, rest)) {
        return XEV_EPROTO;
    }
    return (int)(HEAD_BYTES + rest);
}

int xev_proxy_read(xev_proxy_header *header, const void *data, size_t len_bytes) {
    xev__conn_check("xev_proxy_read", header);
    if (data == NULL && len_bytes > 0) {
        xev__conn_misuse("xev_proxy_read", "data is null", header);
    }
    xev_proxy_header h = {0};
    int rc = 0;
    if (len_bytes > 0) {
        rc = *(const char *)data == signature[0] ? read_binary(&h, data, len_bytes)
                                                 : read_text(&h, data, len_bytes);
    }
    *header = rc > 0 ? h : (xev_proxy_header){0};
    return rc;
}

/* ---- writing ---- */

static void format_host(const xev_addr *addr, char host[XEV_ADDR_TEXT_BYTES]) {
    uint8_t bytes[16];
    uint32_t len = xev_addr_bytes(addr, bytes);
    xev_addr plain; /* without a scope */
    char text[XEV_ADDR_TEXT_BYTES] = "";
    if (xev_addr_from_bytes(&plain, bytes, len, 0) == 0) {
        (void)xev_addr_format(&plain, text, sizeof text);
    }
    *strrchr(text, ':') = '\0';
    bool six = text[0] == '[';
    snprintf(host, XEV_ADDR_TEXT_BYTES, "%s", text + six);
    host[strcspn(host, "]")] = '\0';
}

static int write_text(const xev_proxy_header *h, enum xev_family family, char *out) {
    char source[XEV_ADDR_TEXT_BYTES], destination[XEV_ADDR_TEXT_BYTES];
    if (family != XEV_AF_INET && family != XEV_AF_INET6) {
        return snprintf(out, XEV_PROXY_WRITE_MAX, "PROXY UNKNOWN\r\n");
    }
    format_host(&h->source, source);
    format_host(&h->destination, destination);
    return snprintf(out, XEV_PROXY_WRITE_MAX, "PROXY TCP%c %s %s %u %u\r\n",
                    family == XEV_AF_INET ? '4' : '6', source, destination,
                    xev_addr_port(&h->source), xev_addr_port(&h->destination));
}

static void write_port(uint8_t *at, uint32_t port) {
    at[0] = (uint8_t)(port >> 8);
    at[1] = (uint8_t)port;
}

static void write_unix(const xev_addr *addr, uint8_t *at) {
    size_t len;
    const char *name = xev_addr_unix_name(addr, &len);
    memset(at, 0, UNIX_BYTES);
    memcpy(at, name, len < UNIX_BYTES ? len : UNIX_BYTES);
}

static int write_binary(const xev_proxy_header *h, enum xev_family family, uint8_t *out) {
    uint8_t *at = out + HEAD_BYTES;
    uint32_t n = family == XEV_AF_INET ? 4 : 16, len = 0;
    memcpy(out, signature, sizeof signature - 1);
    out[12] = family == XEV_AF_UNSPEC ? LOCAL : PROXY;
    out[13] = UNSPEC;
    if (family == XEV_AF_UNIX) {
        out[13] = UNIX_STREAM;
        write_unix(&h->source, at);
        write_unix(&h->destination, at + UNIX_BYTES);
        len = 2 * UNIX_BYTES;
    } else if (family != XEV_AF_UNSPEC) {
        uint8_t bytes[16];
        out[13] = family == XEV_AF_INET ? TCP4 : TCP6;
        (void)xev_addr_bytes(&h->source, bytes);
        memcpy(at, bytes, n);
        (void)xev_addr_bytes(&h->destination, bytes);
        memcpy(at + n, bytes, n);
        write_port(at + 2 * n, xev_addr_port(&h->source));
        write_port(at + 2 * n + 2, xev_addr_port(&h->destination));
        len = 2 * n + 4;
    }
    write_port(out + 14, len);
    return (int)(HEAD_BYTES + len);
}

int xev_proxy_write(const xev_proxy_header *header, uint32_t version, void *out) {
    xev__conn_check("xev_proxy_write", header);
    xev__conn_check("xev_proxy_write", out);
    enum xev_family family = xev_addr_family(&header->source);
    if (family != xev_addr_family(&header->destination)) {
        family = XEV_AF_UNSPEC;
    }
    return version == 1   ? write_text(header, family, out)
           : version == 2 ? write_binary(header, family, out)
                          : XEV_EINVAL;
}
