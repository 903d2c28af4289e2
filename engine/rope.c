/* rope.c - angles of the rotary position embedding.
 *
 * Pair i of a head turns by pos * base^(-2i / n_rot) (Su 2021, sec. 3.2.2). A longer context than
 * the model was trained on is reached by slowing the pairs down: rope_freqs  a divisor per pair,
 * ready made in the file (Llama 3.1) linear      every pair by the same factor (Chen 2023) yarn
 * slow pairs by the factor, fast ones not at all, a ramp between; and the attention is made a
 * little sharper, here by scaling cos and sin (Peng 2023, sec. 3.2 to 3.4) In f64: at position
 * 100,000 an f32 product has an error of 0.005 radian.
 *
 * Angles are made per row and not as a table over all positions: for a context of 131,072 the table
 * would take 64 MiB, and a row's angles cost a microsecond or two. */
#include "engine/rope.h"

#include <math.h>

#define TWO_PI 6.283185307179586

/* The pair (a real number) that turns `turns` times within the context of the training. */
static double pair_with_turns(const mr_hparams *hp, double turns) {
    return hp->n_rot * log(hp->rope_orig_ctx / (turns * TWO_PI)) / (2 * log((double)hp->rope_base));
}

typedef struct yarn {
    double low, high; /* pairs up to low keep their speed; from high on they are slowed down */
    double sharpen;
} yarn;

static yarn yarn_of(const mr_hparams *hp) {
    yarn y = {0};

    y.low = floor(pair_with_turns(hp, (double)hp->yarn_beta_fast));
    y.high = ceil(pair_with_turns(hp, (double)hp->yarn_beta_slow));
    if (y.low < 0) y.low = 0;
    if (y.high > hp->n_rot - 1.0) y.high = hp->n_rot - 1.0;
    y.sharpen = (double)hp->yarn_attn_factor;
    if (hp->yarn_ext_factor != 0) y.sharpen *= 1 + 0.1 * log((double)hp->rope_factor);
    return y;
}

static double yarn_speed(const mr_hparams *hp, const yarn *y, uint32_t i, double speed) {
    const double width = y->high - y->low > 0.001 ? y->high - y->low : 0.001;
    const double along = fmin(1, fmax(0, (i - y->low) / width));
    const double keep = (1 - along) * (double)hp->yarn_ext_factor;

    return speed / (double)hp->rope_factor * (1 - keep) + speed * keep;
}

double mr_rope_speeds(const mr_hparams *hp, double *speed) {
    const bool is_yarn = hp->rope_scaling == MR_ROPE_YARN;
    const yarn y = is_yarn ? yarn_of(hp) : (yarn){.sharpen = 1};

    for (uint32_t i = 0; i < hp->n_rot / 2; i++) {
        speed[i] = pow((double)hp->rope_base, -2.0 * i / hp->n_rot);
        if (hp->rope_freqs) speed[i] /= (double)hp->rope_freqs[i];
        if (hp->rope_scaling == MR_ROPE_LINEAR) speed[i] /= (double)hp->rope_factor;
        if (is_yarn) speed[i] = yarn_speed(hp, &y, i, speed[i]);
    }
    return y.sharpen;
}

void mr_rope_angles(const double *speed, double factor, uint32_t half, uint32_t pos, float *cos_out,
                    float *sin_out) {
    for (uint32_t i = 0; i < half; i++) {
        cos_out[i] = (float)(cos(pos * speed[i]) * factor);
        sin_out[i] = (float)(sin(pos * speed[i]) * factor);
    }
}
