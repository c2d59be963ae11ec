/* Internal: what the files of conn share.
 *
 * A connection has up to four parts:
 *
 *     xev_conn            always; 160 bytes, and the user's part behind it
 *     xev__conn_more      while it has more state than an idle connection: either of the next two,
 *                         deadlines of its own, a peer, a transport, a connect
 *     xev__conn_input     while input is there that the handler has not consumed
 *     xev__conn_output    while output waits; a list of segments, and the send in flight
 *
 * Handlers are called from the loop only. What a call of the user's makes due (opened, writable,
 * input that may go on, a flush at the turn's end) is noted in the flags, and the connection stands
 * in the service's due list until the FLUSH hook of the loop attends to it.
 *
 * A connection's memory is used again when its closed handler has returned, and it is in no list.
 */
#ifndef CONN_INTERNAL_H
#define CONN_INTERNAL_H

#include <assert.h>

#include "conn/move.h"
#include "xev/buffer.h"
#include "xev/conn.h"
#include "xev/core/chunks.h"
#include "xev/core/support.h"
#include "xev/dial.h"
#include "xev/fd.h"
#include "xev/file.h"
#include "xev/os/socket.h"
#include "xev/tcp.h"
#include "xev/timer.h"
#include "xev/unix.h"
#include "xev/upstream.h"

enum xev__conn_flag {
    XEV__CONN_LIVE = 1u << 0,       /* in use, closed has not been called. Without this and
                                       MOVING: free, or so when it leaves the due list */
    XEV__CONN_OPENING = 1u << 1,    /* due: the opened handler, then reading */
    XEV__CONN_CONNECTING = 1u << 2, /* has no descriptor yet */
    XEV__CONN_FULL = 1u << 3,       /* output rose above the high mark, or the data handler waits
                                       for it, and it has not fallen to the low mark */
    XEV__CONN_PAUSED = 1u << 4,     /* by the user */
    XEV__CONN_SLOTS = 1u << 5,      /* slots_max are reserved, or more->held */
    XEV__CONN_FINISHING = 1u << 6,  /* input is dropped from now on */
    XEV__CONN_END_OUTPUT = 1u << 7, /* this side is to end behind what is queued */
    XEV__CONN_OUTPUT_ENDED = 1u << 8,
    XEV__CONN_EOF = 1u << 9,       /* the peer's end was read */
    XEV__CONN_EOF_TOLD = 1u << 10, /* ... and the handler told, or the peer of the pipe */
    XEV__CONN_READING = 1u << 11,  /* recv is active */
    XEV__CONN_STOPPING = 1u << 12, /* recv was disarmed, its last callback is to come */
    XEV__CONN_CLOSING = 1u << 13,
    XEV__CONN_DETACHING = 1u << 14, /* CLOSING without a close */
    XEV__CONN_DUE = 1u << 15,       /* in the due list */
    XEV__CONN_PIPED = 1u << 16,
    XEV__CONN_TRANSPORT = 1u << 17, /* reads and sends by more->transport */
    XEV__CONN_CORKED = 1u << 18,    /* until the turn's end */
    XEV__CONN_WRITABLE = 1u << 19,  /* due: the writable handler */
    XEV__CONN_PUMP = 1u << 20,      /* due: input goes on */
    XEV__CONN_JOINT = 1u << 21,     /* its output goes out with others', and none is queued */
    XEV__CONN_DRAINING = 1u << 22,  /* finish behind more->drain_left bytes */
    XEV__CONN_MOVING = 1u << 23,    /* to another loop: nothing is read or sent; see move.c */
    XEV__CONN_HIGH = 1u << 24,      /* as FULL, also where that does not stop the reading */
    XEV__CONN_BUSY = 1u << 25,      /* by the user: a drain waits for it, and the default end */
    XEV__CONN_FRESH = 1u << 26,     /* adopted, and nothing of its input was handled whole */
};
#define XEV__CONN_REASON_SHIFT 27 /* the reason stands in the highest bits of the flags */
_Static_assert(XEV_CONN_REASONS <= 32, "a reason fits there");

/* The data handler is not to be called. */
#define XEV__CONN_BLOCKED                                                                          \
    (XEV__CONN_OPENING | XEV__CONN_CONNECTING | XEV__CONN_FULL | XEV__CONN_PAUSED |                \
     XEV__CONN_SLOTS | XEV__CONN_FINISHING | XEV__CONN_CLOSING | XEV__CONN_MOVING)
/* Something that arrives is not for the data handler alone. */
#define XEV__CONN_RARE (XEV__CONN_BLOCKED | XEV__CONN_PIPED | XEV__CONN_DRAINING | XEV__CONN_FRESH)
/* It takes no output. */
#define XEV__CONN_MUTE (XEV__CONN_END_OUTPUT | XEV__CONN_CLOSING)
/* What it writes is queued, and not sent now. */
#define XEV__CONN_HELD (XEV__CONN_CLOSING | XEV__CONN_CORKED | XEV__CONN_MOVING)

struct xev__conn_more;

struct xev_conn {
    /* The receive: a completion that never gets a time-out. See xev__conn_recv. */
    _Alignas(xev_completion) _Alignas(max_align_t) unsigned char recv[XEV__COMPLETION_UNTIMED];
    xev_conn_service *service;
    const xev_conn_handlers *handlers;
    struct xev__conn_more *more; /* NULL: it is idle */
    uint32_t number : 22;        /* index in the service's table */
    uint32_t backlog_parts : 10; /* what the kernel holds and cannot send, at most; see backlog.c */
    uint32_t generation;         /* of its present use */
    xev_fd fd;
    uint32_t flags;
    union {
        uint32_t active_tick; /* when it last read or sent */
        int32_t code;         /* CLOSING: for the closed handler */
    };
    uint32_t opened_tick; /* FINISHING: when this side ended */
    /* The wheel: where it is looked at next; and its neighbours there, number + 1, or 0. A free
     * connection has the next free one's in wheel_next. */
    uint32_t due_tick, wheel_next, wheel_prev;
    uint32_t next_due; /* in the due list, number + 1 */
};
_Static_assert(sizeof(void *) != 8 || sizeof(xev_conn) == 160, "an idle connection, in conn.h");
_Static_assert(sizeof(xev_conn) % _Alignof(max_align_t) == 0, "the user's part is aligned");

struct xev__conn_input {
    uint32_t start, len, room; /* bytes data[start, start + len) of data[0, room) */
    uint32_t block_bytes;
    uint8_t data[];
};

enum xev__seg_kind {
    XEV__SEG_COPY, /* data stands behind the segment, in its block */
    XEV__SEG_LENT,
    XEV__SEG_FILE,
    XEV__SEG_SLOT, /* has no data itself: what fills it follows it as a copy */
};

/* A piece of queued output. A slot is one, and outlives the connection. */
struct xev_conn_slot {
    struct xev_conn_slot *next;
    const uint8_t *data;
    uint32_t len;  /* left to send */
    uint32_t room; /* COPY: unused bytes behind the data */
    uint32_t block_bytes;
    uint8_t kind;
    bool filled; /* SLOT */
    xev_fd file; /* FILE */
    union {
        uint64_t offset;    /* FILE */
        uint64_t gone_what; /* SLOT */
    };
    union {
        xev_conn_release_fn release; /* LENT, FILE */
        void (*gone)(uint64_t what); /* SLOT; or NULL */
    };
    union {
        void *userdata;
        xev_conn *conn; /* SLOT; NULL: gone */
    };
    xev_conn_service *service;
};

#define XEV__CONN_VECS 16

struct xev__conn_output {
    xev_conn_slot *head, *tail;
    uint64_t queued_bytes;
    uint64_t sent_bytes;   /* since the output began to wait */
    int64_t taken_bytes;   /* of these, by the peer, when it was last looked at */
    uint32_t looked_tick;  /* when the connection was last looked at for a reset */
    uint32_t since_tick;   /* when the peer last took something */
    uint32_t flight_bytes; /* in the kernel's hands */
    bool in_flight;
    bool writable; /* a poll of backlog.c said so, and nothing was sent since */
    xev_completion send;
    xev_vec vec[XEV__CONN_VECS];
    xev_file_req *file; /* a part of a file that is being sent, or NULL */
};

struct xev__conn_connect;
struct xev__upstream;

/* What a connection to an upstream is for. AHEAD: it is being opened ahead of its use; once it is
 * open it is IDLE. OVER: it was IDLE, and is being closed. GIVEN_UP: so it is, and is not counted
 * any more. */
enum xev__upstream_role {
    XEV__UPSTREAM_USE,
    XEV__UPSTREAM_CHECK,
    XEV__UPSTREAM_AHEAD,
    XEV__UPSTREAM_IDLE,
    XEV__UPSTREAM_OVER,
    XEV__UPSTREAM_GIVEN_UP,
};

struct xev__conn_more {
    struct xev__conn_input *in;
    struct xev__conn_output *out;
    union {
        xev_conn *peer;      /* PIPED */
        xev_conn *idle_next; /* of role IDLE: in its upstream's list */
    };
    const xev_conn_transport *transport;
    union {
        void *transport_state;
        struct xev__conn_move *move; /* MOVING, of which none has a transport */
    };
    struct xev__conn_connect *connect;
    struct xev__upstream *upstream; /* of a group, or NULL */
    xev_conn_detach_fn detached;
    union {
        void *detached_userdata;
        xev_conn *idle_prev;
    };
    xev_fd write_fd;    /* of two pipes; else XEV_INVALID_FD */
    uint32_t need;      /* bytes of input before the handler is called again */
    uint32_t in_since;  /* when the input began to be incomplete */
    uint32_t slots;     /* not filled */
    int32_t code;       /* of a reason that was set while it is still to end in order */
    bool outgoing;      /* this side has made it */
    bool drain_waits;   /* ... and it is drained when it is no longer BUSY */
    bool recv_again;    /* its transport has not said XEV_EAGAIN since it was asked last */
    bool send_waits;    /* its transport takes no output before its next recv */
    int64_t drain_left; /* DRAINING: bytes still to be handled, -1: not yet known */
    bool own_deadlines : 1;
    bool held : 1;   /* until what it has asked is answered; its flag is XEV__CONN_SLOTS */
    bool lost_input; /* DETACHING: there was no memory for what arrived */
    uint8_t upstream_role;
    bool was_kept; /* by its upstream's list */
    xev_conn_deadlines deadlines;
};
_Static_assert(sizeof(void *) != 8 || sizeof(struct xev__conn_more) <= 128, "a block of 128");

#define XEV__CONN_SCRATCH (64u * 1024)
#define XEV__WHEEL 512 /* ticks of one revolution */

struct xev_conn_service {
    xev_loop *loop;
    xev_conn_options options;    /* no field is 0 that has a default */
    struct xev__chunks table;    /* of the connections, each with the user's part */
    uint32_t due_head, due_tail; /* number + 1 */
    bool hooked, attending, draining;
    bool sheds;            /* due at the end of the turn */
    bool joins;            /* the loop has joint sends */
    bool holds;            /* the loop, while connections are left in the drain */
    uint32_t backlog_part; /* bytes: the unit of backlog_parts; 0: there is no limit */
    xev_hook hook;
    xev_completion again; /* keeps the loop from sleeping while something is due */
    /* What the handler that is running has written. */
    xev_conn *current;
    const uint8_t *loan; /* data that stays while it runs */
    size_t loan_bytes;
    uint32_t pieces, scratch_used; /* scratch_used: from scratch_from on */
    xev_vec piece[XEV__CONN_VECS];
    xev_conn_slot *piece_lent[XEV__CONN_VECS]; /* NULL: in scratch, or in the loan */
    uint8_t *scratch;
    uint32_t scratch_from;   /* what is before is in joint sends */
    uint32_t scratch_joints; /* how many */
    uint8_t *read_scratch;   /* for transports; made when there is one */
    /* A close takes a completion of its own. One is kept for when memory is short; then connections
     * wait for it. */
    xev_completion spare;
    bool spare_used;
    uint32_t waiting_close;                   /* list by wheel_next, number + 1 */
    xev_conn_slot *released;                  /* whose release is due */
    xev_upstreams *groups;                    /* whose connections are the service's, a list */
    uint32_t kept;                            /* connections of role IDLE */
    bool (*has_room)(void *account_userdata); /* NULL: always */
    /* The wheel. */
    uint32_t wheel[XEV__WHEEL]; /* number + 1 */
    uint64_t wheel_used[XEV__WHEEL / 64];
    uint32_t wheel_tick; /* up to here it was looked at */
    uint32_t wheel_next; /* when the timer fires; with wheel_armed */
    bool wheel_armed;
    xev_completion timer;
    struct xev__blocks blocks;
    xev_conn_counters count; /* but for the bytes of blocks */
};

_Noreturn void xev__conn_misuse(const char *call, const char *what, const void *which);

static inline void xev__conn_check(const char *call, const void *pointer) {
    if (pointer == NULL) {
        xev__conn_misuse(call, "connection, service, slot or argument is null", pointer);
    }
}

/* The same of a service, and of a connection, whose loop's thread this is to be. */
static inline void xev__conn_check_service(const char *call, const xev_conn_service *s) {
    xev__conn_check(call, s);
    xev__check_thread(call, s->loop);
}
static inline void xev__conn_check_own(const char *call, const xev_conn *c) {
    xev__conn_check(call, c);
    xev__check_thread(call, c->service->loop);
}

/* One connection more, or less. In a drain the loop goes on until none is left, also where those
 * that are left neither read nor send, and wait for the program. */
void xev__conn_count(xev_conn_service *s, int change);

/* Tell who keeps account of connections. */
static inline void xev__conn_account(xev_conn *c, bool begins) {
    const xev_conn_options *o = &c->service->options;
    if (o->account != NULL) {
        o->account(c, begins, o->account_userdata);
    }
}

/* Ticks of 2^26 ns, 67 ms: the unit of deadlines. */
static inline uint32_t xev__conn_tick(const xev_conn_service *s) {
    return (uint32_t)(s->loop->now_ns >> 26);
}

static inline bool xev__conn_is(const xev_conn *c, uint32_t flags) {
    return (c->flags & flags) != 0;
}

/* This side has asked, and is to be answered. */
static inline bool xev__conn_awaits(const xev_conn *c) {
    return xev__conn_is(c, XEV__CONN_BUSY) && c->more != NULL && c->more->outgoing;
}

static inline void xev__conn_clear(xev_conn *c, uint32_t flags) { c->flags &= ~flags; }

static inline xev_completion *xev__conn_recv(xev_conn *c) {
    return (xev_completion *)(void *)c->recv;
}

static inline struct xev__conn_output *xev__conn_out(const xev_conn *c) {
    return c->more != NULL ? c->more->out : NULL;
}

/* ---- service.c ---- */
static inline xev_conn *xev__conn_at(const xev_conn_service *s, uint32_t number) {
    return xev__chunks_at(&s->table, number);
}
/* NULL: there is none of this number now. */
static inline xev_conn *xev__conn_live_at(const xev_conn_service *s, uint32_t number) {
    xev_conn *c = xev__chunks_have(&s->table, number) ? xev__conn_at(s, number) : NULL;
    return c != NULL && xev__conn_is(c, XEV__CONN_LIVE) ? c : NULL;
}
/* A connection of the service without descriptor, LIVE; NULL and *code: none can be had. */
xev_conn *xev__conn_new(xev_conn_service *s, int *code);
/* It could not be made after all; nobody was told of it. */
void xev__conn_undo(xev_conn *c);
/* Use its memory again, now or when it is in no list. It was told that it is closed. */
void xev__conn_recycle(xev_conn *c);
/* Attend to it at the end of the turn, for flags; any of which may be 0. */
void xev__conn_due(xev_conn *c, uint32_t flags);
/* Call the release of a segment at the end of the turn, and free it. */
void xev__conn_release_later(xev_conn_service *s, xev_conn_slot *seg);

/* Call the service's hook at the end of this turn. */
void xev__conn_hook_in(xev_conn_service *s);

/* ---- shed.c: all connections hold too much ---- */
/* With bytes more, more than held_max_bytes are held: some connections are closed at the end of the
 * turn. False: it is so much that there is nothing more until then. */
bool xev__shed_allows(xev_conn_service *s, size_t bytes);
/* At the end of the turn: close connections. */
void xev__shed(xev_conn_service *s);

/* ---- its memory, in blocks ---- */
/* At least bytes; *block_bytes is what it has, to be told to put. NULL: no memory. */
static inline void *xev__block_get(xev_conn_service *s, size_t bytes, uint32_t *block_bytes) {
    if (s->count.held_bytes + bytes > s->options.held_max_bytes && !xev__shed_allows(s, bytes)) {
        return NULL;
    }
    void *block = xev__blocks_get(&s->blocks, bytes, block_bytes);
    s->count.held_bytes += block != NULL ? *block_bytes : 0;
    return block;
}
static inline void xev__block_put(xev_conn_service *s, void *block, uint32_t block_bytes) {
    assert(s->count.held_bytes >= block_bytes);
    s->count.held_bytes -= block_bytes;
    xev__blocks_put(&s->blocks, block, block_bytes);
}

/* ---- wheel.c: deadlines ---- */
/* A deadline of the kind that lies ms ahead may now be the next one. */
void xev__wheel_sooner(xev_conn *c);
/* It reads nothing now: have it looked at for a reset, if nothing else would tell of one. */
void xev__wheel_deaf(xev_conn *c);
void xev__wheel_leave(xev_conn *c);
/* Output begins to wait for the peer: the time of its deadline runs from now. */
void xev__conn_begin_to_wait(xev_conn *c, struct xev__conn_output *out);
/* Its service drains: it ends now, or after its first input, or first_ms. */
void xev__conn_service_drains(xev_conn *c);

/* ---- conn.c: states ---- */
/* more, made if need be; NULL: no memory. */
struct xev__conn_more *xev__conn_more(xev_conn *c);
/* Give more back if nothing is in it. */
void xev__conn_trim(xev_conn *c);
/* The connection is to be closed now, for a reason. Once; later reasons do not count. */
void xev__conn_close(xev_conn *c, xev_conn_reason reason, int code);
/* As xev_conn_finish, with the reason that closed is to tell. */
void xev__conn_finish_for(xev_conn *c, xev_conn_reason reason, int code);
/* It is closing, and has a descriptor again: close that, then it is gone. */
void xev__conn_start_close(xev_conn *c);
/* Before its descriptor is closed: have that reset it, where its stream is not whole. */
void xev__conn_reset_or_end(const xev_conn *c);
/* Close it if both directions have ended. */
void xev__conn_check_end(xev_conn *c);
/* Its descriptor is closed or given away; the last step. */
void xev__conn_gone(xev_conn *c);

/* ---- input.c ---- */
/* Read, if that is wanted and does not happen. */
void xev__conn_read(xev_conn *c);
/* Input goes on: what is kept is presented, the end is told, reading begins again. */
void xev__conn_pump(xev_conn *c);
void xev__conn_input_free(xev_conn *c);
/* Keep len_bytes behind what is there. False: no memory, the connection is closing. */
bool xev__conn_keep(xev_conn *c, const void *data, size_t len_bytes);
void xev__conn_start_drain(xev_conn *c);
/* For a connection that has none: a copy of another one's. False: no memory. */
bool xev__conn_copy_input(xev_conn *c, const struct xev__conn_input *from);

/* Whether a piece of output was copied for the handler that writes it. Else it is in the loan. */
static inline bool xev__conn_is_copy(const xev_conn_service *s, const void *data) {
    return (uintptr_t)data - (uintptr_t)s->scratch < XEV__CONN_SCRATCH;
}

/* ---- join.c ---- */
/* Have the only piece, which is not lent, go out with other connections'. False: send it now. */
bool xev__conn_join(xev_conn *c);
/* Copy to the beginning of scratch again, when neither joint sends nor the handler that is running
 * have anything there. */
static inline void xev__conn_reuse_scratch(xev_conn_service *s) {
    if (s->scratch_joints == 0 && s->scratch_used == 0) {
        s->scratch_from = 0;
    }
}
/* Send it now after all: something else is to be done with the connection. */
static inline void xev__conn_settle(const xev_conn *c) {
    if (xev__conn_is(c, XEV__CONN_JOINT)) {
        xev__settle(c->service->loop, c);
    }
}

/* ---- backlog.c: what the kernel holds of a connection's output and cannot send ---- */
#define XEV__CONN_BACKLOG_PARTS 1023u
/* May the kernel be given len bytes more, without a question to it? Then they count as given. */
static inline bool xev__conn_backlog_allows(xev_conn *c, size_t len) {
    uint32_t part = c->service->backlog_part;
    if (part == 0) {
        return true; /* there is no limit */
    }
    size_t parts = len / part + 1 + c->backlog_parts;
    if (parts > XEV__CONN_BACKLOG_PARTS) {
        return false;
    }
    c->backlog_parts = parts & XEV__CONN_BACKLOG_PARTS;
    return true;
}
/* How many of len bytes (> 0) the kernel may be given now; they count as given. 0: wait. */
size_t xev__conn_backlog_take(xev_conn *c, size_t len);
/* Send count pieces now. Bytes taken, or a code; XEV_EAGAIN: start_send of output.c waits. */
int xev__conn_send_now(xev_conn *c, const xev_vec *vec, uint32_t count);
/* Have cb called, once, when the descriptor may be given more. False: there is no limit. */
bool xev__conn_backlog_wait(xev_conn *c, xev_completion *k, xev_cb cb);
/* Set the kernel's own limit to the service's; or take it off. Nothing where the service has none.
 */
void xev__conn_backlog_limit(const xev_conn *c, bool limited);

/* ---- output.c ---- */
/* An operation of out->send is over: a send, or where flight_bytes is 0, a poll. */
xev_cb_action xev__conn_on_output_sent(xev_loop *loop, xev_completion *k, int result,
                                       void *userdata);
/* Send what the handler that ran has gathered. */
void xev__conn_flush(xev_conn *c);
/* The rest of that, when the send of all pieces has reported rc. */
void xev__conn_flush_rest(xev_conn *c, int rc);
/* What was not sent of a write waits; for the loop, or for the turn's end. False: no memory, the
 * connection is closing. */
bool xev__conn_queue_rest(xev_conn *c, const uint8_t *data, size_t len);
/* Send a copy now, or queue it behind what is queued, which has room for it. As xev_conn_write. */
int xev__conn_write_through(xev_conn *c, const uint8_t *data, size_t len);
void xev__conn_output_failed(xev_conn *c, int code);
/* Throw away what was gathered, since the handler that did so will not return. */
void xev__conn_drop_pieces(xev_conn_service *s);

/* What its handlers write from here on is gathered; and sent. data: stays as it is meanwhile. */
static inline void xev__conn_enter(xev_conn *c, const void *data, size_t len_bytes) {
    xev_conn_service *s = c->service;
    assert(s->current == NULL && s->pieces == 0 && s->scratch_used == 0); /* not nested */
    s->current = c;
    s->loan = data;
    s->loan_bytes = len_bytes;
}
static inline void xev__conn_leave(xev_conn *c) {
    xev_conn_service *s = c->service;
    assert(s->current == c);
    if (s->pieces == 1 && s->piece_lent[0] == NULL &&
        !xev__conn_is(c, XEV__CONN_HELD | XEV__CONN_TRANSPORT) &&
        xev__conn_backlog_allows(c, s->piece[0].len_bytes)) {
        /* The usual case: one piece, and it goes out whole. */
        if (s->joins && xev__conn_join(c)) {
            s->current = NULL;
            return;
        }
        int rc = xev__os_send_once(c->fd, s->piece[0].base, s->piece[0].len_bytes);
        if (rc == (int)s->piece[0].len_bytes) {
            s->pieces = s->scratch_used = 0;
            s->count.bytes_out += (uint32_t)rc;
        } else {
            xev__conn_flush_rest(c, rc);
        }
    } else if (s->pieces > 0) {
        xev__conn_flush(c);
    }
    s->current = NULL;
}
/* Send what is queued as far as that is possible now, and go on by the loop. */
void xev__conn_push(xev_conn *c);
/* Queue a copy. False: no memory, the connection is closing. */
bool xev__conn_queue(xev_conn *c, const void *data, size_t len_bytes);
/* Whether the output has come to its end: if it is to end, end it. */
void xev__conn_output_idle(xev_conn *c);
void xev__conn_output_free(xev_conn *c);

/* Of the connection's own writes: what was gathered goes first. NULL: no memory, it is closing. */
struct xev__conn_output *xev__conn_make_output(xev_conn *c);
/* What a write reports that has found or made it closing. */
int xev__conn_write_error(const xev_conn *c);
/* More bytes are queued: water marks, deadlines, and who sends them. */
void xev__conn_queued(xev_conn *c, size_t len_bytes);
/* The kernel took len_bytes from the front of the queue. */
void xev__conn_took(xev_conn *c, size_t len_bytes);
void xev__conn_append(struct xev__conn_output *out, xev_conn_slot *seg);
/* A segment without data, of the kind. NULL: no memory. */
xev_conn_slot *xev__seg_new(xev_conn_service *s, enum xev__seg_kind kind, size_t room);

/* For a connection that has none: copies of what another loop's connection has. False: no memory;
 * nothing else has changed. sent: the release of what is lent, with move. */
bool xev__conn_copy_output(xev_conn *c, const struct xev__conn_output *from,
                           struct xev__conn_move *move, xev_conn_release_fn sent);

/* ---- move.c ---- */
/* It is MOVING, and LIVE: what is next? */
void xev__conn_move_step(xev_conn *c);
/* The move is over: it is to end here. */
void xev__conn_stay(xev_conn *c);
/* The loop is gone; it has left, so it is another service's now, or becomes LIVE again. */
void xev__conn_move_free(xev_conn *c);

/* ---- writefile.c ---- */
/* The file at the head of the queue. */
void xev__conn_send_file(xev_conn *c);

/* ---- pipe.c ---- */
/* Data of c for its peer. */
void xev__pipe_data(xev_conn *c, const void *data, size_t len_bytes);
/* May c's data go to its peer now? */
bool xev__pipe_open(const xev_conn *c);
void xev__pipe_ended(xev_conn *c);
void xev__pipe_break(xev_conn *c, xev_conn_reason reason, int code);

/* ---- transport.c ---- */
/* XEV_EAGAIN with more->send_waits: not before its next recv. */
int xev__transport_send(xev_conn *c, const xev_vec *vec, size_t count);
int xev__transport_shutdown(xev_conn *c);
/* After that: have cb called when it may be tried again. False: its next recv tries. */
bool xev__transport_wait(xev_conn *c, xev_completion *k, xev_cb cb);

/* ---- connect.c ---- */
/* It is closing: stop. Its end is told by xev__conn_gone or a close. */
void xev__connect_stop(xev_conn *c);
void xev__connect_free(xev_conn *c);
/* What is wrong with addresses of which there may be at most so many; NULL: nothing. */
const char *xev__wrong_addrs(const xev_addr *addrs, size_t count, size_t most);
/* As xev_conn_connect; upstream: whose address that is, or NULL. */
int xev__conn_dial(xev_conn_service *s, const xev_addr *addrs, size_t count,
                   const xev_conn_connect_options *options, struct xev__upstream *upstream,
                   enum xev__upstream_role role, xev_conn **conn);

/* ---- upstream.c: of a connection to an upstream ---- */
/* It is connected. */
void xev__upstream_connected(xev_conn *c);
/* A connect has failed with code. The address to try next; NULL: that is the end. tried: a bit for
 * each upstream. */
const xev_addr *xev__upstream_failed(xev_conn *c, int code, uint64_t *tried);
/* It is closed. */
void xev__upstream_gone(xev_conn *c);
/* The service is about to be freed: its groups may be freed then. */
void xev__upstreams_orphan(xev_conn_service *s);

/* ---- upstream_pool.c: those that are kept ---- */
/* Take it out of its upstream's list. */
void xev__pool_unlink(xev_conn *c);
void xev__pool_drop(struct xev__upstream *up); /* all that are kept */
void xev__pool_fill(struct xev__upstream *up); /* open ahead what is missing */
/* One that may be used, with these handlers (NULL: the service's); NULL: there is none. */
xev_conn *xev__pool_take(struct xev__upstream *up, const xev_conn_handlers *handlers);

#endif
