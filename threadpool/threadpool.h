/* The header is xev/threadpool.h: one include root for the whole framework. This is its old name. */
#ifndef XEV_OLD_NAME_THREADPOOL_H
#define XEV_OLD_NAME_THREADPOOL_H

#include "xev/threadpool.h"

#endif
