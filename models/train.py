"""train.py - a small Llama, trained from scratch to write one-line synopses.

The model is the plain Llama block (RMSNorm, rotary positions, grouped-query
attention, SwiGLU), with one matrix for the embedding and the output head, since
in a model this small that matrix is the largest. Rotary positions turn
neighbouring components (2i, 2i+1), which is what GGUF's "llama" architecture
means, so the weights are exported as they are.

What makes this feasible on two CPU cores: matrix products in bf16, which
oneDNN runs on the CPU's matrix unit (AMX) where it has one; torch.matmul and not
F.linear, which is half as fast there; documents batched by length, so there is
little padding; and logits for only a part of the description's tokens. The
residual stream, the norms, the softmax and the optimizer stay in f32.

The loss covers the synopsis in full and a sample of the description at a lower
weight: reading the description teaches the language, the synopsis the job.

A good synopsis takes most of its words from the text, but a model learns to copy
late, after far more tokens than there are here. So it is shown how: a third term
asks the heads of one key head, in the last layer but one, to look at the places
where the token to come stands already. It fades out over the run, and it is no
part of the model: the exported file is a plain Llama.
"""
from __future__ import annotations

import argparse
import json
import math
import os
import random
import time
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import bpe
import data
from evaluate import mean_rouge_l


@dataclass
class Shape:
    vocab: int = 6144
    width: int = 256
    layers: int = 6
    heads: int = 8
    kv_heads: int = 4
    ffn: int = 768
    context: int = 512
    rope_base: float = 10000.0
    eps: float = 1e-5

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


def product(x: Tensor, w: Tensor) -> Tensor:
    """x @ w.T in bf16; x of any rank, w an f32 parameter of shape [out, in]."""
    flat = x.reshape(-1, x.shape[-1]).bfloat16()
    return torch.matmul(flat, w.bfloat16().t()).view(*x.shape[:-1], w.shape[0])


class RmsNorm(torch.autograd.Function):
    """x / rms(x), f32 -> bf16, without the gain.

    Written out because torch's own chain of small ops is slow here. The gain is
    multiplied into the matrix that follows, which is far smaller than x.
    """

    @staticmethod
    def forward(ctx, x: Tensor, eps: float) -> Tensor:
        r = torch.rsqrt(torch.linalg.vector_norm(x, dim=-1, keepdim=True) ** 2 / x.shape[-1] + eps)
        ctx.save_for_backward(x, r)
        return (x * r).bfloat16()

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        x, r = ctx.saved_tensors
        grad = grad.float()
        dot = (grad * x).sum(-1, keepdim=True) * r * r / x.shape[-1]
        return torch.addcmul(grad, x, dot, value=-1).mul_(r), None


class SwiGlu(torch.autograd.Function):
    """silu(gate) * up in bf16; torch's bf16 silu takes twice as long as a sigmoid."""

    @staticmethod
    def forward(ctx, gate: Tensor, up: Tensor) -> Tensor:
        s = torch.sigmoid(gate)
        a = gate * s
        ctx.save_for_backward(s, a, up)
        return a * up

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        s, a, up = ctx.saved_tensors
        slope = torch.addcmul(s, a, 1 - s)  # of silu
        return slope.mul_(up).mul_(grad), a * grad


def rope_table(s: Shape) -> Tensor:
    """Unit complex numbers [context, head_dim / 2]: the turn of each pair at each position."""
    freq = s.rope_base ** (-torch.arange(0, s.head_dim, 2).float() / s.head_dim)
    angle = torch.outer(torch.arange(s.context).float(), freq)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """x [B, T, heads, head_dim]; turn broadcasts to [B, T, 1, head_dim / 2]."""
    pairs = torch.view_as_complex(x.float().view(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2).bfloat16()


class Llama(nn.Module):
    def __init__(self, s: Shape):
        super().__init__()
        self.s = s
        kv = s.kv_heads * s.head_dim
        shapes = {"attn_q": (s.width, s.width), "attn_k": (kv, s.width), "attn_v": (kv, s.width),
                  "attn_output": (s.width, s.width), "ffn_gate": (s.ffn, s.width),
                  "ffn_up": (s.ffn, s.width), "ffn_down": (s.width, s.ffn)}
        self.w = nn.ParameterDict()  # GGUF's names, with "/" for "." (which torch refuses)
        self.w["token_embd"] = nn.Parameter(torch.randn(s.vocab, s.width) * 0.02)
        self.w["output_norm"] = nn.Parameter(torch.ones(s.width))
        for n in range(s.layers):
            for name, shape in shapes.items():
                std = shape[1] ** -0.5
                if name in ("attn_output", "ffn_down"):  # keeps the residual's size with depth
                    std /= math.sqrt(2 * s.layers)
                self.w[f"blk/{n}/{name}"] = nn.Parameter(torch.randn(shape) * std)
            for name in ("attn_norm", "ffn_norm"):
                self.w[f"blk/{n}/{name}"] = nn.Parameter(torch.ones(s.width))
        self.register_buffer("turn", rope_table(s), persistent=False)

    def block(self, n: int, x: Tensor, turn: Tensor, mask: Tensor,
              cache: "Cache | None" = None, tap: list[Tensor] | None = None) -> Tensor:
        """One layer. x [B, T, width] f32; mask [.., T, K] bf16, 0 or -inf.

        tap, if given, gets the attention of key head 0: [B, group, T, K].
        """
        s, w = self.s, self.w
        b, t, _ = x.shape
        h = RmsNorm.apply(x, s.eps)
        qkv = product(h, torch.cat([w[f"blk/{n}/attn_{p}"] for p in "qkv"])
                      * w[f"blk/{n}/attn_norm"])
        qkv = qkv.view(b, t, s.heads + 2 * s.kv_heads, s.head_dim)
        qk, v = qkv.split([s.heads + s.kv_heads, s.kv_heads], 2)
        q, k = rotate(qk, turn).split([s.heads, s.kv_heads], 2)
        if cache is not None:
            k, v = cache.put(n, k, v)
        group = s.heads // s.kv_heads  # query head i reads key head i // group
        q = q.reshape(b, t, s.kv_heads, group, s.head_dim).permute(0, 2, 3, 1, 4)
        q = q.reshape(b * s.kv_heads, group * t, s.head_dim)
        k = k.permute(0, 2, 3, 1).reshape(b * s.kv_heads, s.head_dim, -1)
        v = v.transpose(1, 2).reshape(b * s.kv_heads, -1, s.head_dim)
        score = torch.bmm(q * s.head_dim ** -0.5, k).view(b, s.kv_heads, group, t, -1)
        prob = torch.softmax(score.add_(mask), -1)
        if tap is not None:
            tap.append(prob[:, 0])
        o = torch.bmm(prob.view(b * s.kv_heads, group * t, -1), v)
        o = o.view(b, s.heads, t, s.head_dim)
        x = x + product(o.transpose(1, 2).reshape(b, t, s.width), w[f"blk/{n}/attn_output"])
        h = RmsNorm.apply(x, s.eps)
        gain = w[f"blk/{n}/ffn_norm"]
        gate = product(h, w[f"blk/{n}/ffn_gate"] * gain)
        up = product(h, w[f"blk/{n}/ffn_up"] * gain)
        return x + product(SwiGlu.apply(gate, up), w[f"blk/{n}/ffn_down"])

    def hidden(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """ids [B, T] from position 0 on -> hidden states [B, T, width] f32, and
        the attention of the pointing heads [B, T, T] f32."""
        t = ids.shape[1]
        mask = torch.full((t, t), -math.inf).triu(1).bfloat16()
        x = F.embedding(ids, self.w["token_embd"])
        tap: list[Tensor] = []
        for n in range(self.s.layers):
            x = self.block(n, x, self.turn[None, :t, None], mask,
                           tap=tap if n == self.s.layers - 2 else None)
        return x, tap[0].float().mean(1)

    def logits(self, x: Tensor) -> Tensor:
        h = RmsNorm.apply(x, self.s.eps)
        return product(h, self.w["token_embd"] * self.w["output_norm"])

    @torch.no_grad()
    def greedy(self, prompts: list[list[int]], n_max: int, stop: int) -> list[list[int]]:
        """The likeliest continuation of each prompt, all in one right-padded batch."""
        b, t = len(prompts), max(map(len, prompts))
        ids = torch.zeros(b, t, dtype=torch.long)
        for i, p in enumerate(prompts):
            ids[i, :len(p)] = torch.tensor(p)
        pos = torch.tensor([len(p) for p in prompts])  # where each row's next token goes
        cache = Cache(self.s, b, t + n_max)
        mask = torch.full((t, t), -math.inf).triu(1).bfloat16()
        mask = F.pad(mask, (0, n_max), value=-math.inf)
        x = F.embedding(ids, self.w["token_embd"])
        cache.at = torch.arange(t).expand(b, t)
        for n in range(self.s.layers):
            # The padding's keys are overwritten by the tokens made, or masked.
            x = self.block(n, x, self.turn[None, :t, None], mask, cache)
        x = x[torch.arange(b), pos - 1]
        out: list[list[int]] = [[] for _ in prompts]
        alive = torch.ones(b, dtype=torch.bool)
        for _ in range(n_max):
            nxt = self.logits(x).argmax(-1)
            alive &= nxt != stop
            if not alive.any():
                break
            for i in alive.nonzero().flatten().tolist():
                out[i].append(int(nxt[i]))
            cache.at = pos[:, None]
            seen = torch.arange(t + n_max)[None] <= pos[:, None]
            step_mask = torch.zeros(seen.shape).masked_fill(~seen, -math.inf).bfloat16()
            step_mask = step_mask[:, None, None, None]
            x = F.embedding(nxt, self.w["token_embd"])[:, None]
            for n in range(self.s.layers):
                x = self.block(n, x, self.turn[pos][:, None, None], step_mask, cache)
            x = x[:, 0]
            pos = pos + 1
        return out


class Cache:
    """Keys and values of each layer, [B, K, kv_heads, head_dim]; `at` says where to write."""

    def __init__(self, s: Shape, b: int, k: int):
        shape = (s.layers, b, k, s.kv_heads, s.head_dim)
        self.k = torch.zeros(shape, dtype=torch.bfloat16)
        self.v = torch.zeros(shape, dtype=torch.bfloat16)
        self.row = torch.arange(b)[:, None]
        self.at = self.row

    def put(self, n: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        self.k[n][self.row, self.at] = k
        self.v[n][self.row, self.at] = v
        return self.k[n], self.v[n]


@dataclass
class Example:
    ids: list[int]
    n_prompt: int


def encode(docs: list[data.Doc], tok: bpe.Tokenizer, n_description: int) -> list[Example]:
    """Chat-formatted examples; a longer description is cut, as the README tells users to."""
    out = []
    end = tok.id_of[bpe.IM_END]
    for d in docs:
        prompt = tok.prompt(cut(d["description"], tok, n_description))
        out.append(Example(prompt + tok.encode(d["synopsis"]) + [end], len(prompt)))
    return out


def cut(description: str, tok: bpe.Tokenizer, n_max: int) -> str:
    ids = tok.encode(description)
    return description if len(ids) <= n_max else tok.decode(ids[:n_max])


def batches(examples: list[Example], n_tokens: int, rng: random.Random) -> list[list[Example]]:
    """One epoch: examples of like length together, the batches in random order."""
    order = sorted(examples, key=lambda e: len(e.ids) + rng.uniform(0, 6))
    out: list[list[Example]] = []
    now: list[Example] = []
    for e in order:
        if now and (len(now) + 1) * max(len(e.ids), len(now[-1].ids)) > n_tokens:
            out.append(now)
            now = []
        now.append(e)
    out.append(now)
    rng.shuffle(out)
    return out


def loss_of(model: Llama, batch: list[Example], a: argparse.Namespace,
            pointer_weight: float) -> tuple[Tensor, float, float]:
    """The training loss; for the log the synopsis' own mean loss, and the pointing heads'."""
    t = max(len(e.ids) for e in batch)
    ids = torch.zeros(len(batch), t, dtype=torch.long)
    weight = torch.zeros(len(batch), t - 1)
    for i, e in enumerate(batch):
        ids[i, :len(e.ids)] = torch.tensor(e.ids)
        weight[i, 3:e.n_prompt - 6] = a.description_weight
        weight[i, e.n_prompt - 1:len(e.ids) - 1] = 1.0
    is_synopsis = weight == 1.0
    keep = is_synopsis | ((weight > 0) & (torch.rand(weight.shape) < a.description_part))
    x, attention = model.hidden(ids[:, :-1])
    target, w, synopsis = ids[:, 1:][keep], weight[keep], is_synopsis[keep]
    each = F.cross_entropy(model.logits(x[keep]).float(), target, reduction="none")
    loss = (each * w).sum() / w.sum()
    here = (ids[:, None, :-1] == ids[:, 1:, None]).tril()  # [B, T, T]: the target stands there
    found = keep & here.any(-1)
    pointer = -torch.log((attention * here).sum(-1)[found] + 1e-3)
    pointer = (pointer * weight[found]).sum() / weight[found].sum()
    return loss + pointer_weight * pointer, float(each.detach()[synopsis].mean()), float(pointer)


def evaluate(model: Llama, docs: list[data.Doc], tok: bpe.Tokenizer, n_description: int) -> float:
    """Mean ROUGE-L F1 of greedy decoding."""
    prompts = [tok.prompt(cut(d["description"], tok, n_description)) for d in docs]
    order = sorted(range(len(docs)), key=lambda i: len(prompts[i]))
    made = [""] * len(docs)
    for k in range(0, len(order), 64):
        rows = order[k:k + 64]
        outs = model.greedy([prompts[i] for i in rows], 40, tok.id_of[bpe.IM_END])
        for i, o in zip(rows, outs):
            made[i] = tok.decode(o)
    return mean_rouge_l(made, [d["synopsis"] for d in docs])


def schedule(progress: float, warm: float) -> float:
    """Learning rate as a part of the peak: short warm-up, then a cosine down to zero."""
    if progress < warm:
        return progress / warm
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warm) / (1 - warm))))


def main() -> None:
    p = argparse.ArgumentParser(description="Train the demo model.")
    p.add_argument("--data", required=True, help="folder with train.jsonl, dev.jsonl and bpe.json")
    p.add_argument("--checkpoint", required=True, help="file to write, and to resume from")
    p.add_argument("--start",
                   help="a warm restart: where there is no --checkpoint yet, begin a new cycle "
                   "(warm-up, cosine to zero, clock at zero) with this checkpoint's weights")
    p.add_argument("--minutes", type=float, default=0,
                   help="end after this much training time: the learning rate follows the clock")
    p.add_argument("--epochs", type=float, default=8, help="end after this many (if no --minutes)")
    p.add_argument("--batch-tokens", type=int, default=6144)
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--warm", type=float, default=0.02, help="part of the run spent warming up")
    p.add_argument("--weight-decay", type=float, default=0.1)
    p.add_argument("--description-weight", type=float, default=0.3)
    p.add_argument("--description-part", type=float, default=0.2,
                   help="part of the description's tokens that the loss sees")
    p.add_argument("--pointer-weight", type=float, default=0.3,
                   help="of the pointing heads' loss, at the start; falls to zero")
    p.add_argument("--description-tokens", type=int, default=400, help="longer ones are cut")
    p.add_argument("--layers", type=int, default=6)
    p.add_argument("--width", type=int, default=256)
    p.add_argument("--ffn", type=int, default=768)
    p.add_argument("--save-every", type=float, default=300, help="seconds between checkpoints")
    p.add_argument("--eval-every", type=float, default=600, help="seconds between dev scores")
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    rng = random.Random(a.seed)

    tok = bpe.Tokenizer.load(os.path.join(a.data, "bpe.json"))
    train = encode(data.read_jsonl(os.path.join(a.data, "train.jsonl")), tok, a.description_tokens)
    dev = data.read_jsonl(os.path.join(a.data, "dev.jsonl"))[::2]
    model = Llama(Shape(vocab=len(tok.tokens), layers=a.layers, width=a.width, ffn=a.ffn))
    matrices = [w for w in model.parameters() if w.ndim == 2]
    vectors = [w for w in model.parameters() if w.ndim == 1]
    opt = torch.optim.AdamW([{"params": matrices, "weight_decay": a.weight_decay},
                             {"params": vectors, "weight_decay": 0.0}],
                            lr=a.lr, betas=(0.9, 0.95), foreach=True)
    per_epoch = sum(len(e.ids) for e in train)
    print(f"{sum(w.numel() for w in model.parameters()) / 1e6:.2f} M parameters, "
          f"{len(train)} examples, {per_epoch / 1e6:.2f} M tokens an epoch", flush=True)

    seconds, tokens, step = 0.0, 0, 0  # of this cycle's training, over all resumptions
    if os.path.exists(a.checkpoint):
        state = torch.load(a.checkpoint)
        model.load_state_dict(state["model"])
        opt.load_state_dict(state["opt"])
        seconds, tokens, step = state["seconds"], state["tokens"], state["step"]
        rng.seed(a.seed + step)
        torch.manual_seed(a.seed + step)
    elif a.start:  # the optimizer starts afresh: its averages would date from a rate of nothing
        state = torch.load(a.start)
        model.load_state_dict(state["model"])
        rng.seed(a.seed + state["step"])  # not the order of the cycle before
        torch.manual_seed(a.seed + state["step"])

    def save() -> None:
        torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "shape": asdict(model.s),
                    "seconds": seconds, "tokens": tokens, "step": step}, a.checkpoint + ".part")
        os.replace(a.checkpoint + ".part", a.checkpoint)

    saved = scored = time.time()
    smooth = math.nan
    pool: list[list[Example]] = []
    while True:
        progress = seconds / (60 * a.minutes) if a.minutes else tokens / (a.epochs * per_epoch)
        if progress >= 1:
            break
        began = time.time()
        pool = pool or batches(train, a.batch_tokens, rng)
        batch = pool.pop()
        rate = a.lr * schedule(progress, a.warm)
        for g in opt.param_groups:
            g["lr"] = rate
        loss, synopsis, pointer = loss_of(model, batch, a, a.pointer_weight * (1 - progress))
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        smooth = synopsis if math.isnan(smooth) else 0.98 * smooth + 0.02 * synopsis
        tokens += sum(len(e.ids) for e in batch)
        step += 1
        seconds += time.time() - began
        if step % 20 == 0:
            print(json.dumps({"step": step, "seconds": round(seconds), "tokens": tokens,
                              "epoch": round(tokens / per_epoch, 2), "lr": round(rate, 6),
                              "loss": round(float(loss), 3), "synopsis_loss": round(smooth, 3),
                              "pointer_loss": round(pointer, 3),
                              "tokens_per_s": round(tokens / seconds)}), flush=True)
        if time.time() - saved > a.save_every:
            save()
            saved = time.time()
        if time.time() - scored > a.eval_every:
            print(json.dumps({"step": step, "dev_rouge_l": round(
                evaluate(model, dev, tok, a.description_tokens), 4)}), flush=True)
            scored = time.time()
    save()
    print(json.dumps({"step": step, "tokens": tokens, "seconds": round(seconds), "dev_rouge_l":
                      round(evaluate(model, dev, tok, a.description_tokens), 4)}), flush=True)


if __name__ == "__main__":
    main()
