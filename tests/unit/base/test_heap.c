/* Goal: the top goes before all others, whatever was added, taken out or moved, in any order.
 * Method: a million random changes of 300 things, the top compared with a search of all of them. */
#include "base/heap.h"

#include "tests/test.h"

enum { N = 300, CHANGES = 1000000 };

typedef struct thing {
    uint32_t other; /* the node is not the first member */
    mr_heap_node node;
    uint64_t key;
    bool in;
} thing;

static bool before(const mr_heap_node *a, const mr_heap_node *b) {
    const thing *x = MR_HEAP_THING(a, thing, node), *y = MR_HEAP_THING(b, thing, node);
    return x->key != y->key ? x->key < y->key : x < y;
}

static uint32_t next_random(uint64_t *random) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(*random >> 33);
}

static const thing *first_of(const thing *things) {
    const thing *first = NULL;
    for (int i = 0; i < N; i++)
        if (things[i].in && (!first || before(&things[i].node, &first->node))) first = &things[i];
    return first;
}

TEST(random_changes) {
    static thing things[N];
    mr_heap h = {.before = before};
    uint64_t random = 1;

    for (int i = 0; i < CHANGES; i++) {
        thing *t = &things[next_random(&random) % N];
        const bool moves = t->in && next_random(&random) % 3 == 0;
        if (t->in && !moves) mr_heap_drop(&h, &t->node);
        if (!t->in || moves) t->key = next_random(&random) % 50; /* many are alike */
        if (!t->in) mr_heap_add(&h, &t->node);
        if (moves)
            mr_heap_moved(&h, &t->node);
        else
            t->in = !t->in;
        if (i % 64 != 0) continue;
        const thing *first = first_of(things);
        CHECK(first ? h.top == &first->node : !h.top);
    }
    while (h.top) {
        thing *t = MR_HEAP_THING(h.top, thing, node);
        CHECK(t == first_of(things));
        mr_heap_drop(&h, h.top);
        t->in = false;
    }
    CHECK(!first_of(things));
}

/* Things in order are the worst case for a tree: nothing may recurse over its depth. */
TEST(a_million_in_order) {
    enum { MANY = 1000000 };
    thing *things = calloc(MANY, sizeof *things);
    mr_heap h = {.before = before};

    CHECK(things != NULL);
    for (uint32_t i = 0; i < MANY; i++) {
        things[i].key = i;
        mr_heap_add(&h, &things[i].node);
    }
    for (uint32_t i = 0; i < MANY; i++) {
        if (h.top != &things[i].node) fail_msg("%u is not next", (unsigned)i);
        mr_heap_drop(&h, h.top);
    }
    free(things);
}

MR_TEST_MAIN
