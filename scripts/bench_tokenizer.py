#!/usr/bin/env python3
"""Times tokenizer training and encoding: this project against the `tokenizers` Python package, on the same file.

    pip install tokenizers
    scripts/bench_tokenizer.py                       # makes 100 MB of text from data/
    scripts/bench_tokenizer.py --text my.txt --vocab-size 32000

Prints one JSON object: seconds of both, the ratio (above 1: this project is faster), and whether the ids are equal.
Both train byte-level BPE with the rule of GPT-2 and the same settings. `llm` reads, tokenizes and writes to disk,
process start included; Python is only charged for `train` and for `encode_batch` of texts that are in memory.
"""

import argparse
import json
import random
import struct
import subprocess
import tempfile
import time
from pathlib import Path

SEPARATOR = "<|endoftext|>"
ROOT = Path(__file__).resolve().parent.parent


def make_text(path: Path, size: int, sources: list[Path]) -> None:
    """Repeats the sources with small variations, so that not every word is one that was seen before."""
    rng = random.Random(1)
    paragraphs = []
    for source in sources:
        text = source.read_text(encoding="utf-8").replace(SEPARATOR, "")
        paragraphs += [text[i : i + 1500].strip() for i in range(0, len(text), 1500)]
    written = 0
    with path.open("w", encoding="utf-8") as out:
        while written < size:
            words = rng.choice(paragraphs).split(" ")
            for _ in range(1 + len(words) // 50):
                words[rng.randrange(len(words))] += rng.choice(["ly", "ness", "é", "42", "s"]) + rng.choice("abcdefghij")
            document = " ".join(words) + f"\n{SEPARATOR}\n"
            out.write(document)
            written += len(document.encode())


def run(*command: str) -> float:
    start = time.perf_counter()
    subprocess.run([command[0], "--quiet", *command[1:]], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def read_shards(path: Path) -> tuple[list[int], int]:
    """Ids and number of documents of a shard file; the layout is in crates/data/src/shards.rs."""
    raw = path.read_bytes()
    bits, _, tokens, documents = struct.unpack_from("<IQQQ", raw, 12)
    ids = struct.unpack_from(f"<{tokens}{'H' if bits == 16 else 'I'}", raw, 96)
    return list(ids), documents


def time_python(text: Path, documents: list[str], vocab_size: int) -> dict:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - 1,
        min_frequency=2,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    start = time.perf_counter()
    tokenizer.train([str(text)], trainer)
    train = time.perf_counter() - start
    start = time.perf_counter()
    for i in range(0, len(documents), 1000):
        tokenizer.encode_batch(documents[i : i + 1000], add_special_tokens=False)
    return {"train_seconds": train, "encode_seconds": time.perf_counter() - start}


def time_llm(llm: str, text: Path, folder: Path, vocab_size: int) -> dict:
    tokenizer, cache = folder / "tokenizer", folder / "cache"
    data = ["--data", str(text)]
    train = run(llm, "tokenizer", "train", *data, "--vocab-size", str(vocab_size), "--out", str(tokenizer))
    prepare = [llm, "data", "prepare", *data, "--tokenizer", str(tokenizer), "--cache-dir", str(cache)]
    encode, again = run(*prepare), run(*prepare)
    return {"train_seconds": train, "encode_seconds": encode, "second_run_seconds": again}


def same_ids(folder: Path, documents: list[str]) -> bool:
    """Whether Python, with the tokenizer.json trained here, gives the ids that are in the training shards."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    (shards,) = (folder / "cache").glob("train-*.tokens")
    ids, _ = read_shards(shards)
    end = tokenizer.token_to_id(SEPARATOR)
    # Every tenth document went to validation; the first thousand others are compared.
    expected = []
    for number, document in enumerate(documents[:1111], start=1):
        if int(number * 0.1) == int((number - 1) * 0.1):
            expected += [*tokenizer.encode(document, add_special_tokens=False).ids, end]
    return ids[: len(expected)] == expected


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm", default=str(ROOT / "target/release/llm"), help="the program to measure")
    parser.add_argument("--text", type=Path, help="a .txt file; documents are separated by lines <|endoftext|>")
    parser.add_argument("--from", dest="sources", type=Path, nargs="+", help="files to make the text of")
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--vocab-size", type=int, default=8192)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = args.text
        if text is None:
            text = folder / "text.txt"
            make_text(text, int(args.megabytes * 1e6), args.sources or sorted((ROOT / "data").glob("**/*.txt")))
        documents = [d for d in text.read_text(encoding="utf-8").split(f"\n{SEPARATOR}\n") if d.strip()]
        ours = time_llm(args.llm, text, folder, args.vocab_size)
        equal = same_ids(folder, documents) if len(documents) >= 100 else None
        python = time_python(text, documents, args.vocab_size)
        ratio = {key: python[key] / ours[key] for key in python}
        megabytes = text.stat().st_size / 1e6
        print(json.dumps({"megabytes": megabytes, "llm": ours, "python": python, "ratio": ratio, "same_ids": equal}))


if __name__ == "__main__":
    main()
