/* The header is xev/mpsc.h: one include root for the whole framework. This is its old name. */
#ifndef XEV_OLD_NAME_MPSC_H
#define XEV_OLD_NAME_MPSC_H

#include "xev/mpsc.h"

#endif
