/*
 * list.h: doubly linked lists whose links are fields of the objects, NULL at both ends. Macros, because the objects have
 * many types, and some are in two lists: the fields are the caller's to name. So are the head, which is read and
 * stored, and the lock.
 */
#ifndef ARENA_LIST_H
#define ARENA_LIST_H

#include <stddef.h>

#define LIST_PUSH(head, object, next, previous) \
    do {                                        \
        (object)->previous = NULL;              \
        (object)->next = (head);                \
        if ((head) != NULL) {                   \
            (head)->previous = (object);        \
        }                                       \
        (head) = (object);                      \
    } while (0)

#define LIST_UNLINK(head, object, next, previous)          \
    do {                                                   \
        if ((object)->next != NULL) {                      \
            (object)->next->previous = (object)->previous; \
        }                                                  \
        if ((object)->previous != NULL) {                  \
            (object)->previous->next = (object)->next;     \
        } else {                                           \
            (head) = (object)->next;                       \
        }                                                  \
    } while (0)

#endif
