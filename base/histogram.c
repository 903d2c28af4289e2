/* histogram.c - see histogram.h. A load and a store instead of an atomic addition: there is one
 * writer, so nothing is lost, and the engine thread pays no locked instruction for it.
 *
 * Limit: MR_HISTOGRAM_BUCKETS bounds. */
#include "base/histogram.h"

#include "millrace/error.h"

#define MS(n) ((uint64_t)(n) * 1000)
#define S(n)  ((uint64_t)(n) * MR_HISTOGRAM_SECOND)
#define SECONDS(n_, ...) {.per_unit = MR_HISTOGRAM_SECOND, .n = (n_), .bounds = {__VA_ARGS__}}
#define COUNTS(n_, ...)  {.per_unit = 1, .n = (n_), .bounds = {__VA_ARGS__}}

const mr_buckets mr_buckets_first_token =
    SECONDS(22, MS(1), MS(5), MS(10), MS(20), MS(40), MS(60), MS(80), MS(100), MS(250), MS(500),
            MS(750), S(1), MS(2500), S(5), MS(7500), S(10), S(20), S(40), S(80), S(160), S(640),
            S(2560));
const mr_buckets mr_buckets_gap =
    SECONDS(19, MS(10), MS(25), MS(50), MS(75), MS(100), MS(150), MS(200), MS(300), MS(400),
            MS(500), MS(750), S(1), MS(2500), S(5), MS(7500), S(10), S(20), S(40), S(80));
const mr_buckets mr_buckets_request =
    SECONDS(21, MS(300), MS(500), MS(800), S(1), MS(1500), S(2), MS(2500), S(5), S(10), S(15),
            S(20), S(30), S(40), S(50), S(60), S(120), S(240), S(480), S(960), S(1920), S(7680));
const mr_buckets mr_buckets_step =
    COUNTS(13, 1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384);
const mr_buckets mr_buckets_tokens =
    COUNTS(16, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000);
const mr_buckets mr_buckets_wait =
    SECONDS(16, MS(10), MS(50), MS(100), MS(500), S(1), S(5), S(10), S(30), S(60), S(300), S(600),
            S(1800), S(3600), S(7200), S(28800), S(86400));
const mr_buckets mr_buckets_call =
    SECONDS(15, 500, MS(1), MS(2), MS(5), MS(10), MS(20), MS(50), MS(100), MS(200), MS(500), S(1),
            S(2), S(5), S(10), S(30));

void mr_histogram_init(mr_histogram *h, const mr_buckets *buckets) {
    h->buckets = buckets;
    for (size_t i = 0; i <= MR_HISTOGRAM_BUCKETS; i++) atomic_init(&h->counts[i], 0);
    atomic_init(&h->sum, 0);
}

static void more(_Atomic uint64_t *n, uint64_t by) {
    const uint64_t now = atomic_load_explicit(n, memory_order_relaxed);
    atomic_store_explicit(n, now + by, memory_order_relaxed);
}

void mr_histogram_add(mr_histogram *h, uint64_t value) {
    const mr_buckets *b = h->buckets;
    size_t i = 0;

    MR_CHECK(b);
    while (i < b->n && value > b->bounds[i]) i++;
    more(&h->counts[i], 1);
    more(&h->sum, value);
}
