#!/usr/bin/env python3
"""Writes the golden values that the Rust tests hold our preference losses against: TRL's formulas, computed by PyTorch.

The model is the tiny Llama of `golden.py` with an adapter of `golden_lora.py`; the reference is the same model without
it. `crates/train/tests/golden_dpo.safetensors` holds, for two pairs of unequal lengths,

    chosen.ids, chosen.targets, rejected.ids, rejected.targets   [b,t]; -100 is no target
    VARIANT.loss [1]                                             mean over the pairs
    VARIANT.grad.NAME                                            its gradient by the adapter's tensor NAME

Run from the top of the repository, where `scripts/golden_lora.py` runs:

    scripts/golden_dpo.py            # rewrites the file
    scripts/golden_dpo.py --check    # compares with what is committed instead
"""

import argparse
import sys
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch.nn.functional import logsigmoid, relu
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent / "crates"
BASE, ADAPTER = ROOT / "model/tests/golden/llama", ROOT / "checkpoint/tests/adapters/llama_rslora"
GOLDEN = ROOT / "train/tests/golden_dpo.safetensors"
BETA, GAMMA = 0.3, 0.5

# name: (a token, with reference, loss of the difference of log-ratios), as in trl.DPOTrainer and trl.CPOTrainer
VARIANTS = {
    "sigmoid": (False, True, lambda d: -logsigmoid(BETA * d)),
    "smoothed": (False, True, lambda d: -logsigmoid(BETA * d) * 0.9 - logsigmoid(-BETA * d) * 0.1),
    "normalized": (True, True, lambda d: -logsigmoid(BETA * d)),
    "hinge": (False, True, lambda d: relu(1 - BETA * d)),
    "ipo": (True, True, lambda d: (d - 1 / (2 * BETA)) ** 2),
    "simpo": (True, False, lambda d: -logsigmoid(BETA * (d - GAMMA / BETA))),
}


def side(generator, prompt, lengths, t):
    """Ids and targets of one side: `prompt` tokens are given, then as many are learned as `lengths` says."""
    ids = torch.randint(0, 50, (len(lengths), t), generator=generator)
    targets = torch.full_like(ids, -100)
    for row, length in enumerate(lengths):
        targets[row, prompt - 1 : prompt - 1 + length] = ids[row, prompt : prompt + length]
    return ids, targets


def log_likelihoods(model, ids, targets, by_token):
    logits = model(ids).logits.log_softmax(-1)
    mask = targets != -100
    chosen = logits.gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1) * mask
    return chosen.sum(-1) / mask.sum(-1) if by_token else chosen.sum(-1)


def compute():
    generator = torch.Generator().manual_seed(3)
    sides = {"chosen": side(generator, 4, [5, 7], 12), "rejected": side(generator, 4, [6, 3], 12)}
    sides["rejected"][0][:, :4] = sides["chosen"][0][:, :4]  # the same prompts
    golden = {f"{name}.{part}": x.int() for name, both in sides.items() for part, x in zip(("ids", "targets"), both)}
    base = AutoModelForCausalLM.from_pretrained(BASE, attn_implementation="eager", dtype=torch.float32)
    model = PeftModel.from_pretrained(base, ADAPTER, is_trainable=True).eval()
    for name, (by_token, with_reference, loss_of) in VARIANTS.items():
        margin = lambda: log_likelihoods(model, *sides["chosen"], by_token) - log_likelihoods(
            model, *sides["rejected"], by_token
        )
        difference = margin()
        if with_reference:
            with torch.no_grad(), model.disable_adapter():
                reference = margin()
            difference = difference - reference
        loss = loss_of(difference).mean()
        model.zero_grad()
        loss.backward()
        golden[f"{name}.loss"] = loss.detach().reshape(1)
        for parameter, values in model.named_parameters():
            if values.requires_grad:
                golden[f"{name}.grad.{parameter.replace('.default', '')}"] = values.grad.clone()
    return golden


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is committed")
    golden = compute()
    if not parser.parse_args().check:
        save_file(golden, GOLDEN)
        return
    committed = load_file(GOLDEN)
    if committed.keys() != golden.keys():
        sys.exit("other tensors than committed")
    worst = max((committed[name].float() - x.float()).abs().max().item() for name, x in golden.items())
    print(f"largest difference from what is committed: {worst:.1e}")
    if not worst < 1e-5:
        sys.exit(1)


if __name__ == "__main__":
    main()
