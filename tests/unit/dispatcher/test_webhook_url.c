/* Goal: a URL that may be asked is taken apart as libcurl would, and no spelling of one that may
 * not gets through. Method: tables of both, with the words that the error must have. */
#include "dispatcher/webhook_url.h"

#include "../../test.h"

static const mr_webhook_rules rules = {
    .allow = "hooks.internal,127.0.0.1:9000,[::1]:9000,plain.example:80", .ports = "443,8443"};
static mr_webhook_url u;
static mr_err err;

static void check_fine(const char *url, const char *origin) {
    if (mr_webhook_url_check(&u, url, &rules, &err) != MR_OK) fail_msg("%s: %s", url, err.text);
    CHECK_STR(u.origin, origin);
}

static void check_refused(const char *url, const char *word) {
    if (mr_webhook_url_check(&u, url, &rules, &err) == MR_OK) fail_msg("%s is taken", url);
    CHECK_ERR(err, word);
}

TEST(what_may_be_asked) {
    check_fine("https://example.com", "example.com:443");
    check_fine("https://Example.COM:8443/a?b=@c", "example.com:8443");
    check_fine("https://8.8.8.8/x", "8.8.8.8:443");
    check_fine("https://[2606:4700::1111]/x", "[2606:4700::1111]:443");
    check_fine("https://a_b.xn--bcher-kva.example?q", "a_b.xn--bcher-kva.example:443");
    CHECK(!u.allowed);
    check_fine("http://hooks.internal:1234/x", "hooks.internal:1234");
    CHECK(u.allowed);
    check_fine("http://127.0.0.1:9000/x", "127.0.0.1:9000");
    check_fine("http://[::1]:9000/x", "[::1]:9000");
    check_fine("http://plain.example/x", "plain.example:80");
}

TEST(schemes_ports_and_users) {
    check_refused("http://example.com/", "https");
    check_refused("ftp://example.com/", "https");
    check_refused("HTTPS://example.com/", "https");
    check_refused("https:/example.com/", "https");
    check_refused("https://example.com:22/", "port 22");
    check_refused("https://example.com:0/", "1..65535");
    check_refused("https://example.com:65536/", "1..65535");
    check_refused("https://example.com:443443/", "1..65535");
    check_refused("https://example.com:/", "1..65535");
    check_refused("https://example.com:+443/", "1..65535");
    check_refused("https://user@example.com/", "user");
    check_refused("https://user:pw@example.com/", "user");
    check_refused("https://example.com@10.0.0.1/", "user");
    check_refused("https://127.0.0.1:9001/", "port 9001");
}

TEST(hosts_that_two_programs_read_differently) {
    check_refused("https:///x", "host has 0 bytes");
    check_refused("https://exa mple.com/", "blank");
    check_refused("https://example.com\\@evil/", "'\\'");
    check_refused("https://example.com#@evil/", "'#'");
    check_refused("https://ex\xc3\xa4mple.com/", "ASCII");
    check_refused("https://example%2ecom/", "letters");
    check_refused("https://example..com/", "letters");
    check_refused("https://example.com./", "letters");
    check_refused("https://.example.com/", "letters");
    check_refused("https://[::1%25eth0]/", "IPv6");
    check_refused("https://[::1/", "letters");
    check_refused("https://[8.8.8.8]/", "IPv6");
    check_refused("https://[::1]x:443/", "no port");
}

TEST(numbers_that_are_addresses_to_some) {
    static const char *const loopback[] = {
        "2130706433", "0x7f000001", "017700000001", "127.1",     "127.0.1",
        "0177.0.0.1", "0x7f.0.0.1", "127.0.0.01",   "1.2.3.4.5", "example.0x7f"};
    char url[64];
    for (size_t i = 0; i < MR_COUNT(loopback); i++) {
        snprintf(url, sizeof url, "https://%s/", loopback[i]);
        check_refused(url, "decimal");
    }
}

TEST(addresses_are_looked_at) {
    check_refused("https://127.0.0.1/", "loopback");
    check_refused("https://169.254.169.254/latest/meta-data", "metadata");
    check_refused("https://10.1.2.3/", "private");
    check_refused("https://[::1]/", "loopback");
    check_refused("https://[::ffff:10.0.0.1]/", "mapped");
    check_refused("https://[64:ff9b::7f00:1]/", "loopback");
}

TEST(the_error_says_no_more_than_the_host) {
    check_refused("https://10.0.0.1/hooks/very-secret-path?token=abc", "10.0.0.1");
    CHECK(!strstr(err.text, "secret"));
    CHECK(!strstr(err.text, "abc"));
}

MR_TEST_MAIN
