/* Timers: kept by the loop in user space, in ns, never early, FIFO among equal deadlines. A loop
 * that sleeps may be late by its thread's timer slack (prctl(2): 50 us unless set), so that timers
 * which are due together cost one wake; set it before the loop first runs.
 *
 * The watcher argument holds no state (libxev's C interface has it); NULL is accepted.
 */
#ifndef XEV_TIMER_H
#define XEV_TIMER_H

#include "xev/loop.h"

typedef xev_cb xev_timer_cb;

XEV_BEGIN_DECLS

/* For libxev's programs; nothing depends on them. Always 0. Any thread. */
int xev_timer_init(xev_watcher *w);
void xev_timer_deinit(xev_watcher *w);

/* Fire once, next_ms (or timeout_ns) from this call; result 0, or XEV_ECANCELED. XEV_REARM repeats
 * with that interval counted from the deadline before; intervals missed are skipped, not made up
 * for. Any value is valid; what lies beyond 2^64 ns is clamped. c must be dead. Loop's thread. */
void xev_timer_run(xev_watcher *w, xev_loop *loop, xev_completion *c, uint64_t next_ms,
                   void *userdata, xev_timer_cb cb);
void xev_timer_run_ns(xev_watcher *w, xev_loop *loop, xev_completion *c, uint64_t timeout_ns,
                      void *userdata, xev_timer_cb cb);

/* As xev_timer_run, but c may be an active timer, which then gets the new time, userdata and
 * callback and no callback for the old ones; one that was cancelled, its callback still to come,
 * stays so and tells the new callback. Any other active operation is misuse. c_cancel stays unused
 * (libxev needs it) and may be NULL. Loop's thread. */
void xev_timer_reset(xev_watcher *w, xev_loop *loop, xev_completion *c, xev_completion *c_cancel,
                     uint64_t next_ms, void *userdata, xev_timer_cb cb);

/* xev_cancel of c, c_cancel being the cancel's own completion, by libxev's name. */
void xev_timer_cancel(xev_watcher *w, xev_loop *loop, xev_completion *c, xev_completion *c_cancel,
                      void *userdata, xev_timer_cb cb);

XEV_END_DECLS

#endif
