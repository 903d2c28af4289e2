/* member.c - see member.h. */
#include "dispatcher/member.h"

#include "base/log.h"

mr_kafka_consumer_conf mr_member_consumer(const mr_member_conf *m, const char *const *topics) {
    return (mr_kafka_consumer_conf){.conn = *m->kafka,
                                    .group = m->group,
                                    .instance_id = m->instance_id,
                                    .strategy = m->assignor,
                                    .session_timeout_ms = m->session_timeout_ms,
                                    .topics = topics,
                                    .read_committed = true,
                                    .reset_offset = MR_KAFKA_OFFSET_BEGIN};
}

bool mr_member_paused(const mr_kafka_consumer *c, const mr_parts *p, int part) {
    return mr_kafka_paused(c, mr_parts_topic(p, part), mr_parts_partition(p, part));
}

void mr_member_pause(mr_kafka_consumer *c, const mr_parts *p, int part, bool paused) {
    const char *topic = mr_parts_topic(p, part);
    const int32_t partition = mr_parts_partition(p, part);
    mr_err err;
    if (!mr_parts_assigned(p, part) || mr_kafka_paused(c, topic, partition) == paused) return;
    const mr_status st = paused ? mr_kafka_pause(c, topic, partition, &err)
                                : mr_kafka_resume(c, topic, partition, &err);
    if (st != MR_OK)
        mr_log(MR_LOG_WARN, "member", paused ? "cannot pause" : "cannot resume",
               "topic=%s part=%d err=" MR_Q, topic, (int)partition, err.text);
}
