/* Internal: what wasi_poll can do, apart, since docs/support.md is made where it cannot be built.
 */
#ifndef XEV_BACKENDS_WASI_POLL_H
#define XEV_BACKENDS_WASI_POLL_H

#include "xev/core/core.h"

/* Preview 1 has no datagrams, no messages, no connect and no processes. */
#define XEV__HOW_WASI_POLL                                                                         \
    {                                                                                              \
        [XEV__OP_ACCEPT] = XEV__HOW_READY, [XEV__OP_RECV] = XEV__HOW_READY,                        \
        [XEV__OP_READ] = XEV__HOW_READY, [XEV__OP_SEND] = XEV__HOW_READY,                          \
        [XEV__OP_WRITE] = XEV__HOW_READY, [XEV__OP_SENDFILE] = XEV__HOW_READY,                     \
        [XEV__OP_SHUTDOWN] = XEV__HOW_CALL, [XEV__OP_POLL] = XEV__HOW_READY                        \
    }

/* Beginnings of the names of the calls that have no effect but XEV_ENOTSUP, for other reasons than
 * the table's. */
#define XEV__ABSENT_WASI                                                                           \
    { "xev_unix_", "xev_dns_", "xev_signal_", "xev_fs_event_", "xev_fd_poll_multi", NULL }

#endif
