"""Golden ids for directories without a tokenizer.json: crates/data/tests/foreign.

Trains tiny SentencePiece models and a tiny byte-level BPE on a tale of this repository, and writes what transformers makes of
texts that are hard to split. Llama's, Gemma's, GPT-2's and Qwen2's classes are converted as transformers 4.57 does it; a
SentencePiece model without a class as transformers 5 does it, which earlier versions do not read. Run it with either version:

    pip install "transformers==4.57.3" sentencepiece protobuf    # and again with transformers==5.24.0
    python scripts/golden_sentencepiece.py
"""

import itertools
import json
import shutil
import tempfile
from pathlib import Path

import sentencepiece
import transformers
from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers, processors

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "crates/data/tests/foreign"
TEXT = """Once upon a time there was a small fox who lived by the river.  Every morning the fox said: "Good day, river!"
The river never answered, but it was always there. In 1848, 137 frogs came; they couldn't swim, and didn't want to.
"We'll teach you," said the fox. Äpfel, cafés, naïve π ≈ 3.14159.\n\n\tThe end.\n""" * 3
HARD = [
    "", " ", "   ", "a", " a", "  a ", "a  b   c", "\n", "\n\n\n", "\t\ta", "a\r\nb\r\n", "the fox said", " The  river",
    "can't we'll", "naïve café", "e\u0301 o\u0302\u0323", "日本語", "😀 👩‍👩‍👧", "\u0000", "a\u0000b", "\u200b\ufeff", "\u00a0a\u3000b",
    "1234567", "<0x0A>", "▁", "▁▁a", "a▁b", "<unk>", "<s>", "<s>a</s> b", " <s> a", "a<s> <s>", "<unk>a", "[INST] hi [/INST]",
    "x" * 80, " " * 40, "\n" * 20, "river" * 20, "ſ ﬁ Ⅷ ½", "ＡＢＣ", "<sep>", "a<sep>b", "a <sep> b", "<turn>fox</turn>", "\x7f\x80",
    "<|end|>fox<|end|>", "<extra>", "a <extra> b",
]

# No change to a text before it is split.
IDENTITY = dict(normalization_rule_name="identity", remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)


def train(name, model_type, **options):
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source = folder / "text.txt"
    source.write_text(TEXT)
    defaults = dict(vocab_size=420, byte_fallback=True, character_coverage=1.0, hard_vocab_limit=False)
    if model_type == "bpe":
        defaults.pop("hard_vocab_limit")
    sentencepiece.SentencePieceTrainer.train(
        input=str(source), model_prefix=str(folder / "tokenizer"), model_type=model_type, minloglevel=2, **{**defaults, **options}
    )
    (folder / "tokenizer.vocab").unlink()
    source.unlink()
    return folder


def settings(folder, **config):
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n")


def golden(folder, encode):
    cases = [{"text": text, **encode(text)} for text in HARD]
    (folder / "golden.json").write_text(json.dumps(cases, ensure_ascii=True) + "\n")


def by_transformers(folder):
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)

    def encode(text):
        ids = tokenizer(text)["input_ids"]
        return {"prompt": ids, "rendered": tokenizer(text, add_special_tokens=False)["input_ids"],
                "decoded": tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)}

    golden(folder, encode)


def flags():
    """What add_bos_token and add_eos_token do, by class and by what tokenizer.json says itself."""
    folder = OUT / "flags"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "A": 3}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(["<s>", "</s>", "<unk>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    template = json.loads(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]).__getstate__())
    cases = []
    for name, begins in itertools.product(["LlamaTokenizerFast", "GemmaTokenizer", "PreTrainedTokenizerFast", "Qwen2Tokenizer", None], [True, False]):
        for bos, eos in itertools.product(["absent", None, True, False], ["absent", True, False]):
            config = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": name,
                      "add_bos_token": bos, "add_eos_token": eos}
            config = {key: value for key, value in config.items() if value != "absent" and (key, value) != ("tokenizer_class", None)}
            with tempfile.TemporaryDirectory() as place:
                file = json.loads((folder / "tokenizer.json").read_text())
                file["post_processor"] = template if begins else None
                (Path(place) / "tokenizer.json").write_text(json.dumps(file))
                (Path(place) / "tokenizer_config.json").write_text(json.dumps(config))
                (Path(place) / "config.json").write_text('{"model_type": "llama"}')
                ids = transformers.AutoTokenizer.from_pretrained(place)("A")["input_ids"]
            cases.append({"config": config, "begins": begins, "ids": ids})
    (folder / "golden.json").write_text(json.dumps({"post_processor": template, "cases": cases}) + "\n")


def classes():
    llama = dict(tokenizer_class="LlamaTokenizer", bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    for name, model_type, config in [
        ("llama", "bpe", dict(legacy=True)),
        ("llama_new", "bpe", dict(legacy=False, add_bos_token=False, add_eos_token=True)),
        ("llama_no_prefix", "bpe", dict(legacy=False, add_prefix_space=False)),
        ("llama_unigram", "unigram", dict(legacy=True)),
    ]:
        folder = train(name, model_type, split_digits=True, user_defined_symbols=["<sep>"], control_symbols=["<turn>"], **IDENTITY)
        settings(folder, **llama, **config)
        if name == "llama":  # as slow tokenizers saved added tokens
            size = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model")).get_piece_size()
            (folder / "added_tokens.json").write_text(json.dumps({"<|end|>": size, "<extra>": size + 1}) + "\n")
            special = {"additional_special_tokens": ["<|end|>"], "bos_token": "<s>", "eos_token": "</s>"}
            (folder / "special_tokens_map.json").write_text(json.dumps(special) + "\n")
        by_transformers(folder)

    folder = train("gemma", "bpe", pad_id=0, eos_id=1, bos_id=2, unk_id=3, pad_piece="<pad>", eos_piece="<eos>", bos_piece="<bos>",
                   user_defined_symbols=["<start_of_turn>", "<end_of_turn>", "\n\n", "▁▁"], add_dummy_prefix=False, **IDENTITY)
    settings(folder, tokenizer_class="GemmaTokenizer", bos_token="<bos>", eos_token="<eos>", pad_token="<pad>", unk_token="<unk>")
    by_transformers(folder)

    for name, config in [
        ("gpt2", dict(tokenizer_class="GPT2Tokenizer", eos_token="<|endoftext|>", bos_token="<|endoftext|>", unk_token="<|endoftext|>")),
        ("qwen2", dict(tokenizer_class="Qwen2Tokenizer", eos_token="<|end|>", pad_token="<|endoftext|>", bos_token=None,
                       added_tokens_decoder={"380": dict(content="<|endoftext|>", lstrip=False, normalized=False, rstrip=False, single_word=False, special=True),
                                             "381": dict(content="<|end|>", lstrip=False, normalized=False, rstrip=False, single_word=False, special=True)})),
    ]:
        folder = OUT / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        trainer = ByteLevelBPETokenizer()
        trainer.train_from_iterator([TEXT], vocab_size=380, min_frequency=1, special_tokens=["<|endoftext|>"] if name == "gpt2" else [])
        trainer.save_model(str(folder))
        settings(folder, **config)
        by_transformers(folder)


def plain():
    for name, model_type, options in [
        ("plain_bpe", "bpe", dict(normalization_rule_name="identity")),  # spaces are joined
        ("plain_unigram", "unigram", dict(user_defined_symbols=["<sep>"])),  # nmt_nfkc
        ("plain_identity", "bpe", dict(byte_fallback=False, vocab_size=120, **IDENTITY)),
    ]:
        folder = train(name, model_type, **options)
        settings(folder, tokenizer_class="TokenizersBackend")
        by_transformers(folder)


def main():
    if int(transformers.__version__.split(".")[0]) < 5:
        flags()
        classes()
    else:
        plain()


if __name__ == "__main__":
    main()
