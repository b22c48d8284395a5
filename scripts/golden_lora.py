#!/usr/bin/env python3
"""Writes the golden values that the Rust tests hold our LoRA against: adapters written by PEFT, and what it computes.

Every case in `CASES` becomes a folder with a PEFT directory (`adapter_config.json`, `adapter_model.safetensors`) over one
of the tiny models of `golden.py`, and `golden.safetensors`:

    logits [b,t,v]   of the base's golden `ids`, in evaluation
    loss [1]         mean cross-entropy over the base's golden `targets`
    grad.NAME        gradient of `loss` by the tensor NAME of adapter_model.safetensors

The cases in `MORE` have the logits only.

Run from the top of the repository, where `scripts/golden.py` runs, with `peft` installed too:

    scripts/golden_lora.py            # rewrites crates/checkpoint/tests/adapters
    scripts/golden_lora.py --check    # compares with what is committed instead
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM
from transformers.utils import logging

ROOT = Path(__file__).resolve().parent.parent / "crates"
BASES, ADAPTERS = ROOT / "model" / "tests" / "golden", ROOT / "checkpoint" / "tests" / "adapters"

# name: (base, settings of PEFT)
CASES = {
    "llama": ("llama", dict(target_modules="all-linear", r=4, lora_alpha=6)),
    "llama_rslora": ("llama", dict(target_modules=["q_proj", "v_proj", "down_proj"], r=4, lora_alpha=3, use_rslora=True)),
    "llama_dora": ("llama", dict(target_modules="all-linear", r=3, lora_alpha=6, use_dora=True)),
    # A head, biases, and other ranks and scales here and there.
    "llama_patterns": ("llama_llama3", dict(
        target_modules=r".*\.(q_proj|o_proj|up_proj)|lm_head", r=4, lora_alpha=6,
        rank_pattern={"up_proj": 2, r"^model\.layers\.0\.self_attn\.q_proj": 3}, alpha_pattern={"o_proj": 1})),
    "gpt2": ("gpt2", dict(target_modules=["c_attn", "c_fc", "c_proj"], r=4, lora_alpha=6, fan_in_fan_out=True)),
    "gpt2_dora": ("gpt2", dict(target_modules=["c_attn", "c_fc"], r=4, lora_alpha=6, fan_in_fan_out=True, use_dora=True)),
    "phi3": ("phi3", dict(target_modules=["qkv_proj", "gate_up_proj", "down_proj"], r=4, lora_alpha=6)),
    "qwen3": ("qwen3", dict(target_modules=["k_proj", "gate_proj"], layers_to_transform=[1], r=2, lora_alpha=2)),
}  # fmt: skip

# The same for adapters that are more than LoRA on linear layers; without gradients.
MORE = {
    # The base's own embedding and head beside the adapter.
    "with_embeddings": ("llama_linear", dict(target_modules=["q_proj"], r=2, lora_alpha=4)),
    # The head is the embedding's matrix, which must stay as it is where it is the embedding.
    "head_of_tied": ("llama", dict(target_modules=["lm_head", "q_proj"], r=2, lora_alpha=4)),
    "saved_modules": ("llama_linear", dict(
        target_modules=["q_proj"], r=2, lora_alpha=4, modules_to_save=["embed_tokens", "lm_head", "model.norm"])),
    "saved_embedding_of_tied": ("llama", dict(
        target_modules=["q_proj"], r=2, lora_alpha=4, modules_to_save=["embed_tokens"])),
    "saved_head_of_tied": ("qwen3", dict(target_modules=["q_proj"], r=2, lora_alpha=4, modules_to_save=["lm_head"])),
    "saved_tied": ("llama", dict(
        target_modules=["q_proj"], r=2, lora_alpha=4, modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    "saved_mlp": ("gpt2", dict(
        target_modules=["c_attn"], r=2, lora_alpha=4, modules_to_save=["h.0.mlp.c_fc", "ln_f"], fan_in_fan_out=True)),
    # The embeddings of Gemma are multiplied before they are used.
    "embedding": ("gemma3", dict(target_modules=["embed_tokens", "q_proj"], r=2, lora_alpha=4)),
    "embedding_gpt2": ("gpt2", dict(target_modules=["wte", "wpe", "c_fc"], r=2, lora_alpha=4, fan_in_fan_out=True)),
    "tokens": ("llama_linear", dict(
        target_modules=["q_proj"], r=2, lora_alpha=4, trainable_token_indices=[40, 3, 90])),
    "tokens_of_tied": ("llama", dict(
        target_modules=["q_proj"], r=2, lora_alpha=4, trainable_token_indices={"embed_tokens": [40, 3, 90]})),
    "bias_all": ("gpt2", dict(target_modules=["c_attn"], r=2, lora_alpha=4, bias="all", fan_in_fan_out=True)),
    "bias_lora": ("qwen2", dict(target_modules=["q_proj", "k_proj"], r=2, lora_alpha=4, bias="lora_only")),
}  # fmt: skip


def make(name, folder):
    base, settings = (CASES | MORE)[name]
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(BASES / base, attn_implementation="eager", dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.0, **settings)
    model = get_peft_model(model, config).eval()
    with torch.no_grad():
        for p in (p for p in model.parameters() if p.requires_grad):
            # Neither factor is zero, so that both have a gradient; magnitudes move off the norms.
            p.add_(torch.randn_like(p) * 0.1)
    # The path of this machine has no place in a committed file.
    model.peft_config["default"].base_model_name_or_path = f"tests/{base}"
    model.save_pretrained(folder, save_embedding_layers=True if name == "with_embeddings" else "auto")
    (folder / "README.md").unlink(missing_ok=True)
    golden = load_file(BASES / base / "golden.safetensors")
    ids, targets = golden["ids"].long(), golden["targets"].long()
    logits = model(ids).logits
    if name in MORE:
        # What is written must be all that there is to it.
        plain = AutoModelForCausalLM.from_pretrained(BASES / base, attn_implementation="eager", dtype=torch.float32)
        reloaded = PeftModel.from_pretrained(plain, folder).eval()
        assert torch.allclose(reloaded(ids).logits, logits, atol=1e-5), f"{name}: PEFT itself does not read it back"
        save_file({"logits": logits.detach().contiguous()}, folder / "golden.safetensors")
        return
    loss = cross_entropy(logits.flatten(0, 1), targets.flatten())
    loss.backward()
    grads = {
        "grad." + name.replace(".default.weight", "").replace(".default", "")
        + ("" if "magnitude" in name else ".weight"): p.grad
        for name, p in model.named_parameters() if p.requires_grad
    }  # fmt: skip
    stored = load_file(folder / "adapter_model.safetensors")
    # PEFT stores a head that has an adapter along with it.
    assert {"grad." + name for name in stored if "base_layer" not in name} == set(grads), sorted(stored)
    save_file(
        {"logits": logits.detach().contiguous(), "loss": loss.detach().reshape(1)}
        | {name: grad.contiguous() for name, grad in grads.items()},
        folder / "golden.safetensors",
    )


def same(ours, theirs):
    for file in ["adapter_model.safetensors", "golden.safetensors"]:
        a, b = load_file(ours / file), load_file(theirs / file)
        if a.keys() != b.keys() or any(not torch.allclose(a[k], b[k], rtol=1e-4, atol=1e-5) for k in a):
            return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    failed = False
    for name in CASES | MORE:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) if args.check else ADAPTERS / name
            folder.mkdir(parents=True, exist_ok=True)
            make(name, folder)
            if args.check and not same(folder, ADAPTERS / name):
                print(f"{name}: differs from what is committed")
                failed = True
    sys.exit(failed)


if __name__ == "__main__":
    main()
