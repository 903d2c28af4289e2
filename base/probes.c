/* probes.c - 200 and "ok", or 503 and the reason. */
#include "base/probes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REASON_BYTES 256

struct mr_probes {
    mr_probes_conf conf;
    mr_http *http;
};

static void answer_reason(mr_http_answer *a, const char *reason) {
    char text[REASON_BYTES];

    snprintf(text, sizeof text, "%s\n", reason ? reason : "ok");
    a->status = reason ? 503 : 200;
    a->content_type = "text/plain; charset=utf-8";
    a->body = strdup(text);
    a->len = a->body ? strlen(text) : 0;
}

static void on_livez(void *owner, mr_http_answer *a) {
    const mr_probes *p = owner;
    answer_reason(a, p->conf.not_live(p->conf.owner));
}

static void on_readyz(void *owner, mr_http_answer *a) {
    const mr_probes *p = owner;
    answer_reason(a, p->conf.not_ready(p->conf.owner));
}

static void on_startupz(void *owner, mr_http_answer *a) {
    const mr_probes *p = owner;
    answer_reason(a, p->conf.not_started(p->conf.owner));
}

static void on_metrics(void *owner, mr_http_answer *a) {
    const mr_probes *p = owner;

    a->body = p->conf.metrics(p->conf.owner, &a->len);
    a->status = 200;
    a->content_type = "text/plain; version=0.0.4; charset=utf-8";
    if (!a->body) answer_reason(a, "out of memory");
}

static const mr_http_route routes[] = {{"/livez", on_livez},
                                       {"/readyz", on_readyz},
                                       {"/startupz", on_startupz},
                                       {"/metrics", on_metrics},
                                       {NULL, NULL}};

mr_status mr_probes_open(mr_probes **out, uv_loop_t *loop, const mr_probes_conf *conf,
                         mr_err *err) {
    mr_probes *p = calloc(1, sizeof *p);
    mr_status st;

    *out = NULL;
    if (!p) return mr_fail(err, MR_ENOMEM, "probes: out of memory");
    p->conf = *conf;
    st = mr_http_open(&p->http, loop, conf->listen, routes, p, err);
    if (st != MR_OK) {
        free(p);
        return st;
    }
    *out = p;
    return MR_OK;
}

mr_http *mr_probes_http(const mr_probes *p) {
    return p->http;
}

int mr_probes_port(const mr_probes *p) {
    return mr_http_port(p->http);
}

void mr_probes_close(mr_probes *p) {
    if (!p) return;
    mr_http_close(p->http); /* no handler runs after it */
    free(p);
}
