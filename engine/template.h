/* template.h - chat messages to prompt text, for the templates that models ship.
 *
 * The template text of a GGUF is only looked at to recognise one of ours by its marks; it is never
 * executed. Pure. */
#ifndef MR_ENGINE_TEMPLATE_H
#define MR_ENGINE_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "engine/gguf.h"
#include "engine/tokenizer.h"

typedef struct mr_template mr_template; /* static, never freed */

typedef struct mr_chat_message {
    const char *role; /* system, user, assistant, tool */
    const char *content;
    size_t content_len;
} mr_chat_message;

/* name NULL or "auto": recognise from `tokenizer.chat_template`. MR_ENOTFOUND: the file has none, or
 * an unknown name (err lists what there is); MR_EUNSUPPORTED: unknown text (err quotes its start). */
mr_status mr_template_pick(const mr_template **out, const mr_gguf *g, const char *name, mr_err *err);
const char *mr_template_name(const mr_template *t);
const mr_template *mr_template_at(size_t i); /* NULL behind the last */

/* Prompt text that ends where the assistant's answer starts. *spans: byte ranges that came from
 * the messages (pass them as mr_encode_opt.opaque). All in arena. Leading/trailing blanks of content
 * are handled as the original template does. MR_EINVAL: a role that this template cannot express.
 * *bos: the text already contains the BOS piece, so encode with add_special false. */
mr_status mr_template_render(const mr_template *t, const mr_tokenizer *tok, const mr_chat_message *msgs,
                             size_t n_msgs, mr_arena *arena, mr_str *text, mr_span **spans,
                             size_t *n_spans, bool *bos, mr_err *err);

#endif
