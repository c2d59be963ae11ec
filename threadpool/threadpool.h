/* The old name of xev/threadpool.h, where all public headers stand. */
#ifndef XEV_OLD_NAME_THREADPOOL_H
#define XEV_OLD_NAME_THREADPOOL_H

#include "xev/threadpool.h"

#endif
