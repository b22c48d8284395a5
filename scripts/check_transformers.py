#!/usr/bin/env python3
"""Checks that `transformers` loads model directories of `llm` and computes the same.

    cargo build --release
    python3 scripts/check_transformers.py runs/mine [DIR...]

For each directory, the logits of AutoModelForCausalLM (float32, eager attention) must equal those of
`llm inspect logits --model DIR --ids 1,2,3 --json`, and the ids of its tokenizer those of
`llm tokenize --tokenizer DIR --json TEXT`. Prints one line a check; exits with 1 if any failed. Logits of trained models reach
tens: `--tolerance 1e-3` is right for them.
Needs scripts/requirements.txt. Tiny random models of every family to check:

    cargo run --release -p llm-checkpoint --example tiny_models -- /tmp/tiny
    python3 scripts/check_transformers.py /tmp/tiny/*
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent
TEXT = "Once upon a time, a queen had 12 dogs.\nThe dogs chased the cat."


class Failure(Exception):
    """A check that did not pass, in words for the user."""


def llm(binary, *args):
    """The JSON that `llm ARGS` prints."""
    done = subprocess.run([binary, *args], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failure(f"`llm {' '.join(args)}` exited with {done.returncode}: {done.stderr.strip()}")
    try:
        return json.loads(done.stdout)
    except json.JSONDecodeError as e:
        raise Failure(f"`llm {' '.join(args)}` printed no JSON ({e}): {done.stdout[:200]!r}") from e


def check_tokenizer(binary, folder, text):
    """Returns the ids of `text`, without special tokens around it, that both sides agree on."""
    # transformers 5 takes Qwen's own splitting rule for every model of type qwen2, whatever tokenizer.json says.
    foreign = AutoConfig.from_pretrained(folder).model_type == "qwen2"
    loader = PreTrainedTokenizerFast if foreign else AutoTokenizer
    theirs = loader.from_pretrained(folder)(text, add_special_tokens=False)["input_ids"]
    ours = llm(binary, "tokenize", "--tokenizer", str(folder), "--json", text)["ids"]
    if ours != theirs:
        at = next((i for i, (a, b) in enumerate(zip(ours, theirs)) if a != b), min(len(ours), len(theirs)))
        raise Failure(f"token {at} differs: llm {ours[at : at + 5]}…, transformers {theirs[at : at + 5]}…")
    return ours


def check_logits(binary, folder, ids, tolerance):
    """Returns the largest absolute difference; `ids` are brought into vocabulary and context, 64 at most."""
    model, loading = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if loading[kind]:
            raise Failure(f"model.safetensors has {kind.replace('_', ' ')}: {sorted(loading[kind])}")
    context = min(64, model.config.max_position_embeddings)
    ids = [i % model.config.vocab_size for i in ids][:context]
    with torch.no_grad():
        theirs = model.eval()(torch.tensor([ids])).logits[0]
    answer = llm(binary, "inspect", "logits", "--model", str(folder), "--ids", ",".join(map(str, ids)), "--json")
    ours = torch.tensor(answer["logits"], dtype=torch.float32)
    if answer["ids"] != ids or ours.shape != theirs.shape:
        raise Failure(f"asked for logits {tuple(theirs.shape)} of {ids}, got {tuple(ours.shape)} of {answer['ids']}")
    worst = (ours - theirs).abs().max().item()
    if not worst <= tolerance:  # a NaN fails too
        raise Failure(f"logits differ by {worst:.2e}, more than {tolerance:.0e}")
    return worst


def check(binary, folder, args):
    """Checks one directory and prints a line for tokenizer and logits each; returns whether both passed."""
    ids = list(range(1, 49))
    passed = True
    try:
        if (folder / "tokenizer.json").exists():
            ids = check_tokenizer(binary, folder, args.text)
            print(f"ok    {folder}: tokenizer, {len(ids)} ids")
        else:
            print(f"skip  {folder}: no tokenizer.json")
    except Exception as e:  # whatever transformers raises is a finding about the directory, not about this script
        passed = False
        print(f"FAIL  {folder}: tokenizer: {e}")
    try:
        worst = check_logits(binary, folder, args.ids or ids, args.tolerance)
        print(f"ok    {folder}: logits, largest difference {worst:.1e}")
    except Exception as e:
        passed = False
        print(f"FAIL  {folder}: logits: {e}")
    return passed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dirs", nargs="+", type=Path, metavar="DIR", help="model directory")
    parser.add_argument("--llm", type=Path, default=ROOT / "target" / "release" / "llm", help="our binary")
    parser.add_argument("--text", default=TEXT, help="text to tokenize, and to compute logits of")
    parser.add_argument("--ids", type=lambda s: [int(i) for i in s.split(",")], help="compute logits of these instead")
    parser.add_argument("--tolerance", type=float, default=1e-4, help="on logits, absolute (default: %(default)s)")
    args = parser.parse_args()
    if not args.llm.is_file():
        parser.error(f"no binary at {args.llm}; hint: cargo build --release, or name it with --llm PATH")
    for folder in args.dirs:
        if not (folder / "config.json").is_file():
            parser.error(f"{folder} holds no config.json; hint: name a directory that `llm train --out` wrote")
    logging.disable_progress_bar()
    results = [check(str(args.llm), folder, args) for folder in args.dirs]
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    main()
