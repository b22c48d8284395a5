#!/usr/bin/env python3
"""Writes what PyTorch makes of numbers of 8 bits, and a golden model with its matrices in them.

    scripts/golden_floats.py          # rewrites crates/checkpoint/tests/float8

`values.safetensors` has, for every code from 0 to 255, its value in float32: `e4m3` and `e5m2` [256]. The folder `block` has
the golden model `llama_linear` with matrices in F8_E4M3 and a scale for each block, as DeepSeek and Qwen publish theirs, and
`dequantized.safetensors`, the same matrices times their scales in float32, as `transformers` computes them. Needs
scripts/requirements.txt.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent / "crates"
GOLDEN, OUT = ROOT / "model" / "tests" / "golden" / "llama_linear", ROOT / "checkpoint" / "tests" / "float8"
BLOCK = (16, 24)


def blocks(scales, shape):
    """A scale for every value of a matrix of this shape."""
    rows, columns = (torch.arange(n) // size for n, size in zip(shape, BLOCK))
    return scales[rows][:, columns]


def main():
    (OUT / "block").mkdir(parents=True, exist_ok=True)
    codes = torch.arange(256, dtype=torch.uint8)
    kinds = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
    save_file({name: codes.view(kind).float() for name, kind in kinds.items()}, OUT / "values.safetensors")

    stored, dequantized = {}, {}
    for name, weight in load_file(GOLDEN / "model.safetensors").items():
        if "proj" not in name:
            stored[name] = weight
            continue
        height, width = (-(-n // size) for n, size in zip(weight.shape, BLOCK))
        padded = torch.zeros(height * BLOCK[0], width * BLOCK[1])
        padded[: weight.shape[0], : weight.shape[1]] = weight
        scales = padded.reshape(height, BLOCK[0], width, BLOCK[1]).abs().amax((1, 3)) / 448
        codes = (weight / blocks(scales, weight.shape)).to(torch.float8_e4m3fn)
        stored |= {name: codes, f"{name}_scale_inv": scales}
        dequantized[name] = codes.float() * blocks(scales, weight.shape)
    save_file(stored, OUT / "block" / "model.safetensors", {"format": "pt"})
    save_file(dequantized, OUT / "block" / "dequantized.safetensors")
    config = json.loads((GOLDEN / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": list(BLOCK),
        "modules_to_not_convert": ["lm_head"],
    }  # fmt: skip
    (OUT / "block" / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
