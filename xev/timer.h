/* Timers: one call after a time, or one in every interval.
 *
 *     xev_completion tick;
 *     xev_timer_run(NULL, &loop, &tick, 10, userdata, on_tick);   (after 10 ms; XEV_REARM: again)
 *
 * A timer never fires early. Timers with the same deadline fire in the order in which they were
 * started. One that becomes due while callbacks run waits until they have returned; and, if it was
 * due more than 1 ms after the wait before them, for the callbacks of one more look at the kernel,
 * which does not wait. The loop keeps them in user space, in ns. A sleeping loop may be late by the
 * timer slack of its thread (prctl(2), PR_SET_TIMERSLACK: 50 us unless set), so that timers which
 * are due at about the same time cost one wake. To change the slack, set it before the loop first
 * runs.
 *
 * The watcher argument w is there because libxev's C interface has it. It holds no state and may be
 * NULL.
 */
#ifndef XEV_TIMER_H
#define XEV_TIMER_H

#include "xev/loop.h"

typedef xev_cb xev_timer_cb;

XEV_BEGIN_DECLS

/* For programs written for libxev; nothing depends on them. init returns 0 always. Any thread. */
int xev_timer_init(xev_watcher *w);
void xev_timer_deinit(xev_watcher *w);

/* Fire once, next_ms (or timeout_ns) after this call. Result: 0, or XEV_ECANCELED. XEV_REARM
 * repeats the timer with the same interval, counted from the previous deadline; intervals that were
 * missed are skipped. Any value is valid, and a deadline beyond 2^64 ns is taken as 2^64 ns. c must
 * be dead. Loop's thread. */
void xev_timer_run(xev_watcher *w, xev_loop *loop, xev_completion *c, uint64_t next_ms,
                   void *userdata, xev_timer_cb cb);
void xev_timer_run_ns(xev_watcher *w, xev_loop *loop, xev_completion *c, uint64_t timeout_ns,
                      void *userdata, xev_timer_cb cb);

/* As xev_timer_run, but c may be an active timer. That timer then gets the new time, userdata and
 * callback, and the old ones are forgotten without a callback. If it was cancelled and its callback
 * is still to come, it stays cancelled, and the new callback reports that. Any other active
 * operation is misuse. c_cancel is not used (libxev needs it) and may be NULL. Loop's thread. */
void xev_timer_reset(xev_watcher *w, xev_loop *loop, xev_completion *c, xev_completion *c_cancel,
                     uint64_t next_ms, void *userdata, xev_timer_cb cb);

/* xev_cancel(loop, c, c_cancel, userdata, cb) by the name that libxev has for it. */
void xev_timer_cancel(xev_watcher *w, xev_loop *loop, xev_completion *c, xev_completion *c_cancel,
                      void *userdata, xev_timer_cb cb);

XEV_END_DECLS

#endif
