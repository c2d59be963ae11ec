/* The header is xev/shard.h: one include root for the whole framework. This is its old name. */
#ifndef XEV_OLD_NAME_SHARD_H
#define XEV_OLD_NAME_SHARD_H

#include "xev/shard.h"

#endif
