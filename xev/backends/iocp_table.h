/* Internal: what iocp can do, apart, since docs/support.md is made where it cannot be built. */
#ifndef XEV_BACKENDS_IOCP_TABLE_H
#define XEV_BACKENDS_IOCP_TABLE_H

#include "xev/core/core.h"

/* Requests: AcceptEx, WSARecv, RegisterWaitForSingleObject, ReadFile, ConnectEx, WriteFile, AFD.
 * XEV__OP_READ is also ReadDirectoryChangesW. Ready: WSARecvFrom, WSASendTo, and WSASend, see
 * iocp.h. */
#define XEV__HOW_IOCP                                                                              \
    {                                                                                              \
        [XEV__OP_ACCEPT] = XEV__HOW_REQUEST, [XEV__OP_RECV] = XEV__HOW_REQUEST,                    \
        [XEV__OP_UDP_RECV] = XEV__HOW_READY, [XEV__OP_UDP_RECV_BATCH] = XEV__HOW_READY,            \
        [XEV__OP_PROCESS] = XEV__HOW_REQUEST, [XEV__OP_READ] = XEV__HOW_REQUEST,                   \
        [XEV__OP_CONNECT] = XEV__HOW_REQUEST, [XEV__OP_SEND] = XEV__HOW_READY,                     \
        [XEV__OP_UDP_SEND] = XEV__HOW_READY, [XEV__OP_UDP_SEND_BATCH] = XEV__HOW_READY,            \
        [XEV__OP_WRITE] = XEV__HOW_REQUEST, [XEV__OP_SENDFILE] = XEV__HOW_READY,                   \
        [XEV__OP_SHUTDOWN] = XEV__HOW_CALL, [XEV__OP_POLL] = XEV__HOW_REQUEST                      \
    }

/* Beginnings of the names of the calls that have no effect but XEV_ENOTSUP, for other reasons than
 * the table's. */
#define XEV__ABSENT_WINDOWS                                                                        \
    { "xev_unix_", "xev_fd_poll_multi", NULL }

#endif
