#!/usr/bin/env python3
"""Holds adapters that this project writes against PEFT: it must load them and give the same logits.

    pip install torch transformers peft
    cargo run --release -p llm-checkpoint --example tiny_adapters -- /tmp/adapters
    scripts/check_peft.py /tmp/adapters

The example leaves, for each family, an adapter over one of the golden models and `logits.safetensors`, what this
project computes with it.
"""

import argparse
import sys
import warnings
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging

BASES = Path(__file__).resolve().parent.parent / "crates" / "model" / "tests" / "golden"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("adapters", type=Path)
    args = parser.parse_args()
    logging.set_verbosity_error()
    folders = sorted(folder for folder in args.adapters.iterdir() if (folder / "adapter_config.json").exists())
    failed = not folders
    for folder in folders:
        base = folder.name.split(".")[0]
        model = AutoModelForCausalLM.from_pretrained(BASES / base, attn_implementation="eager", dtype=torch.float32)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model = PeftModel.from_pretrained(model, folder).eval()
        # A key that PEFT misses or does not know is a warning only.
        keys = [str(warning.message) for warning in caught if "adapter keys" in str(warning.message)]
        ids = load_file(BASES / base / "golden.safetensors")["ids"].long()
        with torch.no_grad():
            logits = model(ids).logits
        difference = (logits - load_file(folder / "logits.safetensors")["logits"]).abs().max().item()
        good = difference < 1e-4 and not keys
        failed |= not good
        print(f"{folder.name}: largest logit difference {difference:.2e}{'' if good else '  FAILED ' + '; '.join(keys)}")
    sys.exit(failed)


if __name__ == "__main__":
    main()
