/* The log: levels, limits, and who is told. A leaf, as os/complain.h is.
 *
 * A thread that tells a line counts itself in at the place of the function that it is about to
 * call. There are two places. A new function goes to the other one; then nobody comes to the old
 * one any more, and its visitors can be waited for. */
#include "xev/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "xev/os/complain.h"

#define LINE_MAX_BYTES 1024u
#define DEFAULT_LINES 10u
#define DEFAULT_PERIOD_MS 1000u
#define COUNT_BITS 24 /* of a kind's window: how many lines; above them, since when, in ms */
#define COUNT_MASK ((1u << COUNT_BITS) - 1)

struct place {
    xev_log_fn callback;
    void *userdata;
    uint32_t visitors; /* atomic */
};

static struct place places[2];
static uint32_t current;                   /* atomic */
static uint32_t level_told = XEV_LOG_WARN; /* atomic */
static uint64_t all_left_out;              /* atomic */
static _Thread_local bool in_callback;

/* ---- who is told ---- */

static struct place *enter_place(void) {
    for (;;) {
        uint32_t i = __atomic_load_n(&current, __ATOMIC_SEQ_CST);
        __atomic_fetch_add(&places[i].visitors, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&current, __ATOMIC_SEQ_CST) == i) {
            return &places[i];
        }
        __atomic_fetch_sub(&places[i].visitors, 1, __ATOMIC_SEQ_CST);
    }
}

static void leave_place(struct place *p) { __atomic_fetch_sub(&p->visitors, 1, __ATOMIC_SEQ_CST); }

static void wait_for_visitors(const struct place *p) {
    while (__atomic_load_n(&p->visitors, __ATOMIC_SEQ_CST) != 0) {
        const struct timespec a_moment = {.tv_nsec = 100000};
        (void)nanosleep(&a_moment, NULL);
    }
}

void xev_log_set(void *userdata, xev_log_fn callback) {
    if (in_callback) {
        xev__complain("xev: xev_log_set: called by a function that is told a line");
        abort();
    }
    uint32_t old = __atomic_load_n(&current, __ATOMIC_SEQ_CST);
    struct place *next = &places[1 - old];
    wait_for_visitors(next); /* who came there by chance, and is about to leave */
    next->userdata = userdata;
    next->callback = callback;
    __atomic_store_n(&current, 1 - old, __ATOMIC_SEQ_CST);
    wait_for_visitors(&places[old]);
}

/* line->text has room for a line feed behind it. */
static void tell_line(const xev_log_line *line, char *text) {
    int error = errno;
    struct place *p = in_callback ? NULL : enter_place();
    if (p != NULL && p->callback != NULL) {
        in_callback = true;
        p->callback(line, p->userdata);
        in_callback = false;
    } else {
        text[line->len_bytes] = '\n';
        xev__put_line(text, line->len_bytes + 1);
    }
    if (p != NULL) {
        leave_place(p);
    }
    errno = error;
}

/* ---- levels ---- */

static const char *const names[] = {"error", "warn", "info", "debug"};
_Static_assert(sizeof names / sizeof names[0] == XEV_LOG_LEVELS, "a name for each");

void xev_log_set_level(xev_log_level level) {
    if ((unsigned)level >= XEV_LOG_LEVELS) {
        xev__complain("xev: xev_log_set_level: no such level");
        abort();
    }
    __atomic_store_n(&level_told, (uint32_t)level, __ATOMIC_RELAXED);
}

xev_log_level xev_log_get_level(void) {
    return (xev_log_level)__atomic_load_n(&level_told, __ATOMIC_RELAXED);
}

const char *xev_log_level_name(xev_log_level level) {
    return (unsigned)level < XEV_LOG_LEVELS ? names[level] : "";
}

xev_log_level xev_log_level_of(const char *name) {
    unsigned level = 0;
    if (name == NULL) {
        xev__complain("xev: xev_log_level_of: name is null");
        abort();
    }
    while (level < XEV_LOG_LEVELS && strcmp(names[level], name) != 0) {
        level++;
    }
    return (xev_log_level)level;
}

/* ---- limits ---- */

static uint64_t ms_now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* Whether a line of this kind may be told now; it counts as told then. */
static bool take_turn(xev_log_kind *kind) {
    uint32_t most = kind->lines_max != 0 ? kind->lines_max : DEFAULT_LINES;
    uint32_t period_ms = kind->period_ms != 0 ? kind->period_ms : DEFAULT_PERIOD_MS;
    if (most == UINT32_MAX) {
        return true;
    }
    most = most < COUNT_MASK ? most : COUNT_MASK;
    uint64_t now = ms_now(), before = __atomic_load_n(&kind->window, __ATOMIC_RELAXED), after;
    do {
        uint64_t since = before >> COUNT_BITS, count = before & COUNT_MASK;
        /* Another thread may have begun this period after our look at the clock. */
        if (count == 0 || (now > since && now - since >= period_ms)) {
            after = now << COUNT_BITS | 1;
        } else if (count < most) {
            after = before + 1;
        } else {
            return false;
        }
    } while (!__atomic_compare_exchange_n(&kind->window, &before, after, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    return true;
}

/* ---- lines ---- */

/* How many bytes of room are used, of n that were wanted. */
static size_t used_of(int n, size_t room) {
    return n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
}

static void format_line(const xev_log_kind *kind, uint64_t left_out, const char *format,
                        va_list args) {
    char text[LINE_MAX_BYTES], behind[48] = "";
    int n = 0;
    if (left_out > 0) {
        n = snprintf(behind, sizeof behind, " (%llu more were left out)",
                     (unsigned long long)left_out);
    }
    size_t behind_len = used_of(n, sizeof behind), room = sizeof text - 1 - behind_len;
    size_t len = used_of(vsnprintf(text, room, format, args), room);
    for (size_t i = 0; i < len; i++) {
        text[i] = text[i] == '\n' || text[i] == '\r' ? ' ' : text[i]; /* one line is told */
    }
    memcpy(text + len, behind, behind_len + 1);
    const xev_log_line line = {
        .level = kind->level,
        .kind = kind->name,
        .text = text,
        .len_bytes = len + behind_len,
        .left_out = left_out,
    };
    tell_line(&line, text);
}

void xev_log_write(xev_log_kind *kind, const char *format, ...) {
    if (kind == NULL || kind->name == NULL || format == NULL) {
        xev__complain("xev: xev_log_write: kind, its name or format is null");
        abort();
    }
    if (kind->level > xev_log_get_level()) {
        return;
    }
    int error = errno;
    if (!take_turn(kind)) {
        __atomic_fetch_add(&kind->left_out, 1, __ATOMIC_RELAXED);
        __atomic_fetch_add(&all_left_out, 1, __ATOMIC_RELAXED);
        return;
    }
    uint64_t left_out = __atomic_exchange_n(&kind->left_out, 0, __ATOMIC_RELAXED);
    va_list args;
    va_start(args, format);
    errno = error;
    format_line(kind, left_out, format, args);
    va_end(args);
}

uint64_t xev_log_left_out(void) { return __atomic_load_n(&all_left_out, __ATOMIC_RELAXED); }

/* ---- bugs ---- */

void xev__complain(const char *format, ...) {
    static const xev_log_kind misuse = {.name = "misuse", .level = XEV_LOG_ERROR};
    va_list args;
    va_start(args, format);
    format_line(&misuse, 0, format, args);
    va_end(args);
}

void xev__assert_failed(const char *file, int line, const char *condition) {
    static xev_log_kind assertion = {
        .name = "assertion", .level = XEV_LOG_ERROR, .lines_max = UINT32_MAX};
    xev_log_write(&assertion, "xev: %s:%d: assertion failed: %s", file, line, condition);
    abort();
}
