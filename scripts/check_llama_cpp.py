#!/usr/bin/env python3
"""Holds `llm` to llama.cpp: the same .gguf files, the same ids, the same greedy text, the same logits.

    pip install llama-cpp-python
    python3 scripts/check_llama_cpp.py --llm target/release/llm MODEL…

A MODEL is a directory or a .gguf file. A directory is first written as GGUF with float32 matrices, so that both programs
compute with the same numbers; logits must then agree to 1e-3 and the greedy texts be equal. ggml looks GELU up in a table
of float16: models with it may differ by 2e-2. (Put into `transformers`, such a table brings the logits of a tiny GPT-2 from
2.1e-3 to 1.6e-4 of llama.cpp's, and those of a tiny Gemma 3 from 1.4e-2 to 2.1e-3.) A .gguf file is compared as it
is, and once more with its matrices in float32: llama.cpp multiplies quantized matrices with activations rounded to 8 bits,
which no other program repeats, so that the quantized logits are only shown. The prompt is longer than a model's sliding window
and than the context that LongRoPE stretches. Where llama.cpp has no window for an architecture, it must agree within the window
only, and differ after it. A model that `llm convert` refuses to write, because llama.cpp computes something else, is told and
passed over. Tiny random models of every family to check:

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
    return result


def prompt_beyond(path, length):
    """A prompt of more than `length` tokens, if there is one."""
    vocabulary = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    sentences = 1
    while len(vocabulary.tokenize(" ".join([PROMPT] * sentences).encode(), add_bos=True, special=True)) <= length:
        sentences += 1
    return " ".join([PROMPT] * sentences)


def compare(llm, path, strict, windowless=False):
    """Compares both programs on a .gguf file, in which llama.cpp may know of no window; False if they differ where they must
    not."""
    config = json.loads(run(llm, "inspect", "model", "--model", path, "--json").stdout)["config"]
    window = config["sliding_window"] if config["windowed_layers"] else None
    # llama.cpp chooses the factors of LongRoPE by the size of its context, we by the length of the text: both are beyond.
    stretched = (config["position"].get("scaling") or {}).get("original_context_length")
    beyond = max(length for length in (window, stretched, 0) if length is not None and length < config["context_length"])
    prompt = prompt_beyond(path, beyond)
    context = min(max(256, 4 * beyond), config["context_length"])
    # A cache in float32, as ours is.
    cache = {"type_k": llama_cpp.GGML_TYPE_F32, "type_v": llama_cpp.GGML_TYPE_F32}
    model = llama_cpp.Llama(str(path), n_ctx=context, n_batch=context, logits_all=True, verbose=False, **cache)
    theirs = model.tokenize(prompt.encode(), add_bos=True, special=True)
    inspect = ["inspect", "logits", "--model", path, "--prompt", prompt, "--device", "cpu", "--json"]
    answer = json.loads(run(llm, *inspect).stdout)
    ids = answer["ids"]
    if ids != theirs:
        print(f"{path}: ids differ: {ids} and {theirs} of llama.cpp")
        return False
    model.eval(ids)
    scores, logits = np.array(model.scores[: len(ids)]), np.array(answer["logits"])
    differences = np.abs(scores - logits).max(-1)
    tolerance = TOLERANCE_GELU if config["feed_forward"] in ("gelu-tanh", "geglu") else TOLERANCE
    if windowless:
        within, after = differences[:window].max(), differences[window:].max()
        print(
            f"{path}: llama.cpp has no sliding window for it: logits differ by {within:.1e} within its {window} tokens, by "
            f"{after:.1e} after them"
        )
        return within < tolerance < after
    difference, top = differences.max(), (scores.argmax(-1) == logits.argmax(-1)).sum()

    model.reset()
    made = []
    tokens = min(TOKENS, context - len(ids))
    for token in model.generate(ids, temp=0.0):
        if len(made) == tokens or llama_cpp.llama_vocab_is_eog(model._model.vocab, token):
            break
        made.append(token)
    generate = ["generate", "--model", path, "--prompt", prompt, "-n", tokens, "--temp", 0, "--device", "cpu", "--json"]
    ours = json.loads(run(llm, *generate).stdout)
    greedy = ours["tokens"] == made
    text = model.detokenize(made, prev_tokens=ids).decode(errors="replace")
    same_text = ours["text"] == text
    window_said = f", window {window}" if beyond == window else ""
    print(
        f"{path}: logits differ by {difference:.1e}, same top token at {top} of {len(ids)} positions{window_said}, "
        f"greedy {'equal' if greedy and same_text else 'not equal'}: {text!r}"
    )
    if not (greedy and same_text):
        print(f"  llm: {ours['text']!r}")
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
                notes = run(args.llm, "convert", model, written, "--type", "f32", "--device", "cpu").stderr
                windowless = "llama.cpp has no sliding window" in notes
                good &= compare(args.llm, written, strict=True, windowless=windowless)
            except Refused as refused:
                print(f"{model}: {refused}")
            written.unlink(missing_ok=True)
    sys.exit(0 if good else "llm and llama.cpp differ")


if __name__ == "__main__":
    main()
