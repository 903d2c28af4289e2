/* fuzz_trace.c - a traceparent and a tracestate of arbitrary bytes.
 *
 * Goal: what is taken is what the standard allows, and what is passed on would be taken again. Method: the
 * first line is the one, the rest the other; both are read, written and read once more. */
#include <stdint.h>
#include <string.h>

#include "base/trace.h"
#include "millrace/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_parent(const char *text, size_t len) {
    mr_trace_context t, again;
    char out[MR_TRACE_TEXT + 1];

    if (!mr_trace_read(&t, text, len)) return;
    mr_trace_write(out, &t);
    MR_CHECK(strlen(out) == MR_TRACE_TEXT && mr_trace_read(&again, out, MR_TRACE_TEXT));
    MR_CHECK(memcmp(again.trace_id, t.trace_id, MR_TRACE_ID) == 0);
    MR_CHECK(memcmp(again.parent_id, t.parent_id, MR_SPAN_ID) == 0 && again.flags == t.flags);
    MR_CHECK(memcmp(text, "00", 2) != 0 || memcmp(text, out, MR_TRACE_TEXT) == 0);
}

static void check_state(const char *text, size_t len) {
    const size_t fits = mr_trace_state_fit(text, len);

    MR_CHECK(fits <= len && fits <= MR_TRACE_STATE);
    MR_CHECK(fits == len || fits == 0 || text[fits] == ',');
    MR_CHECK(mr_trace_state_fit(text, fits) == fits);
    for (size_t i = 0; i < fits; i++) MR_CHECK(text[i] == '\t' || (text[i] >= 0x20 && text[i] <= 0x7e));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const char *text = (const char *)data;
    const char *line = n ? memchr(text, '\n', n) : NULL;
    const size_t len = line ? (size_t)(line - text) : n;

    check_parent(text, len);
    if (line) check_state(line + 1, n - len - 1);
    return 0;
}
