#!/usr/bin/env python3
"""What `transformers` gives for crates/cli/tests/cmd/eval.trycmd: loss, perplexity and bits per byte of a text over windows
(https://huggingface.co/docs/transformers/perplexity). Needs torch, transformers and tokenizers.

    python3 scripts/golden_perplexity.py
"""
import math
import pathlib

import tokenizers
import torch
import transformers

FOLDER = pathlib.Path(__file__).parent.parent / "crates/cli/tests/cmd/eval.in"


def windows(ids, context, stride):
    """Inputs, targets and how many targets at the end of the window are new."""
    scored = 0
    for start in range(0, len(ids), stride):
        end = min(start + context, len(ids) - 1)
        yield ids[start:end], ids[start + 1 : end + 1], end - scored
        scored = end
        if end == len(ids) - 1:
            return


def main():
    model = transformers.AutoModelForCausalLM.from_pretrained(FOLDER / "tiny", dtype=torch.float32).eval()
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tiny/tokenizer.json"))
    text = (FOLDER / "tale.txt").read_text()
    ids = tokenizer.encode(text).ids
    first = len(tokenizer.decode(ids[:1]).encode())
    for context, stride in [(64, 32), (64, 64), (16, 5)]:
        nats, tokens = 0.0, 0
        for inputs, targets, new in windows(ids, context, stride):
            with torch.no_grad():
                logits = model(torch.tensor([inputs])).logits[0]
            losses = torch.nn.functional.cross_entropy(logits, torch.tensor(targets), reduction="none")
            nats, tokens = nats + losses[-new:].sum().item(), tokens + new
        bits = nats / math.log(2) / (len(text.encode()) - first)
        print(f"{context} {stride}: loss {nats / tokens:.4f}, perplexity {math.exp(nats / tokens):.4f}, "
              f"bits per byte {bits:.4f}, {tokens} tokens")


if __name__ == "__main__":
    main()
