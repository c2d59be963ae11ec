/* Connections: reading, writing, limits, deadlines and the end of a stream connection, on one loop.
 *
 * A service owns the connections of one loop. Each connection has a table of handlers; they are
 * called inside xev_loop_run only, never inside a call of yours. An echo server's table:
 *
 *     static ptrdiff_t on_data(xev_conn *conn, const void *data, size_t len_bytes) {
 *         (void)xev_conn_write(conn, data, len_bytes);
 *         return (ptrdiff_t)len_bytes; // all of it is consumed
 *     }
 *     static const xev_conn_handlers echo = {.data = on_data};
 *
 *     xev_conn_service_new(&service, &loop, &(xev_conn_options){.handlers = &echo});
 *     xev_conn_adopt(service, fd, &conn); // in the callback of an accept
 *
 * Reading. Data stands in memory that the loop lends, so an idle connection holds no buffer. The
 * data handler says how many bytes it consumed. It is called again with the rest as long as it
 * consumes something; what it leaves is kept, and presented again with what comes later, as one
 * piece. It may be shown a part of what has arrived, and is then called again with more of it.
 *
 * Writing. Data is sent inside the call where nothing is queued; what the kernel does not take is
 * queued. What a connection writes in its own handler goes out in one system call when the handler
 * returns; on io_uring in one with the output of other connections' handlers, 128 at most, before
 * the loop waits, or returns from its run. Above high_bytes of queued output the connection reads
 * no more until the output has fallen to low_bytes; then the writable handler is called. So a
 * protocol that answers what it reads is held back without code of its own.
 *
 * The end. A connection ends in order (xev_conn_finish: queued output, then the end of the stream,
 * then the peer's end), or at once (xev_conn_abort, errors, limits). Either way the closed handler
 * is called once, last, with the reason. The connection is gone when it returns. A reset by the
 * peer is noticed also where nothing is read, since slots_max are reserved or the peer's end was
 * read: a connection with reserved slots looks for it once a second; but not on Windows and WASI,
 * which tell only those who read.
 *
 * Memory. An idle connection takes 160 bytes and its part for the user, besides the loop's entry
 * of the descriptor. What is needed while output waits, or while input is incomplete, comes from
 * pools of the service. All this is kept for the next who needs it, and given back when nobody has
 * needed it for some seconds. Lack of memory ends a connection with a reason; it does not end the
 * program.
 *
 * Misuse (null pointers where the call does not say what NULL means, a handler that consumes more
 * than there is) ends the program, as in completion.h. Threads: all calls are made on the loop's
 * thread, except where a call says otherwise; in builds of the library without NDEBUG one from
 * another thread ends the program, with a line that names both. A connection keeps its loop going
 * while it reads or sends.
 */
#ifndef XEV_CONN_H
#define XEV_CONN_H

#include "xev/addr.h"
#include "xev/loop.h"
#include "xev/vec.h"

typedef struct xev_conn xev_conn;
typedef struct xev_conn_service xev_conn_service;
typedef struct xev_conn_slot xev_conn_slot;

/* A connection's name: a plain value, for any thread. 0 names none. */
typedef uint64_t xev_conn_handle;

/* Why a connection is closed. */
typedef enum xev_conn_reason {
    XEV_CONN_ENDED = 0,   /* in order: both directions have ended */
    XEV_CONN_LINGERED,    /* this side ended in order, the peer not in linger_ms */
    XEV_CONN_ABORTED,     /* xev_conn_abort */
    XEV_CONN_DETACHED,    /* xev_conn_detach */
    XEV_CONN_FAILED,      /* the connection broke; code: XEV_ECONNRESET, XEV_EPIPE, ... */
    XEV_CONN_UNCONNECTED, /* it was never made; code: XEV_ECONNREFUSED, XEV_ETIMEDOUT, ... */
    XEV_CONN_PROTOCOL,    /* the data handler reported an error, which is the code */
    /* The connection that this one is piped to did not end in order, or takes no more. */
    XEV_CONN_PIPE_BROKEN,
    XEV_CONN_INPUT_FULL,  /* more than unconsumed_max_bytes, and the handler consumed nothing */
    XEV_CONN_OUTPUT_FULL, /* more than queued_max_bytes of output */
    XEV_CONN_NO_MEMORY,   /* memory was short: the service's, the loop's or the system's; a reset */
    XEV_CONN_TOTAL_FULL,  /* all connections held more than held_max_bytes, and this one the most */
    XEV_CONN_IDLE_LATE,   /* deadlines: see xev_conn_deadlines */
    XEV_CONN_READ_LATE,
    XEV_CONN_WRITE_LATE,
    XEV_CONN_LIFE_LATE,
    /* The loop was deinitialised. TCP: a reset where output was queued or reserved, or the
     * connection busy or piped. */
    XEV_CONN_LOOP_ENDED,
    XEV_CONN_REASONS,
} xev_conn_reason;

/* All but data may be NULL. */
typedef struct xev_conn_handlers {
    /* The connection is there: adopted, or connected. Called before the others. */
    void (*opened)(xev_conn *conn);
    /* len_bytes (> 0) at data, valid until the handler returns. Returns how many of them were
     * consumed, from the first on; or a negative code: what was written before still goes out, then
     * the connection ends with XEV_CONN_PROTOCOL and that code. */
    ptrdiff_t (*data)(xev_conn *conn, const void *data, size_t len_bytes);
    /* The output has fallen to low_bytes after it had been above high_bytes. */
    void (*writable)(xev_conn *conn);
    /* The peer sends no more, and all it sent was presented. NULL: xev_conn_finish, of one that is
     * busy with an answer to the peer (xev_conn_set_busy) when it no longer is. */
    void (*ended)(xev_conn *conn);
    /* A deadline has passed: XEV_CONN_IDLE_LATE, READ_LATE or LIFE_LATE. What this writes still
     * goes out, then the connection ends for that reason. */
    void (*late)(xev_conn *conn, xev_conn_reason which);
    /* The connection is over, its descriptor closed. Called once for each connection, also for one
     * that was never connected. What is written here goes nowhere. */
    void (*closed)(xev_conn *conn, xev_conn_reason reason, int code);
    /* Of one that moves to another shard (xev_serve_move in serve.h). It leaves this shard: when
     * this returns its handle is stale, and conn not to be used here. What names it here is to be
     * forgotten, and what its user part names of this shard given up. It may write; a slot cannot
     * be reserved. */
    void (*leaving)(xev_conn *conn);
    /* It is on this shard now, with a new handle: that it was to move to, or where that could not
     * take it, the one that it had left. The user's part is a copy of its bytes. */
    void (*moved)(xev_conn *conn);
} xev_conn_handlers;

/* Milliseconds; 0: the default, UINT32_MAX: none. Deadlines are looked at every 67 ms: never early,
 * up to 134 ms late. */
typedef struct xev_conn_deadlines {
    /* Nothing is read, sent, or taken by the peer's system; 300 000. It runs also while an answer
     * is waited for, in a slot or by xev_conn_set_busy: let it be longer than a long poll. */
    uint32_t idle_ms;
    /* Input is there and incomplete: from its first byte until the data handler consumes some; does
     * not run while the connection holds its reading back itself; 30 000. */
    uint32_t read_ms;
    /* Output waits and the peer's system takes none of it; 30 000. Ends it by a reset. */
    uint32_t write_ms;
    uint32_t life_ms;   /* from the adoption or the connect; none */
    uint32_t linger_ms; /* for the peer's end, after ours; 5 000 */
} xev_conn_deadlines;

/* What calls below are given to call: for each connection; where one begins or ends; when lent
 * memory is the caller's again; with the descriptor that a connection gave away. */
typedef void (*xev_conn_each_fn)(xev_conn *conn, void *userdata);
typedef void (*xev_conn_account_fn)(xev_conn *conn, bool begins, void *userdata);
typedef void (*xev_conn_release_fn)(void *userdata);
typedef void (*xev_conn_detach_fn)(xev_fd fd, const void *data, size_t len_bytes, void *userdata);

/* All zero, but for handlers, means all defaults. */
typedef struct xev_conn_options {
    const xev_conn_handlers *handlers; /* of connections that are not given others; kept */
    uint32_t id;                       /* of the shard or loop, 0 to 1023: part of the handles */
    uint32_t user_bytes;               /* the user's part of a connection, zeroed; to 1 MiB */
    uint32_t connections_max;          /* to 4 194 303; 65 536 */
    uint32_t unconsumed_max_bytes;     /* input that waits for the handler, to 1 GiB; 1 MiB */
    uint32_t queued_max_bytes;         /* output, to INT32_MAX; 16 MiB */
    /* Water marks of the output: low_bytes to high_bytes, high_bytes to queued_max_bytes; 256 KiB,
     * and a quarter of high_bytes. */
    uint32_t high_bytes, low_bytes;
    uint32_t slots_max; /* reserved and not filled, per connection; 1024 */
    /* A write beyond queued_max_bytes only reports XEV_ENOBUFS, and does not end the connection. */
    bool full_refuses;
    bool full_reads; /* a connection goes on reading while its output is above high_bytes */
    /* Memory that all connections hold together for input and output. Above it those that hold the
     * most are reset, at the end of the turn, until an eighth of it is free. What would be more
     * than a quarter above it is refused, as if there were no memory. UINT64_MAX: no limit; 256
     * MiB. */
    uint64_t held_max_bytes;
    /* TCP: output that the system holds of a connection and cannot send yet, since the peer does
     * not read; it is given no more then. It limits neither what is under way nor the speed. 0: the
     * system's limits; xev_serve_run sets it, see unsent_bytes in serve.h. Behind a transport,
     * which sends by itself, it may be passed by a large write, by up to 64 KiB. On systems other
     * than Linux it does nothing. */
    uint32_t unsent_bytes;
    xev_conn_deadlines deadlines;
    /* In the service's drain one of which no input was handled yet waits for it, until so many ms
     * after its adoption: who has just connected gets an answer. 0: 1000; UINT32_MAX: none. */
    uint32_t first_ms;
    /* Called for every connection, whatever its handlers are: where it begins, inside the adopt or
     * connect; and where it ends, after its closed handler (or inside that call, which then fails;
     * or inside the one in whose favour it is given up: upstream.h, Limits). For who keeps account
     * of connections; it calls nothing that changes one. NULL: nothing. */
    xev_conn_account_fn account;
    void *account_userdata;
    void *userdata;
} xev_conn_options;

typedef struct xev_conn_counters {
    uint32_t connections;     /* now */
    uint32_t orphans;         /* slots that are not filled and whose connection is gone */
    uint64_t opened, refused; /* refused: beyond connections_max, or for lack of memory */
    uint64_t closed[XEV_CONN_REASONS];
    uint64_t moved_in, moved_out; /* from and to other shards; not opened and closed here */
    uint64_t given_up; /* kept for an upstream, and closed for one that needed the place */
    uint64_t bytes_in, bytes_out; /* out: what the kernel took */
    uint64_t held_bytes;          /* now, of held_max_bytes; lent data is not in it */
    uint64_t pool_bytes;          /* held of the loop's allocator now, connections included */
} xev_conn_counters;

XEV_BEGIN_DECLS

/* ---- service ---- */

/* A service for a loop that is initialised. 0, XEV_EINVAL (an option out of its range, no data
 * handler: xev_err_why says it), XEV_ENOMEM. Memory comes from the loop's allocator. On failure
 * *service is NULL. */
XEV_NODISCARD int xev_conn_service_new(xev_conn_service **service, xev_loop *loop,
                                       const xev_conn_options *options);

/* Free it; after the deinit of its loop (before, it is misuse), while the loop's memory is there.
 * Connections that are left are closed, with XEV_CONN_LOOP_ENDED. Their slots, and those that
 * counters call orphans, must not be filled any more. By the thread that called deinit. A forked
 * child may do it in a handler, too, and changes nothing of its parent's sockets. */
void xev_conn_service_free(xev_conn_service *service);

/* What it was made with, and what it has done. */
xev_loop *xev_conn_service_loop(const xev_conn_service *service);
void *xev_conn_service_userdata(const xev_conn_service *service);
void xev_conn_service_count(const xev_conn_service *service, xev_conn_counters *out);

/* Call fn for every connection that is not closed or closing, in no order; but not for those that
 * are nobody's, kept by a group of upstreams or made to check one (upstream.h). fn may end
 * connections and write to them. */
void xev_conn_service_each(xev_conn_service *service, void *userdata, xev_conn_each_fn fn);

/* xev_conn_drain for every connection there is, and for each that is adopted from now on; for one
 * that was adopted just now and has said nothing yet, when its first input was handled, or first_ms
 * of the options have passed. The loop is kept going until no connection is left. */
void xev_conn_service_drain(xev_conn_service *service);

/* ---- beginning ---- */

/* Make a connected stream socket (TCP, Unix) a connection. 0: the descriptor is the connection's
 * from now on, and *conn (NULL: not wanted) is it. Otherwise the descriptor stays the caller's:
 * XEV_ENOBUFS (connections_max), XEV_ENOMEM, XEV_EBADF (below 0). One that is no connected socket
 * ends with XEV_CONN_FAILED. */
XEV_NODISCARD int xev_conn_adopt(xev_conn_service *service, xev_fd fd, xev_conn **conn);

/* The same for two pipes, or a terminal: it reads from one descriptor and writes to the other,
 * which becomes non-blocking, as does everyone's who shares it. The ends of the output and of the
 * connection close them. XEV_EINVAL: both are the same. */
XEV_NODISCARD int xev_conn_adopt_pipes(xev_conn_service *service, xev_fd read_fd, xev_fd write_fd,
                                       xev_conn **conn);

/* How to connect. All zero means all defaults. */
typedef struct xev_conn_connect_options {
    const xev_conn_handlers *handlers; /* NULL: the service's */
    uint32_t timeout_ms;               /* of one try of all addresses; 10 000; UINT32_MAX: none */
    uint32_t tries;                    /* 1; UINT32_MAX: without limit */
    uint32_t delay_ms;                 /* before the second try, then doubled each time; 100 */
    uint32_t delay_max_ms;             /* 10 000 */
} xev_conn_connect_options;

/* Most addresses of one connection. */
#define XEV_CONN_ADDRS_MAX 16

/* An outgoing connection to the first of count addresses that answers, as in dial.h (one Unix
 * address is taken as well). options: NULL, all defaults. It may be written to at once: that waits
 * for the connection. The opened handler says that it is connected, or closed that it never will
 * be (XEV_CONN_UNCONNECTED, with the code of the last failure). 0, XEV_ENOBUFS, XEV_ENOMEM as of
 * adopt; XEV_EINVAL: no address, too many, a Unix address beside others. */
XEV_NODISCARD int xev_conn_connect(xev_conn_service *service, const xev_addr *addrs, size_t count,
                                   const xev_conn_connect_options *options, xev_conn **conn);

/* ---- what it is ---- */

/* The user's part, user_bytes long, zeroed at the beginning. */
void *xev_conn_user(xev_conn *conn);
xev_conn_service *xev_conn_service_of(const xev_conn *conn);
/* The descriptor, for options and addresses only; XEV_INVALID_FD while it is not connected. Nothing
 * is to be read, written, shut down or closed by it: output that was accepted may go out later,
 * with that of other connections. It is another one's when the connection is closed, or has moved.
 */
xev_fd xev_conn_fd(const xev_conn *conn);

/* Other handlers from now on, of a protocol that was switched to, say. Kept. */
void xev_conn_set_handlers(xev_conn *conn, const xev_conn_handlers *handlers);

/* Its handle; and the connection of a handle, in *conn: 0, or XEV_ESTALE (and NULL), where it is
 * closed or was another service's. The id of the service that made a handle: any thread. */
xev_conn_handle xev_conn_handle_of(const xev_conn *conn);
XEV_NODISCARD int xev_conn_find(const xev_conn_service *service, xev_conn_handle handle,
                                xev_conn **conn);
uint32_t xev_conn_handle_id(xev_conn_handle handle);

/* Its place in the service: below the most connections that there were at a time, those that were
 * closed in the same turn included, rounded up to 256; for tables beside it. Another connection may
 * have it when this one is gone. */
uint32_t xev_conn_number(const xev_conn *conn);

/* "idle_late"; "" for a number that is no reason. Any thread. */
const char *xev_conn_reason_name(xev_conn_reason reason);

/* ---- reading ---- */

/* Call the data handler no more, and soon stop reading; and go on. What the loop had received by
 * then is kept. Of one that is piped: pass nothing on to the other. Of the deadlines read_ms does
 * not run meanwhile; idle_ms does. */
void xev_conn_pause(xev_conn *conn);
void xev_conn_resume(xev_conn *conn);

/* In the data handler, which then consumes nothing more: do not call it again before len_bytes of
 * input are there. Beyond unconsumed_max_bytes the connection ends with XEV_CONN_INPUT_FULL. */
void xev_conn_need(xev_conn *conn, size_t len_bytes);

/* ---- writing ----
 *
 * Common to all: 0, or a code, and then nothing of it was taken: XEV_EPIPE (this side has ended, or
 * the connection is closing), XEV_ENOBUFS (queued_max_bytes: the connection ends, see
 * full_refuses), XEV_ENOMEM (the connection ends). An error of the socket is told by closed. */

/* len_bytes at data, which is the caller's again when the call returns. 0 bytes are nothing. */
int xev_conn_write(xev_conn *conn, const void *data, size_t len_bytes);
/* count pieces together, in their order. */
int xev_conn_writev(xev_conn *conn, const xev_vec *vec, size_t count);

/* len_bytes (> 0) at data, which stays there until release is called, with userdata: once, from
 * the loop, also where the connection ends before. Where the call reports a code, it is not. */
int xev_conn_write_lent(xev_conn *conn, const void *data, size_t len_bytes, void *userdata,
                        xev_conn_release_fn release);

/* len_bytes (1 to INT32_MAX) of a file from offset_bytes, as by xev_file_sendfile, which needs the
 * loop's thread pool. The file stays open until release is called, as above. A file that ends
 * before, or cannot be sent, ends the connection with XEV_CONN_FAILED. XEV_ENOTSUP: pipes, or a
 * transport. XEV_EBADF (file is below 0), XEV_EINVAL (the range). */
int xev_conn_write_file(xev_conn *conn, xev_fd file, uint64_t offset_bytes, size_t len_bytes,
                        void *userdata, xev_conn_release_fn release);

/* Gather what is written from now to the end of this turn of the loop, and send it then in one
 * call. In its own handlers a connection does this by itself. */
void xev_conn_cork(xev_conn *conn);

/* Bytes accepted and not yet with the kernel, except what is gathered in a handler that runs. */
uint64_t xev_conn_queued_bytes(const xev_conn *conn);

/* ---- replies out of order ---- */

/* A place in the output, behind what was written by now and before what is written later. While
 * slots_max are reserved and not filled the data handler is not called. NULL: beyond slots_max, for
 * lack of memory, or where the connection takes no output. */
XEV_NODISCARD xev_conn_slot *xev_conn_reserve(xev_conn *conn);

/* Fill and give up a slot, once; with 0 bytes, too; len_bytes at data are copied. It goes out at
 * the end of the turn in which all before it are filled. The slot may outlive its connection, and
 * then filling only frees it. What does not fit in queued_max_bytes ends the connection, with
 * XEV_CONN_OUTPUT_FULL, also where full_refuses is set: let queued_max_bytes be above the longest
 * reply. Lack of memory ends it, too. */
void xev_conn_fill(xev_conn_slot *slot, const void *data, size_t len_bytes);
/* The connection it belongs to; NULL: that is gone. */
xev_conn *xev_conn_slot_conn(const xev_conn_slot *slot);

/* ---- deadlines ---- */

/* Give one connection deadlines of its own; 0 leaves the service's. 0, or XEV_ENOMEM. */
XEV_NODISCARD int xev_conn_set_deadlines(xev_conn *conn, const xev_conn_deadlines *deadlines);

/* ---- the end ---- */

/* End this side once what is queued is sent. Reading goes on. Of one that is piped: what the other
 * reads after this call, or has read and not passed on yet, cannot be passed on, and resets both
 * (XEV_CONN_PIPE_BROKEN, with XEV_EPIPE). Until that the other direction goes on. */
void xev_conn_end_output(xev_conn *conn);

/* End in order: call the data handler no more, send what is queued (slots that are reserved
 * included), end this side, read and drop until the peer's end or linger_ms, close. */
void xev_conn_finish(xev_conn *conn);

/* What the peer has sent by now is still handled, then as xev_conn_finish. Two that are piped to
 * each other go on until their ends, also where one is still being connected. An outgoing one that
 * is busy (xev_conn_set_busy) reads on, and is drained when it no longer is. */
void xev_conn_drain(xev_conn *conn);

/* While it is busy a drain does not end it, nor does the peer's end where there is no ended
 * handler: what it was asked is being answered, and the answer is not yet queued, nor in a slot.
 *
 * An outgoing one (xev_conn_connect, xev_upstreams_connect) is busy while it waits for an answer of
 * its peer's: it reads on in a drain, and ends with its peer's end. A drain ends those that are not
 * busy, and what their peers send then is dropped; also those that are begun in the drain. */
void xev_conn_set_busy(xev_conn *conn, bool busy);

/* End at once: drop what is queued, close; a TCP connection is reset. */
void xev_conn_abort(xev_conn *conn);

/* Give the descriptor away. When the loop has let go of it, fn is called once, with what was read
 * and not consumed (valid until fn returns); the descriptor is fn's then, without the limit of
 * unsent_bytes (on Linux, of TCP; a Unix socket of a service keeps its SO_SNDBUF, see serve.h).
 * After it closed is called with XEV_CONN_DETACHED. Where the connection ends before,
 * fn gets XEV_INVALID_FD. 0, or XEV_EBUSY (output is queued, it is piped, moving, or not
 * connected), XEV_EPIPE (it is ending), XEV_ENOTSUP (pipes, a transport), XEV_ENOMEM. */
XEV_NODISCARD int xev_conn_detach(xev_conn *conn, void *userdata, xev_conn_detach_fn fn);

/* From now on what one reads is written to the other, both ways, with the back-pressure of the
 * other's water marks, each way for itself; queued_max_bytes does not count. The end of one's input
 * (also one that was told before) ends the other's output; when both have ended both close in
 * order, also in a drain. Where one breaks the other is reset. No data, writable or ended handler
 * is called any more. 0, or XEV_EINVAL (the same one, of different loops), XEV_EBUSY (piped
 * already, or moving), XEV_EPIPE (one is ending), XEV_ENOMEM. */
XEV_NODISCARD int xev_conn_pipe(xev_conn *a, xev_conn *b);

/* ---- transports ---- */

/* What stands between a connection and its descriptor: the place for TLS. All are called on the
 * loop's thread, when the descriptor may be ready, and must not block. XEV_EAGAIN: not before it is
 * ready (again) to be read, or written for send and shutdown. A recv that has not said XEV_EAGAIN
 * is called again, as soon as the connection wants input: it may hold data of its own.
 * XEV_EINPROGRESS, of send and shutdown: not before recv was called again, since the peer has to
 * send something first (a handshake); it is called also where the connection wants no input. Where
 * the peer has ended instead, send has failed with XEV_EPIPE, and shutdown is done. */
typedef struct xev_conn_transport {
    /* Up to len_bytes of plain data to buf: bytes (> 0), XEV_EOF, XEV_EAGAIN or a code. */
    int (*recv)(xev_conn *conn, void *state, void *buf, size_t len_bytes);
    /* Bytes of plain data taken (> 0), XEV_EAGAIN, XEV_EINPROGRESS or a code. */
    int (*send)(xev_conn *conn, void *state, const xev_vec *vec, size_t count);
    /* No more is sent: 0, XEV_EAGAIN, XEV_EINPROGRESS or a code. */
    int (*shutdown)(xev_conn *conn, void *state);
    /* The connection is about to be closed, by itself or by an error; or the loop is gone. Called
     * once. NULL: nothing. */
    void (*close)(xev_conn *conn, void *state);
} xev_conn_transport;

/* Use it, before anything is read or written: in the opened handler, or right after adopt. 0, or
 * XEV_EBUSY (output is queued, it has a transport, or moves), XEV_EPIPE (it is ending),
 * XEV_ENOMEM. */
XEV_NODISCARD int xev_conn_set_transport(xev_conn *conn, const xev_conn_transport *transport,
                                         void *state);

XEV_END_DECLS

#endif
