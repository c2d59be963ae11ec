/* The log: the one place by which the library says something to people, and through which a program
 * may say its own. To tell a line neither allocates, nor waits, nor takes a lock.
 *
 * Without a function of the program's each line goes to stderr, if there is room for it at once: a
 * pipe that nobody empties holds up no thread. With one:
 *
 *     static void on_line(const xev_log_line *line, void *userdata) {
 *         syslog(line->level == XEV_LOG_ERROR ? LOG_ERR : LOG_WARNING, "%s", line->text);
 *     }
 *     xev_log_set(NULL, on_line);
 *
 * Lines have a kind. Each kind has a limit of lines in a time, however many threads write them; the
 * first line after that says how many were left out:
 *
 *     static xev_log_kind refused = {.name = "refused", .level = XEV_LOG_WARN};
 *     xev_log_write(&refused, "kv: shard %u: %s", id, xev_strerror(code));
 *
 * What the library itself says:
 *
 *     ERROR  "misuse"     a bug of the program's, with the call; the process ends by abort()
 *            "assertion"  a bug of the library's, likewise
 *            "stuck"      a shard that does not come to its end (shard.h); likewise
 *     WARN   "wake"       the system has refused to wake a loop; once in a process
 *            "slow"       a turn of a shard's loop lasts (slow_ms of shard.h)
 *            "poll"       a loop's wait fails for want of memory, and is repeated
 *     INFO   "backend"    a loop is not on the preferred backend, and why
 *            "refused"    a service has closed a connection that it accepted, and why
 *            "runtime"    shards serve, drain, have ended
 *
 * What ends the process has no limit and no level: it is always told. Whatever the function does,
 * the process ends after that.
 *
 * Misuse (a null pointer, but for userdata and a callback; a level that is none) ends the program,
 * as in completion.h.
 */
#ifndef XEV_LOG_H
#define XEV_LOG_H

#include <stddef.h>

#include "xev/platform.h"

typedef enum xev_log_level {
    XEV_LOG_ERROR = 0,
    XEV_LOG_WARN, /* the default: lines of it and above are told */
    XEV_LOG_INFO,
    XEV_LOG_DEBUG,
    XEV_LOG_LEVELS,
} xev_log_level;

/* A kind of lines; of static storage. What is 0 has its default. */
typedef struct xev_log_kind {
    const char *name;
    xev_log_level level;
    uint32_t lines_max; /* in each period, to 16 777 215; 0: 10; UINT32_MAX: no limit */
    uint32_t period_ms; /* 0: 1000 */
    /* Private; atomic. */
    uint64_t window;
    uint64_t left_out;
} xev_log_kind;

typedef struct xev_log_line {
    xev_log_level level;
    const char *kind; /* its name */
    const char *text; /* one line, of up to 1022 bytes, with a NUL behind them; until the return */
    size_t len_bytes;
    uint64_t left_out; /* lines of this kind since the last one told; the text says so, too */
} xev_log_line;

/* Told of each line. Any thread that is in a call of the library, several at the same time. It must
 * not wait for another thread, nor call the library, but for xev_log_write, whose lines then go to
 * stderr. errno need not be kept. */
typedef void (*xev_log_fn)(const xev_log_line *line, void *userdata);

XEV_BEGIN_DECLS

/* Have each line told to callback, from now on; NULL: to stderr again. When it returns no thread is
 * in the callback before, nor will be: it waits for those that are. Any thread, one at a time; not
 * from such a callback (misuse), nor from a signal handler. In a forked child only where no other
 * thread was in it at the fork: such a one would be waited for. */
void xev_log_set(void *userdata, xev_log_fn callback);

/* Tell lines of this level and above; those below it cost a comparison. Any thread, any time. */
void xev_log_set_level(xev_log_level level);
xev_log_level xev_log_get_level(void);

/* "error", "warn", "info", "debug"; "" for a number that is no level. Any thread. */
const char *xev_log_level_name(xev_log_level level);

/* The level of a name; XEV_LOG_LEVELS where there is none of it. Any thread. */
xev_log_level xev_log_level_of(const char *name);

/* One line, which is cut where it is longer than 1022 bytes; format as of printf(3). Line feeds and
 * carriage returns in it become spaces, so that nobody whose text is told can add lines of their
 * own. errno stays as it is. Any thread; any signal handler, too, with glibc and without numbers
 * of floating point. */
XEV_PRINTF(2, 3) void xev_log_write(xev_log_kind *kind, const char *format, ...);

/* Lines of all kinds that were left out, ever. Any thread. */
uint64_t xev_log_left_out(void);

XEV_END_DECLS

#endif
