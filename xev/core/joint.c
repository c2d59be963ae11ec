/* Joint sends: the backend's, where it has them. */
#include "xev/core/core.h"

bool xev__joins(const xev_loop *loop) { return loop->ops->joins != NULL && loop->ops->joins(loop); }

bool xev__send_joint(xev_loop *loop, const struct xev__joint_send *send, bool loaned) {
    return loop->ops->send_joint(loop, send, loaned);
}

void xev__settle(xev_loop *loop, const void *owner) {
    if (loop->ops != NULL && loop->ops->settle != NULL) { /* NULL: a child has ended its copy */
        loop->ops->settle(loop, owner);
    }
}

bool xev__is_loaned(const xev_loop *loop, const void *data) {
    return loop->loan != NULL &&
           (uintptr_t)data - (uintptr_t)loop->loan < loop->buffers->current_len;
}
