/* Internal: the runtime's and a shard's own structures. */
#ifndef XEV_SHARD_INTERNAL_H
#define XEV_SHARD_INTERNAL_H

#include <pthread.h>
#include <stdlib.h>

#include "mpsc/visit.h"
#include "shard/system.h"
#include "xev/core/support.h"
#include "xev/os/complain.h"
#include "xev/shard.h"

/* Messages on their way to one shard, gathered during a turn of the sender. A shard has few of
 * them, however many shards there are: that of another shard is the one at its number modulo their
 * count, and what it holds for somebody else is sent off first. */
#define XEV__OUTBOXES_MAX 64u /* a power of two: 2 KiB per shard */
struct xev__outbox {
    xev_shard *to;
    xev_mpsc_node *first, *last;   /* NULL: empty */
    struct xev__outbox *next_full; /* list of those that hold something, or did */
    bool listed;
};

/* What the runtime has told a shard to do next. */
enum xev__command {
    XEV__NONE,
    XEV__INIT,
    XEV__SERVE,
    XEV__DRAIN,
    XEV__STOP,
    XEV__END, /* its loop */
    XEV__DEINIT
};

struct xev_shard {
    /* The mailbox: written by all. */
    xev_mpsc mail;
    uint32_t depth; /* atomic: messages accepted and not yet handled; top bit: closed */
    xev_watcher bell;

    /* The shard's own from here on. */
    XEV_MPSC_ALIGNED xev_loop loop;
    struct xev__runtime *rt;
    xev_runtime *handle;
    uint32_t id;
    xev_completion listen_for_mail;
    xev_hook flush;
    struct xev__outbox *outboxes; /* rt->outboxes of them */
    struct xev__outbox *full;
    uint32_t awaited; /* replies to come */
    bool has_loop, initialised, serving, draining;
    bool ending; /* asks nothing any more */
    xev_completion look_again;
    xev_signal hangup;
    xev_completion listen_for_hangups;
    int broken; /* why the loop cannot be run any more, or 0; also in rt->failure */
    xev_listener *listeners;
    uint64_t accepted, sent, received, refused; /* atomic for readers */

    /* Under the runtime's lock. */
    pthread_cond_t commanded; /* a command was given */
    pthread_t thread;
    uint64_t thread_number; /* set before its first command is done; atomic */
    bool has_thread;
    enum xev__command command; /* not yet taken up */
    enum xev__command step;    /* the last one given */
    bool done;                 /* with the last command */
    bool idle;                 /* draining, and nothing referenced is active */
    bool settled;              /* both, as counted in rt->unsettled */
    int result;

    bool woken_for;     /* under the lock: the loop was stopped for the command */
    bool serving_known; /* the coordinator's: serving, so its loop is to be stopped for a command */
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

/* What stuck.c knows of the end that is under way; times in ms, 0: not yet. */
struct xev__patience {
    uint64_t ending_ms; /* it was asked for */
    uint64_t cut_ms;    /* the drain was cut short by a second stop */
    uint64_t hurry_ms;  /* a signal after the second came */
    uint64_t step_ms;   /* the coordinator began to wait for the step of a shard */
    uint32_t stop_signals;
};

struct xev__caught {
    xev__catcher catcher;
    struct xev__runtime *rt;
};

struct xev__runtime {
    xev_runtime_options options;
    xev_threadpool pool;
    xev_shard *shards;
    uint32_t count;
    uint32_t outboxes; /* of each shard; a power of two */
    pthread_mutex_t lock;
    xev_runtime_failure failure; /* under the lock: the first one */
    uint32_t unsettled;          /* under the lock: shards that are not both done and idle */
    struct xev__event news;      /* the coordinator is to look again */
    uint32_t stops;              /* atomic: calls of xev_runtime_stop, and signals */
    uint32_t stop_signals;       /* atomic: of these, the signals */
    uint32_t stop_signal_ms;     /* atomic: when the last of them came; 0: none has */
    uint32_t failed; /* atomic: 1 when it ends without a stop: a start failed, a loop broke */
    struct xev__patience patience; /* the coordinator's */
    struct xev__caught caught[XEV__CAUGHT_SIGNALS];
    uint32_t was_blocked; /* of these, in the coordinator, before */
    uint32_t refs;        /* atomic: xev_runtime_run, and open senders */
    uint32_t forks;       /* xev__os_forks of the process that runs it */
    /* Written by other threads at each call; apart from what shards read. */
    uint8_t apart_before[64];
    struct xev__callers callers;
    uint8_t apart_behind[64];
    uint64_t drain_end_ms; /* 0: has not begun; set before any shard is told */
};

/* mailbox.c */
void xev__mailbox_start(xev_shard *s);
/* Handle what is in the mailbox, at most limit messages. */
#define XEV__MESSAGES_PER_TURN 1024u
void xev__mailbox_deliver(xev_shard *s, uint32_t limit);
void xev__mailbox_flush(xev_shard *s);
/* Refuse messages from now on, and handle all that were accepted. */
void xev__mailbox_close(xev_shard *s);
/* All or none. */
int xev__send_to_all(struct xev__runtime *rt, xev_message *messages, xev_message_fn handler,
                     void *arg);
/* Messages accepted and not yet handled. */
uint32_t xev__mailbox_depth(const xev_shard *s);

/* listener.c */
void xev__listeners_drain(xev_shard *s);
/* The drain is over: who still waits is not served, and the listener's callback is told. */
void xev__listeners_cut(xev_shard *s);
/* After the loop's deinit: those of a start that failed, which were never drained. */
void xev__listeners_close(xev_shard *s);

/* stuck.c */
uint64_t xev__now_ms(void);
/* Note whether the end was asked for, and how often. */
void xev__patience_look(struct xev__runtime *rt, uint64_t now_ms);
/* The coordinator begins to wait for a step of a shard. */
void xev__step_begin(struct xev__runtime *rt);
/* How long it may wait before it calls this again: ms, or -1. Ends the process where a shard is
 * stuck and the program does not want to wait for it. */
int xev__step_wait_ms(struct xev__runtime *rt);

/* signals.c */
int xev__signals_open(struct xev__runtime *rt); /* 0 or a code: nothing to close then */
void xev__signals_close(struct xev__runtime *rt);
/* Call the hangup callback on s from now until its loop's deinit. 0 or a code. */
int xev__hangups_start(xev_shard *s);

/* runtime.c */
/* After a callback of that name: a forked child must not come back from it. */
void xev__runtime_check_fork(const struct xev__runtime *rt, const char *callback);
/* Somebody asks for a stop. Any thread, and signal handlers. */
void xev__stops_add(struct xev__runtime *rt);
void xev__shard_busy(xev_shard *s);
/* The shard whose thread this is, set once per thread. */
extern _Thread_local xev_shard *xev__current_shard;

/* sender.c */

/* A call that other threads may answer by ending the runtime: rt does not go before the end of the
 * visit. Shards' own threads are not counted, since they are themselves waited for. */
struct xev__visit {
    struct xev__runtime *rt; /* NULL: it has ended, and there is nothing to leave */
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
