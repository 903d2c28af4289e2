/* fuzz_settings.c - a settings file of arbitrary bytes.
 *
 * Goal: it is refused with a clean line, or every value is inside its limits; nothing leaks.
 * Method: load as YAML in memory; after success a few settings are checked against their limits,
 * after failure the error against its contract. */
#include <stdint.h>
#include <string.h>

#include "schemas/settings.h"

#define MAX_BYTES (64u << 10) /* libyaml is slow on long garbage; the limits are the same */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    mr_settings s;
    mr_err err = {.status = MR_OK};

    if (n > MAX_BYTES) return 0;
    if (mr_settings_load_yaml(&s, MR_PROGRAM_WORKER, (const char *)data, n, &err) != MR_OK) {
        MR_CHECK(err.text[0] && !strchr(err.text, '\n'));
        MR_CHECK(!s.kafka_brokers && !s.isa);
        return 0;
    }
    MR_CHECK(s.max_jobs >= 1 && s.max_jobs <= 1024);
    MR_CHECK(s.topic_partitions >= 1 && s.topic_partitions <= 4096);
    MR_CHECK(s.kafka_brokers[0] && s.topic_prefix[0] && s.redis_prefix[0]);
    MR_CHECK(!strcmp(s.log_format, "json") || !strcmp(s.log_format, "logfmt"));
    mr_settings_free(&s);
    return 0;
}
