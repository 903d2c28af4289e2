/* heap.h - a priority queue of things that somebody else owns.
 *
 * A thing carries a node for each heap that it may be in, so nothing is allocated and nothing
 * fails. Adding takes constant time, taking out (any thing, not only the top) O(log n) on average
 * over many. `before` must order any two different things one way or the other. Pure. */
#ifndef MR_BASE_HEAP_H
#define MR_BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

typedef struct mr_heap_node mr_heap_node;
struct mr_heap_node {
    mr_heap_node *child, *next, *prev; /* prev of a first child is its parent */
};

/* True when a comes out earlier than b. */
typedef bool mr_heap_before(const mr_heap_node *a, const mr_heap_node *b);

typedef struct mr_heap { /* {.before = ...} is an empty one */
    mr_heap_node *top;   /* NULL: empty */
    mr_heap_before *before;
} mr_heap;

/* The thing of a type whose member is this node. */
#define MR_HEAP_THING(node, type, member) ((type *)((char *)(node) - offsetof(type, member)))

void mr_heap_add(mr_heap *h, mr_heap_node *n);
/* n is in the heap; where it belongs there may have changed already. */
void mr_heap_drop(mr_heap *h, mr_heap_node *n);
/* Where n belongs has changed. */
void mr_heap_moved(mr_heap *h, mr_heap_node *n);

#endif
