/* The backend of Windows. */
#include "xev/core/core.h"

const struct xev_backend_ops *const xev__backends[] = {
    &xev__iocp_ops,
    NULL,
};
