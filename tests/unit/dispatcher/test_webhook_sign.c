/* Goal: ids and signatures are those of Standard Webhooks 1.0.0; secrets are found for whom they
 * are for, and for nobody else. Method: signatures against values that Python's hmac computed, one
 * of them the vector of the standard's reference libraries; tables of secrets, good and broken. */
#include "dispatcher/webhook_secrets.h"

#include <stdio.h>
#include <unistd.h>

#include "../../test.h"

#define JOB "0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77"
#define S24 "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX"
#define S64                                                                                        \
    "whsec_yMnKy8zNzs/Q0dLT1NXW19jZ2tvc3d7f4OHi4+Tl5ufo6err7O3u7/Dx8vP09fb3+Pn6+/z9/"              \
    "gABAgMEBQYHCA=="

static mr_err err;

static mr_webhook_secret secret(const char *text) {
    mr_webhook_secret s;
    CHECK_OK(mr_webhook_secret_read(&s, text, strlen(text), &err), err);
    return s;
}

TEST(an_event_has_one_id) {
    char id[MR_WEBHOOK_ID];
    mr_webhook_id(id, JOB, MR_STATUS_SUCCEEDED);
    CHECK_STR(id, "msg_" JOB "_succeeded");
    mr_webhook_id(id, JOB, MR_STATUS_EXPIRED);
    CHECK_STR(id, "msg_" JOB "_expired");
    CHECK(!strchr(id, '.'));
}

TEST(signatures_are_those_of_the_standard) {
    static const char body[] = "{\"type\":\"job.succeeded\"}";
    const mr_webhook_secret reference = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    const mr_webhook_secret both[] = {secret(S24), secret(S64)};
    char out[MR_WEBHOOK_SIGNATURE], id[MR_WEBHOOK_ID];

    mr_webhook_sign(out, &reference, 1, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                    "{\"test\": 2432232314}", 20);
    CHECK_STR(out, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    mr_webhook_id(id, JOB, MR_STATUS_SUCCEEDED);
    mr_webhook_sign(out, both, 2, id, 1767225600, body, strlen(body));
    CHECK_STR(out, "v1,fOYUvd8ZOJzlY5lqD7851xncqiVYUwbkltu85F89Bwg= "
                   "v1,hEQh9m52I/0O12Xq/8rbPqaRwrNrXtPihZ4QQ0n5wUc=");
}

TEST(a_secret_has_24_to_64_bytes) {
    static const char *const bad[] = {"",
                                      "whsec_",
                                      "AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
                                      "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRY=",
                                      "whsec_????",
                                      "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRY"};
    mr_webhook_secret s;
    CHECK_I64(secret(S24).n, 24);
    CHECK_I64(secret(S64).n, 64);
    for (size_t i = 0; i < MR_COUNT(bad); i++) {
        CHECK_I64(mr_webhook_secret_read(&s, bad[i], strlen(bad[i]), &err), MR_EINVAL);
        CHECK_ERR(err, "24 to 64");
        CHECK(!strstr(err.text, "AAEC"));
    }
}

static mr_webhook_secrets *table(const char *text, const char *yaml) {
    char path[] = "/tmp/mr-secrets-XXXXXX";
    mr_webhook_secrets *s = NULL;
    const int fd = mkstemp(path);
    CHECK(fd >= 0 && write(fd, yaml, strlen(yaml)) == (ssize_t)strlen(yaml));
    close(fd);
    (void)mr_webhook_secrets_open(&s, text, path, &err);
    unlink(path);
    return s;
}

static size_t count(const mr_webhook_secrets *s, const char *tenant, const char *id) {
    size_t n;
    const mr_webhook_secret *list = mr_webhook_secrets_find(s, tenant, id, &n);
    CHECK((list != NULL) == (n > 0));
    return n ? list[0].n : 0; /* tells which one it is */
}

TEST(secrets_are_found_by_id_and_tenant) {
    mr_webhook_secrets *s =
        table("default=" S24 ";env=" S64 "  " S24, "acme/default: " S64 "\nb/c/x: " S64 "\n");
    size_t n;
    if (!s) fail_msg("%s", err.text);
    CHECK_I64(count(s, "anybody", ""), 24);
    CHECK_I64(count(s, "anybody", "default"), 24);
    CHECK_I64(count(s, "acme", ""), 64); /* its own goes first */
    CHECK_I64(count(s, "acme", "env"), 64);
    mr_webhook_secrets_find(s, "acme", "env", &n);
    CHECK_I64(n, 2);
    CHECK_I64(count(s, "anybody", "acme/default"), 0); /* nobody else names it */
    CHECK_I64(count(s, "b/c", "x"), 64);
    CHECK_I64(count(s, "b", "c/x"), 0);
    CHECK_I64(count(s, "anybody", "none"), 0);
    mr_webhook_secrets_close(s);
}

TEST(a_broken_table_is_refused_and_says_no_secret) {
    CHECK(!table("default", ""));
    CHECK_ERR(err, "id=whsec_");
    CHECK(!table("default=" S24 "x", ""));
    CHECK_ERR(err, "default");
    CHECK(!strstr(err.text, "AAEC"));
    CHECK(!table("", "default: " S24 " " S24 " " S24 " " S24 " " S24 "\n"));
    CHECK_ERR(err, "more than 4");
    CHECK(!table("default=" S24, "default: " S24 "\n"));
    CHECK_ERR(err, "twice");
    CHECK(!table("", "default:\n  x: " S24 "\n"));
    CHECK_ERR(err, "line 1");
    CHECK(!table("default=", ""));
    CHECK_ERR(err, "no secret");
    mr_webhook_secrets *s = table("", "");
    CHECK(s);
    CHECK_I64(count(s, "a", ""), 0);
    mr_webhook_secrets_close(s);
}

MR_TEST_MAIN
