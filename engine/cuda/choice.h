/* choice.h - which products go to the vendor's library: those that it is faster at, as measured on
 * this device with the shapes of this model.
 *
 * Our kernels read tiles and the library reads rows, and a matrix is kept in one of these forms; so
 * a shape is decided once, for all numbers of tokens. Owner: caller, zeroed. */
#ifndef MR_ENGINE_CUDA_CHOICE_H
#define MR_ENGINE_CUDA_CHOICE_H

#include "engine/cuda/device.h"
#include "engine/model.h"

#define MR_CHOICE_SHAPES 8 /* a layer has 5 different ones at most */
#define MR_CHOICE_COUNTS 3

typedef struct mr_choice_times { /* of one product of each number of tokens */
    double ours_ms[MR_CHOICE_COUNTS], library_ms[MR_CHOICE_COUNTS];
} mr_choice_times;

typedef struct mr_choice {
    struct {
        mr_type type;
        uint32_t rows, cols;
        bool library;
    } shapes[MR_CHOICE_SHAPES];
    uint32_t n;
} mr_choice;

/* True: the library, as the mean of its times over ours, all numbers of tokens counting the same,
 * is clearly below 1. A time that was too short to be measured decides nothing. */
bool mr_choice_of(const mr_choice_times *t);

/* Runs a product of tiles and the same one of rows, with each of so many tokens, decides and logs
 * it; what the library refuses with one of them is ours. A shape that is known already is not
 * measured again. The device's marks are used. What is in y is of no use afterwards. */
mr_status mr_choice_measure(mr_choice *c, mr_device *d, const mr_product *tiles,
                            const mr_product *rows, const uint32_t n_toks[MR_CHOICE_COUNTS],
                            mr_err *err);
/* type: of mr_dev_mat. False for shapes that were never measured, too. */
bool mr_choice_is_library(const mr_choice *c, mr_type type, uint32_t rows, uint32_t cols);

#endif
