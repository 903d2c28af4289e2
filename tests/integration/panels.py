"""What dashboards ask, as Grafana would ask it: panels and variables of ours, and those of vLLM's own dashboards.

vLLM's are described, not copied: the questions that the dashboards in its repository ask
(examples/observability/prometheus_grafana and examples/observability/dashboards/grafana: performance statistics,
query statistics, overview, as of 2026), by their shapes. Some shapes stand in several of them.
"""

from __future__ import annotations

import json
import pathlib
import re

E2E, FIRST, GAP = "e2e_request_latency_seconds", "time_to_first_token_seconds", "inter_token_latency_seconds"
PER_TOKEN, QUEUE = "request_time_per_output_token_seconds", "request_queue_time_seconds"
PROMPT, ANSWER, STEP = "request_prompt_tokens", "request_generation_tokens", "iteration_tokens_total"


class Board:
    """A dashboard: variables, each with the question for its values, and expressions by what they are for."""

    def __init__(self, name: str, variables: dict[str, str], selector: str = "") -> None:
        self.name, self.variables, self.selector = name, variables, selector
        self.expressions: list[str] = []

    def rate(self, metric: str, window: str = "$__rate_interval", more: str = "", fn: str = "rate") -> str:
        selector = self.selector
        if more:
            selector = selector[:-1] + f", {more}}}"
        return f"{fn}(vllm:{metric}{selector}[{window}])"

    def quantiles(self, metric: str, *quantiles: float, by: str = "le", window: str = "$__rate_interval") -> None:
        self.expressions += [f"histogram_quantile({q}, sum by({by}) ({self.rate(metric + '_bucket', window)}))"
                             for q in quantiles]

    def add(self, *expressions: str) -> None:
        self.expressions += expressions


def monitoring() -> Board:
    b = Board("monitoring", {"model_name": "label_values(model_name)"}, '{model_name="$model_name"}')
    for metric in (E2E, GAP, FIRST, "time_per_output_token_seconds"):
        b.quantiles(metric, 0.99, 0.95, 0.9, 0.5)
        b.add(b.rate(metric + "_sum") + "\n/\n" + b.rate(metric + "_count"))
    b.add(*[b.rate(m) for m in ("prompt_tokens_total", "generation_tokens_total", QUEUE + "_sum",
                                "request_prefill_time_seconds_sum", "request_decode_time_seconds_sum",
                                "request_max_num_generation_tokens_sum")])
    b.add(*[f"vllm:{m}{b.selector}" for m in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc",
                                              "gpu_cache_usage_perc")])
    b.add(*[f"sum by(le) ({b.rate(m + '_bucket', fn='increase')})" for m in (PROMPT, ANSWER)])
    b.add(f"sum by(finished_reason) ({b.rate('request_success_total', fn='increase')})")
    return b


def performance() -> Board:
    b = Board("performance statistics", {"Deployment_id": "label_values(vllm:generation_tokens_total,model_name)"})
    for metric in (E2E, FIRST, GAP):
        b.quantiles(metric, 0.99, 0.90, 0.50, window="$__range")
        b.add(b.rate(metric + "_sum") + " / " + b.rate(metric + "_count"))
        b.add("(" + " / ".join(f"sum({b.rate(metric + part, '$__range', fn='increase')})"
                               for part in ("_sum", "_count")) + ")")
    b.quantiles(GAP, 0.50, 0.90, 0.99)
    b.add(b.rate("generation_tokens_total"), b.rate("prompt_tokens_total"), b.rate(STEP + "_count"))
    return b


def queries() -> Board:
    b = Board("query statistics", {"Deployment_id": "label_values(vllm:request_success_total,model_name)"},
              '{model_name=~"$Deployment_id"}')
    for metric in ("request_success_total", "prompt_tokens_total", "generation_tokens_total"):
        b.add(f"sum by (model_name) (\n  {b.rate(metric)}\n)", f"sum({b.rate(metric)})")
    b.quantiles(E2E, 0.50, 0.90, 0.99, by="le, model_name")
    b.quantiles(PROMPT, 0.50, 0.90, 0.99, by="le, model_name")
    b.add(f"sum by (le, model_name) ({b.rate(PROMPT + '_bucket')})",
          f"sum({b.rate('prompt_tokens_total')})\n/\nsum({b.rate('request_success_total')})")
    return b


def overview() -> Board:
    b = Board("overview", {"job": "label_values(vllm:num_requests_running, job)",
                           "model_name": 'label_values(vllm:num_requests_running{job=~"$job"}, model_name)',
                           "instance": 'label_values(vllm:num_requests_running{job=~"$job", '
                                       'model_name=~"$model_name"}, instance)'},
              '{job=~"$job", model_name=~"$model_name", instance=~"$instance"}')

    def share(part: str, whole: str) -> str:
        return f"sum({part}) / (sum({whole}) > 0)"

    def mean(metric: str) -> str:
        return share(b.rate(metric + "_sum"), b.rate(metric + "_count"))
    for metric in ("request_success_total", "prompt_tokens_total", "generation_tokens_total", "num_preemptions_total"):
        b.add(f"sum({b.rate(metric)})")
    for metric in (FIRST, GAP, PER_TOKEN, E2E, QUEUE, PROMPT, ANSWER):
        b.quantiles(metric, 0.5, 0.95, 0.99)
        b.add(mean(metric), f"sum by (le) ({b.rate(metric + '_bucket')})")
    b.quantiles(STEP, 0.5, 0.99)
    b.add(mean(STEP), mean("request_prefill_time_seconds"), mean("request_decode_time_seconds"))
    running, waiting = f"vllm:num_requests_running{b.selector}", f"vllm:num_requests_waiting{b.selector}"
    cache = f"vllm:kv_cache_usage_perc{b.selector}"
    b.add(f"count({running})", f"sum({running})", f"sum({waiting})", f"max({cache})", f"avg({cache})", f"min({cache})",
          'count(up{job=~"$job"} == 0) or vector(0)')
    for reason in ("capacity", "deferred"):
        b.add(f"sum(vllm:num_requests_waiting_by_reason{b.selector[:-1]}, reason=\"{reason}\"}})")
    b.add(share(b.rate("prefix_cache_hits_total"), b.rate("prefix_cache_queries_total")),
          share(b.rate(FIRST + "_bucket", more='le="1.0"'), b.rate(FIRST + "_count")),
          share(b.rate(FIRST + "_bucket", more='le="0.25"'), b.rate(FIRST + "_count")),
          share(b.rate(PER_TOKEN + "_bucket", more='le="0.1"'), b.rate(PER_TOKEN + "_count")))
    for source in ("local_compute", "local_cache_hit", "external_kv_transfer"):
        b.add(f"sum({b.rate('prompt_tokens_by_source_total', more=f'source={json.dumps(source)}')})")
    ends, all_ends = b.rate("request_success_total"), "$__range"
    b.add(f"sum by (finished_reason) ({ends})",
          f"sum by (finished_reason) ({ends}) / ignoring (finished_reason) group_left () (sum({ends}) > 0)",
          f"count by (model_name) (group by (model_name, instance) (last_over_time({running}[{all_ends}])))",
          *[f"sum by (model_name) ({b.rate(m, all_ends)})" for m in ("request_success_total", "generation_tokens_total")],
          "sum by (model_name) (" + b.rate("request_success_total", all_ends, 'finished_reason="error"') + ") / (sum by "
          "(model_name) (" + b.rate("request_success_total", all_ends) + ") > 0)",
          f"max by (model_name) (max_over_time({cache}[{all_ends}]))",
          f"round(sum by (model_name) ({b.rate('num_preemptions_total', all_ends, fn='increase')}))")
    for metric in (FIRST, GAP, E2E):
        b.quantiles(metric, 0.95, by="le, model_name", window=all_ends)
    for metric in (PROMPT, ANSWER):
        b.add(f"sum by (le) ({b.rate(metric + '_bucket', all_ends, fn='increase')}) / on () group_left () "
              f"(sum({b.rate(metric + '_count', all_ends, fn='increase')}) > 0)")
    return b


def of_vllm() -> list[Board]:
    return [monitoring(), performance(), queries(), overview()]


def of_file(path: pathlib.Path) -> Board:
    """One of ours."""
    board = json.loads(path.read_text())
    made = Board(path.stem, {v["name"]: v["definition"] for v in board["templating"]["list"] if v["type"] == "query"})
    made.add(*[t["expr"] for p in board["panels"] for t in p.get("targets", [])])
    return made


def in_regex(values: list[str]) -> str:
    """Values of a variable where =~ stands before it: as one alternative each, specials escaped for PromQL."""
    return "(" + "|".join(re.sub(r"[\\$^*{}\[\]'+?.()|]", lambda m: "\\\\" + m[0], v) for v in values) + ")"


def fill_variables(text: str, values: dict[str, list[str]]) -> str:
    for name, of_it in values.items():
        text = text.replace(f'=~"${name}"', f'=~"{in_regex(of_it)}"').replace(f'"${name}"', f'"{of_it[0]}"')
    return text


def fill_windows(text: str, rate_s: int, range_s: int) -> str:
    return text.replace("$__rate_interval", f"{rate_s}s").replace("$__range", f"{range_s}s")
