/* Goal: a slip of the finger finds its name, and nonsense finds none.
 * Method: a table of words with the name that must come out. */
#include "schemas/codec.h"
#include "tests/test.h"

TEST(slips_and_nonsense) {
    static const char *const names[] = {"temperature", "top_p", "top_k", "stop", "seed", "n"};
    static const struct {
        const char *word, *name;
    } cases[] = {
        {"temperature", "temperature"},
        {"temprature", "temperature"},
        {"temeprature", "temperature"},
        {"Temperatures", "temperature"},
        {"tempera", NULL},
        {"topp", "top_p"},
        {"top_pp", "top_p"},
        {"pot_k", "top_k"},
        {"sede", "seed"},
        {"stops", "stop"},
        {"x", NULL},
        {"", NULL},
        {"zzzzzz", NULL},
        {"n", "n"},
        {"no", "n"},
    };

    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        const char *got = mr_nearest(cases[i].word, names, MR_COUNT(names));
        if (!got || !cases[i].name ? got != cases[i].name : strcmp(got, cases[i].name) != 0)
            fail_msg("%s: %s, not %s", cases[i].word, got ? got : "none",
                     cases[i].name ? cases[i].name : "none");
    }
}

TEST(words_of_any_length) {
    static const char *const names[] = {"a_name"};
    char word[300];

    memset(word, 'a', sizeof word);
    for (size_t n = 0; n < sizeof word; n++) {
        word[n] = '\0';
        (void)mr_nearest(word, names, 1);
        word[n] = 'a';
    }
    word[sizeof word - 1] = '\0';
    CHECK(!mr_nearest(word, names, 1));
    CHECK(!mr_nearest("a_name", NULL, 0));
}

MR_TEST_MAIN
