/* Pieces of memory, for operations that fill or send several pieces as one. */
#ifndef XEV_VEC_H
#define XEV_VEC_H

#include <stddef.h>

#include "xev/platform.h"

typedef struct xev_vec {
    void *base; /* a send or a write only reads it */
    size_t len_bytes;
} xev_vec;

/* The most pieces that one operation takes (IOV_MAX of Linux). */
#define XEV_VEC_MAX 1024

#endif
