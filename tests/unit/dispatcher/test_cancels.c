/* Goal: cancels from before the start are read, the newest of them, and it is told when that is
 * done; later ones follow. Method: a control topic on the embedded broker, with more records than
 * are read back. */
#include "dispatcher/cancels.h"

#include "dispatcher/recent.h"
#include "rig.h"

enum { PARTS = 2, MORE = 100 };

static unsigned n_seen, first_seen = UINT32_MAX, last_seen;

static void on_cancel(void *owner, const char *id) {
    (void)owner;
    const unsigned n = (unsigned)strtoul(strrchr(id, '-') + 1, NULL, 10);
    n_seen++;
    if (n < first_seen) first_seen = n;
    last_seen = n;
}

static void on_fatal(void *owner, const char *text) {
    (void)owner;
    fail_msg("fatal: %s", text);
}

static bool caught_up(void *arg) {
    return mr_cancels_caught_up(arg);
}

static bool has_last(void *arg) {
    return last_seen == *(unsigned *)arg;
}

static void say(mr_kafka_producer *p, int32_t partition, unsigned n) {
    char id[MR_JOB_ID_LEN + 1], json[128];
    job_id(id, n);
    const int len = snprintf(json, sizeof json, "{\"type\":\"cancel\",\"job_id\":\"%s\"}", id);
    produce_to(p, names.control, partition, NULL, json, (size_t)len);
    if (n % 5000 == 0) CHECK_I64(mr_kafka_flush(p, WAIT_MS), MR_OK);
}

static mr_cancels *cancels_open(void) {
    mr_cancels *c = NULL;
    const mr_cancels_conf conf = {.kafka = &kafka,
                                  .topic = names.control,
                                  .timeout_ms = WAIT_MS,
                                  .on_cancel = on_cancel,
                                  .on_fatal = on_fatal};
    n_seen = 0;
    CHECK_OK(mr_cancels_open(&c, &loop, &conf, &err), err);
    return c;
}

TEST(the_newest_from_before_the_start_and_all_later_ones) {
    unsigned n = 0;
    rig_open(PARTS, 1);
    mr_cancels *c = cancels_open();
    CHECK(run_until(&loop, caught_up, c, WAIT_MS)); /* with nothing to read, too */
    CHECK_I64(n_seen, 0);
    mr_cancels_close(c);

    mr_kafka_producer *p = producer_open();
    for (; n < MORE + MR_RECENT_MAX / PARTS; n++) say(p, 0, n);
    produce_to(p, names.control, 1, NULL, "noise", 5);
    CHECK_I64(mr_kafka_flush(p, WAIT_MS), MR_OK);
    c = cancels_open();
    CHECK(!mr_cancels_caught_up(c));
    CHECK(run_until(&loop, caught_up, c, WAIT_MS));
    CHECK_I64(n_seen, MR_RECENT_MAX / PARTS);
    CHECK_I64(first_seen, MORE);
    CHECK_I64(last_seen, n - 1);

    say(p, 1, n);
    CHECK(run_until(&loop, has_last, &n, WAIT_MS));
    mr_cancels_close(c);
    producer_close(p);
    rig_close();
}

MR_TEST_MAIN_SHARED
