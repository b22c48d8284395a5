#!/usr/bin/env python3
"""Writes golden models as PyTorch checkpoints, in the ways in which `torch.save` has written them, and one that would
run a command if a program executed it.

    python3 scripts/pickled.py          # rewrites crates/checkpoint/tests/pickled

The weights are those of crates/model/tests/golden (see scripts/golden.py); a shared head is there twice, as
`state_dict()` has it. Needs scripts/requirements.txt.
"""

import json
import os
import pickle
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

ROOT = Path(__file__).resolve().parent.parent / "crates"
GOLDEN = ROOT / "model" / "tests" / "golden"
OUT = ROOT / "checkpoint" / "tests" / "pickled"


def weights(name, dtype):
    model = AutoModelForCausalLM.from_pretrained(GOLDEN / name, dtype=torch.float32)
    return {key: value.to(dtype).clone() for key, value in model.state_dict(keep_vars=False).items()}


class Command:
    """What an attacker puts into a pickle."""

    def __reduce__(self):
        return os.system, ("touch executed",)


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    torch.save(weights("phi3_longrope", torch.float32), OUT / "phi3_longrope.bin")
    torch.save(weights("smollm3", torch.float16), OUT / "smollm3.bin", _use_new_zipfile_serialization=False)

    # Only a part of it, as float64 is long.
    double = weights("qwen2", torch.float32)
    torch.save({k: v.double() if "layers.0" in k else v for k, v in double.items()}, OUT / "qwen2.bin")

    all_weights = weights("mistral", torch.bfloat16)
    names = list(all_weights)
    shards = {"mistral-00001-of-00002.bin": names[: len(names) // 2], "mistral-00002-of-00002.bin": names[len(names) // 2 :]}
    for file, held in shards.items():
        torch.save({name: all_weights[name] for name in held}, OUT / file)
    index = {"metadata": {}, "weight_map": {name: file for file, held in shards.items() for name in held}}
    (OUT / "mistral.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")

    (OUT / "command.bin").write_bytes(pickle.dumps({"model.norm.weight": Command()}, protocol=2))
    torch.save({"model.norm.weight": Command()}, OUT / "command_zip.bin")


if __name__ == "__main__":
    main()
