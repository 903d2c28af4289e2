/* fuzz_webhook.c - a callback's URL, its header, a record of what is owed, a file of secrets.
 *
 * Goal: whatever the bytes, a URL that is taken is https to an address that may be asked, or stands
 * in webhook_allow; a header or a record that is taken reads the same when it is written again;
 * nothing leaks. Method: the bytes are each of the four in turn. */
#include <stdint.h>
#include <string.h>

#include "dispatcher/webhook_address.h"
#include "dispatcher/webhook_secrets.h"
#include "dispatcher/webhook_url.h"
#include "schemas/webhook.h"

#define MAX_BYTES (16u << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void as_url(const char *text) {
    static const mr_webhook_rules rules = {.allow = "in.example,127.0.0.1:9000", .ports = "443"};
    mr_webhook_url u;
    mr_err err = {.status = MR_OK};

    if (mr_webhook_url_check(&u, text, &rules, &err) != MR_OK) {
        MR_CHECK(err.text[0] && !strchr(err.text, '\n'));
        return;
    }
    MR_CHECK(u.host[0] && strlen(u.origin) > strlen(u.host) && u.port > 0);
    MR_CHECK(!strchr(u.host, '@') && !strchr(u.host, '%') && !strchr(u.host, '/'));
    if (u.allowed) {
        MR_CHECK(!strcmp(u.host, "in.example") || !strcmp(u.origin, "127.0.0.1:9000"));
        return;
    }
    MR_CHECK(u.https && u.port == 443);
    MR_CHECK(!u.n_address || !mr_webhook_address_refused(u.address, u.n_address));
}

static void as_header(const void *bytes, size_t n) {
    char text[MR_CALLBACK_TEXT];
    mr_callback c, back;
    mr_arena arena;

    mr_arena_init(&arena, 1 << 20);
    if (mr_callback_read(&c, bytes, n, &arena) && strlen(c.url) <= MR_JOB_MAX_URL &&
        (!c.secret_id || strlen(c.secret_id) <= MR_JOB_MAX_NAME) && n < MR_JOB_MAX_URL) {
        const size_t len = mr_callback_write(text, &c);
        MR_CHECK(mr_callback_read(&back, text, len, &arena) && !strcmp(back.url, c.url));
    }
    mr_arena_drop(&arena);
}

static void as_record(const void *bytes, size_t n) {
    mr_webhook w, back;
    const void *again;
    mr_arena arena;
    mr_err err;
    size_t len;

    mr_arena_init(&arena, 8 << 20);
    if (mr_codec_webhook_decode(&w, bytes, n, &arena, &err) == MR_OK &&
        mr_codec_webhook_encode(&w, &arena, &again, &len) == MR_OK)
        MR_CHECK(mr_codec_webhook_decode(&back, again, len, &arena, &err) == MR_OK &&
                 back.tries == w.tries && !strcmp(back.url, w.url));
    mr_arena_drop(&arena);
}

static void as_secrets(const char *text) {
    mr_webhook_secrets *s = NULL;
    mr_err err;
    size_t n;

    if (mr_webhook_secrets_open(&s, text, "", &err) != MR_OK) {
        MR_CHECK(!s);
        return;
    }
    const mr_webhook_secret *list = mr_webhook_secrets_find(s, "t", "", &n);
    for (size_t i = 0; i < n; i++) MR_CHECK(list[i].n >= 24 && list[i].n <= 64);
    mr_webhook_secrets_close(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    char text[MAX_BYTES + 1];

    if (n > MAX_BYTES) return 0;
    memcpy(text, data, n);
    text[n] = 0;
    as_url(text);
    as_header(text, n);
    as_record(text, n);
    as_secrets(text);
    return 0;
}
