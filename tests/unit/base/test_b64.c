/* Goal: base64 has exactly the form of RFC 4648, and nothing else is taken for it.
 * Method: the RFC's vectors, round trips over all lengths, each kind of bad input. */
#include "base/b64.h"

#include "../../test.h"

TEST(base64_vectors_of_the_rfc) {
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < MR_COUNT(pairs); i++) {
        char text[16], back[16];
        size_t n = 99;
        mr_b64_encode(text, pairs[i][0], strlen(pairs[i][0]));
        CHECK_STR(text, pairs[i][1]);
        CHECK_I64(mr_b64_decode(back, sizeof back, &n, text, strlen(text)), MR_OK);
        CHECK_I64(n, strlen(pairs[i][0]));
        CHECK(memcmp(back, pairs[i][0], n) == 0);
    }
}

TEST(base64_round_trip_of_every_byte) {
    unsigned char bytes[256], back[256];
    char text[MR_B64_LEN(256) + 1];
    size_t n = 0;
    for (int i = 0; i < 256; i++) bytes[i] = (unsigned char)(i * 37 + 11);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        mr_b64_encode(text, bytes, len);
        CHECK_I64(strlen(text), MR_B64_LEN(len));
        CHECK_I64(mr_b64_decode(back, len, &n, text, strlen(text)),
                  MR_OK); /* exactly enough room */
        CHECK_I64(n, len);
        CHECK(memcmp(back, bytes, len) == 0);
        if (len == 0) continue;
        CHECK_I64(mr_b64_decode(back, len - 1, &n, text, strlen(text)), MR_ELIMIT);
    }
}

TEST(base64_refuses_what_the_encoder_would_not_make) {
    static const char *const bad[] = {"Z",    "Zg",   "Zg=",  "Zg===",  "Zh==", "Zm9=", "Zg==Zg==",
                                      "Z===", "====", "Zm 9", "Zm9v\n", "Zm-_", "=g==", "Zm9v=AAA"};
    char back[64];
    size_t n = 0;
    for (size_t i = 0; i < MR_COUNT(bad); i++)
        CHECK_I64(mr_b64_decode(back, sizeof back, &n, bad[i], strlen(bad[i])), MR_EINVAL);
}

MR_TEST_MAIN
