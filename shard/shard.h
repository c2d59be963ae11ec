/* The old name of xev/shard.h, where all public headers stand. */
#ifndef XEV_OLD_NAME_SHARD_H
#define XEV_OLD_NAME_SHARD_H

#include "xev/shard.h"

#endif
