/* fuzz_codec.c - every decoder of codec.h on arbitrary bytes.
 *
 * Goal: no input crashes, leaks or takes for ever, and what a decoder accepts survives encoding.
 * Method: the first byte picks the decoder, the rest is the record. Whatever is accepted is encoded
 * again, decoded again and encoded a third time: the last two must be equal, in both formats; so a
 * field that is lost or changed on the way shows. An error must be one clean line. */
#include <stdint.h>
#include <string.h>

#include "schemas/codec.h"
#include "schemas/headers.h"

#define ARENA_BYTES (64u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_why(const mr_codec_error *why) {
    MR_CHECK(why->code[0] && why->message[0]);
    MR_CHECK(memchr(why->field, 0, sizeof why->field) &&
             memchr(why->message, 0, sizeof why->message));
    MR_CHECK(!strchr(why->message, '\n') && !strchr(why->field, '\n'));
    MR_CHECK(why->has_job_id == (strlen(why->job_id) == MR_JOB_ID_LEN));
}

static void check_same(const void *a, size_t n_a, const void *b, size_t n_b) {
    MR_CHECK(n_a == n_b && memcmp(a, b, n_a) == 0);
}

static void check_job(const mr_job_spec *j, bool internal, mr_arena *arena) {
    for (int f = MR_FORMAT_JSON; f <= MR_FORMAT_MSGPACK; f++) {
        const void *once, *twice;
        size_t n_once, n_twice;
        mr_codec_error why;
        mr_job_spec back;

        MR_CHECK(mr_codec_job_encode(j, (mr_format)f, internal, arena, &once, &n_once) == MR_OK);
        if (!internal && n_once > MR_JOB_MAX_BYTES) return; /* escapes made it longer */
        MR_CHECK(mr_codec_job_decode(&back, (mr_format)f, once, n_once, internal, arena, &why) ==
                 MR_OK);
        MR_CHECK(mr_codec_job_encode(&back, (mr_format)f, internal, arena, &twice, &n_twice) ==
                 MR_OK);
        check_same(once, n_once, twice, n_twice);
    }
}

static void fuzz_job(mr_format f, const void *bytes, size_t n, bool internal, mr_arena *arena) {
    mr_codec_error why;
    mr_job_spec j;

    if (mr_codec_job_decode(&j, f, bytes, n, internal, arena, &why) == MR_OK)
        check_job(&j, internal, arena);
    else
        check_why(&why);
}

static void fuzz_openai(const char *url, const void *bytes, size_t n, mr_arena *arena) {
    mr_codec_error why;
    mr_job_spec j;

    if (mr_codec_openai_decode(&j, url, bytes, n, arena, &why) != MR_OK) {
        check_why(&why);
        return;
    }
    memcpy(j.job_id, "01930000-0000-7000-8000-000000000000", MR_JOB_ID_LEN + 1);
    check_job(&j, false, arena);
}

static void fuzz_result(mr_format f, const void *bytes, size_t n, mr_arena *arena) {
    mr_result r, back;

    if (mr_codec_result_decode(&r, f, bytes, n, arena, NULL) != MR_OK) return;
    for (int g = MR_FORMAT_JSON; g <= MR_FORMAT_MSGPACK; g++) {
        const void *once, *twice;
        size_t n_once, n_twice;

        MR_CHECK(mr_codec_result_encode(&r, (mr_format)g, arena, &once, &n_once) == MR_OK);
        MR_CHECK(mr_codec_result_decode(&back, (mr_format)g, once, n_once, arena, NULL) == MR_OK);
        MR_CHECK(mr_codec_result_encode(&back, (mr_format)g, arena, &twice, &n_twice) == MR_OK);
        check_same(once, n_once, twice, n_twice);
    }
}

static void fuzz_frame(const void *bytes, size_t n, mr_arena *arena) {
    static char once[256 << 10], twice[256 << 10], small[40];
    size_t n_once, n_twice, n_small;
    mr_frame fr, back;

    if (mr_codec_frame_decode(&fr, bytes, n, arena, NULL) != MR_OK) return;
    MR_CHECK(mr_codec_frame_encode(&fr, small, sizeof small, &n_small) == MR_ELIMIT);
    if (mr_codec_frame_encode(&fr, once, sizeof once, &n_once) != MR_OK) return;
    MR_CHECK(n_small == n_once);
    MR_CHECK(mr_codec_frame_decode(&back, once, n_once, arena, NULL) == MR_OK);
    MR_CHECK(mr_codec_frame_encode(&back, twice, sizeof twice, &n_twice) == MR_OK);
    check_same(once, n_once, twice, n_twice);
}

static void fuzz_heartbeat(const void *bytes, size_t n, mr_arena *arena) {
    const void *once, *twice;
    size_t n_once, n_twice;
    mr_heartbeat h, back;

    if (mr_codec_heartbeat_decode(&h, bytes, n, arena, NULL) != MR_OK) return;
    MR_CHECK(mr_codec_heartbeat_encode(&h, arena, &once, &n_once) == MR_OK);
    MR_CHECK(mr_codec_heartbeat_decode(&back, once, n_once, arena, NULL) == MR_OK);
    MR_CHECK(mr_codec_heartbeat_encode(&back, arena, &twice, &n_twice) == MR_OK);
    check_same(once, n_once, twice, n_twice);
}

static void fuzz_beat(const void *bytes, size_t n, mr_arena *arena) {
    const void *once, *twice;
    size_t n_once, n_twice;
    mr_beat b, back;

    if (mr_codec_beat_decode(&b, bytes, n, arena, NULL) != MR_OK) return;
    MR_CHECK(mr_codec_beat_encode(&b, arena, &once, &n_once) == MR_OK);
    MR_CHECK(mr_codec_beat_decode(&back, once, n_once, arena, NULL) == MR_OK);
    MR_CHECK(mr_codec_beat_encode(&back, arena, &twice, &n_twice) == MR_OK);
    check_same(once, n_once, twice, n_twice);
}

static void fuzz_attempt(const void *bytes, size_t n, mr_arena *arena) {
    const void *once, *twice;
    size_t n_once, n_twice;
    mr_attempt a, back;

    if (mr_codec_attempt_decode(&a, bytes, n, arena, NULL) != MR_OK) return;
    MR_CHECK(mr_codec_attempt_encode(&a, arena, &once, &n_once) == MR_OK);
    MR_CHECK(mr_codec_attempt_decode(&back, once, n_once, arena, NULL) == MR_OK);
    MR_CHECK(mr_codec_attempt_encode(&back, arena, &twice, &n_twice) == MR_OK);
    check_same(once, n_once, twice, n_twice);
}

static void fuzz_key(const void *bytes, size_t n, mr_arena *arena) {
    char id[MR_JOB_ID_LEN + 1], again[MR_JOB_ID_LEN + 1];
    uint64_t ms, ms_again;
    const void *once;
    size_t n_once;

    if (mr_codec_key_decode(id, &ms, bytes, n, arena, NULL) != MR_OK) return;
    MR_CHECK(mr_codec_key_encode(id, ms, arena, &once, &n_once) == MR_OK);
    MR_CHECK(mr_codec_key_decode(again, &ms_again, once, n_once, arena, NULL) == MR_OK);
    MR_CHECK(ms == ms_again && strcmp(id, again) == 0);
}

static void fuzz_charged(const uint8_t *bytes, size_t n) {
    mr_priority lane;
    uint32_t tokens;

    if (mr_charged_read(bytes, n, &lane, &tokens)) MR_CHECK(lane < MR_PRIORITY_N);
}

static void fuzz_dead(const void *bytes, size_t n, mr_arena *arena) {
    const void *once, *twice;
    size_t n_once, n_twice;
    mr_dead d, back;

    if (mr_codec_dead_decode(&d, bytes, n, arena, NULL) != MR_OK) return;
    MR_CHECK(mr_codec_dead_encode(&d, arena, &once, &n_once) == MR_OK);
    MR_CHECK(mr_codec_dead_decode(&back, once, n_once, arena, NULL) == MR_OK);
    MR_CHECK(mr_codec_dead_encode(&back, arena, &twice, &n_twice) == MR_OK);
    check_same(once, n_once, twice, n_twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    const uint8_t *bytes = data + 1;
    char id[MR_JOB_ID_LEN + 1];
    mr_arena arena;

    if (!n) return 0;
    mr_arena_init(&arena, ARENA_BYTES);
    n--;
    switch (data[0]) { /* letters, so that a corpus file can be written by hand */
    case 'j': fuzz_job(MR_FORMAT_JSON, bytes, n, false, &arena); break;
    case 'm': fuzz_job(MR_FORMAT_MSGPACK, bytes, n, false, &arena); break;
    case 'w': fuzz_job(MR_FORMAT_MSGPACK, bytes, n, true, &arena); break;
    case 'i': fuzz_job(MR_FORMAT_JSON, bytes, n, true, &arena); break;
    case 'o': fuzz_openai("/v1/chat/completions", bytes, n, &arena); break;
    case 'p': fuzz_openai("/v1/completions", bytes, n, &arena); break;
    case 'r': fuzz_result(MR_FORMAT_JSON, bytes, n, &arena); break;
    case 's': fuzz_result(MR_FORMAT_MSGPACK, bytes, n, &arena); break;
    case 'f': fuzz_frame(bytes, n, &arena); break;
    case 'h': fuzz_heartbeat(bytes, n, &arena); break;
    case 'b': fuzz_beat(bytes, n, &arena); break;
    case 'a': fuzz_attempt(bytes, n, &arena); break;
    case 'k': fuzz_key(bytes, n, &arena); break;
    case 'x': fuzz_charged(bytes, n); break;
    case 'd': fuzz_dead(bytes, n, &arena); break;
    default: mr_codec_cancel_decode(id, bytes, n, NULL); break;
    }
    mr_arena_drop(&arena);
    return 0;
}
