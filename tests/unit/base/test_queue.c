/* Goal: a queue loses nothing, doubles nothing, keeps order, and always lets waiters go at its end.
 * Method: single steps, then several threads that push and pop numbers (run under TSan too). */
#include "base/queue.h"

#include <unistd.h>

#include "../../test.h"
#include "base/clock.h"

static mr_err err;

TEST(first_in_first_out_and_bounded) {
    mr_queue q;
    int v = 0;
    CHECK_OK(mr_queue_init(&q, 3, sizeof v, &err), err);
    CHECK(!mr_queue_pop(&q, &v));
    for (int round = 0; round < 10; round++) { /* the ring turns */
        for (int i = 0; i < 3; i++) CHECK(mr_queue_push(&q, &i));
        v = 99;
        CHECK(!mr_queue_push(&q, &v));
        CHECK_I64(mr_queue_len(&q), 3);
        for (int i = 0; i < 3; i++) {
            CHECK(mr_queue_pop(&q, &v));
            CHECK_I64(v, i);
        }
    }
    mr_queue_deinit(&q);
    mr_queue_deinit(&q);
}

TEST(a_closed_queue_gives_what_it_has_and_takes_no_more) {
    mr_queue q;
    int v = 7;
    CHECK_OK(mr_queue_init(&q, 4, sizeof v, &err), err);
    CHECK(mr_queue_push(&q, &v));
    mr_queue_close(&q);
    CHECK(!mr_queue_push(&q, &v));
    CHECK(!mr_queue_push_wait(&q, &v));
    v = 0;
    CHECK(mr_queue_pop_wait(&q, &v, -1));
    CHECK_I64(v, 7);
    CHECK(!mr_queue_pop_wait(&q, &v, -1));
    mr_queue_deinit(&q);
}

TEST(a_wait_ends_in_time) {
    mr_queue q;
    int v = 0;
    CHECK_OK(mr_queue_init(&q, 1, sizeof v, &err), err);
    const uint64_t begin = mr_clock_mono_ms();
    CHECK(!mr_queue_pop_wait(&q, &v, 30));
    CHECK(mr_clock_mono_ms() - begin >= 30);
    CHECK(!mr_queue_pop_wait(&q, &v, 0));
    mr_queue_deinit(&q);
}

TEST(bad_sizes_are_refused) {
    mr_queue q;
    CHECK_I64(mr_queue_init(&q, 0, 4, &err), MR_EINVAL);
    mr_queue_deinit(&q);
    CHECK_I64(mr_queue_init(&q, 4, 0, &err), MR_EINVAL);
    CHECK_I64(mr_queue_init(&q, SIZE_MAX / 2, 8, &err), MR_ENOMEM);
    mr_queue_deinit(&q);
}

/* ---- threads ---- */

#define N_THREADS 3
#define N_EACH    20000

static mr_queue shared;
static unsigned char times_seen[N_THREADS][N_EACH];
static int64_t last_seen[N_THREADS][N_THREADS]; /* [reader][writer] */
static int n_out_of_order[N_THREADS];

static void *writer(void *arg) {
    const int64_t me = (int64_t)(intptr_t)arg;
    for (int64_t i = 0; i < N_EACH; i++) {
        const int64_t v = me * N_EACH + i;
        if (i % 3 == 0 && mr_queue_push(&shared, &v)) continue;
        if (!mr_queue_push_wait(&shared, &v)) return NULL;
    }
    return NULL;
}

static void *reader(void *arg) {
    const intptr_t me = (intptr_t)arg;
    int64_t v;
    while (mr_queue_pop_wait(&shared, &v, -1)) {
        times_seen[v / N_EACH][v % N_EACH]++;
        int64_t *last = &last_seen[me][v / N_EACH];
        if (v % N_EACH < *last) n_out_of_order[me]++;
        *last = v % N_EACH;
    }
    return NULL;
}

TEST(threads_lose_nothing_and_keep_order) {
    pthread_t w[N_THREADS], r[N_THREADS];
    CHECK_OK(mr_queue_init(&shared, 17, sizeof(int64_t), &err), err);
    for (intptr_t i = 0; i < N_THREADS; i++) {
        CHECK_I64(pthread_create(&w[i], NULL, writer, (void *)i), 0);
        CHECK_I64(pthread_create(&r[i], NULL, reader, (void *)i), 0);
    }
    for (int i = 0; i < N_THREADS; i++) pthread_join(w[i], NULL);
    mr_queue_close(&shared);
    for (int i = 0; i < N_THREADS; i++) pthread_join(r[i], NULL);
    for (int i = 0; i < N_THREADS; i++) {
        CHECK_I64(n_out_of_order[i], 0);
        for (int k = 0; k < N_EACH; k++) CHECK_I64(times_seen[i][k], 1);
    }
    mr_queue_deinit(&shared);
}

static void *push_one(void *arg) {
    const int64_t v = 1;
    return mr_queue_push_wait(&shared, &v) ? arg : NULL;
}

TEST(close_wakes_who_waits) {
    pthread_t full, empty;
    void *result = &shared;
    int64_t v = 0;
    CHECK_OK(mr_queue_init(&shared, 1, sizeof v, &err), err);
    CHECK(mr_queue_push(&shared, &v));
    CHECK_I64(pthread_create(&full, NULL, push_one, &shared), 0);
    usleep(20000);
    mr_queue_close(&shared);
    pthread_join(full, &result);
    CHECK(result == NULL);
    CHECK(mr_queue_pop(&shared, &v));
    CHECK_I64(pthread_create(&empty, NULL, reader, (void *)0), 0); /* closed and empty: ends */
    pthread_join(empty, NULL);
    mr_queue_deinit(&shared);
}

MR_TEST_MAIN
