/* Stops: who asked for one, and shards that do not come to their end. */
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

#include "tests/refuse.h"
#include "tests/shard_scene.h"

/* ---- a shard that cannot go on is no user's stop ---- */

static struct op later;

/* The kernel will not wait for this thread any more. */
static void break_loop(void) {
    refuse(SYS_io_uring_enter, EBADF);
#if defined(SYS_epoll_pwait2)
    refuse(SYS_epoll_pwait2, EBADF);
#endif
    refuse(SYS_epoll_pwait, EBADF);
#if defined(SYS_epoll_wait)
    refuse(SYS_epoll_wait, EBADF);
#endif
}

static void all_but_zero_break(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &later, 100);
    } else {
        break_loop();
    }
}

static void later_has_fired(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        check_op(&later, 0);
    }
}

TEST(a_shard_that_breaks_starts_a_drain_of_the_others) {
    sc.body = all_but_zero_break;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(2), XEV_EBADF);
    CHECK_EQ(logged(DRAIN), 2);
    CHECK_EQ(logged(DEINIT), 2);
}

TEST(several_shards_that_break_do_not_cut_the_drain_short) {
    sc.body = all_but_zero_break;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(4), XEV_EBADF);
}

static void break_in_drain(xev_shard *self) {
    if (xev_shard_id(self) > 0) {
        break_loop();
    }
}

static void zero_stops_and_waits(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        op_timer(self, &later, 100);
        stop_all(self);
    }
}

TEST(a_shard_that_breaks_in_the_drain_does_not_cut_it_short) {
    sc.body = zero_stops_and_waits;
    sc.drain = break_in_drain;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(3), XEV_EBADF);
}

static void zero_stops(xev_shard *self) {
    if (xev_shard_id(self) == 0) {
        stop_all(self);
    }
}

TEST(the_first_stop_of_a_user_does_not_cut_short_the_drain_of_a_broken_shard) {
    sc.body = all_but_zero_break;
    sc.drain = zero_stops;
    sc.stop = later_has_fired;
    CHECK_EQ(scene_run(2), XEV_EBADF);
}
