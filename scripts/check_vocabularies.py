#!/usr/bin/env python3
"""Holds the tokenizers that `llm` builds from .gguf files to llama.cpp: the same ids for the same texts.

    pip install llama-cpp-python
    pip download --no-binary :all: --no-deps llama-cpp-python        # vendor/llama.cpp/models/ggml-vocab-*.gguf
    python3 scripts/check_vocabularies.py --llm target/release/llm vendor/llama.cpp/models/*.gguf [--text FILE]...

Texts are the FILEs, 20,000 random characters of many scripts, and those of the .inp file beside a vocabulary, whose ids are
in its .out file. A vocabulary that `llm` or llama.cpp refuses is told and passed over.
"""
import argparse
import json
import pathlib
import random
import subprocess
import sys

import llama_cpp

SEPARATOR = "\n__ggml_vocab_test__\n"
# Latin twice over, white space often, then letters, marks, digits and symbols that rules of splitting tell apart.
CHARACTERS = [
    *range(0x20, 0x7F), *range(0x20, 0x7F), *[0x09, 0x0A, 0x0D, 0x20] * 8, *range(0xA0, 0x250), *range(0x370, 0x400),
    *range(0x4E00, 0x4E80), *range(0x600, 0x660), *range(0x900, 0x960), *range(0xAC00, 0xAC40),
    *[0x1F600, 0x1F999, 0x200D, 0xFE0F, 0x3000, 0x3002, 0x2009, 0x660, 0x661, 0xBD, 0x2167, 0x1F1E6] * 3,
]  # fmt: skip


class Refused(Exception):
    """A vocabulary that one of both does not read."""


def ours(llm, path, text):
    """The ids of a text, without tokens around it; names of special tokens in it are plain text."""
    # One newline at the end of what comes through a pipe is not part of the text.
    done = subprocess.run([llm, "tokenize", "-t", path, "--json", "-"], input=f"{text}\n".encode(), capture_output=True)
    if done.returncode:
        raise Refused(done.stderr.decode().splitlines()[0].removeprefix(f"error: {path}: "))
    return json.loads(done.stdout)["ids"]


def check(llm, path, texts):
    """Compares one vocabulary; the number of tokens that are equal, or None where some are not."""
    count = 0
    try:
        model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    except ValueError as error:
        raise Refused(f"llama.cpp: {error}") from error
    pairs = [(text, model.tokenize(text.encode(), add_bos=False, special=False)) for text in texts]
    inp, out = (path.with_name(f"{path.name}.{end}") for end in ("inp", "out"))
    if inp.exists():
        lines = out.read_text(encoding="utf-8").splitlines()
        theirs = [[int(id) for id in line.split()] for line in lines]
        pairs += zip(inp.read_bytes().decode().split(SEPARATOR), theirs, strict=False)
    for text, theirs in pairs:
        found = ours(llm, path, text)
        if found != theirs:
            at = next((i for i, (a, b) in enumerate(zip(found, theirs)) if a != b), min(len(found), len(theirs)))
            print(f"{path}: token {at} differs in {text[:40]!r}: {found[at:at + 5]} and {theirs[at:at + 5]} of llama.cpp")
            return None
        count += len(found)
    print(f"{path.name}: {count:,} tokens of {len(pairs)} texts equal")
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", required=True, type=pathlib.Path)
    parser.add_argument("--text", action="append", default=[], type=pathlib.Path, metavar="FILE")
    parser.add_argument("vocabularies", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    random.seed(1)
    texts = ["".join(chr(random.choice(CHARACTERS)) for _ in range(20_000))]
    texts += [file.read_text(encoding="utf-8") for file in args.text]
    good = True
    for path in args.vocabularies:
        try:
            good &= check(args.llm, path, texts) is not None
        except Refused as refused:
            print(f"{path.name}: refused: {refused}")
    sys.exit(0 if good else "llm and llama.cpp differ")


if __name__ == "__main__":
    main()
