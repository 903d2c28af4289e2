/* webhook_address.c - two tables, first match counts.
 *
 * IPv4: all is global but what the table names. IPv6: only 2000::/3 is, less what the table names.
 * Forms of IPv6 that carry an IPv4 address: of NAT64's well-known prefix the address inside counts,
 * since a network without IPv4 reaches everybody that way; mapped addresses, 6to4 and Teredo are
 * refused whatever they carry: no receiver needs them. */
#include "dispatcher/webhook_address.h"

#include <stdbool.h>

#include "millrace/error.h"

typedef struct range {
    uint8_t first[16];
    unsigned bits;
    const char *what;
} range;

static const range v4_refused[] = {
    {{0}, 8, "unspecified"},
    {{10}, 8, "private"},
    {{100, 64}, 10, "shared by a carrier (CGNAT)"},
    {{127}, 8, "loopback"},
    {{168, 63, 129, 16}, 32, "a cloud's metadata service"},
    {{169, 254, 169, 254}, 32, "a cloud's metadata service"},
    {{169, 254}, 16, "link-local"},
    {{172, 16}, 12, "private"},
    {{192, 0, 0}, 24, "reserved for protocols"},
    {{192, 0, 2}, 24, "for documentation"},
    {{192, 88, 99}, 24, "a 6to4 relay"},
    {{192, 168}, 16, "private"},
    {{198, 18}, 15, "for benchmarks"},
    {{198, 51, 100}, 24, "for documentation"},
    {{203, 0, 113}, 24, "for documentation"},
    {{224}, 4, "multicast"},
    {{240}, 4, "reserved"},
};

static const range v6_refused[] = {
    {{0}, 128, "unspecified"},
    {{[15] = 1}, 128, "loopback"},
    {{[10] = 0xff, 0xff}, 96, "an IPv4-mapped address"},
    {{0}, 96, "an IPv4-compatible address"},
    {{0x00, 0x64, 0xff, 0x9b, 0x00, 0x01}, 48, "a local NAT64 address"},
    {{0xfc}, 7, "unique-local"},
    {{0xfe, 0x80}, 10, "link-local"},
    {{0xfe, 0xc0}, 10, "site-local"},
    {{0xff}, 8, "multicast"},
    {{0x20, 0x01, 0x00, 0x00}, 32, "a Teredo address"},
    {{0x20, 0x01, 0x0d, 0xb8}, 32, "for documentation"},
    {{0x20, 0x01}, 23, "reserved for protocols"},
    {{0x20, 0x02}, 16, "a 6to4 address"},
    {{0x3f, 0xff}, 20, "for documentation"},
};

static const range nat64 = {{0x00, 0x64, 0xff, 0x9b}, 96, ""};
static const range global = {{0x20}, 3, ""};

static bool is_in(const uint8_t *bytes, const range *r) {
    for (unsigned bit = 0; bit < r->bits; bit += 8) {
        const unsigned left = r->bits - bit;
        const uint8_t mask = left >= 8 ? 0xff : (uint8_t)(0xff << (8 - left));
        if ((bytes[bit / 8] ^ r->first[bit / 8]) & mask) return false;
    }
    return true;
}

static const char *find(const uint8_t *bytes, const range *ranges, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (is_in(bytes, &ranges[i])) return ranges[i].what;
    return NULL;
}

const char *mr_webhook_address_refused(const uint8_t *bytes, size_t n) {
    if (n == 4) return find(bytes, v4_refused, MR_COUNT(v4_refused));
    if (n != 16) return "no address";
    if (is_in(bytes, &nat64)) return find(bytes + 12, v4_refused, MR_COUNT(v4_refused));
    const char *what = find(bytes, v6_refused, MR_COUNT(v6_refused));
    return what || is_in(bytes, &global) ? what : "not global unicast";
}
