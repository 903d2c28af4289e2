/* batch_files.c - see batch_files.h. */
#include "cli/batch_files.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/uuid.h"
#include "cli/cli.h"
#include "schemas/codec.h"

/* ---- input ---- */

static mr_status open_regular(FILE **out, const char *path, const char *mode, mr_err *err) {
    struct stat st;
    *out = fopen(path, mode);
    if (!*out) return mr_fail(err, MR_EIO, "%s: %s", path, strerror(errno));
    if (fstat(fileno(*out), &st) == 0 && S_ISREG(st.st_mode)) return MR_OK;
    fclose(*out);
    *out = NULL;
    return mr_fail(err, MR_EINVAL, "%s must be a regular file: a batch reads it more than once",
                   path);
}

mr_status mr_batch_in_open(mr_batch_in *in, const char *path, mr_err *err) {
    *in = (mr_batch_in){.text = malloc(MR_BATCH_MAX_LINE + 1)};
    if (!in->text) return mr_fail(err, MR_ENOMEM, "%s: out of memory", path);
    const mr_status st = open_regular(&in->f, path, "re", err);
    if (st != MR_OK) mr_batch_in_close(in);
    return st;
}

void mr_batch_in_close(mr_batch_in *in) {
    if (in->f) fclose(in->f);
    free(in->text);
    *in = (mr_batch_in){.f = NULL};
}

mr_status mr_batch_in_seek(mr_batch_in *in, off_t at, size_t line_no, mr_err *err) {
    if (fseeko(in->f, at, SEEK_SET) != 0)
        return mr_fail(err, MR_EIO, "cannot read the input again: %s", strerror(errno));
    in->line_no = line_no - 1;
    return MR_OK;
}

bool mr_batch_in_next(mr_batch_in *in) {
    int ch;
    bool blank;
    do {
        in->at = ftello(in->f);
        in->n = 0;
        blank = true;
        while ((ch = getc_unlocked(in->f)) != EOF && ch != '\n') {
            if (in->n < MR_BATCH_MAX_LINE) in->text[in->n] = (char)ch;
            in->n++;
            blank = blank && (ch == ' ' || ch == '\t' || ch == '\r');
        }
        in->line_no++;
    } while (blank && ch != EOF);
    in->text[in->n < MR_BATCH_MAX_LINE ? in->n : MR_BATCH_MAX_LINE] = '\0';
    return !blank && !ferror(in->f);
}

static void refuse(mr_batch_line *l, const char *code, const char *fmt, ...) MR_PRINTF(3, 4);
static void refuse(mr_batch_line *l, const char *code, const char *fmt, ...) {
    va_list ap;
    snprintf(l->code, sizeof l->code, "%s", code);
    va_start(ap, fmt);
    vsnprintf(l->message, sizeof l->message, fmt, ap);
    va_end(ap);
}

static void parse_body(mr_batch_line *l, const char *url, const json_t *body, size_t line_no) {
    mr_codec_error why = {0};
    char *text = json_dumps(body, JSON_COMPACT);
    if (!text) {
        refuse(l, "malformed", "line %zu: out of memory", line_no);
        return;
    }
    if (mr_codec_openai_decode(&l->job, url, text, strlen(text), &l->arena, &why) != MR_OK)
        refuse(l, why.code, "line %zu: %s", line_no, why.message);
    free(text);
}

/* False: there is one, but it cannot be used. */
static bool take_id(char out[MR_BATCH_MAX_ID + 1], const json_t *o, size_t line_no) {
    const json_t *id = json_object_get(o, "custom_id");
    snprintf(out, MR_BATCH_MAX_ID + 1, "line-%zu", line_no);
    if (!id) return true;
    const size_t n = json_is_string(id) ? json_string_length(id) : 0;
    if (n < 1 || n > MR_BATCH_MAX_ID) return false;
    memcpy(out, json_string_value(id), n + 1);
    return true;
}

static void parse_object(mr_batch_line *l, const json_t *o, size_t line_no) {
    const char *key;
    json_t *value;
    const json_t *id = json_object_get(o, "custom_id"), *url = json_object_get(o, "url"),
                 *method = json_object_get(o, "method"), *body = json_object_get(o, "body");

    if (!take_id(l->custom_id, o, line_no))
        refuse(l, "bad_type", "line %zu: custom_id must be text of 1 to %d bytes", line_no,
               MR_BATCH_MAX_ID);
    json_object_foreach((json_t *)o, key, value) {
        if (value != id && value != url && value != method && value != body)
            refuse(l, "unknown_field",
                   "line %zu: unknown field \"%.60s\"; a line has custom_id, method, "
                   "url, body",
                   line_no, key);
    }
    if (l->code[0]) return;
    if (method && (!json_is_string(method) || strcmp(json_string_value(method), "POST") != 0))
        refuse(l, "unsupported", "line %zu: method must be \"POST\"", line_no);
    else if (url && !json_is_string(url))
        refuse(l, "bad_type", "line %zu: url must be text", line_no);
    else if (!json_is_object(body))
        refuse(l, "missing_field", "line %zu: body must be an object", line_no);
    else
        parse_body(l, url ? json_string_value(url) : "/v1/chat/completions", body, line_no);
}

void mr_batch_parse(mr_batch_line *l, const char *text, size_t n, size_t line_no) {
    json_error_t why;
    memset(l, 0, sizeof *l);
    mr_arena_init(&l->arena, 16u << 20);
    snprintf(l->custom_id, sizeof l->custom_id, "line-%zu", line_no);
    if (n > MR_BATCH_MAX_LINE) {
        refuse(l, "too_long", "line %zu has %zu bytes, must have at most %u", line_no, n,
               MR_BATCH_MAX_LINE);
        return;
    }
    json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!o)
        refuse(l, "malformed", "line %zu, column %d: %s", line_no, why.column, why.text);
    else if (!json_is_object(o))
        refuse(l, "malformed", "line %zu is not a JSON object", line_no);
    else
        parse_object(l, o, line_no);
    json_decref(o);
}

void mr_batch_parse_id(char out[MR_BATCH_MAX_ID + 1], const char *text, size_t n, size_t line_no) {
    json_t *o = n <= MR_BATCH_MAX_LINE ? json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL) : NULL;
    (void)take_id(out, o, line_no);
    json_decref(o);
}

void mr_batch_line_drop(mr_batch_line *l) {
    mr_arena_drop(&l->arena);
}

/* ---- output ---- */

static mr_status write_failed(const char *what, mr_err *err) {
    return mr_fail(err, MR_EIO, "%s: %s", what, strerror(errno));
}

/* Cuts off what stands behind the last newline. */
static mr_status cut_torn_line(FILE *f, const char *path, mr_err *err) {
    off_t end = 0, at = 0;
    int ch;
    rewind(f);
    while ((ch = getc_unlocked(f)) != EOF) {
        at++;
        if (ch == '\n') end = at;
    }
    if (ferror(f) || (end != at && ftruncate(fileno(f), end) != 0)) return write_failed(path, err);
    return MR_OK;
}

static mr_status read_done(FILE *f, const char *path, mr_idset *done, size_t *n_failed,
                           mr_err *err) {
    char *line = NULL;
    size_t cap = 0, line_no = 0;
    ssize_t n;
    mr_status st = MR_OK;

    rewind(f);
    while (st == MR_OK && (n = getline(&line, &cap, f)) > 0) {
        json_t *o = json_loadb(line, (size_t)n, 0, NULL);
        const json_t *id = json_object_get(o, "custom_id"), *failure = json_object_get(o, "error");
        line_no++;
        if (!json_is_string(id))
            st = mr_fail(err, MR_EINVAL,
                         "%s line %zu has no custom_id: is it the output of a batch?", path,
                         line_no);
        else if (!mr_idset_add(done, json_string_value(id)))
            st = mr_fail(err, MR_ENOMEM, "%s: out of memory", path);
        *n_failed += failure && !json_is_null(failure);
        json_decref(o);
    }
    free(line);
    return st;
}

mr_status mr_batch_output_open(FILE **out, const char *path, mr_idset *done, size_t *n_failed,
                               mr_err *err) {
    *n_failed = 0;
    mr_status st = open_regular(out, path, "a+e", err);
    if (st != MR_OK) return st;
    if (flock(fileno(*out), LOCK_EX | LOCK_NB) != 0)
        st = mr_fail(err, MR_ELIMIT, "%s: another batch is writing to it", path);
    if (st == MR_OK) st = cut_torn_line(*out, path, err);
    if (st == MR_OK) st = read_done(*out, path, done, n_failed, err);
    if (st == MR_OK && fseeko(*out, 0, SEEK_END) != 0) st = write_failed(path, err);
    if (st != MR_OK) {
        fclose(*out);
        *out = NULL;
    }
    return st;
}

/* Writes the line in one go, so that a full disk leaves at most a torn last line. */
static mr_status append(FILE *f, char *line, size_t n, mr_err *err) {
    const bool ok = line && fwrite(line, 1, n, f) == n && fflush(f) == 0;
    const int e = errno;
    free(line);
    errno = e;
    return ok ? MR_OK : write_failed("cannot write the output", err);
}

static void put_text(FILE *m, const char *name, const char *text, size_t n) {
    fprintf(m, "\"%s\":", name);
    mr_cli_json_string(m, text, n);
}

static void put_error(FILE *m, const char *code, const char *field, const char *message) {
    fputs("\"error\":{", m);
    put_text(m, "code", code, strlen(code));
    if (field[0]) {
        fputc(',', m);
        put_text(m, "param", field, strlen(field));
    }
    fputc(',', m);
    put_text(m, "message", message, strlen(message));
    fputs("}}\n", m);
}

static void put_logprobs(FILE *m, const mr_result *r) {
    fputs(",\"logprobs\":", m);
    if (!r->logprobs) {
        fputs("null", m);
        return;
    }
    fputs("{\"content\":[", m);
    for (size_t i = 0; i < r->n_logprobs; i++) {
        const mr_token_logprob *t = &r->logprobs[i];
        fputs(i ? ",{" : "{", m);
        put_text(m, "token", t->text, strlen(t->text));
        fprintf(m, ",\"logprob\":%.6g,\"top_logprobs\":[", (double)t->logprob);
        for (size_t k = 0; k < t->n_top; k++) {
            fputs(k ? ",{" : "{", m);
            put_text(m, "token", t->top[k].text, strlen(t->top[k].text));
            fprintf(m, ",\"logprob\":%.6g}", (double)t->top[k].logprob);
        }
        fputs("]}", m);
    }
    fputs("]}", m);
}

static void put_response(FILE *m, const mr_result *r) {
    fprintf(
        m,
        "\"response\":{\"status_code\":200,\"request_id\":\"%s\",\"body\":{\"id\":\"chatcmpl-%s\","
        "\"object\":\"chat.completion\",\"created\":%" PRIu64 ",",
        r->job_id, r->job_id, r->finished_ms / 1000);
    put_text(m, "model", r->model, strlen(r->model));
    fputs(",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",", m);
    put_text(m, "content", r->text, r->text_len);
    fputs("}", m);
    put_logprobs(m, r);
    fputc(',', m);
    put_text(m, "finish_reason", r->finish_reason, strlen(r->finish_reason));
    fprintf(m,
            "}],\"usage\":{\"prompt_tokens\":%u,\"completion_tokens\":%u,\"total_tokens\":%u}}},"
            "\"error\":null}\n",
            r->prompt_tokens, r->completion_tokens, r->prompt_tokens + r->completion_tokens);
}

static FILE *begin_line(char **line, size_t *n, const char *id, const char *custom_id) {
    FILE *m = open_memstream(line, n);
    if (!m) return NULL;
    fprintf(m, "{\"id\":\"batch_req_%s\",", id);
    put_text(m, "custom_id", custom_id, strlen(custom_id));
    fputc(',', m);
    return m;
}

mr_status mr_batch_write_result(FILE *f, const char *custom_id, const mr_result *r, mr_err *err) {
    char *line = NULL;
    size_t n = 0;

    if (r->status != MR_STATUS_SUCCEEDED)
        return mr_batch_write_error(
            f, r->job_id, custom_id, r->error.code ? r->error.code : mr_job_status_name(r->status),
            r->error.field ? r->error.field : "",
            r->error.message ? r->error.message : mr_job_status_name(r->status), err);
    FILE *m = begin_line(&line, &n, r->job_id, custom_id);
    if (!m) return mr_fail(err, MR_ENOMEM, "output: out of memory");
    put_response(m, r);
    if (fclose(m) != 0) return mr_fail(err, MR_ENOMEM, "output: out of memory");
    return append(f, line, n, err);
}

mr_status mr_batch_write_error(FILE *f, const char *id, const char *custom_id, const char *code,
                               const char *field, const char *message, mr_err *err) {
    char *line = NULL;
    size_t n = 0;
    FILE *m = begin_line(&line, &n, id, custom_id);
    if (!m) return mr_fail(err, MR_ENOMEM, "output: out of memory");
    fputs("\"response\":null,", m);
    put_error(m, code, field, message);
    if (fclose(m) != 0) return mr_fail(err, MR_ENOMEM, "output: out of memory");
    return append(f, line, n, err);
}

/* ---- journal ---- */

mr_status mr_batch_journal_read(const char *path, uint64_t *started_ms, mr_batch_on_entry *fn,
                                void *owner, mr_err *err) {
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    FILE *f = fopen(path, "re");

    *started_ms = 0;
    if (!f)
        return mr_fail(err, errno == ENOENT ? MR_ENOTFOUND : MR_EIO, "%s: %s", path,
                       strerror(errno));
    while ((n = getline(&line, &cap, f)) > 0) {
        json_t *o = json_loadb(line, (size_t)n, 0, NULL);
        const json_t *id = json_object_get(o, "custom_id"), *job = json_object_get(o, "job_id"),
                     *start = json_object_get(o, "started_ms");
        if (json_is_integer(start))
            *started_ms = (uint64_t)json_integer_value(start);
        else if (json_is_string(id) && json_is_string(job) &&
                 mr_uuid_valid(json_string_value(job), json_string_length(job)))
            fn(owner, json_string_value(id), json_string_value(job));
        json_decref(o); /* anything else is a torn last line: that job was not yet submitted */
    }
    free(line);
    fclose(f);
    return MR_OK;
}

static mr_status new_path(char out[PATH_MAX], const char *path, mr_err *err) {
    if (snprintf(out, PATH_MAX, "%s.new", path) < PATH_MAX) return MR_OK;
    return mr_fail(err, MR_EINVAL, "%s: the name has more than %d bytes", path, PATH_MAX - 5);
}

mr_status mr_batch_journal_create(FILE **out, const char *path, uint64_t started_ms, mr_err *err) {
    char made[PATH_MAX];
    *out = NULL;
    mr_status st = new_path(made, path, err);
    if (st != MR_OK) return st;
    *out = fopen(made, "we");
    if (*out && fprintf(*out, "{\"started_ms\":%" PRIu64 "}\n", started_ms) > 0 &&
        fflush(*out) == 0)
        return MR_OK;
    st = write_failed(made, err);
    if (*out) fclose(*out);
    *out = NULL;
    return st;
}

mr_status mr_batch_journal_publish(const char *path, mr_err *err) {
    char made[PATH_MAX];
    const mr_status st = new_path(made, path, err);
    if (st != MR_OK) return st;
    return rename(made, path) == 0 ? MR_OK : write_failed(path, err);
}

mr_status mr_batch_journal_add(FILE *f, const char *custom_id, const char *job_id, mr_err *err) {
    fputs("{\"custom_id\":", f);
    mr_cli_json_string(f, custom_id, strlen(custom_id));
    fprintf(f, ",\"job_id\":\"%s\"}\n", job_id);
    return fflush(f) == 0 ? MR_OK : write_failed("cannot write the journal", err);
}
