/* codec_input.c - the three ways to say what a job should work on.
 *
 * A message's content is a text, or OpenAI's list of text parts, which are joined. The text of a
 * prompt never appears in an error. Pure; any thread. */
#include <string.h>

#include "schemas/codec_request.h"

static const mr_field text_limits = {.hi = MR_JOB_MAX_BYTES};

/* ---- messages ---- */

typedef struct part { /* of a content list */
    const char *type, *text;
    size_t text_len;
} part;

static const mr_field part_fields[] = {
    {.name = "type", .kind = MR_FIELD_TEXT, .flags = MR_FIELD_REQUIRED, .hi = MR_JOB_MAX_NAME,
     .offset = offsetof(part, type)},
    {.name = "text", .kind = MR_FIELD_BYTES, .hi = MR_JOB_MAX_BYTES,
     .offset = offsetof(part, text), .offset_n = offsetof(part, text_len)},
    {.name = NULL},
};

/* Which type it is decides what its other fields mean, so it is looked at first: an image is an
 * unsupported part, not an unknown field. */
static mr_status check_part_type(mr_reader *r, const mr_value *v, const mr_path *at) {
    static const char *const names[] = {"text", NULL};
    const mr_path here = {at, "type", strlen("type")};

    for (uint32_t i = 0; v->kind == MR_VALUE_MAP && i < v->n; i++) {
        const mr_value *type = &v->as.members[i].value;
        unsigned which;
        if (strcmp(v->as.members[i].key, "type") != 0 || type->kind != MR_VALUE_TEXT) continue;
        if (mr_read_enum(r, type, &here, names, &which) != MR_OK)
            return mr_reader_fail(r, at, "unsupported",
                                  "only parts of type \"text\" are supported");
    }
    return MR_OK;
}

static mr_status read_parts(mr_reader *r, const mr_value *v, const mr_path *at, mr_message *m) {
    part *parts = mr_arena_calloc(r->arena, v->n, sizeof *parts);
    char *joined;
    size_t n = 0;

    if (!parts) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        const mr_path text = {&here, "text", strlen("text")};
        mr_field_set set = {.fields = part_fields, .out = &parts[i]};
        mr_status st = check_part_type(r, &v->as.items[i], &here);

        if (st == MR_OK) st = mr_fields_read(r, &v->as.items[i], &here, &set, 1);
        if (st != MR_OK) return st;
        if (!parts[i].text) return mr_reader_fail(r, &text, "missing_field", "is missing");
        n += parts[i].text_len;
    }
    if (!(joined = mr_arena_alloc(r->arena, n + 1))) return mr_reader_no_memory(r, at);
    m->content = joined;
    m->content_len = n;
    for (uint32_t i = 0; i < v->n; i++) {
        memcpy(joined, parts[i].text, parts[i].text_len);
        joined += parts[i].text_len;
    }
    *joined = '\0';
    return MR_OK;
}

static mr_status read_content(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_message *m = out;
    mr_status st;

    if (v->kind == MR_VALUE_LIST) {
        if ((st = mr_read_list(r, v, at, 1, MR_JOB_MAX_MESSAGES)) != MR_OK) return st;
        return read_parts(r, v, at, m);
    }
    st = mr_read_text(r, v, at, &text_limits, &m->content);
    m->content_len = st == MR_OK ? v->n : 0;
    return st;
}

/* "developer" is OpenAI's newer word for "system". */
static mr_status read_role(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    static const char *const names[] = {"system", "user", "assistant", "tool", "developer", NULL};
    unsigned i = 0;
    mr_status st = mr_read_enum(r, v, at, names, &i);

    ((mr_message *)out)->role = names[strcmp(names[i], "developer") ? i : 0];
    return st;
}

static const mr_field message_fields[] = {
    {.name = "role", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED, .read = read_role},
    {.name = "content", .kind = MR_FIELD_CALL, .flags = MR_FIELD_REQUIRED, .read = read_content},
    {.name = "name", .kind = MR_FIELD_REFUSED},
    {.name = "tool_calls", .kind = MR_FIELD_REFUSED},
    {.name = "tool_call_id", .kind = MR_FIELD_REFUSED},
    {.name = "function_call", .kind = MR_FIELD_REFUSED},
    {.name = "refusal", .kind = MR_FIELD_REFUSED},
    {.name = "audio", .kind = MR_FIELD_REFUSED},
    {.name = NULL},
};

mr_status mr_input_read_messages(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_job_spec *j = out;
    mr_status st = mr_read_list(r, v, at, 1, MR_JOB_MAX_MESSAGES);
    mr_message *messages;

    if (st != MR_OK) return st;
    messages = mr_arena_calloc(r->arena, v->n, sizeof *messages);
    if (!messages) return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        mr_field_set set = {.fields = message_fields, .out = &messages[i]};
        if ((st = mr_fields_read(r, &v->as.items[i], &here, &set, 1)) != MR_OK) return st;
    }
    j->input = MR_INPUT_MESSAGES;
    j->messages = messages;
    j->n_messages = v->n;
    return MR_OK;
}

/* ---- prompt and tokens ---- */

mr_status mr_input_read_prompt(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_job_spec *j = out;
    mr_status st = mr_read_text(r, v, at, &text_limits, &j->prompt);

    if (st != MR_OK) return st;
    j->input = MR_INPUT_PROMPT;
    j->prompt_len = v->n;
    return MR_OK;
}

mr_status mr_input_read_tokens(mr_reader *r, const mr_value *v, const mr_path *at, void *out) {
    mr_job_spec *j = out;
    mr_status st = mr_read_list(r, v, at, 1, MR_JOB_MAX_INPUT_TOKENS);
    int32_t *tokens;

    if (st != MR_OK) return st;
    if (!(tokens = mr_arena_calloc(r->arena, v->n, sizeof *tokens)))
        return mr_reader_no_memory(r, at);
    for (uint32_t i = 0; i < v->n; i++) {
        const mr_path here = {at, NULL, i};
        int64_t id = 0;
        if ((st = mr_read_int(r, &v->as.items[i], &here, 0, INT32_MAX, &id)) != MR_OK) return st;
        tokens[i] = (int32_t)id;
    }
    j->input = MR_INPUT_TOKENS;
    j->tokens = tokens;
    j->n_tokens = v->n;
    return MR_OK;
}
