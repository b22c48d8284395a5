#!/usr/bin/env python3
"""Holds `llm` to llama.cpp: the same .gguf files, the same ids, the same greedy text, the same logits.

    pip install llama-cpp-python
    python3 scripts/check_llama_cpp.py --llm target/release/llm MODEL…

A MODEL is a directory or a .gguf file. A directory is first written as GGUF with float32 matrices, so that both programs
compute with the same numbers; logits must then agree to 1e-3 and the greedy texts be equal. ggml looks GELU up in a table
of float16: models with it may differ by 2e-2. (Put into `transformers`, such a table brings the logits of a tiny GPT-2 from
2.1e-3 to 1.6e-4 of llama.cpp's, and those of a tiny Gemma 3 from 1.4e-2 to 2.1e-3.) A .gguf file is compared as it
is, and once more with its matrices in float32: llama.cpp multiplies quantized matrices with activations rounded to 8 bits,
which no other program repeats, so that the quantized logits are only shown. A model that `llm convert` refuses to write,
because llama.cpp computes something else, is told and passed over. Tiny random models of every family to check:

    cargo run --release -p llm-checkpoint --example tiny_models -- /tmp/tiny bpe
    python3 scripts/check_llama_cpp.py --llm target/release/llm /tmp/tiny/*
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_cpp
import numpy as np

PROMPT = "Once upon a time there was a king who"
TOKENS = 32
TOLERANCE = 1e-3
TOLERANCE_GELU = 2e-2


class Refused(Exception):
    """A model that is not written as GGUF."""


def run(llm, *arguments):
    result = subprocess.run([llm, *map(str, arguments)], capture_output=True, text=True, check=False)
    if "this cannot be written as GGUF" in result.stderr:
        raise Refused(result.stderr.splitlines()[0])
    if result.returncode:
        sys.exit(f"llm {' '.join(map(str, arguments))}: {result.stderr}")
    if "llama.cpp has no sliding window" in result.stderr:
        raise Refused("written, but llama.cpp has no sliding window for it")
    return result.stdout


def compare(llm, path, strict):
    """Compares both programs on a .gguf file; False if they differ where they must not."""
    config = json.loads(run(llm, "inspect", "model", "--model", path, "--json"))["config"]
    if '"longrope"' in json.dumps(config["position"]):
        # llama.cpp chooses the factors by the size of its context, which is 256 at least, and not by the length of the text.
        raise Refused("written, but llama.cpp chooses the factors of LongRoPE by another rule")
    context = min(256, config["context_length"])
    # A cache in float32, as ours is.
    cache = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
    model = llama_cpp.Llama(str(path), n_ctx=context, n_batch=context, logits_all=True, verbose=False, **cache)
    theirs = model.tokenize(PROMPT.encode(), add_bos=True, special=True)
    answer = json.loads(run(llm, "inspect", "logits", "--model", path, "--prompt", PROMPT, "--device", "cpu", "--json"))
    ids = answer["ids"]
    if ids != theirs:
        print(f"{path}: ids differ: {ids} and {theirs} of llama.cpp")
        return False
    model.eval(ids)
    difference = np.abs(np.array(model.scores[: len(ids)]) - np.array(answer["logits"])).max()
    top = (np.array(model.scores[: len(ids)]).argmax(-1) == np.array(answer["logits"]).argmax(-1)).sum()

    model.reset()
    made = []
    tokens = min(TOKENS, context - len(ids))
    for token in model.generate(ids, temp=0.0):
        if len(made) == tokens or llama_cpp.llama_vocab_is_eog(model._model.vocab, token):
            break
        made.append(token)
    ours = json.loads(
        run(llm, "generate", "--model", path, "--prompt", PROMPT, "-n", tokens, "--temp", 0, "--device", "cpu", "--json")
    )
    greedy = ours["tokens"] == made
    text = model.detokenize(made, prev_tokens=ids).decode(errors="replace")
    same_text = ours["text"] == text
    print(
        f"{path}: logits differ by {difference:.1e}, same top token at {top} of {len(ids)} positions, "
        f"greedy {'equal' if greedy and same_text else 'not equal'}: {text!r}"
    )
    if not (greedy and same_text):
        print(f"  llm: {ours['text']!r}")
    tolerance = TOLERANCE_GELU if config["feed_forward"] in ("gelu-tanh", "geglu") else TOLERANCE
    return not strict or (greedy and same_text and difference < tolerance)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", required=True, type=pathlib.Path)
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as folder:
        for i, model in enumerate(args.models):
            if model.is_file():
                good &= compare(args.llm, model, strict=False)
            written = pathlib.Path(folder) / f"{i}-{model.stem}.f32.gguf"
            try:
                run(args.llm, "convert", model, written, "--type", "f32", "--device", "cpu")
                good &= compare(args.llm, written, strict=True)
            except Refused as refused:
                print(f"{model}: {refused}")
            written.unlink(missing_ok=True)
    sys.exit(0 if good else "llm and llama.cpp differ")


if __name__ == "__main__":
    main()
