/* The files that a shard serves, and its cache of them. A file that was looked at within a second
 * is served from here; opening, reading and compressing are the thread pool's. */
#ifndef EXAMPLES_HTTP_FILES_FILES_H
#define EXAMPLES_HTTP_FILES_FILES_H

#include "examples/http1/http1.h"
#include "xev/work.h"

#define MEMORY_MAX ((size_t)256 << 10) /* larger files stay on disk */

/* One state of a file, or why there is none. */
struct file {
    uint32_t refs;
    int status; /* 200; 301 (a directory without its slash), 403, 404, 500, 503; 0: unchanged */
    xev_fd fd;  /* of a large file; else XEV_INVALID_FD */
    char *data; /* of a small one, */
    char *gz;   /* ... and the same compressed, where that is worth it */
    size_t gz_len;
    uint64_t size, inode, changed_ns; /* in bytes; what tells this state from others */
    int64_t modified;                 /* seconds since 1970 */
    const char *type;
    char etag[40];
};

/* Who waits for a file: a part of its connection's memory. */
struct waiter {
    struct waiter *next, **link; /* link NULL: it does not wait */
};

struct entry;

struct files {
    xev_loop *loop;
    const char *root;
    void (*ready)(struct waiter *w);
    struct file none; /* where a look could not be made: 503 */
    struct entry *table[4096];
    struct entry *newest, *oldest;
    uint32_t entries;
    uint64_t bytes;
};

/* files is all zero. ready is called from the loop for who waits: ask again. */
void files_init(struct files *files, xev_loop *loop, const char *root,
                void (*ready)(struct waiter *w));

/* The file at a path of http1_path, which the caller may use as long as it does not return to the
 * loop, or holds it; or NULL, and w waits (until files_forget). */
struct file *files_get(struct files *files, const char *path, struct waiter *w);
void files_forget(struct waiter *w);

struct file *file_hold(struct file *f);
void file_release(void *file);

/* When the loop is gone. */
void files_free(struct files *files);

#endif
