/* A shard's cache of the files that it serves, and the listings of directories. What was looked at
 * within a second is answered from the cache; looking, reading and compressing are the pool's. */
#ifndef EXAMPLES_HTTP_FILES_FILES_H
#define EXAMPLES_HTTP_FILES_FILES_H

#include "examples/http1/serve.h"
#include "xev/work.h"

#define FILES_PLACES 4096u
#define FILES_BYTES_MAX ((uint64_t)64 << 20)
#define FILES_LIST 1 /* a status besides HTTP's: a directory that is to be listed */

struct entry;

/* A connection. */
struct client {
    http1_conn http;
    xev_conn *conn;
    struct client *next, **link; /* of those who wait for the same file; link NULL: it does not */
};

/* All zero but for the first four. */
struct files {
    xev_loop *loop;
    const char *root;
    bool lists;          /* directories without an index.html */
    uint64_t open_bytes; /* what the descriptor of a large file counts, of FILES_BYTES_MAX */
    struct entry *table[FILES_PLACES];
    uint32_t entries, hand; /* hand: the place where room is looked for next */
    uint64_t bytes;
};

/* The status of the file at a path of http1_path; with 200 it is in *content, until the loop goes
 * on. 0: the connection is paused until that is known. */
int files_get(struct files *files, const char *path, struct client *k, http1_content **content);
void files_forget(struct client *k);
void files_free(struct files *files); /* when the loop is gone */

/* Answer with the names in the directory at path below root; as an http1_request_fn. */
bool list_reply(xev_conn *conn, const http1_request *request, const char *root, const char *path);

#endif
