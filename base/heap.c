/* heap.c - a pairing heap: a tree in which no child goes before its parent.
 *
 * Two trees become one when the later top is made the first child of the earlier. Taking a node out
 * leaves its children, which are melded in pairs from the left and the pairs from the right: that
 * keeps the costs at O(log n) on average.
 * Source: Fredman, Sedgewick, Sleator and Tarjan, 1986. */
#include "base/heap.h"

static mr_heap_node *meld(const mr_heap *h, mr_heap_node *a, mr_heap_node *b) {
    if (h->before(b, a)) {
        mr_heap_node *later = a;
        a = b;
        b = later;
    }
    b->prev = a;
    b->next = a->child;
    if (b->next) b->next->prev = b;
    a->child = b;
    return a;
}

/* One tree of all siblings from first on; NULL: there are none. */
static mr_heap_node *meld_siblings(const mr_heap *h, mr_heap_node *first) {
    mr_heap_node *pairs = NULL, *top = NULL; /* pairs: linked by next, the rightmost first */

    while (first) {
        mr_heap_node *a = first, *b = first->next;
        first = b ? b->next : NULL;
        if (b) a = meld(h, a, b);
        a->next = pairs;
        pairs = a;
    }
    while (pairs) {
        mr_heap_node *a = pairs;
        pairs = a->next;
        top = top ? meld(h, top, a) : a;
    }
    if (top) top->next = top->prev = NULL;
    return top;
}

void mr_heap_add(mr_heap *h, mr_heap_node *n) {
    n->child = n->next = n->prev = NULL;
    h->top = h->top ? meld(h, h->top, n) : n;
}

void mr_heap_drop(mr_heap *h, mr_heap_node *n) {
    mr_heap_node *children = meld_siblings(h, n->child);

    if (n == h->top) {
        h->top = children;
    } else {
        *(n->prev->child == n ? &n->prev->child : &n->prev->next) = n->next;
        if (n->next) n->next->prev = n->prev;
        if (children) h->top = meld(h, h->top, children);
    }
    n->child = n->next = n->prev = NULL;
}

void mr_heap_moved(mr_heap *h, mr_heap_node *n) {
    mr_heap_drop(h, n);
    mr_heap_add(h, n);
}
