/* The backend of WASI. */
#include "xev/core/core.h"

const struct xev_backend_ops *const xev__backends[] = {&xev__wasi_poll_ops, NULL};
