/* Goal: UTF-8 is read strictly and written exactly, and classes are those of the Unicode table.
 * Method: every code point there and back; the borders of ill-formed sequences by hand; classes of
 * known characters, and their totals in Unicode 14.0.0, counted from UnicodeData by another
 * program. */
#include "engine/unicode.h"
#include "tests/test.h"

TEST(every_character_survives) {
    char s[4];
    uint32_t back;

    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        if (cp >= 0xD800 && cp < 0xE000) continue;
        const size_t n = mr_utf8_encode(s, cp);
        if (mr_utf8_decode(s, n, &back) != n || back != cp) fail_msg("U+%04X", cp);
        for (size_t cut = 1; cut < n; cut++)
            if (mr_utf8_look(s, cut) != 0) fail_msg("U+%04X cut at %zu", cp, cut);
    }
}

TEST(ill_formed_bytes_stand_alone) {
    static const char *const bad[] = {
        "\x80",         "\xBF",         "\xC0\x80",         "\xC1\xBF",         "\xE0\x9F\xBF",
        "\xED\xA0\x80", "\xED\xBF\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80",
        "\xFF",         "\xC2\x41",     "\xE2\x82\x41",     "\xF0\x9F\x41",     "\xF0\x41",
    };
    uint32_t cp;

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        CHECK_I64(mr_utf8_look(bad[i], strlen(bad[i])), -1);
        CHECK_I64(mr_utf8_decode(bad[i], strlen(bad[i]), &cp), 1);
        CHECK_I64(cp, MR_CP_INVALID);
    }
    CHECK_I64(mr_utf8_decode("\xE2\x82", 2, &cp), 1); /* cut off: bytes one by one */
    CHECK_I64(cp, MR_CP_INVALID);
    CHECK_I64(mr_utf8_look("\xE2\x82", 2), 0);
}

TEST(classes_of_known_characters) {
    static const struct {
        uint32_t cp;
        mr_uc uc;
    } known[] = {
        {'a', MR_UC_LETTER},    {'Z', MR_UC_LETTER},     {'0', MR_UC_NUMBER},
        {'9', MR_UC_NUMBER},    {' ', MR_UC_SPACE},      {'\t', MR_UC_SPACE},
        {'\r', MR_UC_SPACE},    {0, MR_UC_OTHER},        {0x1C, MR_UC_OTHER},
        {0x7F, MR_UC_OTHER},    {'$', MR_UC_OTHER},      {'`', MR_UC_OTHER},
        {'!', MR_UC_PUNCT},     {'_', MR_UC_PUNCT},      {0x85, MR_UC_SPACE},
        {0xA0, MR_UC_SPACE},    {0xB2, MR_UC_NUMBER},    {0xE9, MR_UC_LETTER},
        {0x301, MR_UC_OTHER},   {0x2167, MR_UC_NUMBER},  {0x200B, MR_UC_OTHER},
        {0x3000, MR_UC_SPACE},  {0x3001, MR_UC_PUNCT},   {0x4E2D, MR_UC_LETTER},
        {0x1F600, MR_UC_OTHER}, {0x10FFFF, MR_UC_OTHER}, {MR_CP_INVALID, MR_UC_OTHER},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (mr_unicode_class(known[i].cp) != known[i].uc)
            fail_msg("U+%04X: %d, not %d", known[i].cp, mr_unicode_class(known[i].cp), known[i].uc);
}

TEST(totals_of_unicode_14) {
    size_t n[5] = {0};

    for (uint32_t cp = 0; cp < 0x110000; cp++) n[mr_unicode_class(cp)]++;
    CHECK_I64(n[MR_UC_LETTER], 131756);
    CHECK_I64(n[MR_UC_NUMBER], 1791);
    CHECK_I64(n[MR_UC_PUNCT], 819);
    CHECK_I64(n[MR_UC_SPACE], 25);
}

MR_TEST_MAIN
