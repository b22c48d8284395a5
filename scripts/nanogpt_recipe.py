#!/usr/bin/env python3
"""nanoGPT's recipe for a laptop in PyTorch: the peer of configs/shakespeare-char*.toml in quality for time.

    pip install torch
    scripts/nanogpt_recipe.py --text input.txt

The model, data split, optimizer and schedule of nanoGPT's `train_shakespeare_char.py` with the options that its README
gives for a laptop (4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps, no dropout). Prints one JSON object
an evaluation: step, training and validation loss, seconds since the start, evaluations included.
"""

import argparse
import json
import math
import time
from pathlib import Path

import torch
import torch.nn as nn
import torch.nn.functional as F

LAYERS, HEADS, WIDTH, CONTEXT, BATCH, STEPS = 4, 4, 128, 64, 12, 2000
WARMUP, LR, MIN_LR = 100, 1e-3, 1e-4


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.fc, self.out = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x):
        b, t, d = x.shape
        q, k, v = (y.view(b, t, HEADS, -1).transpose(1, 2) for y in self.qkv(self.ln1(x)).split(d, 2))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).reshape(b, t, d)
        x = x + self.proj(y)
        return x + self.out(F.gelu(self.fc(self.ln2(x))))


class Gpt(nn.Module):
    def __init__(self, vocab):
        super().__init__()
        self.tok, self.pos = nn.Embedding(vocab, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.ln = nn.LayerNorm(WIDTH, bias=False)
        for name, p in self.named_parameters():
            if p.dim() > 1:
                residual = name.endswith(("proj.weight", "out.weight"))
                nn.init.normal_(p, std=0.02 / math.sqrt(2 * LAYERS) if residual else 0.02)

    def forward(self, x, y):
        h = self.tok(x) + self.pos(torch.arange(x.shape[1]))
        for block in self.blocks:
            h = block(h)
        logits = self.ln(h) @ self.tok.weight.T
        return F.cross_entropy(logits.view(-1, logits.shape[-1]), y.reshape(-1))


def learning_rate(step):
    if step < WARMUP:
        return LR * (step + 1) / (WARMUP + 1)
    return MIN_LR + 0.5 * (1 + math.cos(math.pi * (step - WARMUP) / (STEPS - WARMUP))) * (LR - MIN_LR)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, required=True)
    args = parser.parse_args()
    text = args.text.read_text(encoding="utf-8")
    ids = {char: i for i, char in enumerate(sorted(set(text)))}
    data = torch.tensor([ids[char] for char in text])
    splits = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]
    torch.manual_seed(1337)
    model = Gpt(len(ids))
    groups = [
        {"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.99), fused=True)

    def batch(split):
        starts = torch.randint(len(split) - CONTEXT, (BATCH,))
        windows = torch.stack([split[i : i + CONTEXT + 1] for i in starts])
        return windows[:, :-1], windows[:, 1:]

    @torch.no_grad()
    def loss(split):
        return sum(model(*batch(split)).item() for _ in range(20)) / 20

    begin = time.perf_counter()
    for step in range(STEPS + 1):
        if step % 250 == 0:
            train, valid = map(loss, splits)
            seconds = round(time.perf_counter() - begin, 1)
            print(json.dumps({"step": step, "loss": train, "val_loss": valid, "seconds": seconds}), flush=True)
        if step == STEPS:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step)
        model(*batch(splits[0])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


if __name__ == "__main__":
    main()
