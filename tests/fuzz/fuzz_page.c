/* fuzz_page.c - what a browser, or somebody who plays one, says to the page: path, headers, mark.
 *
 * Goal: whatever is said means one thing or nothing; nobody gets in without the token or the cookie
 * of a session, and no name but ours is taken for ours. Method: the input is lines, one for each
 * text; after each reading its promises are checked. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/uuid.h"
#include "dispatcher/page_guard.h"
#include "dispatcher/page_path.h"
#include "schemas/tail.h"

#define MAX_BYTES (16u << 10) /* more than the headers of a request may have */
#define TOKEN     "a-token-of-some-length"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_path(const char *method, const char *path) {
    const mr_page_path p = mr_page_path_of(method, path);
    if (p.ask == MR_ASK_JOB || p.ask == MR_ASK_EVENTS || p.ask == MR_ASK_CANCEL)
        MR_CHECK(mr_uuid_valid(p.job_id, strlen(p.job_id)) && strstr(path, p.job_id));
    if (p.ask == MR_ASK_REPLAY) MR_CHECK(p.partition >= 0 && p.offset >= 0 && strchr(path, ':'));
    if (p.ask == MR_ASK_CANCEL || p.ask == MR_ASK_REPLAY || p.ask == MR_ASK_LOGIN)
        MR_CHECK(strcmp(method, "POST") == 0);
    MR_CHECK(mr_page_number(path, 3, 1000, 7) >= 3 && mr_page_number(path, 3, 1000, 7) <= 1000);
}

static void check_guard(const mr_shown *r) {
    static mr_guard g;
    static const mr_session *mine;
    const mr_session *s;
    if (!mine) {
        mr_guard_init(&g, TOKEN, "mill.example");
        MR_CHECK(mr_guard_login(&g, 1, &mine) == MR_OK);
    }
    const mr_access a = mr_guard_access(&g, r, 2, &s);
    MR_CHECK(a != MR_ACCESS_TOKEN || strstr(r->authorization, TOKEN));
    MR_CHECK(a != MR_ACCESS_SESSION || strstr(r->cookie, mine->id));
    MR_CHECK(!mr_guard_may_act(a, s, r) || a != MR_ACCESS_NONE);
    if (mr_guard_host_ok(&g, r->host)) MR_CHECK(r->host[0] && !strchr(r->host, '@'));
    if (mr_guard_own_site(r) && r->origin) MR_CHECK(strlen(r->origin) > strlen(r->host));
}

static void check_mark(const char *text) {
    char mark[MR_TAIL_MARK_LEN], again[MR_TAIL_MARK_LEN];
    mr_tail t, back;
    if (!mr_tail_parse(&t, text)) {
        MR_CHECK(t.next == 0 && t.epoch == 0 && strcmp(mr_tail_from(&t), "-") == 0);
        return;
    }
    mr_tail_mark(&t, mark);
    MR_CHECK(mr_tail_parse(&back, mark));
    mr_tail_mark(&back, again);
    MR_CHECK(strcmp(mark, again) == 0 && back.next == t.next && back.epoch == t.epoch);
}

/* The next line; an empty one stands for a header that is not there. */
static const char *next(char **text) {
    char *line = *text, *end = line + strcspn(line, "\n");
    *text = *end ? end + 1 : end;
    *end = '\0';
    return *line ? line : NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    if (n > MAX_BYTES) return 0;
    char *copy = malloc(n + 1), *text = copy;
    MR_CHECK(copy);
    memcpy(copy, data, n);
    copy[n] = '\0';
    const char *method = next(&text), *path = next(&text), *mark = next(&text);
    mr_shown r = {.host = next(&text)};
    r.origin = next(&text);
    r.fetch_site = next(&text);
    r.authorization = next(&text);
    r.cookie = next(&text);
    r.csrf = next(&text);
    if (method && path) check_path(method, path);
    if (mark) check_mark(mark);
    check_guard(&r);
    free(copy);
    return 0;
}
