/* Internal: the runtime's and a shard's own structures. */
#ifndef XEV_SHARD_INTERNAL_H
#define XEV_SHARD_INTERNAL_H

#include <assert.h>
#include <ck_pr.h>
#include <pthread.h>
#include <stdlib.h>

#include "mpsc/visit.h"
#include "shard/system.h"
#include "xev/core/chunks.h"
#include "xev/core/support.h"
#include "xev/histogram.h"
#include "xev/os/complain.h"
#include "xev/shard.h"

/* An outbox: messages to one shard, gathered during a turn of the sending shard's loop. A shard has
 * at most XEV__OUTBOXES_MAX of them, however many shards there are. Messages to shard n go into the
 * outbox at n modulo the number of outboxes. If that holds messages to another shard, they are
 * pushed into the other shard's mailbox first. */
#define XEV__OUTBOXES_MAX 64u /* a power of two: 2 KiB per shard */
struct xev__outbox {
    xev_shard *to;
    xev_mpsc_node *first, *last;     /* NULL: empty */
    struct xev__outbox *next_listed; /* in the shard's list */
    bool listed;
};

/* What the runtime has told a shard to do next. */
enum xev__command {
    XEV__NONE,
    XEV__INIT,
    XEV__SERVE,
    XEV__DRAIN,
    XEV__STOP,
    XEV__END, /* end its loop */
    XEV__DEINIT
};

/* Smaller than a page of some systems: there a shard may have a part of its neighbour's page. */
#define XEV__SHARD_PAGE 4096u

struct xev_shard {
    /* The mailbox, which all threads write. */
    xev_mpsc mail, urgent;
    uint32_t urgent_depth;  /* atomic: urgent messages accepted and not yet taken out */
    uint32_t depth;         /* atomic: messages accepted and not yet handled; top bit: closed */
    xev_watcher mail_async; /* notified when a message was pushed */
    xev_watcher reload;     /* the hangup callback is wanted; any thread */

    /* Set before its thread begins. */
    XEV_MPSC_ALIGNED struct xev__runtime *rt;
    xev_runtime *handle;
    uint32_t id;

    /* Under the runtime's lock. */
    pthread_cond_t commanded; /* a command was given */
    pthread_t thread;
    uint64_t thread_number; /* set before its first command is done; atomic */
    bool has_thread;
    enum xev__command command;      /* not yet taken up */
    enum xev__command last_command; /* the last one given, taken up or not */
    bool done;                      /* the last command has been carried out */
    bool idle;                      /* draining, and nothing referenced is active */
    bool settled;                   /* both, as counted in rt->unsettled */
    int result;

    bool woken_for_command; /* under the lock: the loop was stopped for the command */
    bool told_to_serve; /* the coordinator's: the loop runs, and must be stopped for a command */
    uint64_t slow;      /* the coordinator's; atomic for readers */

    /* From here on for the shard's thread only, which is the first one to write there, when it is
     * bound to its CPU: so these pages are on its node. */
    _Alignas(XEV__SHARD_PAGE) xev_loop loop;
    uint32_t cpu; /* it is bound to; XEV_NO_CPU: to none */
    xev_completion mail_completion;
    xev_hook flush;
    struct xev__outbox *outboxes;        /* rt->outboxes of them */
    struct xev__outbox *listed;          /* outboxes that hold something, or did */
    uint32_t replies_due;                /* replies that its own requests are still owed */
    uint32_t replies_dropped;            /* of these, those that nobody waits for any more */
    xev_request *room_first, *room_last; /* who waits for room in the mailbox, to be told */
    struct xev__asks *asks;              /* NULL: it had none */
    bool has_loop, initialised, serving, draining;
    bool init_called;
    xev_runtime_failure told;     /* by its init callback, about its failure; code 0: nothing */
    bool ending;                  /* its loop is about to end: it may make no more requests */
    bool unanswered;              /* when its loop ended, it waited for replies */
    xev_completion replies_timer; /* while the end of its loop waits for replies */
    /* Of a runtime that is alone: the drain's deadline, and news for the coordinator. */
    xev_completion drain_timer, news_wait;
    xev_completion reload_wait;
    int broken; /* why the loop cannot be run any more, or 0; also in rt->failure */
    xev_listener *listeners;
    uint64_t accepted, sent, received, refused;                  /* atomic for readers */
    uint64_t asked, asks_waited, asks_timed_out, asks_cancelled; /* likewise */
    uint32_t asks_now;                                           /* likewise */
    /* Written once, with a release; other threads read them with an acquire. */
    xev_histogram *times[XEV_SHARD_TIMES]; /* NULL: not measured */
    struct xev__delays *delays;            /* NULL: no message is measured */
};

/* A caller's bug: ends the program, as in completion.h. */
static inline void xev__shard_check(bool ok, const char *call, const char *what) {
    if (!ok) {
        xev__complain("xev: %s: %s", call, what);
        abort();
    }
}

/* In builds without NDEBUG: call is made on the thread of shard s. */
#if defined(NDEBUG)
static inline void xev__shard_check_thread(const char *call, const xev_shard *s) {
    (void)call;
    (void)s;
}
#else
void xev__shard_check_thread(const char *call, const xev_shard *s);
#endif

#define XEV__MAILBOX_CLOSED 0x80000000u

#define XEV__STUCK_NEVER UINT32_MAX /* of options.stuck_ms */

/* For stuck.c, of the end that is under way: when what happened, in ms; 0: it has not. */
struct xev__patience {
    uint64_t ending_ms;    /* the end was asked for */
    uint64_t cut_ms;       /* the drain was cut short by a second stop */
    uint64_t hurry_ms;     /* the last signal after the second came */
    uint64_t step_ms;      /* the coordinator began to wait for the step of a shard */
    uint32_t stop_signals; /* rt->stop_signals at the last look */
};

/* A signal that a runtime catches. */
struct xev__caught {
    xev__catcher catcher;
    struct xev__runtime *rt;
};

struct xev__runtime {
    xev_runtime_options options;
    xev_threadpool pool;
    xev_shard *shards; /* at the first page in shards_memory */
    void *shards_memory;
    uint32_t count;
    uint32_t cpus[XEV_SHARDS_MAX]; /* with bind: of shard i, cpus[i % cpus_len] */
    uint32_t cpus_len;
    bool bind;
    bool alone;        /* without threads of its own: alone.c */
    uint32_t outboxes; /* of each shard; a power of two */
    pthread_mutex_t lock;
    xev_runtime_failure failure; /* under the lock: the first one */
    uint32_t unsettled;          /* under the lock: shards that are not both done and idle */
    struct xev__event news;      /* something for the coordinator to look at */
    xev_watcher news_async;      /* the same, where it is alone */
    uint32_t stops;              /* atomic: calls of xev_runtime_stop, SIGTERM and SIGINT */
    uint32_t stop_signals;       /* atomic: of these, the signals */
    uint32_t stop_signal_ms;     /* atomic: when the last of them came; 0: none has */
    /* Atomic: 1 when it ends without a stop: after SIGHUP, or a start failed, or a loop broke. The
     * first stop then does not cut the drain short. */
    uint32_t ends;
    struct xev__patience patience; /* the coordinator's */
    struct xev__slow *slow;        /* NULL: nobody looks for turns that last */
    struct xev__caught caught[XEV__CAUGHT_SIGNALS];
    uint32_t was_blocked; /* of these, in the coordinator, before */
    uint32_t refs;        /* atomic: xev_runtime_run, and open senders */
    uint32_t forks;       /* xev__os_forks of the process that runs it */
    /* Other threads write callers at each call. The padding keeps it off the cache lines that
     * shards read. */
    uint8_t apart_before[64];
    struct xev__callers callers;
    uint8_t apart_behind[64];
    uint64_t
        drain_end_ms; /* its deadline; 0: no drain yet. Written before a shard is told to drain */
};

/* A counter has one writer, its shard, and readers on other threads. */
static inline void xev__count_up(uint64_t *counter, uint64_t n) {
    ck_pr_store_64(counter, ck_pr_load_64(counter) + n);
}

/* mailbox.c */
void xev__mailbox_start(xev_shard *s);
/* Handle what is in the mailbox, at most limit messages. */
#define XEV__MESSAGES_PER_TURN 1024u
void xev__mailbox_deliver(xev_shard *s, uint32_t limit);
void xev__mailbox_flush(xev_shard *s);
/* Refuse messages from now on, and handle all that were accepted. */
void xev__mailbox_close(xev_shard *s);
/* Send messages[i] to shard i, to all shards or to none. 0 or a code. */
int xev__send_to_all(struct xev__runtime *rt, xev_message *messages, xev_message_fn handler,
                     void *arg);
/* Send as xev_shard_send does, from one shard to another of its runtime, even if the mailbox is
 * full. 0, or XEV_ECANCELED: the mailbox is closed. */
int xev__send_beyond(xev_shard *to, xev_message *message, xev_message_fn handler, void *arg);
/* Nothing is in its queues. Own thread. */
static inline bool xev__mailbox_empty(const xev_shard *s) {
    return xev_mpsc_empty(&s->mail) && xev_mpsc_empty(&s->urgent);
}
/* Messages accepted and not yet handled. */
uint32_t xev__mailbox_depth(const xev_shard *s);
/* Whether it takes no message any more. */
static inline bool xev__mailbox_closed(const xev_shard *s) {
    return (ck_pr_load_32(&s->depth) & XEV__MAILBOX_CLOSED) != 0;
}
/* As xev_shard_submit_to, of a request whose handler, reply and arg are set. beyond: also where the
 * mailbox is full. Own shard's thread. */
int xev__request_send(xev_shard *to, xev_request *request, bool beyond);
/* Call reply once there is room in the mailbox of to, or it has ended, with XEV_ECANCELED. 0 or
 * XEV_ECANCELED. Own shard's thread. */
int xev__await_room(xev_shard *to, xev_request *request, void *arg, xev_reply_fn reply);
/* Replies that s waits for. */
static inline uint32_t xev__replies_wanted(const xev_shard *s) {
    assert(s->replies_due >= s->replies_dropped);
    return s->replies_due - s->replies_dropped;
}

/* delay.c */
/* What options.sample_messages asks for. False: no memory. */
bool xev__delays_make(xev_shard *s);
/* Measure m, which self, whose delays are not NULL, is about to send, if it is its turn. No reply.
 */
void xev__delay_sample(xev_shard *self, xev_message *m);

/* ask.c */
/* The loop of s is about to end: its asks end with XEV_ECANCELED, in order. */
void xev__asks_cancel(xev_shard *s);
/* When all shards have ended: first, of each, its asks are freed, and what they have of other
 * shards' memory; then its own memory. */
void xev__asks_give_back(xev_shard *s);
/* Whether s may make n asks more. */
bool xev__asks_left(const xev_shard *s, uint32_t n);
/* Memory of the pool of s; as xev__blocks_get and put. */
void *xev__asks_get_block(xev_shard *s, size_t bytes, uint32_t *block_bytes);
void xev__asks_put_block(xev_shard *s, void *block, uint32_t block_bytes);
void xev__asks_free(xev_shard *s);

/* names.c */
#define XEV__NAMES 0x3fffffu /* the most that a shard has at the same time */
/* Make a handle of what, on the shard s. names is that shard's table, zero before its first use.
 * Returns the name, for xev__name_forget; or 0: there is no memory, or there are too many. */
uint32_t xev__name_new(struct xev__chunks *names, xev_shard *s, void *what, uint64_t *handle);
void *xev__name_find(const struct xev__chunks *names, const xev_shard *s, uint64_t handle);
void xev__name_forget(struct xev__chunks *names, uint32_t name); /* 0: nothing */
void xev__names_free(struct xev__chunks *names);

/* listener.c */
void xev__listeners_drain(xev_shard *s);
/* The drain is over. Clients that still wait for an accept are not served; the listener's callback
 * is told so. */
void xev__listeners_cut(xev_shard *s);
/* After the loop's deinit: close the listeners of a start that failed, which had no drain. */
void xev__listeners_close(xev_shard *s);

/* stuck.c */
uint64_t xev__now_ms(void);
uint64_t xev__now_ns(void);
/* Whether the end was asked for, by whatever. */
static inline bool xev__is_to_end(const struct xev__runtime *rt) {
    return ck_pr_load_32(&rt->stops) > 0 || ck_pr_load_32(&rt->ends) != 0;
}

/* Note in rt->patience what has happened since the last call: stops, signals, a failure. */
void xev__patience_update(struct xev__runtime *rt, uint64_t now_ms);
/* The coordinator begins to wait for a step of a shard. */
void xev__step_begin(struct xev__runtime *rt);
/* How long it may wait before it calls this again: ms, or -1. Ends the process where a shard is
 * stuck and the program does not want to wait for it. */
int xev__step_wait_ms(struct xev__runtime *rt);

/* slow.c */
/* What options.slow_ms asks for: 0 or a code. Close it in either case. */
int xev__slow_open(struct xev__runtime *rt);
void xev__slow_close(struct xev__runtime *rt);
/* The coordinator, while the shards serve: tell of turns that last. When to call it again: ms, or
 * -1. */
int xev__slow_look(struct xev__runtime *rt);

/* signals.c */
int xev__signals_open(struct xev__runtime *rt); /* 0 or a code: nothing to close then */
void xev__signals_close(struct xev__runtime *rt);
/* Call the hangup callback on s, when it is wanted, from now until its loop's deinit. */
void xev__reloads_start(xev_shard *s);
/* Have it called on each shard. Any thread, and any signal handler. */
void xev__reload(struct xev__runtime *rt);

/* runtime.c */
/* After a callback of that name: a forked child must not come back from it. */
void xev__runtime_check_fork(const struct xev__runtime *rt, const char *callback);
/* Somebody asks for a stop. Any thread, and signal handlers. */
void xev__stops_add(struct xev__runtime *rt);
void xev__shard_busy(xev_shard *s);
/* The shard whose thread this is, set once per thread. */
extern _Thread_local xev_shard *xev__current_shard;

/* options.c */
/* Copy the options, with what they leave open, and choose the CPUs. 0, or a code, the name of the
 * option that is wrong, and why it is. */
int xev__options_fill(struct xev__runtime *rt, const xev_runtime_options *options,
                      const char **option, const char **why);
/* Bind the calling thread, which is s's, to s->cpu. Where the system binds no threads, s->cpu
 * becomes XEV_NO_CPU. 0, or the code by which a CPU that was asked for cannot be had: *failure says
 * it. */
int xev__bind_shard(xev_shard *s, xev_runtime_failure *failure);

/* alone.c */
/* There is something that the coordinator is to look at. Any thread, and signal handlers. */
void xev__news(struct xev__runtime *rt);
/* These two do nothing where the shards have threads: news ends a run of the loop, from now on; and
 * so does the drain's deadline, when the drain of s begins. */
void xev__watch_news(xev_shard *s);
void xev__drain_limit(xev_shard *s);

/* sender.c */

/* A visit: a call that is in the runtime. Because of it (a stop, a message) the runtime may end
 * before the call returns; its memory stays until the visit is over. The shards' own threads are
 * not counted, since the runtime's end waits for these threads themselves. */
struct xev__visit {
    struct xev__runtime *rt; /* NULL: the runtime has ended, and the visit needs no leave */
    bool counted;
    uint32_t phase;
};
struct xev__visit xev__visit_shard(const xev_shard *s);
struct xev__visit xev__visit_runtime(const xev_runtime *handle);
void xev__visit_leave(struct xev__visit visit);
/* From now on a forked child begins with nobody in a call, and as no shard. 0 or a code. */
int xev__visits_watch_forks(void);
/* From now on other threads find rt by the handle. Its shards are made. */
void xev__visits_open(xev_runtime *handle, struct xev__runtime *rt);
/* From now on the handle leads nowhere; returns when all visits are over. Mailboxes are closed.
 * Also where they were never opened. */
void xev__visits_close(xev_runtime *handle, struct xev__runtime *rt);
/* Free the memory of rt if nobody else refers to it. */
void xev__runtime_unref(struct xev__runtime *rt);

#endif
