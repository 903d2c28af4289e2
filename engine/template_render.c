/* template_render.c - the published chat templates, written in C.
 *
 * Each function writes what the original Jinja text gives with add_generation_prompt and no tools,
 * blanks and newlines included: where it strips a message, the same characters are stripped here
 * (Python's, that is Unicode's white space and U+001C..1F). What came from a message is noted as a
 * span, so that the tokenizer finds no control token in it. Where an original fails (roles do not
 * alternate) or would silently leave a message out, this is an error that names the message. */
#include <string.h>

#include "engine/template_parts.h"
#include "engine/unicode.h"

#define THINK_BEGIN "<think>"
#define THINK_END   "</think>"

/* ---- output ---- */

static void put_str(mr_render *r, mr_str s) {
    if (r->buf && s.len) memcpy(r->buf + r->n, s.ptr, s.len);
    r->n += s.len;
}

static void put(mr_render *r, const char *s) {
    if (s) put_str(r, (mr_str){s, strlen(s)});
}

/* Text of a message. */
static void put_content(mr_render *r, mr_str s) {
    if (s.len == 0) return;
    if (r->spans) r->spans[r->n_spans] = (mr_span){r->n, r->n + s.len};
    r->n_spans++;
    put_str(r, s);
}

/* ---- input ---- */

static mr_str content_of(const mr_chat_message *m) {
    return (mr_str){m->content, m->content_len};
}

static bool is_role(const mr_chat_message *m, const char *role) {
    return strcmp(m->role, role) == 0;
}

static bool is_blank(uint32_t cp) {
    return (cp >= 0x1C && cp <= 0x1F) ||
           (cp != MR_CP_INVALID && mr_unicode_class(cp) == MR_UC_SPACE);
}

static mr_str trim_left(mr_str s) {
    uint32_t cp;
    while (s.len > 0) {
        const size_t n = mr_utf8_decode(s.ptr, s.len, &cp);
        if (!is_blank(cp)) break;
        s = (mr_str){s.ptr + n, s.len - n};
    }
    return s;
}

static mr_str trim_right(mr_str s) {
    uint32_t cp;
    while (s.len > 0) {
        size_t n = 1; /* of the last character: back to its first byte */
        while (n < 4 && n < s.len && ((unsigned char)s.ptr[s.len - n] & 0xC0) == 0x80) n++;
        if (mr_utf8_decode(s.ptr + s.len - n, n, &cp) != n || !is_blank(cp)) break;
        s.len -= n;
    }
    return s;
}

static mr_str trim(mr_str s) {
    return trim_right(trim_left(s));
}

static mr_str trim_newlines(mr_str s, bool left, bool right) {
    while (left && s.len > 0 && s.ptr[0] == '\n') s = (mr_str){s.ptr + 1, s.len - 1};
    while (right && s.len > 0 && s.ptr[s.len - 1] == '\n') s.len--;
    return s;
}

static mr_status refuse(const mr_render *r, size_t i, const char *why) {
    return mr_fail(r->err, MR_EINVAL, "messages[%zu]: role %.32s: template %s %s", i,
                   r->msgs[i].role, r->t->name, why);
}

/* Only these roles; system at most once and first, if not everywhere. */
static mr_status check_roles(const mr_render *r, bool system_anywhere, bool tool) {
    for (size_t i = 0; i < r->n_msgs; i++) {
        if (is_role(&r->msgs[i], "tool") && !tool) return refuse(r, i, "has no such role");
        if (is_role(&r->msgs[i], "system") && i > 0 && !system_anywhere)
            return refuse(r, i, "takes it only as the first message");
    }
    return MR_OK;
}

/* From message `from` on: user, assistant, user, ..., and a user's message last. */
static mr_status check_turns(const mr_render *r, size_t from) {
    for (size_t i = from; i < r->n_msgs; i++)
        if (!is_role(&r->msgs[i], (i - from) % 2 ? "assistant" : "user"))
            return refuse(r, i, "wants user and assistant in turn");
    if (r->n_msgs == from) return refuse(r, r->n_msgs - 1, "wants a message of role user");
    if (!is_role(&r->msgs[r->n_msgs - 1], "user"))
        return refuse(r, r->n_msgs - 1, "wants a message of role user at the end");
    return MR_OK;
}

static size_t skip_system(const mr_render *r) {
    return is_role(&r->msgs[0], "system") ? 1 : 0;
}

/* ---- chatml and its kin ---- */

/* Place of the first or last needle in s; s.len: none. */
static size_t find_text(mr_str s, const char *needle, bool last) {
    const size_t n = strlen(needle);
    size_t found = s.len;

    for (size_t i = 0; i + n <= s.len; i++) {
        if (memcmp(s.ptr + i, needle, n) != 0) continue;
        found = i;
        if (!last) break;
    }
    return found;
}

/* Splits an answer as the templates do: thought between <think> and </think>, rest behind. */
static void split_thought(mr_str s, mr_str *thought, mr_str *rest) {
    const size_t first_end = find_text(s, THINK_END, false), end = find_text(s, THINK_END, true);
    size_t begin;

    *thought = (mr_str){s.ptr, 0};
    *rest = s;
    if (end == s.len) return;
    *rest = (mr_str){s.ptr + end + strlen(THINK_END), s.len - end - strlen(THINK_END)};
    *thought = (mr_str){s.ptr, first_end};
    begin = find_text(*thought, THINK_BEGIN, true);
    if (begin < thought->len) {
        begin += strlen(THINK_BEGIN);
        *thought = (mr_str){s.ptr + begin, thought->len - begin};
    }
}

static bool starts_with(mr_str s, const char *text) {
    return s.len >= strlen(text) && memcmp(s.ptr, text, strlen(text)) == 0;
}

static bool ends_with(mr_str s, const char *text) {
    const size_t n = strlen(text);
    return s.len >= n && memcmp(s.ptr + s.len - n, text, n) == 0;
}

/* The last message of a user that is not the answer of a tool; n_msgs - 1: none. */
static size_t last_question(const mr_render *r) {
    for (size_t i = r->n_msgs; i-- > 0;) {
        const mr_str s = content_of(&r->msgs[i]);
        if (!is_role(&r->msgs[i], "user")) continue;
        if (starts_with(s, "<tool_response>") && ends_with(s, "</tool_response>")) continue;
        return i;
    }
    return r->n_msgs - 1;
}

/* A former answer of a model that thinks aloud. */
static void put_thinker(mr_render *r, size_t i) {
    mr_str thought, rest;

    split_thought(content_of(&r->msgs[i]), &thought, &rest);
    if (rest.len < r->msgs[i].content_len) rest = trim_newlines(rest, true, false);
    thought = trim_newlines(thought, true, true);
    if (i > last_question(r) && (i + 1 == r->n_msgs || thought.len > 0)) {
        put(r, THINK_BEGIN "\n");
        put_content(r, thought);
        put(r, "\n" THINK_END "\n\n");
        rest = trim_newlines(rest, true, false);
    }
    put_content(r, rest);
}

static void put_tool_response(mr_render *r, size_t i) {
    if (i == 0 || !is_role(&r->msgs[i - 1], "tool")) put(r, "<|im_start|>user");
    put(r, "\n<tool_response>\n");
    put_content(r, content_of(&r->msgs[i]));
    put(r, "\n</tool_response>");
    if (i + 1 == r->n_msgs || !is_role(&r->msgs[i + 1], "tool")) put(r, "<|im_end|>\n");
}

mr_status mr_render_chatml(mr_render *r) {
    if (r->t->system && !skip_system(r)) {
        put(r, "<|im_start|>system\n");
        put(r, r->t->system);
        put(r, "<|im_end|>\n");
    }
    for (size_t i = 0; i < r->n_msgs; i++) {
        if (r->t->tool_response && is_role(&r->msgs[i], "tool")) {
            put_tool_response(r, i);
            continue;
        }
        put(r, "<|im_start|>");
        put(r, r->msgs[i].role);
        put(r, "\n");
        if (r->t->think == MR_THINK_DROP && is_role(&r->msgs[i], "assistant"))
            put_thinker(r, i);
        else
            put_content(r, content_of(&r->msgs[i]));
        put(r, "<|im_end|>\n");
    }
    put(r, "<|im_start|>assistant\n");
    put(r, r->t->generate);
    return MR_OK;
}

mr_status mr_render_phi4(mr_render *r) {
    const mr_status st = check_roles(r, true, false);

    if (st != MR_OK) return st;
    for (size_t i = 0; i < r->n_msgs; i++) {
        put(r, "<|im_start|>");
        put(r, r->msgs[i].role);
        put(r, "<|im_sep|>");
        put_content(r, content_of(&r->msgs[i]));
        put(r, "<|im_end|>");
    }
    put(r, "<|im_start|>assistant<|im_sep|>");
    return MR_OK;
}

/* ---- llama ---- */

mr_status mr_render_llama2(mr_render *r) {
    const size_t from = skip_system(r);
    const mr_status st = check_turns(r, from);

    if (st != MR_OK) return st;
    for (size_t i = from; i < r->n_msgs; i++) {
        const mr_str s = content_of(&r->msgs[i]), bare = trim(s);
        if (is_role(&r->msgs[i], "assistant")) {
            put(r, " ");
            put_content(r, bare);
            put(r, " ");
            put_str(r, r->eos);
            continue;
        }
        put_str(r, r->bos);
        put(r, "[INST] ");
        if (i == from && from) { /* system and question are stripped as one text */
            put(r, "<<SYS>>\n");
            put_content(r, content_of(&r->msgs[0]));
            put(r, bare.len ? "\n<</SYS>>\n\n" : "\n<</SYS>>");
            put_content(r, trim_right(s));
        } else {
            put_content(r, bare);
        }
        put(r, " [/INST]");
    }
    return MR_OK;
}

static void put_header(mr_render *r, const char *role) {
    put(r, "<|start_header_id|>");
    put(r, role);
    put(r, "<|end_header_id|>\n\n");
}

static void put_llama3(mr_render *r, size_t from) {
    for (size_t i = from; i < r->n_msgs; i++) {
        put_header(r, r->msgs[i].role);
        put_content(r, trim(content_of(&r->msgs[i])));
        put(r, "<|eot_id|>");
    }
    put_header(r, "assistant");
}

mr_status mr_render_llama3(mr_render *r) {
    put_str(r, r->bos);
    put_llama3(r, 0);
    return MR_OK;
}

/* The date is the template's own fallback: a prompt must not change with the day it is made on. */
mr_status mr_render_llama31(mr_render *r) {
    const size_t from = skip_system(r);
    const mr_status st = check_roles(r, true, false);

    if (st != MR_OK) return st;
    put_str(r, r->bos);
    put_header(r, "system");
    put(r, "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n");
    if (from) put_content(r, trim(content_of(&r->msgs[0])));
    put(r, "<|eot_id|>");
    put_llama3(r, from);
    return MR_OK;
}

/* ---- mistral ---- */

/* The versions differ in blanks, and in which question carries the system message. */
mr_status mr_render_mistral(mr_render *r) {
    const size_t from = skip_system(r);
    const size_t carrier = r->t->system_place == MR_SYSTEM_FIRST ? from : r->n_msgs - 1;
    const mr_status st = check_turns(r, from);

    if (st != MR_OK) return st;
    if (from && r->t->system_place == MR_SYSTEM_NOWHERE) return refuse(r, 0, "has no such role");
    put_str(r, r->bos);
    for (size_t i = from; i < r->n_msgs; i++) {
        const mr_str s = content_of(&r->msgs[i]);
        if (is_role(&r->msgs[i], "assistant")) {
            put(r, r->t->between);
            put_content(r, r->t->trim_answers ? trim(s) : s);
            put_str(r, r->eos);
            put(r, r->t->after);
            continue;
        }
        put(r, r->t->open);
        if (from && i == carrier) {
            put_content(r, content_of(&r->msgs[0]));
            put(r, "\n\n");
        }
        put_content(r, s);
        put(r, r->t->close);
    }
    return MR_OK;
}

mr_status mr_render_mistral_system(mr_render *r) {
    const mr_status st = check_roles(r, true, false);

    if (st != MR_OK) return st;
    if (!is_role(&r->msgs[r->n_msgs - 1], "user"))
        return refuse(r, r->n_msgs - 1, "wants a message of role user at the end");
    put_str(r, r->bos);
    for (size_t i = 0; i < r->n_msgs; i++) {
        const bool user = is_role(&r->msgs[i], "user"), system = is_role(&r->msgs[i], "system");
        put(r, user ? r->t->open : system ? "[SYSTEM_PROMPT] " : r->t->between);
        put_content(r, content_of(&r->msgs[i]));
        if (user || system)
            put(r, user ? r->t->close : "[/SYSTEM_PROMPT]");
        else
            put_str(r, r->eos);
    }
    return MR_OK;
}

/* ---- others ---- */

/* <|role|>, the text, an end, line by line. */
static mr_status put_tagged(mr_render *r, mr_str end) {
    const mr_status st = check_roles(r, true, false);

    if (st != MR_OK) return st;
    for (size_t i = 0; i < r->n_msgs; i++) {
        put(r, "<|");
        put(r, r->msgs[i].role);
        put(r, "|>\n");
        put_content(r, content_of(&r->msgs[i]));
        put_str(r, end);
        put(r, "\n");
    }
    put(r, "<|assistant|>\n");
    return MR_OK;
}

mr_status mr_render_zephyr(mr_render *r) {
    return put_tagged(r, r->eos);
}

mr_status mr_render_phi3(mr_render *r) {
    return put_tagged(r, (mr_str){"<|end|>", strlen("<|end|>")});
}

static void put_gemma(mr_render *r, size_t from, mr_str prefix) {
    put_str(r, r->bos);
    for (size_t i = from; i < r->n_msgs; i++) {
        put(r, "<start_of_turn>");
        put(r, is_role(&r->msgs[i], "assistant") ? "model" : "user");
        put(r, "\n");
        if (i == from && from) {
            put_content(r, prefix);
            put(r, "\n\n");
        }
        put_content(r, trim(content_of(&r->msgs[i])));
        put(r, "<end_of_turn>\n");
    }
    put(r, "<start_of_turn>model\n");
}

mr_status mr_render_gemma(mr_render *r) {
    const mr_status st = check_turns(r, 0);

    if (skip_system(r)) return refuse(r, 0, "has no such role");
    if (st == MR_OK) put_gemma(r, 0, (mr_str){0});
    return st;
}

mr_status mr_render_gemma3(mr_render *r) {
    const size_t from = skip_system(r);
    const mr_status st = check_turns(r, from);

    if (st == MR_OK) put_gemma(r, from, content_of(&r->msgs[0]));
    return st;
}

mr_status mr_render_vicuna(mr_render *r) {
    const mr_status st = check_roles(r, true, false);

    if (st != MR_OK) return st;
    for (size_t i = 0; i < r->n_msgs; i++) {
        const bool user = is_role(&r->msgs[i], "user"), system = is_role(&r->msgs[i], "system");
        put(r, system ? "" : user ? "USER: " : "ASSISTANT: ");
        put_content(r, content_of(&r->msgs[i]));
        put(r, system ? "\n\n" : user ? "\n" : "</s>\n");
    }
    put(r, "ASSISTANT:");
    return MR_OK;
}

mr_status mr_render_openchat(mr_render *r) {
    const mr_status st = check_roles(r, true, false);

    if (st != MR_OK) return st;
    put_str(r, r->bos);
    for (size_t i = 0; i < r->n_msgs; i++) {
        const bool user = is_role(&r->msgs[i], "user"), system = is_role(&r->msgs[i], "system");
        put(r, "GPT4 Correct ");
        put(r, system ? "System: " : user ? "User: " : "Assistant: ");
        put_content(r, content_of(&r->msgs[i]));
        put(r, "<|end_of_turn|>");
    }
    put(r, "GPT4 Correct Assistant:");
    return MR_OK;
}

mr_status mr_render_deepseek(mr_render *r) {
    const mr_status st = check_roles(r, true, false);

    if (st != MR_OK) return st;
    put_str(r, r->bos);
    for (size_t i = 0; i < r->n_msgs; i++) {
        const bool user = is_role(&r->msgs[i], "user"), system = is_role(&r->msgs[i], "system");
        put(r, system ? "" : user ? "User: " : "Assistant: ");
        put_content(r, content_of(&r->msgs[i]));
        if (user || system)
            put(r, "\n\n");
        else
            put_str(r, r->eos);
    }
    put(r, "Assistant:");
    return MR_OK;
}

mr_status mr_render_deepseek_r1(mr_render *r) {
    const size_t from = skip_system(r);
    const mr_status st = check_roles(r, false, false);
    mr_str thought, rest;

    if (st != MR_OK) return st;
    put_str(r, r->bos);
    if (from) put_content(r, content_of(&r->msgs[0]));
    for (size_t i = from; i < r->n_msgs; i++) {
        if (is_role(&r->msgs[i], "user")) {
            put(r, "<\xEF\xBD\x9CUser\xEF\xBD\x9C>");
            put_content(r, content_of(&r->msgs[i]));
            continue;
        }
        split_thought(content_of(&r->msgs[i]), &thought, &rest);
        put(r, "<\xEF\xBD\x9C"
               "Assistant\xEF\xBD\x9C>");
        put_content(r, rest);
        put(r, "<\xEF\xBD\x9C"
               "end\xE2\x96\x81of\xE2\x96\x81sentence\xEF\xBD\x9C>");
    }
    put(r, "<\xEF\xBD\x9C"
           "Assistant\xEF\xBD\x9C>");
    put(r, r->t->generate);
    return MR_OK;
}

/* ---- the public call ---- */

static mr_status check_input(const mr_render *r) {
    static const char *const roles[] = {"system", "user", "assistant", "tool"};

    if (r->n_msgs == 0) return mr_fail(r->err, MR_EINVAL, "messages: none");
    for (size_t i = 0; i < r->n_msgs; i++) {
        size_t k = 0;
        while (k < MR_COUNT(roles) && !is_role(&r->msgs[i], roles[k])) k++;
        if (k == MR_COUNT(roles))
            return mr_fail(r->err, MR_EINVAL,
                           "messages[%zu]: role \"%.32s\" is none of system, user, assistant, tool",
                           i, r->msgs[i].role);
    }
    return MR_OK;
}

mr_status mr_template_render(const mr_template *t, const mr_tokenizer *tok,
                             const mr_chat_message *msgs, size_t n_msgs, mr_arena *arena,
                             mr_str *text, mr_span **spans, size_t *n_spans, bool *bos,
                             mr_err *err) {
    mr_render r = {.t = t, .msgs = msgs, .n_msgs = n_msgs, .err = err};
    mr_status st = check_input(&r);

    if (st != MR_OK) return st;
    r.bos = mr_tokenizer_piece(tok, t->bos ? mr_tokenizer_bos(tok) : MR_TOKEN_NONE, true);
    r.eos = mr_tokenizer_piece(tok, mr_tokenizer_eos(tok), true);
    if ((st = t->render(&r)) != MR_OK) return st;
    r.buf = mr_arena_alloc(arena, r.n + 1);
    r.spans = mr_arena_calloc(arena, r.n_spans + 1, sizeof *r.spans);
    if (!r.buf || !r.spans)
        return mr_fail(err, MR_ENOMEM, "prompt of %zu bytes: out of memory", r.n);
    r.n = r.n_spans = 0;
    t->render(&r);
    r.buf[r.n] = 0;
    *text = (mr_str){r.buf, r.n};
    *spans = r.spans;
    *n_spans = r.n_spans;
    *bos = r.bos.len > 0;
    return MR_OK;
}
