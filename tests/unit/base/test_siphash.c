/* Goal: the digest is SipHash-2-4 with 128 bits of output, for every length of a last word.
 * Method: digests of the bytes 0, 1, 2, ... under the secret 0..15, as `openssl mac SIPHASH`
 * (size:16) gives them; and a secret or an input that differs in one bit gives another digest. */
#include "base/siphash.h"

#include "tests/test.h"

static uint8_t secret[MR_SIPHASH_SECRET], input[64];

static void fill(void) {
    for (size_t i = 0; i < sizeof secret; i++) secret[i] = (uint8_t)i;
    for (size_t i = 0; i < sizeof input; i++) input[i] = (uint8_t)i;
}

static void check(size_t n, const char *wanted) {
    const mr_digest d = mr_siphash(secret, input, n);
    char text[33];
    for (int i = 0; i < 16; i++)
        snprintf(text + 2 * i, 3, "%02X",
                 (unsigned)((i < 8 ? d.lo >> 8 * i : d.hi >> 8 * (i - 8)) & 255));
    CHECK_STR(text, wanted);
}

TEST(digests_are_those_of_another_program) {
    fill();
    check(0, "A3817F04BA25A8E66DF67214C7550293");
    check(1, "DA87C1D86B99AF44347659119B22FC45");
    check(7, "A1F1EBBED8DBC153C0B84AA61FF08239");
    check(8, "3B62A9BA6258F5610F83E264F31497B4");
    check(15, "5493E99933B0A8117E08EC0F97CFC3D9");
    check(63, "5150D1772F50834A503E069A973FBD7C");
}

TEST(every_bit_counts) {
    fill();
    const mr_digest first = mr_siphash(secret, input, sizeof input);
    for (size_t bit = 0; bit < 8 * sizeof input; bit++) {
        input[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const mr_digest d = mr_siphash(secret, input, sizeof input);
        CHECK(d.lo != first.lo && d.hi != first.hi);
        input[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof secret; bit++) {
        secret[bit / 8] ^= (uint8_t)(1u << bit % 8);
        const mr_digest d = mr_siphash(secret, input, sizeof input);
        CHECK(d.lo != first.lo && d.hi != first.hi);
        secret[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

MR_TEST_MAIN
