/* template_parts.h - between the table of chat templates and the code that writes them. Private. */
#ifndef MR_ENGINE_TEMPLATE_PARTS_H
#define MR_ENGINE_TEMPLATE_PARTS_H

#include <stdint.h>

#include "engine/template.h"

typedef struct mr_render { /* one rendering; runs twice: to count, then to write */
    const mr_template *t;
    const mr_chat_message *msgs;
    size_t n_msgs;
    mr_str bos, eos; /* texts of the tokens; empty when there are none */
    char *buf;       /* NULL while counting */
    size_t n;
    mr_span *spans; /* NULL while counting */
    size_t n_spans;
    mr_err *err;
} mr_render;

typedef mr_status mr_render_fn(mr_render *r);

typedef enum mr_think {                /* what becomes of <think>...</think> in former answers */
                        MR_THINK_KEEP, /* nothing */
                        MR_THINK_DROP, /* it goes, unless the answer came after the last question */
} mr_think;

typedef enum mr_system_place { /* mistral: which question carries the system message */
                               MR_SYSTEM_NOWHERE,
                               MR_SYSTEM_FIRST,
                               MR_SYSTEM_LAST,
} mr_system_place;

struct mr_template {
    const char *name;
    mr_render_fn *render;
    bool bos;           /* the text starts with BOS, if the vocabulary has one */
    bool tool_response; /* role tool becomes <tool_response> in a user's turn */
    mr_think think;
    const char *system;   /* said when the messages have no system message; NULL: nothing */
    const char *open;     /* before a user's text */
    const char *close;    /* behind it */
    const char *between;  /* before an answer, where templates differ in a blank */
    const char *after;    /* behind the end token of an answer */
    const char *generate; /* where the answer starts */
    mr_system_place system_place;
    bool trim_answers;
    const char *marks[4];  /* all of these are in the template text, in normal form ... */
    const char *absent[2]; /* ... and none of these */
};

mr_render_fn mr_render_chatml, mr_render_phi4, mr_render_llama2, mr_render_llama3,
    mr_render_llama31, mr_render_mistral, mr_render_mistral_system, mr_render_zephyr,
    mr_render_gemma, mr_render_gemma3, mr_render_phi3, mr_render_vicuna, mr_render_openchat,
    mr_render_deepseek, mr_render_deepseek_r1;

#endif
