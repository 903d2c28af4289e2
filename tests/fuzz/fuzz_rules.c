/* fuzz_rules.c - a file of tenants' rules of arbitrary bytes.
 *
 * Goal: it is refused with a clean line, or every rule is inside its limits; nothing leaks. Method:
 * parse it; after success look at the rules of a few tenants, after failure at the error. */
#include <stdint.h>
#include <string.h>

#include "dispatcher/rules.h"

#define MAX_BYTES (64u << 10) /* libyaml is slow on long garbage; the limits are the same */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    static const char *const tenants[] = {"", "default", "acme", "bulk", "a", "nobody"};
    mr_rules *r = NULL;
    mr_err err = {.status = MR_OK};

    if (n > MAX_BYTES) return 0;
    if (mr_rules_parse(&r, (const char *)data, n, &err) != MR_OK) {
        MR_CHECK(!r && err.text[0] && !strchr(err.text, '\n'));
        return 0;
    }
    for (size_t i = 0; i < MR_COUNT(tenants); i++) {
        const mr_rule *rule = mr_rules_find(r, tenants[i]);
        MR_CHECK(rule->weight >= 1 && rule->weight <= 1000);
        MR_CHECK(rule->jobs_per_s >= 0 && rule->jobs_per_s <= 1e6);
        MR_CHECK(rule->tokens_per_min <= 1000000000000 && rule->backlog <= 1000000000);
    }
    mr_rules_close(r);
    return 0;
}
