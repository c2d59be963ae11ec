/* The backend of macOS and the BSDs. */
#include "xev/core/core.h"

const struct xev_backend_ops *const xev__backends[] = {&xev__kqueue_ops, NULL};
