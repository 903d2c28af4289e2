/* admit.h - from a decoded job to the tokens of its prompt, or to the reason why not.
 *
 * What only the model can tell is told here: prompt longer than the context, ids outside the
 * vocabulary, messages without a chat template. Pure; thread: loop. */
#ifndef MR_WORKER_ADMIT_H
#define MR_WORKER_ADMIT_H

#include "engine/template.h"
#include "engine/tokenizer.h"
#include "worker/job.h"

typedef struct mr_admit_limits { /* borrowed pointers live as long as the engine */
    const char *model;           /* name that jobs call it by */
    const mr_tokenizer *tokenizer;
    const mr_template *chat;     /* NULL: none, see chat_missing */
    const char *chat_missing;    /* one line, NULL when there is a template */
    uint32_t n_ctx, n_vocab;
    uint64_t kv_tokens;          /* room of the whole KV cache */
    uint32_t default_max_tokens;
} mr_admit_limits;

typedef struct mr_refusal { /* ready for a terminal record */
    const char *code;       /* constant */
    char field[64];
    char message[MR_JOB_MAX_ERROR + 64]; /* one line; mr_job_end cuts it */
    uint32_t need_tokens; /* a larger worker could run it: one of so many; 0: no other could */
} mr_refusal;

/* Fills tokens, n_tokens, max_new and seed of j, all in its arena. MR_EINVAL: refused, *why says
 * it. MR_ENOMEM: not now, why->message says for what. max_tokens is a ceiling: it is lowered to
 * what the context leaves. */
mr_status mr_admit(mr_job *j, const mr_admit_limits *m, mr_refusal *why);

/* True when the answer starts a text of its own, so that a leading space of the first word goes. */
bool mr_admit_starts_line(const mr_job_spec *spec);

#endif
