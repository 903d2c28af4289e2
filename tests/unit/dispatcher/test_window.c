/* Goal: lanes share by weight and the lowest always moves; inside a lane and model arrival counts;
 * what is taken out and put back keeps its place. Method: entries on the stack, order of pops
 * compared. */
#include "dispatcher/window.h"

#include "tests/test.h"

static mr_entry make(const char *model, mr_priority lane, int64_t offset) {
    mr_entry e = {.lane = lane, .at.offset = offset};
    e.job.model = model;
    return e;
}

TEST(arrival_order_within_a_lane) {
    mr_window *w = NULL;
    mr_entry e[50];
    CHECK_I64(mr_window_open(&w, NULL), MR_OK);
    for (int i = 0; i < 50; i++) {
        e[i] = make("m", MR_PRIORITY_NORMAL, i);
        CHECK_I64(mr_window_push(w, &e[i]), MR_OK);
    }
    for (int i = 0; i < 50; i++) CHECK_I64(mr_window_pop(w, "m")->at.offset, i);
    CHECK(mr_window_pop(w, "m") == NULL);
    mr_window_close(w);
}

TEST(lanes_share_by_weight_and_low_moves) {
    enum { N = 240 };
    mr_window *w = NULL;
    static mr_entry e[MR_PRIORITY_N][N];
    int got[MR_PRIORITY_N] = {0}, since_low = 0, longest = 0;
    CHECK_I64(mr_window_open(&w, NULL), MR_OK);
    for (int l = 0; l < MR_PRIORITY_N; l++)
        for (int i = 0; i < N; i++) {
            e[l][i] = make("m", (mr_priority)l, i);
            CHECK_I64(mr_window_push(w, &e[l][i]), MR_OK);
        }
    for (int i = 0; i < 120; i++) { /* ten full turns of 8 + 3 + 1 */
        const mr_priority lane = mr_window_pop(w, "m")->lane;
        got[lane]++;
        since_low = lane == MR_PRIORITY_LOW ? 0 : since_low + 1;
        if (since_low > longest) longest = since_low;
    }
    CHECK_I64(got[MR_PRIORITY_HIGH], 80);
    CHECK_I64(got[MR_PRIORITY_NORMAL], 30);
    CHECK_I64(got[MR_PRIORITY_LOW], 10);
    CHECK(longest <= 12);
    mr_window_close(w);
}

TEST(a_lane_alone_gets_everything) {
    mr_window *w = NULL;
    mr_entry low[5], high;
    CHECK_I64(mr_window_open(&w, NULL), MR_OK);
    for (int i = 0; i < 5; i++) {
        low[i] = make("m", MR_PRIORITY_LOW, i);
        mr_window_push(w, &low[i]);
    }
    for (int i = 0; i < 4; i++) CHECK_I64(mr_window_pop(w, "m")->at.offset, i);
    high = make("m", MR_PRIORITY_HIGH, 100);
    mr_window_push(w, &high);
    CHECK_I64(mr_window_pop(w, "m")->at.offset, 100); /* overtakes: no debt was piled up */
    CHECK_I64(mr_window_pop(w, "m")->at.offset, 4);
    mr_window_close(w);
}

TEST(models_do_not_block_each_other) {
    mr_window *w = NULL;
    mr_entry a = make("a", MR_PRIORITY_NORMAL, 1), b = make("b", MR_PRIORITY_LOW, 2);
    CHECK_I64(mr_window_open(&w, NULL), MR_OK);
    mr_window_push(w, &a);
    mr_window_push(w, &b);
    CHECK(mr_window_has(w, "a") && mr_window_has(w, "b") && !mr_window_has(w, "c"));
    CHECK_I64(mr_window_pop(w, "b")->at.offset, 2);
    CHECK(!mr_window_has(w, "b"));
    CHECK_STR(mr_window_model(w, 0), "a");
    CHECK(mr_window_model(w, 1) == NULL);
    mr_window_close(w);
}

TEST(unshift_and_remove) {
    mr_window *w = NULL;
    mr_entry e[4];
    CHECK_I64(mr_window_open(&w, NULL), MR_OK);
    for (int i = 0; i < 4; i++) {
        e[i] = make("m", MR_PRIORITY_NORMAL, i);
        mr_window_push(w, &e[i]);
    }
    mr_entry *first = mr_window_pop(w, "m");
    CHECK(!first->waiting);
    mr_window_unshift(w, first);
    mr_window_remove(w, &e[2]);
    CHECK_I64(mr_window_len(w, MR_PRIORITY_NORMAL), 3);
    CHECK_I64(mr_window_pop(w, "m")->at.offset, 0);
    CHECK_I64(mr_window_pop(w, "m")->at.offset, 1);
    CHECK_I64(mr_window_pop(w, "m")->at.offset, 3);
    CHECK_I64(mr_window_len(w, MR_PRIORITY_NORMAL), 0);
    mr_window_close(w);
}

TEST(too_many_models) {
    mr_window *w = NULL;
    static mr_entry e[MR_MAX_MODELS + 1];
    static char names[MR_MAX_MODELS + 1][8];
    CHECK_I64(mr_window_open(&w, NULL), MR_OK);
    for (int i = 0; i <= MR_MAX_MODELS; i++) {
        snprintf(names[i], sizeof names[i], "m%d", i);
        e[i] = make(names[i], MR_PRIORITY_NORMAL, i);
        CHECK_I64(mr_window_push(w, &e[i]), i < MR_MAX_MODELS ? MR_OK : MR_ELIMIT);
    }
    CHECK_I64(mr_window_pop(w, "m0")->at.offset, 0);
    CHECK_I64(mr_window_push(w, &e[MR_MAX_MODELS]), MR_OK); /* a place is free again */
    mr_window_close(w);
}

MR_TEST_MAIN
