/* synth_parts.h - the parts of synth.c that have files of their own. */
#ifndef MR_ENGINE_SYNTH_PARTS_H
#define MR_ENGINE_SYNTH_PARTS_H

#include "engine/gguf_write.h"
#include "engine/synth.h"

#define MR_SYNTH_MIN_VOCAB 384u /* bytes, specials, single characters and some pieces */
#define MR_SYNTH_MAX_VOCAB (1u << 20)

/* All tokenizer.* keys. */
void mr_synth_put_vocab(mr_gguf_writer *w, const mr_synth_shape *s);

/* Key of a random stream: the same for the same seed and name, on every machine. */
uint64_t mr_synth_stream(uint64_t seed, const char *name);
/* Row `row` of a matrix: n weights of mean 0 and standard deviation std. */
void mr_synth_row(void *out, mr_type type, size_t n, float std, uint64_t stream, uint64_t row);
/* n values of mean and std, more or less normal. */
void mr_synth_values(float *out, size_t n, float mean, float std, uint64_t stream);

#endif
