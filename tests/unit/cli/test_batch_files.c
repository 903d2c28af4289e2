/* Goal: a batch file's lines are read as OpenAI's format says, bad ones are explained, and output
 * and journal survive a torn last line. Method: lines in memory, files in a temporary folder. */
#include "cli/batch_files.h"

#include <unistd.h>

#include "cli/bar.h"
#include "cli/latency.h"
#include "tests/test.h"

static char dir[] = "/tmp/millrace-batch.XXXXXX";
static char out_path[64], journal_path[64];

static void write_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    CHECK(f != NULL);
    fputs(text, f);
    fclose(f);
}

static char *read_file(const char *path) {
    static char buf[8192];
    FILE *f = fopen(path, "r");
    CHECK(f != NULL);
    buf[fread(buf, 1, sizeof buf - 1, f)] = '\0';
    fclose(f);
    return buf;
}

static void parse(mr_batch_line *l, const char *text) {
    mr_batch_parse(l, text, strlen(text), 7);
}

TEST(a_good_line) {
    mr_batch_line l;
    parse(&l, "{\"custom_id\":\"a\",\"method\":\"POST\",\"url\":\"/v1/chat/"
              "completions\",\"body\":{\"model\":\"m\","
              "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":5,"
              "\"temperature\":0}}");
    CHECK_STR(l.message, "");
    CHECK_STR(l.custom_id, "a");
    CHECK_STR(l.job.model, "m");
    CHECK_I64(l.job.n_messages, 1);
    CHECK_STR(l.job.messages[0].content, "hi");
    CHECK_I64(l.job.params.max_tokens, 5);
    CHECK(l.job.params.temperature == 0);
    mr_batch_line_drop(&l);
}

TEST(bad_lines_name_the_line_and_the_field) {
    static const struct {
        const char *text, *code, *part;
    } bad[] = {
        {"{", "malformed", "line 7"},
        {"[]", "malformed", "line 7"},
        {"{\"custom_id\":\"a\"}", "missing_field", "body"},
        {"{\"custom_id\":3,\"body\":{}}", "bad_type", "custom_id"},
        {"{\"custom_id\":\"a\",\"body\":{},\"x\":1}", "unknown_field", "\"x\""},
        {"{\"custom_id\":\"a\",\"method\":\"GET\",\"body\":{}}", "unsupported", "method"},
        {"{\"custom_id\":\"a\",\"body\":{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],"
         "\"temprature\":1}}",
         "unknown_field", "temprature"},
    };
    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        mr_batch_line l;
        parse(&l, bad[i].text);
        CHECK_STR(l.code, bad[i].code);
        CHECK(strstr(l.message, bad[i].part) != NULL);
        mr_batch_line_drop(&l);
    }
}

TEST(a_torn_last_line_is_cut_off) {
    mr_idset done;
    FILE *f = NULL;
    size_t failed;
    mr_err err;
    write_file(
        out_path,
        "{\"custom_id\":\"a\",\"error\":null}\n{\"custom_id\":\"b\",\"error\":{\"code\":\"x\"}}\n"
        "{\"custom_id\":\"c\",\"err");
    mr_idset_init(&done);
    CHECK_OK(mr_batch_output_open(&f, out_path, &done, &failed, &err), err);
    CHECK(mr_idset_has(&done, "a") && mr_idset_has(&done, "b") && !mr_idset_has(&done, "c"));
    CHECK_I64(failed, 1);
    mr_result r = {.model = "m",
                   .status = MR_STATUS_SUCCEEDED,
                   .text = "x\ny",
                   .text_len = 3,
                   .finish_reason = "stop"};
    CHECK_OK(mr_batch_write_result(f, "c", &r, &err), err);
    fclose(f);
    mr_idset_deinit(&done);
    const char *text = read_file(out_path);
    CHECK(strstr(text, "\"err{") == NULL);
    CHECK(strstr(text, "}\n{\"id\":\"batch_req_") != NULL);
    CHECK(strstr(text, "\"content\":\"x\\ny\"") != NULL);
}

TEST(somebody_elses_file_is_not_touched) {
    mr_idset done;
    FILE *f = NULL;
    size_t failed;
    mr_err err;
    write_file(out_path, "my diary\n");
    mr_idset_init(&done);
    CHECK_I64(mr_batch_output_open(&f, out_path, &done, &failed, &err), MR_EINVAL);
    CHECK_ERR(err, "line 1");
    CHECK(f == NULL);
    CHECK_STR(read_file(out_path), "my diary\n");
    mr_idset_deinit(&done);
}

static int entries;
static void on_entry(void *owner, const char *custom_id, const char *job_id) {
    (void)owner;
    CHECK_STR(custom_id, entries == 0 ? "a \"quoted\"" : "b");
    CHECK_I64(strlen(job_id), 36);
    entries++;
}

static int count_entries(uint64_t *started) {
    mr_err err;
    entries = 0;
    CHECK_OK(mr_batch_journal_read(journal_path, started, on_entry, NULL, &err), err);
    return entries;
}

TEST(journal_round_trip) {
    FILE *f = NULL;
    uint64_t started;
    mr_err err;
    CHECK_I64(mr_batch_journal_read("/nonexistent/x", &started, on_entry, NULL, &err),
              MR_ENOTFOUND);
    CHECK_OK(mr_batch_journal_create(&f, journal_path, 12345, &err), err);
    CHECK_OK(mr_batch_journal_add(f, "a \"quoted\"", "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77", &err),
             err);
    CHECK_OK(mr_batch_journal_publish(journal_path, &err), err);
    CHECK_OK(mr_batch_journal_add(f, "b", "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e78", &err), err);
    fputs("{\"custom_id\":\"c\",\"job", f); /* torn */
    fclose(f);
    CHECK_I64(count_entries(&started), 2);
    CHECK_I64(started, 12345);

    CHECK_OK(mr_batch_journal_create(&f, journal_path, 6, &err),
             err); /* not published: nothing is lost */
    CHECK_I64(count_entries(&started), 2);
    CHECK_OK(mr_batch_journal_publish(journal_path, &err), err);
    fclose(f);
    CHECK_I64(count_entries(&started), 0);
    CHECK_I64(started, 6);
}

TEST(lines_are_read_with_their_place) {
    mr_batch_in in;
    mr_err err;
    char id[MR_BATCH_MAX_ID + 1];
    write_file(out_path, "one\n\n \t\r\n{\"custom_id\":\"x\"}\r\nlast");
    CHECK_OK(mr_batch_in_open(&in, out_path, &err), err);
    CHECK(mr_batch_in_next(&in));
    CHECK_STR(in.text, "one");
    CHECK(mr_batch_in_next(&in)); /* blank ones are counted and skipped */
    CHECK_I64(in.line_no, 4);
    mr_batch_parse_id(id, in.text, in.n, in.line_no);
    CHECK_STR(id, "x");
    const off_t at = in.at;
    CHECK(mr_batch_in_next(&in));
    CHECK_STR(in.text, "last");
    mr_batch_parse_id(id, in.text, in.n, in.line_no);
    CHECK_STR(id, "line-5");
    CHECK(!mr_batch_in_next(&in));
    CHECK_OK(mr_batch_in_seek(&in, at, 4, &err), err);
    CHECK(mr_batch_in_next(&in));
    CHECK_I64(in.line_no, 4);
    CHECK(strstr(in.text, "custom_id") != NULL);
    mr_batch_in_close(&in);
    CHECK_I64(mr_batch_in_open(&in, "/dev/null", &err), MR_EINVAL);
    CHECK_I64(mr_batch_in_open(&in, "/nonexistent/x", &err), MR_EIO);
}

TEST(a_line_without_end_does_not_fill_the_memory) {
    mr_batch_in in;
    mr_batch_line l;
    mr_err err;
    FILE *f = fopen(out_path, "w");
    CHECK(f != NULL);
    for (size_t i = 0; i <= MR_BATCH_MAX_LINE; i++) putc('x', f);
    fputs("\nnext\n", f);
    fclose(f);
    CHECK_OK(mr_batch_in_open(&in, out_path, &err), err);
    CHECK(mr_batch_in_next(&in));
    CHECK_I64(in.n, MR_BATCH_MAX_LINE + 1);
    mr_batch_parse(&l, in.text, in.n, in.line_no);
    CHECK_STR(l.code, "too_long");
    mr_batch_line_drop(&l);
    CHECK(mr_batch_in_next(&in));
    CHECK_STR(in.text, "next");
    mr_batch_in_close(&in);
}

TEST(an_output_has_one_writer) {
    mr_idset done;
    FILE *first = NULL, *second = NULL;
    size_t failed;
    mr_err err;
    write_file(out_path, "");
    mr_idset_init(&done);
    CHECK_OK(mr_batch_output_open(&first, out_path, &done, &failed, &err), err);
    CHECK_I64(mr_batch_output_open(&second, out_path, &done, &failed, &err), MR_ELIMIT);
    CHECK(second == NULL);
    fclose(first);
    CHECK_OK(mr_batch_output_open(&second, out_path, &done, &failed, &err), err);
    fclose(second);
    CHECK_I64(mr_batch_output_open(&second, "/dev/full", &done, &failed, &err), MR_EINVAL);
    mr_idset_deinit(&done);
}

TEST(a_full_disk_is_an_error) {
    mr_err err;
    FILE *f = fopen("/dev/full", "w");
    if (!f) return; /* not on this system */
    CHECK_I64(mr_batch_write_error(f, "line-1", "a", "x", "", "y", &err), MR_EIO);
    CHECK_ERR(err, "No space");
    fclose(f);
}

TEST(sets_and_percentiles) {
    mr_idset s;
    char id[16];
    mr_idset_init(&s);
    for (int i = 0; i < 5000; i++) {
        snprintf(id, sizeof id, "id%d", i);
        CHECK(!mr_idset_has(&s, id) && mr_idset_add(&s, id) && mr_idset_add(&s, id));
    }
    CHECK_I64(s.n, 5000);
    CHECK(mr_idset_has(&s, "id4999") && !mr_idset_has(&s, "id5000"));
    mr_idset_deinit(&s);
    static mr_latency l;
    CHECK_I64(mr_latency_percentile(&l, 50), 0);
    for (uint64_t i = 100; i > 0; i--) mr_latency_add(&l, i);
    CHECK_I64(mr_latency_percentile(&l, 50), 50);
    CHECK_I64(mr_latency_percentile(&l, 95), 95);
    CHECK_I64(mr_latency_percentile(&l, 100), 100);
}

int main(void) {
    if (!mkdtemp(dir)) return 1;
    snprintf(out_path, sizeof out_path, "%s/out", dir);
    snprintf(journal_path, sizeof journal_path, "%s/journal", dir);
    const int rc = _cmocka_run_group_tests(__FILE__, mr_tests, mr_n_tests, NULL, NULL);
    unlink(out_path);
    unlink(journal_path);
    rmdir(dir);
    return rc;
}
