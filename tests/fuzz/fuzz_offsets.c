/* fuzz_offsets.c - commit metadata of arbitrary bytes.
 *
 * Goal: it is refused with a clean line, or says something that the same module would have written:
 * what is restored can be committed, restored again, and says the same. Method: the first byte
 * chooses between a text as it is and bytes that get tag, base64 and a right checksum, so that
 * mutations reach what lies behind them. The watermark is what the bytes say, so that they agree.
 */
#include <stdint.h>
#include <string.h>

#include "base/b64.h"
#include "base/offsets.h"

#define MAX_PAYLOAD 4096u
#define SUM_LEN     8u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static size_t wrap(char *text, const uint8_t *data, size_t n) {
    uint8_t raw[MAX_PAYLOAD + SUM_LEN];
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++) h = (h ^ data[i]) * 0x100000001b3u;
    if (n) memcpy(raw, data, n);
    for (size_t i = 0; i < SUM_LEN; i++) raw[n + i] = (uint8_t)(h >> 8 * i);
    memcpy(text, "mr1:", 4);
    mr_b64_encode(text + 4, raw, n + SUM_LEN);
    return strlen(text);
}

static int64_t watermark_of(const uint8_t *data, size_t n) {
    uint64_t x = 0;
    for (unsigned i = 0; i < 9 && i < n; i++) {
        x |= (uint64_t)(data[i] & 0x7f) << 7 * i;
        if (!(data[i] & 0x80)) break;
    }
    return (int64_t)x;
}

/* Commits and restores twice: deaths settle after the first time, as nothing runs by then. */
static void check_restored(mr_offsets *o) {
    char first[MR_OFFSETS_MAX_METADATA + 1], second[MR_OFFSETS_MAX_METADATA + 1];
    const int64_t at = mr_offsets_commit(o);
    const size_t len = mr_offsets_encode(o, first, sizeof first);
    MR_CHECK(len <= MR_OFFSETS_MAX_METADATA && len == strlen(first) && mr_offsets_pending(o) == 0);
    MR_CHECK(mr_offsets_restore(o, at, first, len, NULL) == MR_OK && mr_offsets_commit(o) == at);
    mr_offsets_encode(o, second, sizeof second);
    MR_CHECK(!strcmp(first, second));
    if (at < INT64_MAX - 8) {
        MR_CHECK(mr_offsets_begin(o, at) == MR_OK);
        MR_CHECK(mr_offsets_mark(o, at) != MR_EINVAL);
        MR_CHECK(mr_offsets_finish(o, at) > at);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char text[8 + MR_B64_LEN(MAX_PAYLOAD + SUM_LEN)];
    mr_err err = {.status = MR_OK};
    mr_offsets *o = NULL;
    mr_status st;

    if (n == 0 || n > MAX_PAYLOAD) return 0;
    MR_CHECK(mr_offsets_open(&o, MR_OFFSETS_MIN_WINDOW, NULL) == MR_OK);
    const int64_t at = watermark_of(data + 1, n - 1);
    if (data[0] & 1)
        st = mr_offsets_restore(o, at, text, wrap(text, data + 1, n - 1), &err);
    else
        st = mr_offsets_restore(o, at, (const char *)data + 1, n - 1, &err);
    MR_CHECK(st == MR_OK || (st == MR_EINVAL && err.text[0] && !strchr(err.text, '\n')));
    MR_CHECK(mr_offsets_commit(o) == at);
    check_restored(o);
    mr_offsets_close(o);
    return 0;
}
