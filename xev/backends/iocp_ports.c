/* Which loop's port a socket has.
 *
 * A socket or pipe is associated with one port for as long as it lives, and the system does not
 * tell which. So the process notes it: for each value of a handle the number of the port that it
 * was associated with last. A new socket with the value of an old one is told apart by the
 * association itself, which succeeds. */

#include <stdlib.h>

#include "xev/backends/iocp.h"

#define BLOCK 4096u
static uint32_t *ports[BLOCK]; /* atomic: blocks of atomic numbers, by handle / 4 */
static uint32_t last_port;     /* atomic */

static uint32_t *port_of(xev_fd fd) {
    uint32_t at = (uint32_t)fd / 4;
    if (at / BLOCK >= BLOCK) {
        return NULL;
    }
    uint32_t **place = &ports[at / BLOCK];
    uint32_t *block = __atomic_load_n(place, __ATOMIC_ACQUIRE);
    if (block == NULL) {
        uint32_t *made = calloc(BLOCK, sizeof *made);
        if (made == NULL || !__atomic_compare_exchange_n(place, &block, made, false,
                                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            free(made);
        } else {
            block = made;
        }
    }
    return block != NULL ? &block[at % BLOCK] : NULL;
}

int xev__iocp_associate(const struct xev__iocp *p, xev_fd fd) {
    uint32_t *note = port_of(fd);
    if (note == NULL) {
        return XEV_ENOMEM;
    }
    if (CreateIoCompletionPort(xev__win_handle(fd), p->port, 0, 0) != NULL) {
        __atomic_store_n(note, p->id, __ATOMIC_RELAXED);
        return 1;
    }
    if (GetLastError() != ERROR_INVALID_PARAMETER) {
        return xev__win_last_code();
    }
    return __atomic_load_n(note, __ATOMIC_RELAXED) == p->id;
}

bool xev__iocp_has(const struct xev__iocp *p, xev_fd fd) {
    const uint32_t *note = port_of(fd);
    return note != NULL && __atomic_load_n(note, __ATOMIC_RELAXED) == p->id;
}

uint32_t xev__iocp_new_id(void) { return __atomic_add_fetch(&last_port, 1, __ATOMIC_RELAXED); }
