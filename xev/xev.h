/* Everything in xev. C programs written for libxev's C header compile against this one.
 *
 * Arguments have one order in all calls:
 *
 *     1  the watcher, descriptor or stream that the call works on, where there is one
 *     2  the loop
 *     3  the completion or request; a cancel names its target first, then its own completion
 *     4  what the operation needs; a function that runs elsewhere (on a pool thread, on another
 *        shard) belongs to it, and stands before its userdata or arg
 *     5  userdata
 *     6  the callback
 *
 *     xev_tcp_recv(tcp, &loop, &c, buf, len_bytes, userdata, cb);
 *     xev_work_submit(&loop, &c, XEV_LANE_CPU, fn, userdata, cb);
 *
 * A callback has the objects first, then results, and userdata last.
 *
 * Times have one unit, milliseconds, and a name that ends in _ms. Where a millisecond is too coarse
 * (clocks, metrics, spinning) the unit is the nanosecond and the name ends in _ns; a call that
 * takes or returns nanoseconds ends in _ns too, such as xev_timer_run_ns. There is no other unit.
 * Sizes and positions are in bytes, and end in _bytes.
 *
 * Names of libxev's C header (xev_timer_run, xev_loop_now, ...) keep their order and units.
 */
#ifndef XEV_XEV_H
#define XEV_XEV_H

#include "xev/threadpool.h"
#include "xev/addr.h"
#include "xev/async.h"
#include "xev/buffer.h"
#include "xev/completion.h"
#include "xev/dial.h"
#include "xev/dns.h"
#include "xev/error.h"
#include "xev/fd.h"
#include "xev/file.h"
#include "xev/fs_event.h"
#include "xev/histogram.h"
#include "xev/log.h"
#include "xev/loop.h"
#include "xev/process.h"
#include "xev/replace.h"
#include "xev/signal.h"
#include "xev/stream.h"
#include "xev/tcp.h"
#include "xev/timer.h"
#include "xev/udp.h"
#include "xev/unix.h"
#include "xev/vec.h"
#include "xev/work.h"

/* libxev's names for the sizes of the types above. */
#define XEV_SIZEOF_LOOP sizeof(xev_loop)
#define XEV_SIZEOF_COMPLETION sizeof(xev_completion)
#define XEV_SIZEOF_WATCHER sizeof(xev_watcher)
#define XEV_SIZEOF_THREADPOOL sizeof(xev_threadpool)
#define XEV_SIZEOF_THREADPOOL_BATCH sizeof(xev_threadpool_batch)
#define XEV_SIZEOF_THREADPOOL_TASK sizeof(xev_threadpool_task)
#define XEV_SIZEOF_THREADPOOL_CONFIG sizeof(xev_threadpool_config)

#endif
