/* Everything in xev. C programs written for libxev's C header compile against this one. */
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
#include "xev/loop.h"
#include "xev/process.h"
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
