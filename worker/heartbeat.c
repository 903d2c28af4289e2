/* heartbeat.c - one timer: due either a period after the last one or, once touched, as soon as
 * allowed.
 *
 * Only the newest counts, so one that cannot be sent is not repeated: the next says it again. */
#include "worker/heartbeat.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "schemas/codec.h"

#define ARENA_BYTES (1u << 20)

struct mr_heartbeats {
    mr_heartbeat_conf conf;
    uv_timer_t timer;
    uint64_t sent_ms; /* monotonic, of the last one */
    bool touched;
    mr_arena arena;
};

static void on_timer(uv_timer_t *timer) {
    mr_heartbeat_send(timer->data);
}

void mr_heartbeat_send(mr_heartbeats *h) {
    mr_heartbeat beat = {0};
    const void *bytes = NULL;
    size_t n = 0;
    mr_err err = {0};
    mr_status st;

    h->conf.on_fill(h->conf.owner, &beat);
    beat.sent_ms = mr_clock_wall_ms();
    mr_arena_reset(&h->arena);
    st = mr_codec_heartbeat_encode(&beat, &h->arena, &bytes, &n);
    if (st == MR_OK)
        st = mr_kafka_send(h->conf.producer, h->conf.topic, MR_KAFKA_ANY_PARTITION, h->conf.worker,
                           strlen(h->conf.worker), bytes, n, NULL, 0, NULL, &err);
    if (st != MR_OK)
        mr_log(MR_LOG_DEBUG, "heartbeat", "not sent", "status=%s err=" MR_Q, mr_status_name(st),
               err.text);
    h->sent_ms = mr_clock_mono_ms();
    h->touched = false;
    uv_timer_start(&h->timer, on_timer, h->conf.period_ms, 0);
}

void mr_heartbeat_touch(mr_heartbeats *h) {
    const uint64_t since_ms = mr_clock_mono_ms() - h->sent_ms;

    if (h->touched) return;
    h->touched = true;
    uv_timer_start(&h->timer, on_timer,
                   since_ms < MR_HEARTBEAT_MIN_MS ? MR_HEARTBEAT_MIN_MS - since_ms : 0, 0);
}

void mr_heartbeat_set_period(mr_heartbeats *h, uint64_t period_ms) {
    h->conf.period_ms = period_ms;
}

mr_status mr_heartbeat_open(mr_heartbeats **out, uv_loop_t *loop, const mr_heartbeat_conf *conf,
                            mr_err *err) {
    mr_heartbeats *h = calloc(1, sizeof *h);

    *out = NULL;
    if (!h) return mr_fail(err, MR_ENOMEM, "heartbeat: out of memory");
    h->conf = *conf;
    mr_arena_init(&h->arena, ARENA_BYTES);
    uv_timer_init(loop, &h->timer); /* always 0 */
    h->timer.data = h;
    uv_timer_start(&h->timer, on_timer, 0, 0);
    *out = h;
    return MR_OK;
}

static void on_timer_closed(uv_handle_t *handle) {
    mr_heartbeats *h = handle->data;

    mr_arena_drop(&h->arena);
    free(h);
}

void mr_heartbeat_close(mr_heartbeats *h) {
    if (h) uv_close((uv_handle_t *)&h->timer, on_timer_closed);
}
