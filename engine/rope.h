/* rope.h - angles of the rotary position embedding, with every way of stretching the context. Pure.
 */
#ifndef MR_ENGINE_ROPE_H
#define MR_ENGINE_ROPE_H

#include <stdint.h>

#include "engine/model.h"

/* speed[n_rot/2]: radians per position of each pair. Returns the factor of every cos and sin. */
double mr_rope_speeds(const mr_hparams *hp, double *speed);
/* cos and sin of `half` pairs at one position. */
void mr_rope_angles(const double *speed, double factor, uint32_t half, uint32_t pos, float *cos_out,
                    float *sin_out);

#endif
