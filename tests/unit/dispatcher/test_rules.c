/* Goal: a file of rules means what rules.h says, in any order; what is wrong is refused with line,
 * tenant and key, and with the nearest name. Method: small files in memory, and one on disk. */
#include "dispatcher/rules.h"

#include <unistd.h>

#include "tests/test.h"

static mr_err err;

static mr_rules *parse(const char *yaml) {
    mr_rules *r = NULL;
    CHECK_OK(mr_rules_parse(&r, yaml, strlen(yaml), &err), err);
    return r;
}

TEST(no_file_no_limits) {
    mr_rules *r = NULL;
    CHECK_OK(mr_rules_open(&r, "", &err), err);
    const mr_rule *rule = mr_rules_find(r, "anybody");
    CHECK_I64(rule->weight, 1);
    CHECK(rule->jobs_per_s == 0 && !rule->reject);
    CHECK_I64(rule->tokens_per_min, 0);
    CHECK_I64(rule->backlog, 0);
    mr_rules_close(r);
    mr_rules_close(NULL);
}

TEST(what_is_left_out_comes_from_default) {
    mr_rules *r = parse("# who may what\n"
                        "tenants:\n"
                        "  acme: {weight: 4, over: delay}\n"
                        "  bulk:\n"
                        "    jobs_per_s: 0\n"
                        "    tokens_per_min: 1000000000000\n"
                        "  default: {weight: 2, jobs_per_s: 0.5, tokens_per_min: 200000, "
                        "backlog: 10000, over: reject}\n"
                        "  zeta: {}\n");
    const mr_rule *acme = mr_rules_find(r, "acme"), *bulk = mr_rules_find(r, "bulk");
    const mr_rule *zeta = mr_rules_find(r, "zeta"), *other = mr_rules_find(r, "other");

    CHECK_I64(acme->weight, 4);
    CHECK(acme->jobs_per_s == 0.5 && !acme->reject);
    CHECK_I64(acme->tokens_per_min, 200000);
    CHECK(bulk->jobs_per_s == 0 && bulk->reject);
    CHECK_I64(bulk->tokens_per_min, 1000000000000);
    CHECK_I64(bulk->weight, 2);
    CHECK_I64(zeta->backlog, 10000);
    CHECK_I64(other->backlog, 10000);
    CHECK(other->reject && mr_rules_find(r, "default")->weight == 2);
    mr_rules_close(r);
}

TEST(without_default) {
    mr_rules *r = parse("tenants: {b: {weight: 3}, a: {backlog: 5}}\n");
    CHECK_I64(mr_rules_find(r, "a")->weight, 1);
    CHECK_I64(mr_rules_find(r, "a")->backlog, 5);
    CHECK_I64(mr_rules_find(r, "b")->weight, 3);
    CHECK_I64(mr_rules_find(r, "c")->weight, 1);
    mr_rules_close(r);
    r = parse("tenants: {default: {backlog: 5}}\n");
    CHECK_I64(mr_rules_find(r, "c")->weight, 1);
    mr_rules_close(r);
    mr_rules_close(parse(""));
    mr_rules_close(parse("# nothing\n"));
    mr_rules_close(parse("tenants: {}\n"));
}

TEST(what_is_wrong_is_refused) {
    static const struct {
        const char *yaml, *part;
    } cases[] = {
        {"tenant: {}\n", "tenants line 1: unknown name \"tenant\"; did you mean \"tenants\"?"},
        {"tenants:\n  a: {weigth: 2}\n",
         "line 2: unknown limit \"weigth\"; did you mean \"weight\""},
        {"tenants:\n  a: {qqqqqqqqq: 2}\n", "line 2: unknown limit \"qqqqqqqqq\""},
        {"tenants:\n  a:\n    weight: 0\n",
         "line 3: tenant \"a\": weight: \"0\" must be a whole number 1..1000"},
        {"tenants: {a: {weight: 1001}}\n", "weight: \"1001\""},
        {"tenants: {a: {weight: 1.5}}\n", "weight: \"1.5\""},
        {"tenants: {a: {weight: -1}}\n", "weight: \"-1\""},
        {"tenants: {a: {weight: ''}}\n", "weight: \"\""},
        {"tenants: {a: {jobs_per_s: 1e3}}\n", "jobs_per_s: \"1e3\" must be a number 0..1000000"},
        {"tenants: {a: {jobs_per_s: .}}\n", "jobs_per_s: \".\""},
        {"tenants: {a: {jobs_per_s: 1.2.3}}\n", "jobs_per_s: \"1.2.3\""},
        {"tenants: {a: {jobs_per_s: nan}}\n", "jobs_per_s: \"nan\""},
        {"tenants: {a: {tokens_per_min: 1000000000001}}\n", "tokens_per_min"},
        {"tenants: {a: {backlog: 99999999999999999999999999}}\n", "backlog"},
        {"tenants: {a: {over: drop}}\n", "over: \"drop\" must be delay or reject"},
        {"tenants:\n  a: {weight: 1,\n    weight: 2}\n",
         "line 3: tenant \"a\": weight is there twice"},
        {"tenants:\n  a: {}\n  b: {}\n  a: {}\n", "tenants line 4: tenant \"a\" is there twice"},
        {"tenants: {}\ntenants: {}\n", "line 2: tenants is there twice"},
        {"tenants: 5\n", "line 1: tenants: \"5\" must be a map"},
        {"tenants:\n  a: 5\n", "line 2: a: \"5\" must be a map"},
        {"tenants:\n  a: [5]\n", "line 2: a is not plain text"},
        {"tenants: {a: {weight: {x: 1}}}\n", "tenant \"a\": weight is not plain text or a number"},
        {"tenants: {a: {other: {x: 1}}}\n", "unknown limit \"other\""},
        {"tenants: {'': {weight: 1}}\n", "a name has 1..64 bytes"},
        {"tenants: {a: &x {weight: 1}, b: *x}\n", "b is not plain text"},
        {"- tenants\n", "line 1: not \"name: value\" lines"},
        {"tenants: {a: {weight: 1}\n", "not YAML"},
    };
    for (size_t i = 0; i < MR_COUNT(cases); i++) {
        mr_rules *r = (mr_rules *)&err;
        CHECK_I64(mr_rules_parse(&r, cases[i].yaml, strlen(cases[i].yaml), &err), MR_EINVAL);
        CHECK_ERR(err, cases[i].part);
        CHECK(r == NULL);
    }
}

TEST(a_name_that_is_too_long) {
    char tenant[80], yaml[160];
    mr_rules *r = NULL;
    snprintf(tenant, sizeof tenant, "%064d", 1);
    snprintf(yaml, sizeof yaml, "tenants: {%s: {weight: 7}}", tenant);
    r = parse(yaml);
    CHECK_I64(mr_rules_find(r, tenant)->weight, 7);
    mr_rules_close(r);
    snprintf(yaml, sizeof yaml, "tenants: {%s5: {weight: 7}}", tenant);
    CHECK_I64(mr_rules_parse(&r, yaml, strlen(yaml), &err), MR_EINVAL);
    CHECK_ERR(err, "1..64 bytes");
}

TEST(as_many_tenants_as_there_may_be) {
    enum { LINE = 32 };
    char *yaml = malloc((MR_MAX_RULES + 2) * LINE);
    mr_rules *r = NULL;
    CHECK(yaml != NULL);
    for (int n = MR_MAX_RULES; n <= MR_MAX_RULES + 1; n++) {
        char *end = yaml + sprintf(yaml, "tenants:\n");
        for (int i = n; i > 0; i--) end += sprintf(end, "  t%d: {weight: %d}\n", i, i % 1000 + 1);
        CHECK_I64(mr_rules_parse(&r, yaml, strlen(yaml), &err),
                  n == MR_MAX_RULES ? MR_OK : MR_EINVAL);
        if (n > MR_MAX_RULES) break;
        CHECK_I64(mr_rules_find(r, "t1")->weight, 2);
        CHECK_I64(mr_rules_find(r, "t4095")->weight, 96);
        CHECK_I64(mr_rules_find(r, "t4097")->weight, 1);
        mr_rules_close(r);
    }
    CHECK_ERR(err, "tenants line 4098: tenant \"t1\": more than 4096 tenants");
    free(yaml);
}

TEST(from_a_file) {
    char path[] = "/tmp/rules-XXXXXX";
    const int fd = mkstemp(path);
    mr_rules *r = NULL;
    CHECK(fd >= 0 && write(fd, "tenants: {a: {weight: 9}}\n", 26) == 26);
    close(fd);
    CHECK_OK(mr_rules_open(&r, path, &err), err);
    CHECK_I64(mr_rules_find(r, "a")->weight, 9);
    mr_rules_close(r);
    unlink(path);
    CHECK_I64(mr_rules_open(&r, path, &err), MR_ENOTFOUND);
    CHECK_ERR(err, path);
    CHECK_I64(mr_rules_open(&r, "/", &err), MR_EIO);
}

MR_TEST_MAIN
