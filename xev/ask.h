/* Asks: one shard has a function run on another one, and gets its answer.
 *
 *     static void on_get(xev_shard *self, xev_ask *ask, const void *key, size_t len_bytes) {
 *         const struct value *v = find(self, key, len_bytes);
 *         xev_ask_answer(ask, v != NULL ? 0 : XEV_ENOENT, v != NULL ? v->bytes : NULL,
 *                        v != NULL ? v->len_bytes : 0);
 *     }
 *
 *     static void on_value(xev_shard *self, int result, const void *value, size_t len_bytes,
 *                          void *userdata) { ... }
 *
 *     xev_vec key = {name, strlen(name)};
 *     rc = xev_shard_ask(owner, &key, 1, 1000, on_get, userdata, on_value);
 *
 * An ask is a request of shard.h whose memory is the asking shard's: it holds a copy of the
 * argument, and the answer. It comes from a pool of the shard, so that an ask allocates only where
 * more are under way than in the seconds before. While the mailbox of the asked shard is full the
 * ask waits at the asking one, behind those that wait already; it goes on by itself when there is
 * room. So asks of one shard to another one are handled in the order in which they were made. A
 * handler may ask as it likes: nothing waits for room before it handles its messages, so shards
 * that ask each other come to no standstill.
 *
 * For an ask that was taken the callback is called exactly once, on the asking shard, from its
 * loop, never inside the call. It is told the result and the answer of the function; or
 * XEV_ETIMEDOUT where there was none in time; or XEV_ECANCELED where the ask was cancelled, the
 * asked shard had ended, or the asking one ends. After these two an answer that comes later goes
 * nowhere, and holds no drain. A shard does not end before its asks are answered or have timed out,
 * unless the drain is cut short; then those that are left are cancelled in the order in which they
 * were made.
 *
 * Misuse (a null pointer, userdata and vec of no pieces excepted; in builds without NDEBUG a call
 * on another shard) ends the program, as in completion.h.
 *
 * An ask that waits for news may be given up, by xev_ask_cancel. The function that keeps it learns
 * of that by xev_ask_watch:
 *
 *     static void on_over(xev_shard *self, xev_ask *ask, void *poll) {
 *         remove_poll(poll);
 *         xev_ask_answer(ask, XEV_ECANCELED, NULL, 0); // goes nowhere, and frees the ask
 *     }
 *
 *     static void on_poll(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes) {
 *         struct poll *poll = add_poll(ask, argument, len_bytes); // answered when there is news
 *         if (!xev_ask_watch(ask, poll, on_over)) on_over(self, ask, poll);
 *     }
 *
 * To answer a peer, reserve a slot of its connection (xev_conn_reserve in conn.h), ask by
 * xev_conn_ask (gather.h), and fill the slot in the answer. Slots are sent in their order, whatever
 * the order of the answers. When the connection ends the ask is cancelled, and the slot only freed.
 */
#ifndef XEV_ASK_H
#define XEV_ASK_H

#include "xev/shard.h"
#include "xev/vec.h"

typedef struct xev_ask xev_ask;

/* On the shard that is asked: len_bytes at argument, aligned for any type, which stay there until
 * the ask is answered; that may be later, also from another callback of this shard. */
typedef void (*xev_ask_fn)(xev_shard *self, xev_ask *ask, const void *argument, size_t len_bytes);

/* On the asking shard: the result and what else the function has answered, len_bytes at answer,
 * aligned for any type, valid until this returns; NULL for 0 bytes. */
typedef void (*xev_answer_fn)(xev_shard *self, int result, const void *answer, size_t len_bytes,
                              void *userdata);

/* On the shard that is asked: nobody waits for the answer any more. userdata: what xev_ask_watch
 * was given. */
typedef void (*xev_ask_over_fn)(xev_shard *self, xev_ask *ask, void *userdata);

/* The asking shard's name of an ask: a plain value, in one run of a runtime. 0 names none. */
typedef uint64_t xev_ask_handle;

/* On the asking shard, once for each shard that was asked, in the order in which they answer:
 * result and answer as for xev_answer_fn. */
typedef void (*xev_fold_fn)(xev_shard *self, uint32_t shard, int result, const void *answer,
                            size_t len_bytes, void *userdata);

/* On the asking shard, last: 0, or the first negative result that there was. */
typedef void (*xev_mapped_fn)(xev_shard *self, int result, void *userdata);

/* What runs where in xev_shard_map_reduce. */
typedef struct xev_map {
    xev_ask_fn map;   /* on each shard */
    xev_fold_fn fold; /* NULL: only the results count */
} xev_map;

XEV_BEGIN_DECLS

/* Have fn run on shard to, which may be this one, with a copy of count pieces at vec, one behind
 * the other; then answered, here. timeout_ms: from now; 0: none. It passes never early, and up to
 * 20 ms late, unless this shard's loop is busy for longer. 0: the ask was taken; or nothing was
 * done: XEV_EAGAIN (as many are under way as options.asks allows), XEV_EMSGSIZE (the pieces are
 * longer than options.ask_bytes), XEV_ENOMEM, XEV_ECANCELED (shard to has ended, or this one is
 * about to), XEV_EINVAL (called by a thread that is no shard of the same runtime). An ask's memory
 * is taken from the loop's allocator, which must serve until xev_runtime_run returns, at the end on
 * the thread that called it. */
XEV_NODISCARD int xev_shard_ask(xev_shard *to, const xev_vec *vec, size_t count,
                                uint32_t timeout_ms, xev_ask_fn fn, void *userdata,
                                xev_answer_fn answered);

/* The same, of an ask that can be cancelled: *handle names it from the call until its callback; 0
 * where the call fails. */
XEV_NODISCARD int xev_shard_ask_with_handle(xev_shard *to, const xev_vec *vec, size_t count,
                                            uint32_t timeout_ms, xev_ask_handle *handle,
                                            xev_ask_fn fn, void *userdata, xev_answer_fn answered);

/* Give an ask up. Its callback is called all the same, once, in this turn of the loop or the next
 * one: with XEV_ECANCELED, or with the answer if that is there by then. The ask is over at once, as
 * xev_ask_is_over says. Its place among options.asks is free when the asked shard has answered, or
 * has seen that it need not. False: handle names no ask, since its callback has been called, it was
 * cancelled before, it is another shard's, or it is 0; nothing is done then. Shard that has asked,
 * also from its callbacks. */
bool xev_ask_cancel(xev_ask_handle handle);

/* Whether nobody waits for the answer any more, since the ask was cancelled, its deadline has
 * passed, or the asking shard has ended: the work can be spared, the ask is answered all the same.
 * An ask that is over before it is handled, as far as that shows by then, is not handled at all.
 * Shard that is asked. */
bool xev_ask_is_over(const xev_ask *ask);

/* Have over called when nobody waits any more: once, from this shard's loop, never inside the call,
 * and not after the ask was answered. It is to be answered all the same, in over or later. What a
 * shard still keeps when its loop ends, in a drain that was cut short, it is not told about. False:
 * it is over already, and over is not called. A second call replaces userdata and over. Watching
 * costs nothing until the ask is given up, then a message. Shard that is asked. */
XEV_NODISCARD bool xev_ask_watch(xev_ask *ask, void *userdata, xev_ask_over_fn over);

/* Memory for an answer of up to len_bytes (> 0), aligned for any type, which saves a copy: write
 * there and give it to xev_ask_answer, from its first byte on. It is the ask's until that. A second
 * call replaces it, and what was written there is gone, also where it returns NULL: longer than
 * options.ask_bytes, or no memory. Shard that is asked. */
XEV_NODISCARD void *xev_ask_room(xev_ask *ask, size_t len_bytes);

/* Answer, once: result is any int; len_bytes at data are copied, unless data is what xev_ask_room
 * returned (a place behind its first byte is misuse; a part of the argument is none). Where they
 * are longer than options.ask_bytes, or memory is short, the asking shard is told XEV_EMSGSIZE or
 * XEV_ENOMEM instead, and no bytes. The ask is gone then. Shard that is asked; a second answer is
 * misuse, as far as the memory still tells. */
void xev_ask_answer(xev_ask *ask, int result, const void *data, size_t len_bytes);

/* Have map->map run on every shard, this one included, with the same argument; map->fold here for
 * each answer; and done when all have answered, or did not in time:
 *
 *     static const xev_map flush = {on_flush, NULL};            // a broadcast that is told its end
 *     static const xev_map sizes = {on_size, add_to_userdata};
 *     rc = xev_shard_map_reduce(rt, NULL, 0, 1000, &sizes, &sum, on_sum);
 *
 * These are asks like others: arguments and results as for xev_shard_ask. Where the call returns 0
 * fold is called for each shard, also for one that could not be asked any more (XEV_ECANCELED, or
 * XEV_ENOMEM), and done once, neither of them inside the call. XEV_EAGAIN: there may not be so many
 * asks more. map stays as it is until done is called. */
XEV_NODISCARD int xev_shard_map_reduce(xev_runtime *rt, const xev_vec *vec, size_t count,
                                       uint32_t timeout_ms, const xev_map *map, void *userdata,
                                       xev_mapped_fn done);

XEV_END_DECLS

#endif
