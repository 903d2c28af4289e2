/* Goal: equal beginnings of one tenant have equal digests for exactly as long as they are equal,
 * whatever follows and however the input is cut into messages; and they never change, because
 * programs of different versions compare them. Method: inputs that share a beginning of every
 * length, and fixed values. */
#include "schemas/prefix.h"

#include "tests/test.h"

static char text[MR_PREFIX_PIECE * (MR_PREFIX_MAX + 2)];

static void fill(void) {
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)('a' + i * i % 23);
}

static size_t of_prompt(const char *tenant, const char *prompt, size_t n, uint64_t *out) {
    const mr_job_spec j = {
        .tenant = tenant, .input = MR_INPUT_PROMPT, .prompt = prompt, .prompt_len = n};
    return mr_prefix_digests(&j, out);
}

TEST(one_digest_per_whole_piece) {
    uint64_t out[MR_PREFIX_MAX];
    fill();
    CHECK_I64(of_prompt("t", text, 0, out), 0);
    CHECK_I64(of_prompt("t", text, MR_PREFIX_PIECE - 1, out), 0);
    CHECK_I64(of_prompt("t", text, MR_PREFIX_PIECE, out), 1);
    CHECK_I64(of_prompt("t", text, 3 * MR_PREFIX_PIECE - 1, out), 2);
    CHECK_I64(of_prompt("t", text, sizeof text, out), MR_PREFIX_MAX);
}

/* A change at any byte changes the digest of its piece and all later ones, and no earlier one. */
TEST(digests_agree_up_to_the_first_difference) {
    uint64_t a[MR_PREFIX_MAX], b[MR_PREFIX_MAX];
    fill();
    CHECK_I64(of_prompt("t", text, sizeof text, a), MR_PREFIX_MAX);
    for (size_t at = 0; at < MR_PREFIX_PIECE * MR_PREFIX_MAX; at += 7) {
        text[at] ^= 1;
        CHECK_I64(of_prompt("t", text, sizeof text, b), MR_PREFIX_MAX);
        text[at] ^= 1;
        for (size_t i = 0; i < MR_PREFIX_MAX; i++)
            if ((a[i] == b[i]) != (i < at / MR_PREFIX_PIECE))
                fail_msg("byte %zu, digest %zu", at, i);
    }
}

TEST(tenants_and_kinds_do_not_meet) {
    uint64_t a[MR_PREFIX_MAX], b[MR_PREFIX_MAX], c[MR_PREFIX_MAX];
    fill();
    CHECK_I64(of_prompt("acme", text, MR_PREFIX_PIECE, a), 1);
    CHECK_I64(of_prompt("acmf", text, MR_PREFIX_PIECE, b), 1);
    const mr_message m = {"", text, MR_PREFIX_PIECE};
    const mr_job_spec j = {
        .tenant = "acme", .input = MR_INPUT_MESSAGES, .messages = &m, .n_messages = 1};
    CHECK_I64(mr_prefix_digests(&j, c), 1);
    CHECK(a[0] != b[0] && a[0] != c[0] && b[0] != c[0]);
}

/* A conversation that goes on keeps the digests of what it had. */
TEST(a_longer_conversation_has_the_beginning_of_the_shorter) {
    uint64_t a[MR_PREFIX_MAX], b[MR_PREFIX_MAX];
    fill();
    const mr_message all[] = {
        {"system", text, 700}, {"user", text + 700, 900}, {"user", text + 1600, 2000}};
    mr_job_spec j = {.tenant = "t", .input = MR_INPUT_MESSAGES, .messages = all, .n_messages = 2};
    const size_t n_a = mr_prefix_digests(&j, a);
    CHECK_I64(n_a, (6 + 700 + 4 + 900) / MR_PREFIX_PIECE);
    j.n_messages = 3;
    CHECK_I64(mr_prefix_digests(&j, b), (6 + 700 + 4 + 900 + 4 + 2000) / MR_PREFIX_PIECE);
    CHECK(memcmp(a, b, n_a * sizeof *a) == 0);
}

TEST(values_that_must_not_change) {
    enum { N = MR_PREFIX_PIECE / 4 };
    int32_t tokens[2 * N];
    uint64_t out[MR_PREFIX_MAX];
    for (int32_t i = 0; i < 2 * N; i++) tokens[i] = i * 257;
    const mr_job_spec j = {
        .tenant = "default", .input = MR_INPUT_TOKENS, .tokens = tokens, .n_tokens = 2 * N};
    CHECK_I64(mr_prefix_digests(&j, out), 2);
    CHECK_I64(out[0], 0x52339144a7f9d9deu);
    CHECK_I64(out[1], 0xe6827b660089a611u);
    fill();
    CHECK_I64(of_prompt("default", text, MR_PREFIX_PIECE, out), 1);
    CHECK_I64(out[0], 0x3abc8d5c0228055du);
}

MR_TEST_MAIN
