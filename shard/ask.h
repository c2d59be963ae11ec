/* For serve/: asks that are cancelled by their address. Where the asking side knows when an ask is
 * over, since its callback says so, it needs no handle (xev/ask.h), which costs a place in a table.
 */
#ifndef SHARD_ASK_H
#define SHARD_ASK_H

#include "xev/ask.h"

/* As xev_shard_ask. *ask is good until the callback has returned. */
int xev__ask(xev_shard *to, const xev_vec *vec, size_t count, uint32_t timeout_ms, xev_ask **ask,
             xev_ask_fn fn, void *userdata, xev_answer_fn answered);

/* As xev_ask_cancel. Nothing, where it is cancelled already, or its callback runs. Asking shard. */
void xev__ask_cancel(xev_ask *ask);

#endif
