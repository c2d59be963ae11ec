/* A program of one shard that presses Ctrl-C of its own console, for console_windows_test: ends
 * with 42 where that has reached a watcher of SIGINT, and has ended the runtime in order. */
#include <signal.h>
#include <stdbool.h>
#include <windows.h>

#include "xev/shard.h"

static xev_runtime runtime;
static xev_completion press, late, wait_for;
static xev_signal interrupts;
static bool watched, drained;

static xev_cb_action on_press(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop, (void)c, (void)userdata;
    if (result == 0 && !GenerateConsoleCtrlEvent(CTRL_C_EVENT, 0)) {
        ExitProcess(GetLastError());
    }
    return XEV_DISARM;
}

static xev_cb_action on_late(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop, (void)c, (void)userdata;
    if (result == 0) {
        ExitProcess(99);
    }
    return XEV_DISARM;
}

static xev_cb_action on_interrupt(xev_loop *loop, xev_completion *c, int result, void *userdata) {
    (void)loop, (void)c, (void)userdata;
    watched = result == SIGINT;
    return XEV_DISARM;
}

static int on_init(xev_shard *shard, void *userdata) {
    xev_loop *loop = xev_shard_loop(shard);
    (void)userdata;
    int rc = xev_signal_init(&interrupts, SIGINT);
    if (rc < 0) {
        return rc;
    }
    xev_signal_wait(&interrupts, loop, &wait_for, NULL, on_interrupt);
    xev_timer_run(NULL, loop, &press, 1, NULL, on_press);
    xev_timer_run(NULL, loop, &late, 30000, NULL, on_late); /* it ends what hangs */
    xev_completion_unref(&late);
    return 0;
}

static void on_drain(xev_shard *shard, void *userdata) {
    (void)shard, (void)userdata;
    drained = true;
}

static void on_deinit(xev_shard *shard, void *userdata) {
    (void)shard, (void)userdata;
    xev_signal_deinit(&interrupts);
}

int main(void) {
    const xev_runtime_options options = {
        .shards = 1, .init = on_init, .drain = on_drain, .deinit = on_deinit};
    int rc = xev_runtime_run(&runtime, &options);
    return rc == 0 && watched && drained ? 42 : 1;
}
