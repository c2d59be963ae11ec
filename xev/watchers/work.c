/* Functions of the program, run on the thread pool. */
#include "xev/work.h"

#include "xev/core/core.h"

void xev_work_submit(xev_loop *loop, xev_completion *c, enum xev_threadpool_lane lane,
                     xev_work_fn fn, void *userdata, xev_cb cb) {
    if (fn == NULL || lane >= XEV_LANE_COUNT) {
        xev__misuse("xev_work_submit", "function is null or no such lane", c);
    }
    if (xev__begin(XEV__CALL("xev_work_submit"), loop, c, XEV__OP_WORK, userdata, cb)) {
        xev__work_init(c, lane, fn);
        xev__work_start(loop, c);
    }
}
