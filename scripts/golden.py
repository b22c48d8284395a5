#!/usr/bin/env python3
"""Writes the golden values that the Rust tests hold our Transformer and optimizers against.

Every case in `CASES` becomes a folder with a tiny random model in Hugging Face layout
(`config.json`, `model.safetensors`, float32), and `golden.safetensors` and `attention.safetensors`, what
PyTorch and `transformers` (eager attention) compute with it. Run from the top of the repository:

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install -r scripts/requirements.txt
    /tmp/venv/bin/python scripts/golden.py            # rewrites crates/model/tests/golden
    /tmp/venv/bin/python scripts/golden.py --check    # compares with what is committed instead
    /tmp/venv/bin/python scripts/golden.py --attention  # rewrites attention.safetensors only, of the models there

One thread and fixed seeds: the output is the same to the bit on one machine, and within
float32 rounding on another processor.

Tensors of `golden.safetensors` (b batch, t time, v vocabulary), integers as int32:

    ids, targets [b,t]        input, and random targets (not `ids` shifted by one)
    targets_masked [b,t]      the same with about a third set to -100
    logits [b,t,v]            of `ids`
    loss, loss_masked [1]     mean cross-entropy over the targets that are not -100
    grad_norm [1]             global norm of the gradients of `loss`
    grad.NAME                 gradient of `loss` by the tensor NAME of model.safetensors
    OPT.losses [10]           loss before each of ten steps of OPT on this one batch
    OPT.final_logits [b,t,v]  of `ids`, after the tenth step
    greedy.prompt [5 or 13]   and
    greedy.ids [32]           the new tokens that greedy decoding appends to it
    cached.logits [32,v]      before each of these, computed one by one with a cache; dynamic rotary scaling only

The cases in `FAMILIES` have all but the optimizers, and prompts longer than their windows. OPT is one of adamw, adam, sgd, muon; `HYPER`, also the metadata of the file, has their settings.
All clip the gradients to a global norm of 1 first, as `torch.nn.utils.clip_grad_norm_` does.

Tensors of `attention.safetensors` (h heads): "0", "1", … [b,h,t,t], the attention weights of each layer for `ids`.
"""

import argparse
import copy
import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import logging

GOLDEN = Path(__file__).resolve().parent.parent / "crates" / "model" / "tests" / "golden"
BATCH, TIME, STEPS, NEW_TOKENS = 2, 24, 10, 32
VOCAB, WIDTH, HEADS, CONTEXT, EOS = 97, 32, 4, 64, 2
IGNORE = -100
HYPER = {
    "clip_norm": 1.0,
    # Decay on every tensor of two or more dimensions, embeddings and positions included.
    "adamw": {"lr": 1e-2, "betas": [0.9, 0.95], "eps": 1e-8, "weight_decay": 0.1},
    "adam": {"lr": 1e-2, "betas": [0.9, 0.95], "eps": 1e-8},
    "sgd": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "dampening": 0.0},
    # On the matrices inside the blocks; everything else gets the adamw above.
    "muon": {"lr": 1e-2, "momentum": 0.95, "nesterov": True, "ns_steps": 5, "weight_decay": 0.1},
}

DECODER = dict(
    vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=2, num_attention_heads=HEADS,
    num_key_value_heads=2, max_position_embeddings=CONTEXT, bos_token_id=1, eos_token_id=EOS,
)  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
# Longest waves are slowed by `factor`, shortest kept, those between blended: with these values and a head width
# of 16 the eight frequencies have all three.
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}  # fmt: skip

# name: (seed, configuration, legacy keys). Seeds are chosen so that greedy decoding meets no near tie and no
# end-of-text. Published configs write the rotary settings in two ways: before transformers 5 as `rope_theta` and
# `rope_scaling`, since then as `rope_parameters`. Cases with legacy keys are saved in the old form, others in the new.
CASES = {
    "gpt2": (4, dict(
        model_type="gpt2", vocab_size=VOCAB, n_positions=CONTEXT, n_embd=WIDTH, n_layer=2, n_head=HEADS,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=EOS, eos_token_id=EOS), None),
    "llama": (7, DECODER | dict(
        model_type="llama", tie_word_embeddings=True, rms_norm_eps=1e-5, rope_parameters=ROPE),
        {"rope_theta": 10000.0, "rope_scaling": None}),
    "llama_llama3": (7, DECODER | dict(
        model_type="llama", num_key_value_heads=1, head_dim=16, attention_bias=True, mlp_bias=True,
        tie_word_embeddings=False, rope_parameters=LLAMA3), None),
    "llama_linear": (1, DECODER | dict(
        model_type="llama", num_key_value_heads=HEADS, tie_word_embeddings=False,
        rope_parameters=ROPE | {"rope_type": "linear", "factor": 4.0}),
        {"rope_theta": 10000.0, "rope_scaling": {"type": "linear", "factor": 4.0}}),
    "qwen3": (8, DECODER | dict(
        model_type="qwen3", head_dim=16, tie_word_embeddings=True, rope_parameters=ROPE | {"rope_theta": 1e6}), None),
    # The first layer sees everything, the other two the last eight tokens, the current one included.
    "qwen3_window": (3, DECODER | dict(
        model_type="qwen3", head_dim=8, num_hidden_layers=3, tie_word_embeddings=False, use_sliding_window=True,
        sliding_window=8, max_window_layers=1, rope_parameters=ROPE), {"rope_theta": 10000.0, "rope_scaling": None}),
}  # fmt: skip

SMALL = DECODER | dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3)
LONGROPE = {
    "rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 16,
    "short_factor": [1.0, 1.2, 1.5], "long_factor": [1.1, 2.5, 4.0],
}  # fmt: skip
# The eight frequencies of a head of 16 are kept, divided, and on the ramp between; the batch and greedy decoding go beyond
# the original context.
YARN = {
    "rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0,
}  # fmt: skip
SLIDING, FULL = "sliding_attention", "full_attention"

# As `CASES`. Odd sizes, few key/value heads, windows shorter than the prompt; sequences that grow beyond the original
# context of LongRoPE while greedy decoding.
FAMILIES = {
    "mistral": (2, SMALL | dict(
        model_type="mistral", num_key_value_heads=1, head_dim=10, sliding_window=7, tie_word_embeddings=False,
        rope_parameters=ROPE), {"rope_theta": 10000.0}),
    "qwen2": (1, SMALL | dict(
        model_type="qwen2", use_sliding_window=True, sliding_window=9, layer_types=[SLIDING, FULL, SLIDING],
        tie_word_embeddings=True, rope_parameters=ROPE | {"rope_theta": 1e6}), None),
    "smollm3": (2, SMALL | dict(
        model_type="smollm3", no_rope_layer_interval=2, use_sliding_window=True, sliding_window=6, pad_token_id=0,
        tie_word_embeddings=True, rope_parameters=ROPE | {"rope_theta": 5e6}), {"rope_theta": 5e6}),
    "olmo2": (1, SMALL | dict(
        model_type="olmo2", pad_token_id=0, tie_word_embeddings=False, rope_parameters=ROPE | {"rope_theta": 5e5}),
        {"rope_theta": 5e5, "rope_scaling": None}),
    "gemma3": (2, SMALL | dict(
        model_type="gemma3_text", num_key_value_heads=1, head_dim=10, query_pre_attn_scalar=14, sliding_window=8,
        sliding_window_pattern=3, tie_word_embeddings=True,
        rope_parameters={FULL: ROPE | {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}, SLIDING: ROPE}),
        {"rope_theta": 1e6, "rope_local_base_freq": 1e4, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
         "sliding_window_pattern": 3}),
    "gemma3_parameters": (1, SMALL | dict(
        model_type="gemma3_text", head_dim=8, query_pre_attn_scalar=8, sliding_window=5, attention_bias=True,
        layer_types=[FULL, SLIDING, FULL], tie_word_embeddings=True,
        rope_parameters={FULL: LLAMA3, SLIDING: ROPE | {"rope_type": "linear", "factor": 2.0}}), None),
    "phi3": (1, SMALL | dict(
        model_type="phi3", sliding_window=11, pad_token_id=0, tie_word_embeddings=False, rope_parameters=ROPE), None),
    "phi3_longrope": (1, SMALL | dict(
        model_type="phi3", num_key_value_heads=1, pad_token_id=0, tie_word_embeddings=False,
        original_max_position_embeddings=16, rope_parameters=LONGROPE),
        {"rope_theta": 10000.0, "rope_scaling": {k: LONGROPE[k] for k in ("short_factor", "long_factor")}
         | {"type": "longrope"}}),
    "phi3_partial": (1, SMALL | dict(
        model_type="phi3", hidden_size=32, pad_token_id=0, tie_word_embeddings=True,
        original_max_position_embeddings=16,
        rope_parameters=LONGROPE | {"partial_rotary_factor": 0.75, "attention_factor": 1.25}), None),
    "qwen2_yarn": (1, SMALL | dict(
        model_type="qwen2", hidden_size=32, num_attention_heads=2, num_key_value_heads=1, tie_word_embeddings=True,
        rope_parameters=YARN), {"rope_theta": 10000.0, "rope_scaling": {
            "type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0}}),
    # As DeepSeek writes it.
    "llama_yarn": (1, SMALL | dict(
        model_type="llama", head_dim=16, tie_word_embeddings=False, rope_parameters=YARN | {
            "beta_fast": 3.0, "beta_slow": 0.5, "mscale": 1.0, "mscale_all_dim": 0.5, "truncate": False}), None),
    "qwen3_yarn": (2, SMALL | dict(
        model_type="qwen3", head_dim=12, tie_word_embeddings=True,
        rope_parameters=YARN | {"rope_theta": 1e6, "attention_factor": 1.3}), None),
    # The window is shorter than the prompt; only layers without one are scaled.
    "olmo3": (1, SMALL | dict(
        model_type="olmo3", num_hidden_layers=4, pad_token_id=0, sliding_window=7, tie_word_embeddings=False,
        rope_parameters={FULL: YARN | {"rope_theta": 5e5}, SLIDING: ROPE | {"rope_theta": 5e5}}),
        {"rope_theta": 5e5, "rope_scaling": {
            "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0}}),
    "olmo3_parameters": (1, SMALL | dict(
        model_type="olmo3", num_key_value_heads=1, pad_token_id=0, sliding_window=5, layer_types=[SLIDING, FULL, SLIDING],
        attention_bias=True, tie_word_embeddings=True,
        rope_parameters={FULL: ROPE | {"rope_theta": 1e6}, SLIDING: ROPE}), None),
    "granite": (1, SMALL | dict(
        model_type="granite", num_key_value_heads=1, tie_word_embeddings=True, embedding_multiplier=12.0,
        attention_multiplier=0.2, residual_multiplier=0.22, logits_scaling=3.5, rope_parameters=ROPE),
        {"rope_theta": 10000.0, "rope_scaling": None}),
    "granite_biases": (2, SMALL | dict(
        model_type="granite", attention_bias=True, mlp_bias=True, tie_word_embeddings=False, embedding_multiplier=0.5,
        attention_multiplier=0.6, residual_multiplier=1.5, logits_scaling=0.75, rope_parameters=ROPE), None),
    "llama_dynamic": (3, SMALL | dict(
        model_type="llama", head_dim=10, max_position_embeddings=16, tie_word_embeddings=False,
        rope_parameters=ROPE | {"rope_type": "dynamic", "factor": 4.0}),
        {"rope_theta": 10000.0, "rope_scaling": {"type": "dynamic", "factor": 4.0}}),
}  # fmt: skip


def random_model(seed, config):
    """A model whose every tensor is random, so that no forgotten bias or norm weight goes unnoticed."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(**config)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            # About 1/sqrt(width) for matrices: at the usual 0.02 attention is all but uniform and hides mistakes.
            p.normal_(0.0, 0.2)
            if p.dim() == 1 and name.endswith("weight"):
                p.add_(1.0)
    return model


def load(folder):
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def save_and_reload(model, folder, legacy):
    """Saves `model`, its configuration in the old form if `legacy`, and returns what `transformers` reads back."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    del config["transformers_version"]
    if legacy is not None:
        del config["rope_parameters"]
        config.pop("layer_types", None)  # follows from `max_window_layers`
        config["torch_dtype"] = config.pop("dtype")
        config |= legacy
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    return load(folder)


def logits_of(model, ids):
    return model(ids, use_cache=False).logits


def loss_of(model, ids, targets):
    return cross_entropy(logits_of(model, ids).flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def orthogonalize(g, steps):
    """Newton–Schulz iteration of Muon: U·Vᵀ of `g` approximately (https://kellerjordan.github.io/posts/muon/)."""
    x = g.T if g.shape[0] > g.shape[1] else g
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.T if g.shape[0] > g.shape[1] else x


class Muon:
    """Keller Jordan's Muon in float32, one momentum buffer a matrix.

    `matrices` are views [out, in] of the parameters: GPT-2 stores its weights transposed, and query, key and value
    as one tensor. Each of the three is a matrix of its own here, as Muon's author recommends.
    """

    def __init__(self, matrices, lr, momentum, nesterov, ns_steps, weight_decay):
        assert nesterov
        self.matrices, self.lr, self.momentum = matrices, lr, momentum
        self.ns_steps, self.decay = ns_steps, weight_decay
        self.buffers = [torch.zeros(view(p).shape) for p, view in matrices]

    @torch.no_grad()
    def step(self):
        for (p, view), buffer in zip(self.matrices, self.buffers):
            w, g = view(p), view(p.grad)
            buffer.lerp_(g, 1 - self.momentum)
            update = orthogonalize(g.lerp(buffer, self.momentum), self.ns_steps)
            w.mul_(1 - self.lr * self.decay)
            w.add_(update, alpha=-self.lr * max(1, w.shape[0] / w.shape[1]) ** 0.5)


def muon_matrices(model):
    """(parameter, view of it as [out, in]) of every matrix inside the blocks."""
    found = []
    for name, p in model.named_parameters():
        if p.dim() != 2 or (".h." not in name and ".layers." not in name):
            continue
        if model.config.model_type != "gpt2":
            found.append((p, lambda w: w))
        elif "c_attn" in name:
            found += [(p, lambda w, i=i: w.T.chunk(3)[i]) for i in range(3)]
        else:
            found.append((p, lambda w: w.T))
    return found


def optimizers(kind, model):
    params = list(model.parameters())
    if kind == "sgd":
        return [torch.optim.SGD(params, **HYPER["sgd"])]
    if kind == "adam":
        return [torch.optim.Adam(params, **HYPER["adam"])]
    matrices = muon_matrices(model) if kind == "muon" else []
    taken = {id(p) for p, _ in matrices}
    rest = [p for p in params if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.dim() >= 2]},
        {"params": [p for p in rest if p.dim() < 2], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, **HYPER["adamw"])
    return [adamw, Muon(matrices, **HYPER["muon"])] if kind == "muon" else [adamw]


def train(kind, model, ids, targets):
    """Ten steps on one batch: their losses, and the logits afterwards."""
    model = copy.deepcopy(model)
    chosen = optimizers(kind, model)
    losses = []
    for _ in range(STEPS):
        model.zero_grad(set_to_none=True)
        loss = loss_of(model, ids, targets)
        losses.append(loss.item())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), HYPER["clip_norm"])
        for optimizer in chosen:
            optimizer.step()
    assert losses[-1] < losses[0] - 0.1, f"{kind} does not learn: {losses}"
    return {f"{kind}.losses": torch.tensor(losses), f"{kind}.final_logits": logits_of(model, ids)}


def greedy(model, prompt):
    ids = prompt.clone()
    for _ in range(NEW_TOKENS):
        best = logits_of(model, ids[None])[0, -1].topk(2)
        assert best.values[0] - best.values[1] > 1e-2, "rounding could break this tie; choose another seed"
        ids = torch.cat([ids, best.indices[:1]])
    new = ids[len(prompt) :]
    assert EOS not in new, "greedy decoding would stop early; choose another seed"
    return new


def cached(model, prompt, new):
    """Logits [n,v] of each of `new`, read one by one after `prompt` with a cache."""
    step = model(prompt[None], use_cache=True)
    logits = [step.logits[0, -1]]
    for token in new[:-1]:
        step = model(token.reshape(1, 1), past_key_values=step.past_key_values, use_cache=True)
        logits.append(step.logits[0, -1])
    return torch.stack(logits).detach()


def golden(model, seed, prompt, kinds):
    """Every tensor of `golden.safetensors`; the batch and the prompt, of so many tokens, follow from `seed`."""
    rng = torch.Generator().manual_seed(seed)
    ids, targets = (torch.randint(VOCAB, (BATCH, TIME), generator=rng) for _ in range(2))
    masked = torch.where(torch.rand(BATCH, TIME, generator=rng) < 1 / 3, IGNORE, targets)
    prompt = torch.randint(3, VOCAB, (prompt,), generator=rng)

    loss = loss_of(model, ids, targets)
    loss.backward()
    grads = {name: p.grad.clone() for name, p in model.named_parameters()}
    out = {
        "ids": ids, "targets": targets, "targets_masked": masked,
        "logits": logits_of(model, ids),
        "loss": loss[None], "loss_masked": loss_of(model, ids, masked)[None],
        "grad_norm": torch.stack([g.norm() for g in grads.values()]).norm()[None],
        "greedy.prompt": prompt, "greedy.ids": greedy(model, prompt),
    }  # fmt: skip
    out |= {f"grad.{name}": g for name, g in grads.items()}
    for kind in kinds:
        out |= train(kind, model, ids, targets)
    return {k: (v if v.is_floating_point() else v.int()).detach().contiguous() for k, v in out.items()}


@torch.no_grad()
def write_attention(folder):
    """Writes `attention.safetensors`: how much each token of the batch attends to each, in every layer and head."""
    model = load(folder)  # anew: with dynamic rotary scaling, a model remembers the longest text that it has read
    ids = load_file(folder / "golden.safetensors")["ids"].long()
    layers = model(ids, use_cache=False, output_attentions=True).attentions
    assert len(layers) == model.config.num_hidden_layers
    save_file({str(i): weights.contiguous() for i, weights in enumerate(layers)}, folder / "attention.safetensors")


def write(root):
    for name, (seed, config, legacy) in (CASES | FAMILIES).items():
        folder = root / name
        made = random_model(seed, config)
        model = save_and_reload(made, folder, legacy)
        more = (5, ("adamw", "adam", "sgd", "muon")) if name in CASES else (13, ())
        values = golden(model, seed, *more)
        assert torch.equal(values["logits"], logits_of(made, values["ids"])), f"{name} reads back differently"
        if "dynamic" in name:
            # Keys keep the rotation of the step that they were made in, so this is not what is computed without a cache.
            prompt, new = values["greedy.prompt"].long(), values["greedy.ids"].long()
            values["cached.logits"] = cached(save_and_reload(made, folder, legacy), prompt, new)
        save_file(values, folder / "golden.safetensors", {"hyper": json.dumps(HYPER)})
        write_attention(folder)
        print(f"{name}: {len(values)} tensors, loss {values['loss'].item():.4f}", file=sys.stderr)


def difference(fresh, committed):
    """Largest difference of two safetensors files; infinite where names or metadata differ or a file is missing."""
    if not committed.exists():
        return float("inf")
    ours, theirs = load_file(fresh), load_file(committed)
    with safe_open(fresh, "pt") as f, safe_open(committed, "pt") as g:
        same_metadata = f.metadata() == g.metadata()
    if not same_metadata or {k: v.shape for k, v in ours.items()} != {k: v.shape for k, v in theirs.items()}:
        return float("inf")
    return max((ours[k].double() - theirs[k].double()).abs().max().item() for k in ours)


def check(root):
    """Compares fresh values with those under `root`; returns whether all agree within rounding."""
    agree = True
    with tempfile.TemporaryDirectory() as fresh:
        write(Path(fresh))
        for path in sorted(Path(fresh).rglob("*.*")):
            committed = root / path.relative_to(fresh)
            if path.suffix == ".safetensors":
                # Ten optimizer steps amplify another processor's rounding; a real change moves logits by far more.
                worst = difference(path, committed)
                good, detail = worst <= 5e-3, f"largest difference {worst:.1e}"
            else:
                good = committed.exists() and committed.read_text() == path.read_text()
                detail = "same text" if good else "other text"
            agree &= good
            print(f"{'ok' if good else 'DIFFERS'}  {path.relative_to(fresh)}: {detail}")
    return agree


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=GOLDEN, help="folder to write or check (default: %(default)s)")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="compare with the files there and write nothing")
    mode.add_argument("--attention", action="store_true", help="write attention.safetensors of the models there only")
    args = parser.parse_args()
    logging.disable_progress_bar()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    if args.check:
        sys.exit(0 if check(args.out) else 1)
    if args.attention:
        for name in CASES | FAMILIES:
            write_attention(args.out / name)
        return
    write(args.out)


if __name__ == "__main__":
    main()
