/* Goal: a model is split as its places have room: every layer once and in order, no place over its
 * room, as many layers on devices and as large a cache as possible; and a refusal names the bytes.
 * Method: small sizes whose answers are plain, then random ones against a search of all splits. */
#include "engine/split.h"

#include "tests/ops/ops_test.h"

#define N_LAYER 6

static const uint64_t layers[N_LAYER] = {100, 100, 100, 100, 100, 100};

static mr_split_place place(const char *name, uint64_t room) {
    return (mr_split_place){.name = name,
                            .room = room,
                            .work = 10,
                            .layer_bytes = layers,
                            .first_bytes = 50,
                            .last_bytes = 70,
                            .block_bytes = 1};
}

static mr_split_wish wish(uint32_t on_devices, bool has_cpu, uint32_t least, uint32_t most) {
    return (mr_split_wish){N_LAYER, on_devices, has_cpu, least, most};
}

static void check_at(const mr_split *s, uint32_t i, uint32_t first, uint32_t end) {
    CHECK_I64(s->at[i].first, first);
    CHECK_I64(s->at[i].end, end);
}

TEST(one_device_takes_everything_that_fits) {
    const mr_split_place p[] = {place("gpu", 10 + 600 + 50 + 70 + 6 * 25)};
    const mr_split_wish w = wish(MR_SPLIT_AUTO, false, 5, 100);
    mr_split s;
    mr_err err;

    CHECK_OK(mr_split_plan(&s, p, 1, &w, &err), err);
    check_at(&s, 0, 0, 6);
    CHECK_I64(s.n_blocks, 25);
    CHECK_I64(s.bytes[0], p[0].room);
    const mr_split_wish small = wish(MR_SPLIT_AUTO, false, 5, 20);
    CHECK_OK(mr_split_plan(&s, p, 1, &small, &err), err);
    CHECK_I64(s.n_blocks, 20);
}

TEST(tied_weights_count_once_where_both_ends_are) {
    mr_split_place p = place("gpu", 10 + 600 + 70 + 6);
    const mr_split_wish w = wish(MR_SPLIT_AUTO, false, 1, 1);
    mr_split s;
    mr_err err;

    CHECK_I64(mr_split_plan(&s, &p, 1, &w, &err), MR_ENOMEM);
    CHECK_ERR(err, "50 bytes are missing");
    p.tied = true;
    CHECK_OK(mr_split_plan(&s, &p, 1, &w, &err), err);
}

TEST(what_does_not_fit_devices_is_the_processors) {
    /* Three layers, the head, and 10 blocks of each. */
    const mr_split_place p[] = {place("cpu", 10000), place("gpu", 10 + 300 + 70 + 30 + 60)};
    const mr_split_wish w = wish(MR_SPLIT_AUTO, true, 10, 100);
    mr_split s;
    mr_err err;

    CHECK_OK(mr_split_plan(&s, p, 2, &w, &err), err);
    check_at(&s, 0, 0, 3);
    check_at(&s, 1, 3, 6);
    CHECK_I64(s.n_blocks, 30); /* 60 bytes are left for 3 layers' blocks */
}

TEST(as_many_layers_as_are_asked_for) {
    const mr_split_place p[] = {place("cpu", 10000), place("gpu", 10000)};
    mr_split s;
    mr_err err;

    for (uint32_t n = 1; n <= N_LAYER + 2; n++) {
        const mr_split_wish w = wish(n, true, 1, 4);
        const uint32_t on_cpu = n < N_LAYER ? N_LAYER - n : 0;
        CHECK_OK(mr_split_plan(&s, p, 2, &w, &err), err);
        check_at(&s, 0, 0, on_cpu);
        check_at(&s, 1, on_cpu, N_LAYER);
        CHECK_I64(s.bytes[0], on_cpu > 0 ? 10 + 50 + on_cpu * 104 : 0);
    }
}

TEST(devices_share_so_that_the_cache_is_largest) {
    const mr_split_place p[] = {place("a", 1000), place("b", 700)};
    const mr_split_wish w = wish(MR_SPLIT_AUTO, false, 1, 1000);
    mr_split s;
    mr_err err;

    CHECK_OK(mr_split_plan(&s, p, 2, &w, &err), err);
    /* Of a: 60 + 4 (100 + n); of b: 80 + 2 (100 + n): 135 and 210. One layer less on a: 213, 106.
     */
    check_at(&s, 0, 0, 4);
    check_at(&s, 1, 4, 6);
    CHECK_I64(s.n_blocks, 135);
}

TEST(a_device_that_is_not_needed_gets_nothing) {
    const mr_split_place p[] = {place("a", 5000), place("b", 5000)};
    const mr_split_wish w = wish(MR_SPLIT_AUTO, false, 1, 4);
    mr_split s;
    mr_err err;

    CHECK_OK(mr_split_plan(&s, p, 2, &w, &err), err);
    check_at(&s, 0, 0, 6);
    check_at(&s, 1, 6, 6);
    CHECK_I64(s.bytes[1], 0);
}

TEST(a_refusal_says_where_and_how_many_bytes) {
    const mr_split_place p[] = {place("small cpu", 261), place("gpu", 490)};
    const mr_split_wish all = wish(N_LAYER, true, 1, 1), few = wish(2, true, 1, 1);
    mr_split s;
    mr_err err;

    CHECK_I64(mr_split_plan(&s, p, 2, &all, &err), MR_ENOMEM);
    CHECK_ERR(err, "fit gpu: layers 0 to 5");
    CHECK_ERR(err, "246 bytes are missing"); /* 10 + 50 + 606 + 70 - 490 */
    CHECK_I64(mr_split_plan(&s, p, 2, &few, &err), MR_ENOMEM);
    CHECK_ERR(err, "fit small cpu: layers 0 to 3");
    CHECK_ERR(err, "203 bytes are missing"); /* 10 + 50 + 404 - 261 */
    const mr_split_place none[] = {place("cpu", 10000), place("gpu", 100)};
    const mr_split_wish any = wish(MR_SPLIT_AUTO, true, 1, 1);
    CHECK_I64(mr_split_plan(&s, none, 2, &any, &err), MR_ENOMEM);
    CHECK_ERR(err, "81 bytes are missing"); /* one layer: 10 + 101 + 70 */
}

/* ---- against all splits ---- */

typedef struct setup {
    mr_split_place p[3];
    uint64_t bytes[3][N_LAYER];
} setup;

static uint64_t need(const mr_split_place *p, uint32_t first, uint32_t end, uint32_t blocks) {
    uint64_t n = p->work;

    if (first == end) return 0;
    for (uint32_t i = first; i < end; i++) n += p->layer_bytes[i] + blocks * p->block_bytes;
    return n + (first == 0 ? p->first_bytes : 0) + (end == N_LAYER ? p->last_bytes : 0);
}

/* Most layers on devices, and then most blocks; false: no split fits. */
static bool search(const setup *s, uint32_t least, uint32_t most, uint32_t *best_on,
                   uint32_t *best_blocks) {
    bool found = false;

    *best_on = *best_blocks = 0;
    for (uint32_t a = 0; a < N_LAYER; a++)
        for (uint32_t b = a; b <= N_LAYER; b++)
            for (uint32_t n = least; n <= most; n++) {
                if (need(&s->p[0], 0, a, n) > s->p[0].room ||
                    need(&s->p[1], a, b, n) > s->p[1].room ||
                    need(&s->p[2], b, N_LAYER, n) > s->p[2].room)
                    break;
                const uint32_t on = N_LAYER - a;
                if (found && (on < *best_on || (on == *best_on && n <= *best_blocks))) continue;
                *best_on = on;
                *best_blocks = n;
                found = true;
            }
    return found;
}

static void random_setup(setup *s, uint64_t *seed) {
    for (uint32_t i = 0; i < 3; i++) {
        s->p[i] = place("somewhere", 60 + random_u32(seed) % 500);
        s->p[i].layer_bytes = s->bytes[i];
        for (uint32_t k = 0; k < N_LAYER; k++) s->bytes[i][k] = 20 + random_u32(seed) % 150;
        s->p[i].first_bytes = random_u32(seed) % 60;
        s->p[i].last_bytes = random_u32(seed) % 60;
        s->p[i].block_bytes = 1 + random_u32(seed) % 3;
    }
}

TEST(random_places_are_used_as_well_as_can_be) {
    const mr_split_wish w = wish(MR_SPLIT_AUTO, true, 3, 40);
    uint64_t seed = 1;
    uint32_t n_fit = 0;

    for (int round = 0; round < 2000; round++) {
        uint32_t on, blocks;
        setup s;
        mr_split got;

        random_setup(&s, &seed);
        const bool fits = search(&s, 3, 40, &on, &blocks);
        CHECK_I64(mr_split_plan(&got, s.p, 3, &w, NULL), fits ? MR_OK : MR_ENOMEM);
        if (!fits) continue;
        n_fit++;
        CHECK_I64(N_LAYER - got.at[0].end, on);
        CHECK_I64(got.n_blocks, blocks);
        for (uint32_t i = 0; i < 3; i++) {
            CHECK_I64(got.at[i].first, i == 0 ? 0 : got.at[i - 1].end);
            CHECK_I64(got.bytes[i], need(&s.p[i], got.at[i].first, got.at[i].end, blocks));
            CHECK(got.bytes[i] <= s.p[i].room);
        }
        CHECK_I64(got.at[2].end, N_LAYER);
    }
    print_message("%u of 2000 fit\n", n_fit);
    CHECK(n_fit > 500 && n_fit < 1900);
}

MR_TEST_MAIN
