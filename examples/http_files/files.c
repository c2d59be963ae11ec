#include "examples/http_files/files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define CHECK_EVERY_MS 1000
#define ENTRIES_MAX 4096u
#define BYTES_MAX ((uint64_t)64 << 20)

struct entry {
    struct entry *next; /* in its place of the table */
    struct files *files;
    struct file *file;  /* NULL before the first look */
    struct file *found; /* by the look that is on the pool */
    struct waiter *waiters;
    xev_completion look;
    uint64_t looked_ms;
    bool looking, used; /* used since the hand came by */
    char path[];
};

/* ---- a state of a file, made on a pool thread ---- */

static void compress_text(struct file *f) {
    z_stream z;
    memset(&z, 0, sizeof z);
    if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16 /* gzip */, 8, Z_DEFAULT_STRATEGY) != Z_OK) {
        return;
    }
    size_t room = f->size - f->size / 8; /* less than an eighth is not worth it */
    f->gz = malloc(room);
    z.next_in = (Bytef *)f->data;
    z.avail_in = (uInt)f->size;
    z.next_out = (Bytef *)f->gz;
    z.avail_out = (uInt)room;
    if (f->gz != NULL && deflate(&z, Z_FINISH) == Z_STREAM_END) {
        f->gz_len = z.total_out;
    } else {
        free(f->gz);
        f->gz = NULL;
    }
    (void)deflateEnd(&z);
}

static bool read_whole(struct file *f, int fd) {
    f->data = malloc(f->size + 1);
    for (size_t at = 0; f->data != NULL && at < f->size;) {
        ssize_t n = read(fd, f->data + at, f->size - at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false; /* it was cut short meanwhile */
        }
        at += (size_t)n;
    }
    return f->data != NULL;
}

int status_of_errno(void) {
    bool none = errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP;
    bool short_of = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
    return none ? 404 : errno == EACCES ? 403 : short_of ? 503 : 500;
}

/* Is it text? */
static bool describe(struct file *f, const char *path, const struct stat *st) {
    bool is_text;
    f->type = http1_type(path, &is_text);
    f->size = (uint64_t)st->st_size;
    f->inode = st->st_ino;
    f->modified = st->st_mtim.tv_sec;
    f->changed_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    snprintf(f->etag, sizeof f->etag, "\"%llx-%llx\"", (unsigned long long)f->changed_ns,
             (unsigned long long)f->size);
    return is_text;
}

/* A FIFO does not make the open wait, a device is not served. */
static void open_file(struct file *f, const char *path, const struct file *old) {
    struct stat st;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0) {
        f->status = status_of_errno();
    } else if (!S_ISREG(st.st_mode)) {
        f->status = S_ISDIR(st.st_mode) ? 301 : 403;
    } else {
        bool is_text = describe(f, path, &st);
        f->status = 200;
        bool same = old != NULL && old->status == 200 && old->inode == f->inode &&
                    old->changed_ns == f->changed_ns && old->size == f->size;
        if (same) {
            f->status = FILE_SAME;
        } else if (f->size > MEMORY_MAX) {
            f->fd = fd;
            return;
        } else if (!read_whole(f, fd)) {
            f->status = 503;
        } else if (is_text) {
            compress_text(f);
        }
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

static int look(void *userdata) {
    struct entry *e = userdata;
    char path[4096];
    bool is_folder = e->path[strlen(e->path) - 1] == '/';
    struct file *f = e->found = calloc(1, sizeof *f);
    if (f == NULL) {
        return XEV_ENOMEM;
    }
    *f = (struct file){.refs = 1, .status = 404, .fd = XEV_INVALID_FD};
    if (snprintf(path, sizeof path, "%s%s%s", e->files->root, e->path,
                 is_folder ? "index.html" : "") < (int)sizeof path) {
        open_file(f, path, e->file);
    }
    if (f->status == 404 && is_folder && e->files->lists) {
        f->status = FILE_LIST; /* whether there is a folder is seen then */
    }
    return 0;
}

struct file *file_hold(struct file *f) {
    f->refs++;
    return f;
}

void file_release(void *file) {
    struct file *f = file;
    assert(f->refs > 0);
    if (--f->refs > 0) {
        return;
    }
    if (f->fd >= 0) {
        (void)close(f->fd);
    }
    free(f->data);
    free(f->gz);
    free(f);
}

/* ---- the cache ---- */

static uint64_t bytes_of(const struct file *f) {
    return f == NULL || f->data == NULL ? 0 : f->size + f->gz_len;
}

static struct entry **place(struct files *files, const char *path) {
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (const char *c = path; *c != '\0'; c++) {
        hash = (hash ^ (unsigned char)*c) * 1099511628211u;
    }
    struct entry **at = &files->table[(hash >> 20) % FILES_PLACES];
    while (*at != NULL && strcmp((*at)->path, path) != 0) {
        at = &(*at)->next;
    }
    return at;
}

static void drop(struct entry **at) {
    struct entry *e = *at;
    *at = e->next;
    e->files->entries--;
    e->files->bytes -= bytes_of(e->file);
    if (e->file != NULL) {
        file_release(e->file);
    }
    free(e);
}

/* Some places, from the hand on: what was used since it came by stays once more. */
static void make_room(struct files *files) {
    for (int n = 0; n < 64 && (files->entries > ENTRIES_MAX || files->bytes > BYTES_MAX); n++) {
        struct entry **at = &files->table[files->hand++ % FILES_PLACES];
        while (*at != NULL) {
            struct entry *e = *at;
            if (e->used || e->looking || e->waiters != NULL) {
                e->used = false;
                at = &e->next;
            } else {
                drop(at);
            }
        }
    }
}

static void wake_all(struct entry *e) {
    while (e->waiters != NULL) {
        struct waiter *w = e->waiters;
        files_forget(w);
        e->files->ready(w);
    }
}

static xev_cb_action looked(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    struct entry *e = userdata;
    (void)c;
    e->looking = false;
    e->looked_ms = (uint64_t)xev_loop_now(loop);
    if (result == 0 && e->found->status != FILE_SAME) {
        e->files->bytes += bytes_of(e->found) - bytes_of(e->file);
        if (e->file != NULL) {
            file_release(e->file);
        }
        e->file = e->found;
    } else if (e->found != NULL) {
        file_release(e->found);
    }
    e->found = NULL;
    if (e->file == NULL) {
        e->file = file_hold(&e->files->none);
    }
    wake_all(e);
    return XEV_DISARM;
}

struct file *files_get(struct files *files, const char *path, struct waiter *w) {
    struct entry **at = place(files, path), *e = *at;
    if (e == NULL) {
        make_room(files);
        at = place(files, path);
        size_t bytes = strlen(path) + 1;
        e = calloc(1, sizeof *e + bytes);
        if (e == NULL) {
            return &files->none;
        }
        memcpy(e->path, path, bytes);
        e->files = files;
        *at = e;
        files->entries++;
    }
    e->used = true;
    uint64_t now_ms = (uint64_t)xev_loop_now(files->loop);
    if (!e->looking && e->file != NULL && now_ms - e->looked_ms < CHECK_EVERY_MS) {
        return e->file;
    }
    w->next = e->waiters;
    w->link = &e->waiters;
    if (w->next != NULL) {
        w->next->link = &w->next;
    }
    e->waiters = w;
    if (!e->looking) {
        e->looking = true;
        xev_work_submit(files->loop, &e->look, XEV_LANE_FS, look, e, looked);
    }
    return NULL;
}

void files_forget(struct waiter *w) {
    if (w->link != NULL) {
        *w->link = w->next;
        if (w->next != NULL) {
            w->next->link = w->link;
        }
        w->link = NULL;
    }
}

void files_init(struct files *files, xev_loop *loop) {
    files->loop = loop;
    files->none = (struct file){.refs = 1, .status = 503, .fd = XEV_INVALID_FD};
}

void files_free(struct files *files) {
    for (size_t i = 0; i < FILES_PLACES; i++) {
        while (files->table[i] != NULL) {
            drop(&files->table[i]);
        }
    }
}
