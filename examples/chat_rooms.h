/* The rooms of a chat that one shard owns: names, and members in the order of their handles. */
#ifndef EXAMPLES_CHAT_ROOMS_H
#define EXAMPLES_CHAT_ROOMS_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "xev/conn.h"

enum { NAME_BYTES = 25, MEMBERS_MAX = 200, BUCKETS = 1024 };
typedef char name_text[NAME_BYTES]; /* with its NUL */

struct member {
    xev_conn_handle handle;
    name_text nick;
};

struct room {
    struct room *next;
    name_text name;
    uint32_t len; /* 0: only while it is made */
    struct member members[MEMBERS_MAX];
};

struct rooms {
    struct room *bucket[BUCKETS];
};

/* Where the room of that name stands, or would stand. hash: of the name. */
static inline struct room **rooms_find(struct rooms *rooms, uint64_t hash, const char *name) {
    struct room **at = &rooms->bucket[hash % BUCKETS];
    while (*at != NULL && strcmp((*at)->name, name) != 0) {
        at = &(*at)->next;
    }
    return at;
}

/* Have nick be a member of the room at *at, which is made for the first one. 0, XEV_EEXIST (there
 * is one of that nick), XEV_ENOSPC, XEV_ENOMEM. */
static inline int room_join(struct room **at, const char *name, xev_conn_handle handle,
                            const char *nick) {
    uint32_t place = 0;
    if (*at == NULL) {
        if ((*at = calloc(1, sizeof **at)) == NULL) {
            return XEV_ENOMEM;
        }
        snprintf((*at)->name, NAME_BYTES, "%s", name);
    }
    struct room *room = *at;
    for (uint32_t i = 0; i < room->len; i++) {
        place += room->members[i].handle < handle;
        if (strcmp(room->members[i].nick, nick) == 0) {
            return XEV_EEXIST;
        }
    }
    if (room->len == MEMBERS_MAX) {
        return XEV_ENOSPC;
    }
    struct member *m = &room->members[place];
    memmove(m + 1, m, (room->len++ - place) * sizeof *m);
    m->handle = handle;
    snprintf(m->nick, NAME_BYTES, "%s", nick);
    return 0;
}

/* The member of that handle; NULL: there is none, or room is NULL. */
static inline struct member *room_member(struct room *room, xev_conn_handle handle) {
    for (uint32_t i = 0; room != NULL && i < room->len; i++) {
        if (room->members[i].handle == handle) {
            return &room->members[i];
        }
    }
    return NULL;
}

/* Take a member away, whose nick is in nick then. False: it was the last one, and the room is gone.
 */
static inline bool room_leave(struct room **at, struct member *m, name_text nick) {
    struct room *room = *at;
    memcpy(nick, m->nick, NAME_BYTES);
    memmove(m, m + 1, (size_t)(&room->members[room->len--] - (m + 1)) * sizeof *m);
    if (room->len == 0) {
        *at = room->next;
        free(room);
        return false;
    }
    return true;
}

/* "anna bob carl\n" in out; returns its length. */
static inline size_t room_names(const struct room *room, char out[MEMBERS_MAX * NAME_BYTES + 1]) {
    size_t len = 0;
    for (uint32_t i = 0; i < room->len; i++) {
        len += (size_t)sprintf(out + len, "%s%c", room->members[i].nick,
                               i + 1 < room->len ? ' ' : '\n');
    }
    return len;
}

static inline void rooms_free(struct rooms *rooms) {
    for (int i = 0; i < BUCKETS && rooms != NULL; i++) {
        while (rooms->bucket[i] != NULL) {
            struct room *room = rooms->bucket[i];
            rooms->bucket[i] = room->next;
            free(room);
        }
    }
}

#endif
