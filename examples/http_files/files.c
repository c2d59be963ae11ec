/* The cache: by path, with one look at a time for each, which all wait for who ask meanwhile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "examples/http_files/files.h"

#define CHECK_EVERY_MS 1000
#define ENTRIES_MAX 4096u

struct entry {
    struct entry *next; /* in its place of the table */
    struct files *files;
    int status;             /* 0 before the first look */
    http1_content *content; /* of 200; else NULL */
    int found_status;       /* by the look that is on the pool */
    http1_content *found;
    struct client *waiters;
    xev_completion look;
    int64_t looked_ms;
    bool looking, used; /* used since the hand came by */
    char path[];
};

static uint64_t bytes_of(const struct files *files, const http1_content *c) {
    return c == NULL ? 0 : c->data == NULL ? files->open_bytes : c->size + c->gzip_len;
}

static void set_content(struct entry *e, http1_content *content) {
    e->files->bytes += bytes_of(e->files, content) - bytes_of(e->files, e->content);
    if (e->content != NULL) {
        http1_release(e->content);
    }
    e->content = content;
}

/* ---- looking ---- */

/* On a pool thread. */
static int look(void *userdata) {
    struct entry *e = userdata;
    char path[4096];
    bool is_folder = e->path[strlen(e->path) - 1] == '/';
    int len = snprintf(path, sizeof path, "%s%s%s", e->files->root, e->path,
                       is_folder ? "index.html" : "");
    e->found_status = len < (int)sizeof path ? http1_open(&e->found, path, e->content) : 404;
    if (e->found_status == 404 && is_folder && e->files->lists) {
        e->found_status = FILES_LIST; /* whether there is a folder is seen then */
    }
    return 0;
}

static xev_cb_action looked(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct entry *e = userdata;
    (void)c;
    e->looking = false;
    e->looked_ms = xev_loop_now(loop);
    if (result < 0 && e->status == 0) { /* no thread for it */
        e->status = 503;
    } else if (result == 0 && e->found_status != 304) {
        e->status = e->found_status;
        set_content(e, e->found);
    }
    e->found = NULL;
    while (e->waiters != NULL) {
        struct client *k = e->waiters;
        files_forget(k);
        xev_conn_resume(k->conn);
    }
    return XEV_DISARM;
}

static void wait_for(struct entry *e, struct client *k) {
    k->next = e->waiters;
    k->link = &e->waiters;
    if (k->next != NULL) {
        k->next->link = &k->next;
    }
    e->waiters = k;
    xev_conn_pause(k->conn);
    if (!e->looking) {
        e->looking = true;
        xev_work_submit(e->files->loop, &e->look, XEV_LANE_FS, look, e, looked);
    }
}

void files_forget(struct client *k) {
    if (k->link != NULL) {
        *k->link = k->next;
        if (k->next != NULL) {
            k->next->link = k->link;
        }
        k->link = NULL;
    }
}

/* ---- the table ---- */

static void drop(struct entry **at) {
    struct entry *e = *at;
    *at = e->next;
    e->files->entries--;
    set_content(e, NULL);
    free(e);
}

/* From the hand on: what was used since it came by stays once more. */
static void make_room(struct files *files) {
    for (uint32_t n = 0;
         n < 2 * FILES_PLACES && (files->entries > ENTRIES_MAX || files->bytes > FILES_BYTES_MAX);
         n++) {
        struct entry **at = &files->table[files->hand++ % FILES_PLACES];
        while (*at != NULL) {
            struct entry *e = *at;
            if (e->used || e->looking) {
                e->used = false;
                at = &e->next;
            } else {
                drop(at);
            }
        }
    }
}

/* Its entry, a new one where there is none; NULL: no memory. */
static struct entry *entry_of(struct files *files, const char *path) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *c = path; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    }
    struct entry **at = &files->table[(hash >> 20) % FILES_PLACES], *e;
    for (e = *at; e != NULL; e = e->next) {
        if (strcmp(e->path, path) == 0) {
            return e;
        }
    }
    make_room(files);
    size_t bytes = strlen(path) + 1;
    e = calloc(1, sizeof *e + bytes);
    if (e != NULL) {
        memcpy(e->path, path, bytes);
        e->files = files;
        e->next = *at;
        *at = e;
        files->entries++;
    }
    return e;
}

int files_get(struct files *files, const char *path, struct client *k, http1_content **content) {
    struct entry *e = entry_of(files, path);
    if (e == NULL) {
        return 503;
    }
    e->used = true;
    if (e->looking || e->status == 0 ||
        xev_loop_now(files->loop) - e->looked_ms >= CHECK_EVERY_MS) {
        wait_for(e, k);
        return 0;
    }
    *content = e->content;
    return e->status;
}

void files_free(struct files *files) {
    for (size_t i = 0; i < FILES_PLACES; i++) {
        while (files->table[i] != NULL) {
            drop(&files->table[i]);
        }
    }
}
