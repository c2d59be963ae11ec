/* Lines of text, for protocols that a person can type. */
#ifndef EXAMPLES_LINE_H
#define EXAMPLES_LINE_H

#include <stddef.h>
#include <string.h>

#include "xev/error.h"

enum { LINE_BYTES = 512 }; /* with what ends it */

/* The first line of len_bytes at data, for a data handler: the bytes of it, and it is in line,
 * without the LF or CR LF that ended it. 0: it is not whole. XEV_EMSGSIZE: it is too long.
 * XEV_EBADMSG: it has control characters, which a terminal may obey. */
static inline ptrdiff_t line_take(const void *data, size_t len_bytes, char line[LINE_BYTES]) {
    size_t len = 0, most = len_bytes < LINE_BYTES ? len_bytes : LINE_BYTES;
    const char *end = memchr(data, '\n', most);
    if (end == NULL) {
        return most < LINE_BYTES ? 0 : XEV_EMSGSIZE;
    }
    len = (size_t)(end - (const char *)data);
    memcpy(line, data, len);
    size_t text = len > 0 && line[len - 1] == '\r' ? len - 1 : len;
    line[text] = '\0';
    for (size_t i = 0; i < text; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 127) {
            return XEV_EBADMSG;
        }
    }
    return (ptrdiff_t)len + 1;
}

/* Cut line behind its first word; returns what is behind that and the spaces after it. */
static inline char *line_cut(char *line) {
    char *rest = line + strcspn(line, " ");
    while (*rest == ' ') {
        *rest++ = '\0';
    }
    return rest;
}

#endif
