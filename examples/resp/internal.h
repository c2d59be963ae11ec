/* What the files of this module share. */
#ifndef EXAMPLES_RESP_INTERNAL_H
#define EXAMPLES_RESP_INTERNAL_H

#include "examples/resp/serve.h"

/* Of replies, before the connection may send them. */
#define RESP_OUT_BYTES (64u << 10)

/* What becomes of a command. */
typedef enum resp_outcome {
    RESP_DONE,
    RESP_HOLD, /* it goes on later, from the connection's input */
    RESP_END,  /* the connection ends */
} resp_outcome;

/* ---- serve.c ---- */

/* What is in out goes to the connection. False: that ends. */
bool resp_flush(xev_conn *conn, resp_server *server);
/* NULL: there is none of that name. */
const resp_command *resp_find(resp_service *service, resp_text name);

/* ---- common.c ---- */

#define RESP_COMMON 9
extern const resp_command resp_common[RESP_COMMON];

/* ---- shards.c ---- */

/* Carry it out, here or on the shards that it concerns. Its argc is right. */
resp_outcome resp_run(resp_call *call);
void resp_prepare(resp_server *server); /* at the beginning */

/* ---- save.c ---- */

int resp_run_save(resp_call *call); /* arg: whether the reply comes at the end */

#endif
