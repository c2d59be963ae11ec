/* The backends of Linux. */
#include "xev/core/core.h"

const struct xev_backend_ops *const xev__backends[] = {
#if !defined(XEV_NO_IO_URING)
    &xev__io_uring_ops,
#endif
    &xev__epoll_ops,
#if defined(XEV_EMULATED_KQUEUE) /* for tests */
    &xev__kqueue_ops,
#endif
    NULL,
};
