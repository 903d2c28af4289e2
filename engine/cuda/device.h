/* device.h - what the backend wants of a device: memory, copies, and the kernels, in order.
 *
 * Everything but reserve and pin is put in line and done in that order; wait returns when it has
 * been done. What goes wrong on the way, wait says: MR_EUNAVAIL, the device is lost, and so says
 * every later wait. runtime.c is this for a GPU; the tests have it as plain C. Owner: caller, pick
 * to close. Thread: one at a time. */
#ifndef MR_ENGINE_CUDA_DEVICE_H
#define MR_ENGINE_CUDA_DEVICE_H

#include "engine/cuda/attention.h"
#include "engine/cuda/draw.h"
#include "engine/cuda/product.h"
#include "engine/cuda/rows.h"
#include "engine/cuda/turn.h"

#define MR_DEV_MARKS 10

typedef struct mr_device mr_device;

typedef struct mr_device_calls {
    /* Zeroed memory of the device, or of the host as the device copies from and to it fastest; at
     * least 256-byte aligned. what: for the message of MR_ENOMEM, with the size. */
    mr_status (*reserve)(mr_device *d, void **out, size_t bytes, const char *what, mr_err *err);
    mr_status (*pin)(mr_device *d, void **out, size_t bytes, const char *what, mr_err *err);
    void (*release)(mr_device *d, void *p); /* NULL is allowed; so below */
    void (*unpin)(mr_device *d, void *p);
    uint64_t (*free_bytes)(mr_device *d);

    void (*copy_in)(mr_device *d, void *to, const void *from_host, size_t bytes);
    void (*copy_out)(mr_device *d, void *to_host, const void *from, size_t bytes);
    /* n rows of `bytes`: on the device `pitch` bytes from one to the next, on the host none. */
    void (*rows_in)(mr_device *d, void *to, const void *from_host, size_t bytes, size_t pitch,
                    size_t n);
    void (*rows_out)(mr_device *d, void *to_host, const void *from, size_t bytes, size_t pitch,
                     size_t n);
    mr_status (*wait)(mr_device *d, mr_err *err);

    /* Places in line, MR_DEV_MARKS of them. reach: waits until what is before the mark is done, and
     * says what went wrong on the way; at once if it was never set. between: milliseconds between
     * two that were reached; 0 if one was set again since. */
    void (*mark)(mr_device *d, uint32_t mark);
    mr_status (*reach)(mr_device *d, uint32_t mark, mr_err *err);
    float (*between)(mr_device *d, uint32_t from, uint32_t to);

    /* What is put in line behind record is not done but kept, until recorded gives it back: to be
     * put in line as a whole by replay, as often as wanted, reading what memory then holds. NULL:
     * it could not be kept. No copies, marks or waits on the way. record says false: nothing will
     * be kept, and what follows is done as ever. */
    bool (*record)(mr_device *d);
    void *(*recorded)(mr_device *d);
    void (*replay)(mr_device *d, void *recording);
    void (*forget)(mr_device *d, void *recording); /* behind a wait; NULL is allowed */

    /* Kernels, replay and record need it where another device was used since. */
    void (*choose)(mr_device *d);
    /* n, n_tok or n_items of 0: nothing is done. */
    void (*embed)(mr_device *d, const mr_embed *a);
    void (*feed)(mr_device *d, const mr_feed *a);
    void (*product)(mr_device *d, const mr_product *a); /* of tiles */
    /* A product of rows, w.in_rows, by the vendor's library: which sums it adds up in which order
     * is its choice, for each n_tok another one. A bias with scale 1 only. Behind open_library. */
    void (*matmul)(mr_device *d, const mr_product *a);
    /* The same; false: the library refuses it, and nothing is in line. */
    bool (*try_matmul)(mr_device *d, const mr_product *a);
    void (*turn)(mr_device *d, const mr_turn *a);
    void (*attend)(mr_device *d, const mr_attention *a);
    void (*gather)(mr_device *d, const mr_gather *a);
    void (*total)(mr_device *d, const mr_total *a);
    void (*draw)(mr_device *d, const mr_draws *a);

    /* Once, before the first matmul. workspace: the library's, until the device is closed; at least
     * 256-byte aligned. MR_EUNSUPPORTED: there is no library, and why. */
    mr_status (*open_library)(mr_device *d, void *workspace, size_t bytes, mr_err *err);

    void (*close)(mr_device *d);
} mr_device_calls;

struct mr_device { /* first member of each kind */
    const mr_device_calls *calls;
    char name[128];      /* printable: "cuda:0 NVIDIA ..." */
    uint32_t n_units;    /* multiprocessors */
    char pci[24];        /* "00000000:1b:00.0": its place in the machine; "": none */
    uint32_t capability; /* 89: compute capability 8.9 */
    uint32_t code; /* that which the kernels that it runs were compiled for; at most so much */
};

#define MR_DEVICES_MAX 8

/* name: NULL, "auto" or "cuda": the first GPU; "cuda:N": that one; "cpu": *out NULL. MR_EUNAVAIL:
 * there is none, or it cannot be used, and why. */
mr_status mr_device_pick(mr_device **out, const char *name, mr_err *err);
/* The same, and "cuda:0,1", several in that order: out[MR_DEVICES_MAX] gets *n of them. All or
 * none. */
mr_status mr_device_pick_all(mr_device **out, uint32_t *n, const char *name, mr_err *err);
void mr_device_close(mr_device *d); /* NULL is allowed */

#endif
