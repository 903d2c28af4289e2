/* Goal: an error is one printable line, and every status has a name and an exit code.
 * Method: hostile arguments; all statuses compared with each other. */
#include "millrace/error.h"

#include <sysexits.h>

#include "../../test.h"

TEST(an_error_is_one_printable_line) {
    mr_err err;
    CHECK_I64(mr_fail(&err, MR_EIO, "a\nb\x1b[0m %s", "c\r"), MR_EIO);
    CHECK_STR(err.text, "a?b?[0m c?");
    CHECK_I64(err.status, MR_EIO);
    CHECK_I64(mr_fail(&err, MR_EINVAL, "job 7: %s", err.text), MR_EINVAL); /* its own text */
    CHECK_STR(err.text, "job 7: a?b?[0m c?");
    CHECK_I64(mr_fail(NULL, MR_ELIMIT, "unseen"), MR_ELIMIT);

    char many[2000] = "x"; /* two-byte characters at odd places: the cut falls into one */
    for (size_t i = 1; i + 2 < sizeof many; i += 2) memcpy(many + i, "\xC3\xBC", 2);
    mr_fail(&err, MR_EIO, "%s", many);
    CHECK_I64(strlen(err.text), sizeof err.text - 1);
    mr_fail(&err, MR_EIO, "y%s", many);
    CHECK_I64(strlen(err.text), sizeof err.text - 2);
    CHECK(err.text[strlen(err.text) - 1] == '\xBC');
}

TEST(every_status_has_a_name_and_an_exit_code) {
    for (int st = 0; st >= MR_EINTERNAL; st--) {
        CHECK(strcmp(mr_status_name((mr_status)st), "unknown") != 0);
        CHECK((mr_status_exit_code((mr_status)st) == 0) == (st == 0));
        for (int other = 0; other > st; other--)
            CHECK(strcmp(mr_status_name((mr_status)st), mr_status_name((mr_status)other)) != 0);
    }
    CHECK_STR(mr_status_name((mr_status)-99), "unknown");
    CHECK_STR(mr_status_name((mr_status)3), "unknown");
    CHECK_I64(mr_status_exit_code(MR_EUNAVAIL), EX_UNAVAILABLE);
    CHECK_I64(mr_status_exit_code((mr_status)-99), EX_SOFTWARE);
}

MR_TEST_MAIN
