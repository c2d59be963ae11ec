/* Listings of directories, which are read on the pool while the client reads them. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/http_files/files.h"

#define NAME_ROOM 4096u /* of a name, escaped twice */

struct listing {
    DIR *directory;
    char path[]; /* in the file system */
};

static int put_names(void *userdata, http1_out *out) {
    struct listing *l = userdata;
    const struct dirent *d;
    if (l->directory == NULL) {
        l->directory = opendir(l->path);
        if (l->directory == NULL) {
            return http1_status_of_errno();
        }
        http1_put(out, "<!DOCTYPE html>\n<meta charset=utf-8>\n<pre>\n<a href=\"../\">../</a>\n");
    }
    while (sizeof out->text - out->len > NAME_ROOM) {
        if ((d = readdir(l->directory)) == NULL) {
            return 0;
        }
        const char *slash = d->d_type == DT_DIR ? "/" : "";
        if (d->d_name[0] != '.') {
            http1_put(out, "<a href=\"");
            http1_put_link(out, d->d_name);
            http1_put(out, "%s\">", slash);
            http1_put_html(out, d->d_name);
            http1_put(out, "%s</a>\n", slash);
        }
    }
    return 200;
}

static void listing_free(void *userdata) {
    struct listing *l = userdata;
    if (l->directory != NULL) {
        (void)closedir(l->directory);
    }
    free(l);
}

bool list_reply(xev_conn *conn, const http1_request *request, const char *root, const char *path) {
    size_t bytes = strlen(root) + strlen(path) + 1;
    struct listing *l = malloc(sizeof *l + bytes);
    if (l == NULL) {
        http1_reply(conn, request, 503, "");
        return true;
    }
    l->directory = NULL;
    snprintf(l->path, bytes, "%s%s", root, path);
    return http1_reply_made(conn, request, "text/html; charset=utf-8", l, put_names, listing_free);
}
