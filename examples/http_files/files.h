/* The files that a shard serves, and its cache of them. A file that was looked at within a second
 * is served from here; opening, reading and compressing are the thread pool's. */
#ifndef EXAMPLES_HTTP_FILES_FILES_H
#define EXAMPLES_HTTP_FILES_FILES_H

#include "examples/http1/http1.h"
#include "xev/conn.h"
#include "xev/work.h"

#define MEMORY_MAX ((size_t)256 << 10) /* larger files stay on disk */
#define FILES_PLACES 4096u

/* What a look finds besides HTTP's statuses: nothing new, a directory that is to be listed. */
enum { FILE_SAME = 0, FILE_LIST = 1 };

/* One state of a file, or why there is none. */
struct file {
    uint32_t refs;
    int status; /* 200; 301 (a directory without its slash), 403, 404, 500, 503; FILE_LIST */
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
    bool lists; /* directories without an index.html */
    void (*ready)(struct waiter *w);
    struct file none; /* where a look could not be made: 503 */
    struct entry *table[FILES_PLACES];
    uint32_t entries, hand; /* hand: the place where room is looked for next */
    uint64_t bytes;
};

/* files is all zero but for root, lists and ready, which is called from the loop for who waits: ask
 * again. */
void files_init(struct files *files, xev_loop *loop);

/* The file at a path of http1_path, which the caller may use as long as it does not return to the
 * loop, or holds it; or NULL, and w waits (until files_forget). */
struct file *files_get(struct files *files, const char *path, struct waiter *w);
void files_forget(struct waiter *w);

int status_of_errno(void);
struct file *file_hold(struct file *f);
void file_release(void *file);

/* When the loop is gone. */
void files_free(struct files *files);

/* ---- http_files.c ---- */

#define HIGH_BYTES (256u << 10) /* of queued output: the writable handler says when it is less */

/* A reply that only says what the status is. */
void answer_status(xev_conn *conn, int status, const http1_request *request);

/* ---- list.c ---- */

struct listing;

/* Answer with the names in the directory at path, of which nobody knows beforehand how many they
 * are: in chunks, as they are read on the pool. The connection is paused and busy meanwhile; its
 * closed handler calls list_closed, its writable handler list_next. *at: NULL again at the end. */
void list_start(struct listing **at, xev_conn *conn, const struct files *files,
                const http1_request *request, const char *path, http1_clock *clock);
void list_next(struct listing *listing);
void list_closed(struct listing *listing);

#endif
