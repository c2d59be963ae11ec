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
    struct entry *same;          /* the next in its place of the table */
    struct entry *newer, *older; /* by use */
    struct files *files;
    struct file *file;  /* NULL before the first look */
    struct file *found; /* by the look that is on the pool */
    struct waiter *waiters;
    xev_completion look;
    uint64_t looked_ms;
    bool looking;
    char path[];
};

/* ---- a state of a file, made on a pool thread ---- */

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

static int status_of_errno(void) {
    bool none = errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG || errno == ELOOP;
    bool short_of = errno == EMFILE || errno == ENFILE || errno == ENOMEM;
    return none ? 404 : errno == EACCES ? 403 : short_of ? 503 : 500;
}

/* Is it text? */
static bool describe(struct file *f, const char *path, const struct stat *st) {
    size_t i = 0, len = strlen(path);
    for (; *types[i].suffix != '\0'; i++) {
        size_t n = strlen(types[i].suffix);
        if (len > n && strcmp(path + len - n, types[i].suffix) == 0) {
            break;
        }
    }
    f->type = types[i].type;
    f->size = (uint64_t)st->st_size;
    f->inode = st->st_ino;
    f->modified = st->st_mtim.tv_sec;
    f->changed_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
    snprintf(f->etag, sizeof f->etag, "\"%llx-%llx\"", (unsigned long long)f->changed_ns,
             (unsigned long long)f->size);
    return types[i].is_text;
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
            f->status = 0; /* what is there already is right */
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
    const char *index = e->path[strlen(e->path) - 1] == '/' ? "index.html" : "";
    struct file *f = e->found = calloc(1, sizeof *f);
    if (f == NULL) {
        return XEV_ENOMEM;
    }
    f->refs = 1;
    f->fd = XEV_INVALID_FD;
    if (snprintf(path, sizeof path, "%s%s%s", e->files->root, e->path, index) >= (int)sizeof path) {
        f->status = 404;
    } else {
        open_file(f, path, e->file);
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
    struct entry **at = &files->table[(hash >> 20) % (sizeof files->table / sizeof *files->table)];
    while (*at != NULL && strcmp((*at)->path, path) != 0) {
        at = &(*at)->same;
    }
    return at;
}

static void unlink_use(struct files *files, struct entry *e) {
    *(e->newer != NULL ? &e->newer->older : &files->newest) = e->older;
    *(e->older != NULL ? &e->older->newer : &files->oldest) = e->newer;
}

static void used(struct files *files, struct entry *e) {
    e->newer = NULL;
    e->older = files->newest;
    *(files->newest != NULL ? &files->newest->newer : &files->oldest) = e;
    files->newest = e;
}

static void drop(struct files *files, struct entry *e) {
    *place(files, e->path) = e->same;
    unlink_use(files, e);
    files->entries--;
    files->bytes -= bytes_of(e->file);
    if (e->file != NULL) {
        file_release(e->file);
    }
    free(e);
}

/* A few at a time, the oldest first; those that are looked at stay. */
static void make_room(struct files *files) {
    struct entry *e = files->oldest;
    for (int tries = 8; e != NULL && tries > 0; tries--) {
        struct entry *newer = e->newer;
        if (files->entries <= ENTRIES_MAX && files->bytes <= BYTES_MAX) {
            return;
        }
        if (!e->looking && e->waiters == NULL) {
            drop(files, e);
        }
        e = newer;
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
    if (result == 0 && e->found->status != 0) {
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
    } else if (files->newest != e) {
        unlink_use(files, e);
    }
    if (files->newest != e) {
        used(files, e);
    }
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

void files_init(struct files *files, xev_loop *loop, const char *root,
                void (*ready)(struct waiter *w)) {
    files->loop = loop;
    files->root = root;
    files->ready = ready;
    files->none = (struct file){.refs = 1, .status = 503, .fd = XEV_INVALID_FD};
}

void files_free(struct files *files) {
    while (files->oldest != NULL) {
        drop(files, files->oldest);
    }
}
