/* Pieces of memory, for the operations that fill or send several as one. */
#ifndef XEV_VEC_H
#define XEV_VEC_H

#include <stddef.h>

#include "xev/platform.h"

typedef struct xev_vec {
    void *base; /* a send or a write only reads it */
    size_t len_bytes;
} xev_vec;

/* Most pieces of one operation. */
#define XEV_VEC_MAX 1024

#endif
