/* Replacing a file, or making it: whatever happens meanwhile, a crash of the program or of the
 * machine, its path names the whole old file or the whole new one, never a part.
 *
 *     static void on_step(xev_replace *replace, int result, void *userdata) {
 *         if (result < 0) complain(result);                      // it is over, nothing is left
 *         else if (more) xev_replace_write(replace, next, len_bytes);
 *         else if (!committed) xev_replace_commit(replace);
 *         else reply("saved");
 *     }
 *
 *     xev_replace_begin(&loop, &replace, "/var/lib/kv/snapshot", 0644, userdata, on_step);
 *
 * The contents go to a new file beside it, of its name with ".tmp" behind it. What is there of that
 * name, of a process that was killed, is removed first; a link there is not followed. The commit
 * flushes the new file, renames it, and flushes its folder, where the file system can. After the
 * commit has reported 0, the new file survives a loss of power. Where the path is a symbolic link,
 * the link is replaced, and not what it names. Owner and permissions of the old file are not kept.
 *
 * One step at a time: each call is answered by the callback, once, from the loop, never inside the
 * call; the next call is made then or later. After a code it is over: the file beside is closed and
 * removed by then, and the path is what it was before; except where the folder cannot be opened or
 * flushed, when the new file is in its place and may not survive a loss of power. The steps run on
 * the loop's pool, as in file.h. Two that replace the same path at once are the caller's to avoid.
 *
 * Results: 0, and those of file.h's operations: XEV_ENOSPC, XEV_EACCES, XEV_ENOPOOL, ... and
 * XEV_ENAMETOOLONG (the path, or the file's name with ".tmp": 255 bytes on most systems).
 * XEV_EINVAL: mode or len_bytes out of its range. XEV_ECANCELED: the loop was deinitialised during
 * a step; the file beside may be left. Between two steps nobody is told of that end, and the file's
 * descriptor stays open: give it up before. Misuse (a null pointer) ends the program, as in
 * completion.h. All calls: loop's thread.
 */
#ifndef XEV_REPLACE_H
#define XEV_REPLACE_H

#include "xev/file.h"

#define XEV_REPLACE_PATH_MAX 4096 /* bytes of the path, with its NUL */

typedef struct xev_replace xev_replace;
typedef void (*xev_replace_fn)(xev_replace *replace, int result, void *userdata);

/* The caller's memory, from the begin to the callback that ends it; need not be initialised. Fields
 * private. */
struct xev_replace {
    xev_loop *loop;
    xev_file_req req;
    xev_replace_fn callback;
    void *userdata;
    const char *path;
    xev_fd fd;
    int step, code;
    uint32_t mode;
    bool removed; /* a file that was left beside it */
    char temporary[XEV_REPLACE_PATH_MAX + 4];
};

XEV_BEGIN_DECLS

/* Open the file beside path, with these permissions (0 to 07777) less the umask. path stays until
 * the end. */
void xev_replace_begin(xev_loop *loop, xev_replace *replace, const char *path, uint32_t mode,
                       void *userdata, xev_replace_fn cb);

/* Write len_bytes (1 to INT32_MAX) more, which stay until the callback. */
void xev_replace_write(xev_replace *replace, const void *data, size_t len_bytes);

/* That was all: put the new file in its place. After this callback it is over. */
void xev_replace_commit(xev_replace *replace);

/* Give it up: the old file stays. After this callback, whose result is code (below 0), it is over.
 */
void xev_replace_abandon(xev_replace *replace, int code);

XEV_END_DECLS

#endif
