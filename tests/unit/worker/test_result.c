/* Goal: an ended job becomes a record that decodes to the same values, also when it is too large,
 * and names become fit for a topic. Method: encode, decode with the codec, compare. */
#include "tests/test.h"

#include "schemas/codec.h"
#include "worker/result.h"

#define ID "0193b7a0-0000-7000-8000-00000000000a"

static mr_job *ended_job(mr_jobs **t, mr_format format) {
    mr_err err = {0};
    mr_job *j;

    CHECK_OK(mr_jobs_open(t, 1, &err), err);
    j = mr_jobs_take(*t);
    snprintf(j->spec.job_id, sizeof j->spec.job_id, "%s", ID);
    j->spec.model = "";
    j->spec.tenant = mr_arena_copy(&j->arena, "acme", 4);
    j->spec.attempt = 1;
    j->attempt = 2; /* that of its frames */
    j->spec.received_ms = 1767225600000;
    j->spec.reply_format = format;
    j->n_tokens = 7;
    j->n_generated = 3;
    CHECK_I64(mr_job_add_text(j, "h\xc3\xa9llo", 6), MR_OK);
    mr_job_move(j, MR_JOB_DECODED, 100);
    mr_job_move(j, MR_JOB_ADMITTED, 100);
    mr_job_move(j, MR_JOB_RUNNING, 110);
    j->first_token_ms = 120;
    mr_job_end(j, MR_STATUS_SUCCEEDED, "stop", NULL, NULL, NULL);
    mr_job_move(j, MR_JOB_FLUSHING, 150);
    return j;
}

static void check_round_trip(mr_format format) {
    mr_jobs *t = NULL;
    mr_job *j = ended_job(&t, format);
    mr_arena arena;
    mr_result r;
    mr_err err = {0};

    mr_arena_init(&arena, 0);
    j->degraded = true;
    CHECK_OK(mr_result_build(j, "demo", "w-1", 1767225600900, &err), err);
    CHECK_OK(mr_codec_result_decode(&r, format, j->record, j->record_len, &arena, &err), err);
    CHECK_STR(r.job_id, ID);
    CHECK_STR(r.model, "demo"); /* the job named none */
    CHECK_STR(r.tenant, "acme");
    CHECK_I64(r.status, MR_STATUS_SUCCEEDED);
    CHECK_STR(r.finish_reason, "stop");
    CHECK_I64(r.text_len, 6);
    CHECK(memcmp(r.text, "h\xc3\xa9llo", 6) == 0);
    CHECK_I64(r.prompt_tokens, 7);
    CHECK_I64(r.completion_tokens, 3);
    CHECK_I64(r.attempt, 2);
    CHECK_STR(r.worker, "w-1");
    CHECK(r.stream_degraded);
    CHECK_I64(r.finished_ms, 1767225600900);
    CHECK_I64(r.queue_ms, 10);
    CHECK_I64(r.prefill_ms, 10);
    CHECK_I64(r.decode_ms, 30);
    mr_arena_drop(&arena);
    mr_jobs_close(t);
}

TEST(a_result_survives_json) {
    check_round_trip(MR_FORMAT_JSON);
}

TEST(a_result_survives_msgpack) {
    check_round_trip(MR_FORMAT_MSGPACK);
}

TEST(a_result_that_is_too_large_becomes_a_short_one) {
    mr_jobs *t = NULL;
    mr_job *j = ended_job(&t, MR_FORMAT_JSON);
    mr_arena arena;
    mr_result r;
    mr_err err = {0};

    mr_arena_init(&arena, 0);
    while (mr_job_add_logprob(j)) {} /* until nothing more fits */
    CHECK_OK(mr_result_build_too_large(j, "demo", "w-1", 1, &err), err);
    CHECK(j->record_len < 4096);
    CHECK_OK(mr_codec_result_decode(&r, MR_FORMAT_JSON, j->record, j->record_len, &arena, &err),
             err);
    CHECK_I64(r.status, MR_STATUS_FAILED);
    CHECK_STR(r.error.code, "result_too_large");
    CHECK_STR(r.tenant, "acme");
    CHECK_I64(r.completion_tokens, 3);
    CHECK_I64(r.text_len, 0);
    mr_arena_drop(&arena);
    mr_jobs_close(t);
}

TEST(half_characters_become_visible) {
    char out[64];

    CHECK_I64(mr_result_clean_utf8(out, "a\xc3\xa9z", 4), 4);
    CHECK_STR(out, "a\xc3\xa9z");
    CHECK_I64(mr_result_clean_utf8(out, "\xe2\x82", 2), 6);
    CHECK_STR(out, "\xef\xbf\xbd\xef\xbf\xbd");
    mr_result_clean_utf8(out, "\xed\xa0\x80", 3); /* a surrogate */
    CHECK_STR(out, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    mr_result_clean_utf8(out, "\0", 1);
    CHECK_STR(out, "\xef\xbf\xbd");
    CHECK_I64(mr_result_clean_utf8(out, "", 0), 0);
}

TEST(names_become_fit_for_a_topic) {
    char out[MR_JOB_MAX_NAME + 1], topic[32], text[200];

    mr_work_topic(topic, sizeof topic, "millrace", "Qwen/Qwen3 0.6B");
    CHECK_STR(topic, "millrace.work.Qwen_Qwen3_0.6B");
    mr_work_topic(topic, sizeof topic, "millrace", "abcdefghijklmnopqrstuvwxyz");
    CHECK_I64(strlen(topic), sizeof topic - 1); /* cut, and terminated */
    mr_fit_name(out, "a b\xc3\xa9");
    CHECK_STR(out, "a_b__");
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = 0;
    mr_fit_name(out, text);
    CHECK_I64(strlen(out), MR_JOB_MAX_NAME);
}

MR_TEST_MAIN
