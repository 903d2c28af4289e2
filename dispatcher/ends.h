/* ends.h - how far topics reach while partitions of theirs are paused.
 *
 * What a consumer knows of a partition's end is what its last fetch said, and a paused partition is
 * not fetched: with jobs that wait for hours it would be hours old. So the brokers are asked, every
 * MR_ENDS_PERIOD_MS at most, by a thread of uv's pool and a client of its own: that blocks.
 * Thread: loop. */
#ifndef MR_DISPATCHER_ENDS_H
#define MR_DISPATCHER_ENDS_H

#include <uv.h>

#include "base/kafka.h"

#define MR_ENDS_PERIOD_MS  5000
#define MR_ENDS_MAX_TOPICS 8
#define MR_ENDS_MAX_PARTS  4096 /* of a topic; of one with more nothing is known */

typedef struct mr_ends mr_ends;

/* kafka is borrowed until the loop has run dry behind close. */
mr_status mr_ends_open(mr_ends **out, uv_loop_t *loop, const mr_kafka_conf *kafka, mr_err *err);
/* A question in flight comes to its end on the loop, within some seconds. NULL is allowed. */
void mr_ends_close(mr_ends *e);
/* Asks for all partitions of these topics (names are borrowed as kafka is), unless it is too early.
 * now_ms: monotonic. */
void mr_ends_ask(mr_ends *e, const char *const *topics, size_t n, uint64_t now_ms);
/* As of the last answer; -1: there was none. */
int64_t mr_ends_of(const mr_ends *e, const char *topic, int32_t partition);

#endif
