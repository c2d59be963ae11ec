/* The old name of xev/mpsc.h, where all public headers stand. */
#ifndef XEV_OLD_NAME_MPSC_H
#define XEV_OLD_NAME_MPSC_H

#include "xev/mpsc.h"

#endif
