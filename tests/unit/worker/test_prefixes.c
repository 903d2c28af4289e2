/* Goal: the newest beginnings are told, the shared ones first, each once, and never too many.
 * Method: inputs of known pieces; the digests themselves are tested in test_prefix.c. */
#include "tests/test.h"

#include "schemas/codec.h"
#include "schemas/prefix.h"
#include "worker/prefixes.h"

static char text[8 * MR_PREFIX_PIECE];

/* A prompt of n pieces, the last of them with this mark. */
static mr_job_spec prompt_of(size_t n, char mark) {
    mr_job_spec spec;

    memset(text, 'a', sizeof text);
    text[n * MR_PREFIX_PIECE - 1] = mark;
    mr_codec_job_defaults(&spec);
    spec.input = MR_INPUT_PROMPT;
    spec.prompt = text;
    spec.prompt_len = n * MR_PREFIX_PIECE;
    return spec;
}

TEST(a_shared_beginning_is_told_once_and_first) {
    uint64_t one[MR_PREFIX_MAX], two[MR_PREFIX_MAX];
    mr_prefixes p = {0};
    mr_job_spec spec = prompt_of(3, 'x');

    CHECK_I64(mr_prefix_digests(&spec, one), 3);
    mr_prefixes_add(&p, &spec);
    CHECK_I64(p.n, 3);
    CHECK(memcmp(p.list, one, 3 * sizeof *one) == 0);
    spec = prompt_of(2, 'y'); /* shares the first piece */
    CHECK_I64(mr_prefix_digests(&spec, two), 2);
    mr_prefixes_add(&p, &spec);
    CHECK_I64(p.n, 4);
    CHECK(p.list[0] == one[0] && p.list[1] == two[1] && p.list[2] == one[1] && p.list[3] == one[2]);
    spec.prompt_len = MR_PREFIX_PIECE - 1; /* too short to matter */
    mr_prefixes_add(&p, &spec);
    CHECK_I64(p.n, 4);
}

TEST(those_not_seen_for_longest_go) {
    uint64_t shared[MR_PREFIX_MAX];
    mr_prefixes p = {0};
    mr_job_spec spec;

    for (int i = 0; i < 200; i++) {
        spec = prompt_of(2, (char)(1 + i % 100));
        mr_prefixes_add(&p, &spec);
        CHECK(p.n <= MR_HEARTBEAT_MAX_PREFIXES);
    }
    CHECK_I64(p.n, MR_HEARTBEAT_MAX_PREFIXES);
    mr_prefix_digests(&spec, shared);
    CHECK(p.list[0] == shared[0] && p.list[1] == shared[1]);
    for (size_t i = 0; i < p.n; i++) {
        for (size_t k = 0; k < i; k++) CHECK(p.list[i] != p.list[k]);
    }
}

MR_TEST_MAIN
