/* Goal: a model that gets no memory is refused with a line that says so, at whatever allocation;
 * a sequence that gets none is refused alone, and the engine goes on.
 * Method: fault.h; a tiny model is opened, its template rendered, a sequence generated to its end. */
#include "engine/gguf.h"
#include "engine/model.h"
#include "engine/template.h"
#include "engine/text.h"
#include "engine/tokenizer.h"
#include "millrace/engine.h"
#include "tests/fault/fault.h"

static mr_status generate(mr_engine *e, mr_err *err) {
    static const int32_t prompt[] = {1, 2, 3, 4, 5};
    const mr_sampling sampling = {.temperature = 0.8f, .seed = 7, .logprobs = true};
    mr_engine_out out = {.token = -1};
    mr_text *text = NULL;
    mr_str shown;
    uint32_t seq = 0;
    mr_status st = mr_text_open(&text, mr_engine_tokenizer(e), NULL, 0, false, err);

    if (st != MR_OK) return st;
    st = mr_engine_add(e, prompt, MR_COUNT(prompt), 0, 4, 0, &sampling, &seq, err);
    if (st == MR_OK) {
        for (int i = 0; i < 4 && st == MR_OK; i++) {
            const mr_engine_item item = {seq, mr_engine_pending(e, seq)};
            st = mr_engine_step(e, &item, 1, &out, err);
            if (st == MR_OK) (void)mr_text_push(text, out.token, &shown);
        }
        mr_engine_drop(e, seq);
    }
    mr_text_close(text);
    return st;
}

static mr_status open_and_generate(mr_err *err) {
    const mr_engine_options options = {.model_path = "tests/golden/llama_f32.gguf", .n_threads = 2,
                                       .n_ctx = 64, .kv_tokens = 128, .max_seqs = 2,
                                       .max_step_tokens = 16};
    mr_engine *e = NULL;
    mr_status st = mr_engine_open(&e, &options, err);

    if (st != MR_OK) {
        CHECK(e == NULL);
        return st;
    }
    st = generate(e, err);
    mr_engine_close(e);
    return st;
}

TEST(an_engine_without_memory) {
    const unsigned long n = fault_each(open_and_generate, 1);
    CHECK(n > 20);
}

MR_TEST_MAIN
