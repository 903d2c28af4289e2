/* sample.h - one row of logits and a sequence's history to its next token.
 *
 * A sampler is scratch for one thread; nothing of a sequence stays in it. The same logits, history,
 * parameters and seed give the same token with every table of ops but ref, whose sums are better:
 * fixed order of sums, ties go to the lowest id. Owner: caller, open to close. */
#ifndef MR_ENGINE_SAMPLE_H
#define MR_ENGINE_SAMPLE_H

#include <stddef.h>
#include <stdint.h>

#include "engine/ops.h"
#include "engine/sample_math.h"
#include "millrace/engine.h"

typedef struct mr_sampler mr_sampler;

/* eog[n_eog]: what ban_eog bans; borrowed, each below n_vocab. max_history: longest sequence. */
mr_status mr_sampler_open(mr_sampler **out, const mr_ops *ops, uint32_t n_vocab, const int32_t *eog,
                          size_t n_eog, uint32_t max_history, mr_err *err);
void mr_sampler_close(mr_sampler *s);

/* Every number of p against its limits; MR_EINVAL names parameter, limit and value. */
mr_status mr_sampling_check(const mr_sampling *p, uint32_t n_vocab, mr_err *err);

/* history[n_history]: all tokens so far, the first n_prompt of them not generated. The index of the
 * new token, n_history - n_prompt, keys the generator. logits[n_vocab] is changed meanwhile and
 * restored bit by bit. MR_EINTERNAL: a logit is NaN or +inf, or no token is allowed. No malloc. */
mr_status mr_sampler_pick(mr_sampler *s, const mr_sampling *p, float *logits,
                          const int32_t *history, uint32_t n_history, uint32_t n_prompt,
                          mr_engine_out *out, mr_err *err);

/* What a device needs to know of a draw, and what is left to do behind it: out's logits, of the
 * token (in logprob) and of top, become log probabilities. top: the largest logit; sum: of
 * e^(logit - top), over the raw row. index: of the new token. */
mr_pick mr_pick_of(const mr_sampling *p, uint32_t n_vocab, uint32_t index);
void mr_logprobs_of(mr_engine_out *out, float top, double sum);

/* Philox4x32-10 (Salmon 2011, sec. 3): 128 random bits as a pure function of counter and key. */
void mr_philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
