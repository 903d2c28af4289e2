/* forward.c - the transformer, in terms of a backend's steps.
 *
 *   x = embedding
 *   per layer:  h = norm(x); q, k, v = h W; rotate; cache k, v; att = attention; x += att Wo
 *               h = norm(x); x += (silu(h Wg) * h Wu) Wd
 *   logits = norm(x) Wout
 *
 * This is the one description; what a step does is in backend.h, how in cpu/ and cuda/. In the last
 * layer only rows whose logits are wanted go on after their keys and values are cached: of a prompt
 * chunk one row, or none.
 *
 * Bit-identity, of every backend: what a step computes for a row depends on that row and its
 * sequence's cache alone, so a row's logits do not depend on its company.
 *
 * Sources: Touvron 2023 (LLaMA), Yang 2024 and 2025 (Qwen2: biases; Qwen3: norms of q and k heads),
 * Shazeer 2020 (gated units). */
#include "engine/forward.h"

static bool any_wanted(const mr_row *rows, uint32_t n) {
    for (uint32_t i = 0; i < n; i++)
        if (rows[i].want) return true;
    return false;
}

static void run_layers(mr_backend *b, uint32_t n_layer, bool wanted) {
    const mr_steps *s = b->steps;

    for (uint32_t i = 0; i < n_layer; i++) {
        s->qkv(b, i);
        s->rotate(b, i);
        if (i + 1 == n_layer) {
            if (!wanted) break;
            s->keep_wanted(b);
        }
        s->attend(b, i);
        s->attn_out(b, i);
        s->gate_up(b, i);
        s->down(b, i);
    }
}

mr_status mr_forward_run(mr_backend *b, uint32_t n_layer, const mr_row *rows, uint32_t n,
                         mr_err *err) {
    mr_status st;

    MR_CHECK(n > 0 && n <= b->max_rows);
    if ((st = b->steps->begin(b, rows, n, err)) != MR_OK) return st;
    run_layers(b, n_layer, any_wanted(rows, n));
    return MR_OK;
}

mr_status mr_forward_draw(mr_backend *b, uint32_t n_layer, const mr_row *rows, uint32_t n,
                          const mr_asks *asks, mr_err *err) {
    const mr_steps *s = b->steps;
    mr_status st;

    MR_CHECK(n > 0 && n <= b->max_rows && asks->n > 0);
    s->ask(b, asks);
    if ((st = s->begin(b, rows, n, err)) != MR_OK) return st;
    for (bool in_line = s->replay(b); !in_line; in_line = s->finish(b)) { /* at most twice */
        run_layers(b, n_layer, true);
        s->draw(b);
    }
    return MR_OK;
}

mr_status mr_forward_head(mr_backend *b, uint32_t first, uint32_t n, float *logits, mr_err *err) {
    return b->steps->head(b, first, n, logits, err);
}
