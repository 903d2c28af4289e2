/* Goal: no address of our own side passes for one of the internet's, in whatever form it comes, and
 * those of the internet do. Method: a table of the first and last of each range, and of its
 * neighbours outside. */
#include "dispatcher/webhook_address.h"

#include <arpa/inet.h>

#include "millrace/error.h"

#include "../../test.h"

static const char *refused(const char *text) {
    uint8_t bytes[16];
    const int v6 = strchr(text, ':') != NULL;
    CHECK_I64(inet_pton(v6 ? AF_INET6 : AF_INET, text, bytes), 1);
    return mr_webhook_address_refused(bytes, v6 ? 16 : 4);
}

static void check_refused(const char *text, const char *word) {
    const char *what = refused(text);
    if (!what || !strstr(what, word))
        fail_msg("%s is %s, not %s", text, what ? what : "fine", word);
}

static void check_fine(const char *text) {
    if (refused(text)) fail_msg("%s is %s", text, refused(text));
}

TEST(ipv4_ranges_end_where_they_should) {
    static const struct {
        const char *first, *last, *before, *after, *word;
    } ranges[] = {
        {"0.0.0.0", "0.255.255.255", NULL, "1.0.0.0", "unspecified"},
        {"10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0", "private"},
        {"100.64.0.0", "100.127.255.255", "100.63.255.255", "100.128.0.0", "carrier"},
        {"127.0.0.0", "127.255.255.255", "126.255.255.255", "128.0.0.0", "loopback"},
        {"168.63.129.16", "168.63.129.16", "168.63.129.15", "168.63.129.17", "metadata"},
        {"169.254.0.0", "169.254.255.255", "169.253.255.255", "169.255.0.0", "link-local"},
        {"169.254.169.254", "169.254.169.254", NULL, NULL, "metadata"},
        {"172.16.0.0", "172.31.255.255", "172.15.255.255", "172.32.0.0", "private"},
        {"192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0", "protocols"},
        {"192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0", "documentation"},
        {"192.88.99.0", "192.88.99.255", "192.88.98.255", "192.88.100.0", "6to4"},
        {"192.168.0.0", "192.168.255.255", "192.167.255.255", "192.169.0.0", "private"},
        {"198.18.0.0", "198.19.255.255", "198.17.255.255", "198.20.0.0", "benchmarks"},
        {"198.51.100.0", "198.51.100.255", "198.51.99.255", "198.51.101.0", "documentation"},
        {"203.0.113.0", "203.0.113.255", "203.0.112.255", "203.0.114.0", "documentation"},
        {"224.0.0.0", "239.255.255.255", "223.255.255.255", NULL, "multicast"},
        {"240.0.0.0", "255.255.255.255", NULL, NULL, "reserved"},
    };
    for (size_t i = 0; i < MR_COUNT(ranges); i++) {
        check_refused(ranges[i].first, ranges[i].word);
        check_refused(ranges[i].last, ranges[i].word);
        if (ranges[i].before) check_fine(ranges[i].before);
        if (ranges[i].after) check_fine(ranges[i].after);
    }
}

TEST(ipv6_is_global_unicast_or_refused) {
    check_fine("2606:4700:4700::1111");
    check_fine("2a00:1450:4001:82a::200e");
    check_fine("2000::1");
    check_refused("::", "unspecified");
    check_refused("::1", "loopback");
    check_refused("fc00::1", "unique-local");
    check_refused("fdff::1", "unique-local");
    check_refused("fe80::1", "link-local");
    check_refused("febf::1", "link-local");
    check_refused("fec0::1", "site-local");
    check_refused("ff02::1", "multicast");
    check_refused("2001:db8::1", "documentation");
    check_refused("3fff::1", "documentation");
    check_refused("2001:2::1", "protocols");
    check_refused("2001:1ff::1", "protocols");
    check_refused("4000::1", "not global");
    check_refused("100::1", "not global");
    check_refused("1fff::1", "not global");
}

TEST(an_ipv4_address_inside_another_form) {
    check_refused("::ffff:127.0.0.1", "mapped");
    check_refused("::ffff:8.8.8.8", "mapped");
    check_refused("::127.0.0.1", "compatible");
    check_refused("2002:7f00:1::", "6to4");
    check_refused("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo");
    check_refused("64:ff9b::127.0.0.1", "loopback");
    check_refused("64:ff9b::169.254.169.254", "metadata");
    check_fine("64:ff9b::8.8.8.8");
    check_refused("64:ff9b:1::8.8.8.8", "local NAT64");
}

MR_TEST_MAIN
