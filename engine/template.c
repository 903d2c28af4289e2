/* template.c - which chat template a model file has, recognised by its marks.
 *
 * A file brings its template as a program in Jinja. It is data from outside, so it is never run:
 * its text is brought into a normal form (blanks between words gone, one kind of quote, one way to
 * name a field) and searched for marks that tell the published templates apart. Each of those is
 * written in C in template_render.c. A text that is none of them is refused with its beginning; so
 * is one of a known family with a default system message that is not known, because guessing would
 * change what the model is told without a word.
 *
 * Order matters: the first entry whose marks fit is taken, so the special ones stand first. */
#include <stdlib.h>
#include <string.h>

#include "engine/template_parts.h"

#define KEY           "tokenizer.chat_template"
#define MAX_TEMPLATE  ((size_t)1 << 20) /* bytes of template text */
#define QUOTE_START   80                /* bytes of an unknown text that the error shows */
#define CHATML_SYSTEM "<|im_start|>system"

static const mr_template templates[] = {
    {.name = "phi4", .render = mr_render_phi4, .marks = {"<|im_start|>", "<|im_sep|>"}},
    {.name = "smollm2",
     .render = mr_render_chatml,
     .system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face",
     .marks = {"<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by "
               "Hugging Face<|im_end|>"}},
    {.name = "qwen3",
     .render = mr_render_chatml,
     .tool_response = true,
     .think = MR_THINK_DROP,
     .marks = {"<|im_start|>", "<tool_response>", "enable_thinking"}},
    {.name = "qwen3-thinking",
     .render = mr_render_chatml,
     .tool_response = true,
     .think = MR_THINK_DROP,
     .generate = "<think>\n",
     .marks = {"<tool_response>", "<|im_start|>assistant\\n<think>\\n'}}", "reasoning_content"}},
    {.name = "qwen2.5",
     .render = mr_render_chatml,
     .tool_response = true,
     .system = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.",
     .marks = {"<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
               "assistant.<|im_end|>",
               "<tool_response>"}},
    {.name = "qwen2.5-math",
     .render = mr_render_chatml,
     .tool_response = true,
     .system = "Please reason step by step, and put your final answer within \\boxed{}.",
     .marks = {"<|im_start|>system\\nPlease reason step by step, and put your final answer within "
               "\\\\boxed{}.<|im_end|>",
               "<tool_response>"}},
    {.name = "qwen2",
     .render = mr_render_chatml,
     .system = "You are a helpful assistant.",
     .marks = {"<|im_start|>system\\nYou are a helpful assistant.<|im_end|>"},
     .absent = {"<tool_response>"}},
    {.name = "qwen1.5",
     .render = mr_render_chatml,
     .system = "You are a helpful assistant",
     .marks = {"<|im_start|>system\\nYou are a helpful assistant<|im_end|>"},
     .absent = {"<tool_response>"}},
    {.name = "qwen3-instruct",
     .render = mr_render_chatml,
     .tool_response = true,
     .marks = {"<|im_start|>", "<tool_response>"},
     .absent = {"reasoning_content"}},
    {.name = "chatml",
     .render = mr_render_chatml,
     .marks = {"<|im_start|>", "<|im_end|>"},
     .absent = {"<tool_response>", "<think>"}},
    {.name = "llama3.1",
     .render = mr_render_llama31,
     .bos = true,
     .marks = {"<|start_header_id|>", "<|eot_id|>", "Cutting Knowledge Date: December 2023"}},
    {.name = "llama3",
     .render = mr_render_llama3,
     .bos = true,
     .marks = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}},
    {.name = "gemma3",
     .render = mr_render_gemma3,
     .bos = true,
     .marks = {"<start_of_turn>", "first_user_prefix"}},
    {.name = "gemma",
     .render = mr_render_gemma,
     .bos = true,
     .marks = {"<start_of_turn>", "<end_of_turn>"}},
    {.name = "deepseek-r1-think",
     .render = mr_render_deepseek_r1,
     .bos = true,
     .think = MR_THINK_DROP,
     .generate = "<think>\n",
     .marks = {"<\xEF\xBD\x9CUser\xEF\xBD\x9C>", "<\xEF\xBD\x9C"
                                                 "Assistant\xEF\xBD\x9C><think>\\n"}},
    {.name = "deepseek-r1",
     .render = mr_render_deepseek_r1,
     .bos = true,
     .think = MR_THINK_DROP,
     .marks = {"<\xEF\xBD\x9CUser\xEF\xBD\x9C>",
               "<\xEF\xBD\x9C"
               "Assistant\xEF\xBD\x9C>",
               "</think>"},
     .absent = {"thinking"}},
    {.name = "deepseek",
     .render = mr_render_deepseek,
     .bos = true,
     .marks = {"'User: '+message.content+'\\n\\n'", "'Assistant: '+message.content+eos_token",
               "'Assistant:'"}},
    {.name = "llama2", .render = mr_render_llama2, .bos = true, .marks = {"[INST]", "<<SYS>>"}},
    {.name = "mistral-v7",
     .render = mr_render_mistral_system,
     .bos = true,
     .open = "[INST] ",
     .close = "[/INST]",
     .between = " ",
     .marks = {"'[SYSTEM_PROMPT] '", "'[INST] '"}},
    {.name = "mistral-v1",
     .render = mr_render_mistral,
     .bos = true,
     .open = " [INST] ",
     .close = " [/INST]",
     .between = " ",
     .system_place = MR_SYSTEM_FIRST,
     .marks = {"' [INST] '+system_message", "' [INST] '+message.content+' [/INST]'"}},
    {.name = "mistral-v3",
     .render = mr_render_mistral,
     .bos = true,
     .open = "[INST] ",
     .close = "[/INST]",
     .between = " ",
     .system_place = MR_SYSTEM_LAST,
     .trim_answers = true,
     .marks = {"'[INST] '+system_message+'\\n\\n'+message.content+'[/INST]'"}},
    {.name = "mistral-v3-tekken",
     .render = mr_render_mistral,
     .bos = true,
     .open = "[INST]",
     .close = "[/INST]",
     .system_place = MR_SYSTEM_LAST,
     .marks = {"'[INST]'+system_message+'\\n\\n'+message.content+'[/INST]'"}},
    {.name = "mistral-v0.1",
     .render = mr_render_mistral,
     .bos = true,
     .open = "[INST] ",
     .close = " [/INST]",
     .after = " ",
     .marks = {"'[INST] '+message.content+' [/INST]'", "message.content+eos_token+' '"}},
    {.name = "mistral-v0.2",
     .render = mr_render_mistral,
     .bos = true,
     .open = "[INST] ",
     .close = " [/INST]",
     .marks = {"'[INST] '+message.content+' [/INST]'", "message.content+eos_token}}"}},
    {.name = "zephyr",
     .render = mr_render_zephyr,
     .marks = {"'<|user|>\\n'+message.content+eos_token", "'<|assistant|>'}}"}},
    {.name = "phi3", .render = mr_render_phi3, .marks = {"<|user|>", "<|assistant|>", "<|end|>"}},
    {.name = "vicuna",
     .render = mr_render_vicuna,
     .marks = {"'USER: '+message.content+'\\n'", "'ASSISTANT: '+message.content+'</s>\\n'"}},
    {.name = "openchat",
     .render = mr_render_openchat,
     .bos = true,
     .marks = {"'GPT4 Correct '+", "<|end_of_turn|>"}},
};

const mr_template *mr_template_at(size_t i) {
    return i < MR_COUNT(templates) ? &templates[i] : NULL;
}

const char *mr_template_name(const mr_template *t) {
    return t->name;
}

/* ---- normal form ---- */

typedef struct cursor {
    const char *at, *end;
} cursor;

static bool starts(const cursor *c, const char *s) {
    const size_t n = strlen(s);
    return (size_t)(c->end - c->at) >= n && memcmp(c->at, s, n) == 0;
}

/* A string literal, quotes included: single quotes, a newline as \n. Returns what was written. */
static size_t copy_literal(cursor *c, char *out) {
    const char quote = *c->at++;
    size_t n = 0;

    out[n++] = '\'';
    while (c->at < c->end && *c->at != quote) {
        if (*c->at == '\n') {
            out[n++] = '\\';
            out[n++] = 'n';
            c->at++;
        } else {
            if (*c->at == '\\' && c->at + 1 < c->end) out[n++] = *c->at++;
            out[n++] = *c->at++;
        }
    }
    if (c->at < c->end) c->at++;
    out[n++] = '\'';
    return n;
}

/* What stands between tags is copied as it is. out has room for twice the text and one more. */
static void normalize(mr_str text, char *out) {
    cursor c = {text.ptr, text.ptr + text.len};
    bool in_tag = false;
    size_t n = 0;

    while (c.at < c.end) {
        if (!in_tag) {
            in_tag = starts(&c, "{{") || starts(&c, "{%");
            out[n++] = *c.at++;
        } else if (starts(&c, "['content']") || starts(&c, "[\"content\"]")) {
            n += (size_t)(stpcpy(out + n, ".content") - (out + n));
            c.at += strlen("['content']");
        } else if (starts(&c, "['role']") || starts(&c, "[\"role\"]")) {
            n += (size_t)(stpcpy(out + n, ".role") - (out + n));
            c.at += strlen("['role']");
        } else if (*c.at == '\'' || *c.at == '"') {
            n += copy_literal(&c, out + n);
        } else if (starts(&c, "-}}") || starts(&c, "-%}")) {
            c.at++;
        } else if (strchr(" \t\r\n", *c.at)) { /* also drops a zero byte */
            c.at++;
        } else {
            in_tag = !starts(&c, "}}") && !starts(&c, "%}");
            if (!in_tag) out[n++] = *c.at++;
            out[n++] = *c.at++;
        }
    }
    out[n] = 0;
}

/* ---- recognition ---- */

static bool fits(const mr_template *t, const char *normal) {
    for (size_t i = 0; i < MR_COUNT(t->marks) && t->marks[i]; i++)
        if (!strstr(normal, t->marks[i])) return false;
    for (size_t i = 0; i < MR_COUNT(t->absent) && t->absent[i]; i++)
        if (strstr(normal, t->absent[i])) return false;
    return true;
}

/* A system message in the template's own words, which this entry would not say. */
static bool has_other_default(const mr_template *t, const char *normal) {
    if (t->render != mr_render_chatml || t->system) return false;
    for (const char *at = strstr(normal, CHATML_SYSTEM); at; at = strstr(at, CHATML_SYSTEM)) {
        at += strlen(CHATML_SYSTEM);
        if (at[0] == '\\' && at[1] == 'n') at += 2;
        if (*at != '\'' && *at != '{' && *at != '\n') return true;
    }
    return false;
}

static const mr_template *recognise(const char *normal) {
    for (size_t i = 0; i < MR_COUNT(templates); i++)
        if (fits(&templates[i], normal))
            return has_other_default(&templates[i], normal) ? NULL : &templates[i];
    return NULL;
}

static mr_status unknown_text(mr_str text, mr_err *err) {
    char start[QUOTE_START + 1];
    size_t n = text.len < QUOTE_START ? text.len : QUOTE_START;

    while (n > 0 && n < text.len && ((unsigned char)text.ptr[n] & 0xC0) == 0x80) n--;
    for (size_t i = 0; i < n; i++)
        start[i] = (unsigned char)text.ptr[i] < ' ' || text.ptr[i] == 127 ? ' ' : text.ptr[i];
    start[n] = 0;
    return mr_fail(err, MR_EUNSUPPORTED,
                   KEY ": unknown template \"%s%s\"; choose one by name with --chat-template",
                   start, n < text.len ? "..." : "");
}

static mr_status unknown_name(const char *name, mr_err *err) {
    char known[400];
    size_t n = 0;

    known[0] = 0;
    for (size_t i = 0; i < MR_COUNT(templates); i++) {
        if (n + strlen(templates[i].name) + 3 > sizeof known) break;
        if (i) n = (size_t)(stpcpy(known + n, ", ") - known);
        n = (size_t)(stpcpy(known + n, templates[i].name) - known);
    }
    return mr_fail(err, MR_ENOTFOUND, "chat template \"%.40s\" is unknown (known: %s)", name,
                   known);
}

mr_status mr_template_pick(const mr_template **out, const mr_gguf *g, const char *name,
                           mr_err *err) {
    mr_str text;
    char *normal;
    mr_status st;

    *out = NULL;
    if (name && strcmp(name, "auto") != 0) {
        for (size_t i = 0; i < MR_COUNT(templates) && !*out; i++)
            if (strcmp(templates[i].name, name) == 0) *out = &templates[i];
        return *out ? MR_OK : unknown_name(name, err);
    }
    if (!mr_gguf_has(g, KEY))
        return mr_fail(err, MR_ENOTFOUND,
                       "the model has no " KEY "; choose one by name with --chat-template");
    if ((st = mr_gguf_str(g, KEY, &text, err)) != MR_OK) return st;
    if (text.len > MAX_TEMPLATE)
        return mr_fail(err, MR_EUNSUPPORTED, KEY ": %zu bytes, the limit is %zu", text.len,
                       MAX_TEMPLATE);
    if (!(normal = malloc(2 * text.len + 4))) return mr_fail(err, MR_ENOMEM, KEY ": out of memory");
    normalize(text, normal);
    *out = recognise(normal);
    free(normal);
    return *out ? MR_OK : unknown_text(text, err);
}
