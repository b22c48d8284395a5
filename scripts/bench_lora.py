#!/usr/bin/env python3
"""Times LoRA with PEFT and PyTorch: the peer of `llm bench finetune`, with the same model, shapes and settings.

    pip install torch transformers peft
    scripts/bench_lora.py --model DIR [--steps 5]

Rank 8 on all linear layers, dropout 0, AdamW, gradients clipped to a norm of 1, float32. A step is a forward and a
backward pass over random tokens, clipping, and the optimizer. Prints one JSON object: mean time of a step after
some to warm up, and the most memory that the process had.
"""

import argparse
import json
import os
import time

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
from transformers.utils import logging


def peak_rss_mib() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM:"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--context-length", type=int, default=256)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    logging.set_verbosity_error()
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    config = LoraConfig(task_type="CAUSAL_LM", r=args.rank, lora_alpha=2 * args.rank, target_modules="all-linear")
    model = get_peft_model(model, config).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    ids = torch.randint(0, model.config.vocab_size, (args.batch_size, args.context_length))

    def step() -> float:
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    for _ in range(args.warmup):
        step()
    begin = time.perf_counter()
    for _ in range(args.steps):
        loss = step()
    seconds = (time.perf_counter() - begin) / args.steps
    print(
        json.dumps(
            {
                "program": "peft",
                "torch": torch.__version__,
                "threads": args.threads,
                "trained": sum(p.numel() for p in trained),
                "ms_per_step": round(seconds * 1e3, 2),
                "tokens_per_s": round(args.batch_size * args.context_length / seconds),
                "peak_rss_mib": peak_rss_mib(),
                "loss": round(loss, 4),
            }
        )
    )


if __name__ == "__main__":
    main()
