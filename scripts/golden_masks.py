"""Writes the golden loss masks of crates/data: which tokens of a conversation are said by the model.

Each template gets {% generation %} marks around what the model says, its end-of-turn token included, by hand;
transformers then gives the mask (`return_assistant_tokens_mask`). The Rust tests hold to it what is found out from the
templates as they are, which have no marks. A small byte-level tokenizer with the special tokens of all of them is
trained first. Writes crates/data/tests/samples/{tokenizer.json,masks.json}.

Needs transformers; see requirements.txt. Run from anywhere.
"""

import json
from datetime import datetime
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

TESTS = Path(__file__).resolve().parent.parent / "crates/data/tests"
SPECIAL = [
    "<|endoftext|>", "<|im_start|>", "<|im_end|>",
    "<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>",
    "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>",
    "<|user|>", "<|assistant|>", "<|system|>", "<|end|>",
]
# Template: its beginning-of-text, end-of-text and end-of-turn tokens, and what is replaced to mark it.
OPEN, CLOSE = "{% generation %}", "{% endgeneration %}"
TEMPLATES = {
    "smollm2": ("<|im_start|>", "<|im_end|>", "<|im_end|>", [(
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}",
        "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}" + OPEN
        + "{{message['content'] + '<|im_end|>'}}" + CLOSE + "{% else %}{{message['content'] + '<|im_end|>'}}{% endif %}{{'\n'}}",
    )]),
    "llama3": ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", [(
        "{{- message['content'] | trim ~ '<|eot_id|>' }}",
        "{%- if message['role'] == 'assistant' %}" + OPEN + "{{- message['content'] | trim ~ '<|eot_id|>' }}" + CLOSE
        + "{%- else %}{{- message['content'] | trim ~ '<|eot_id|>' }}{%- endif %}",
    )]),
    "gemma": ("<bos>", "<eos>", "<end_of_turn>", [(
        "{{ message['content'] | trim }}<end_of_turn>\n",
        "{% if speaker == 'model' %}" + OPEN + "{{ message['content'] | trim }}<end_of_turn>" + CLOSE
        + "{% else %}{{ message['content'] | trim }}<end_of_turn>{% endif %}{{ '\n' }}",
    )]),
    # Drops the reasoning of earlier answers: a conversation up to an answer is no beginning of the whole.
    "qwen3": ("<|endoftext|>", "<|im_end|>", "<|im_end|>", [
        ("{{- '<|im_start|>' + message.role + '\\n<think>\\n' +", "{{- '<think>\\n' +"),
        ("{{- '<|im_start|>' + message.role + '\\n' + content }}", "{{- content }}"),
        ("        {%- if loop.index0 > ns.last_query_index %}",
         "        {{- '<|im_start|>' + message.role + '\\n' }}" + OPEN + "\n        {%- if loop.index0 > ns.last_query_index %}"),
        ("        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\" %}",
         "        {{- '<|im_end|>' }}" + CLOSE + "{{- '\\n' }}\n    {%- elif message.role == \"tool\" %}"),
    ]),
    # Closes every text, finished or not, with a token of its own.
    "phi3": ("<bos>", "<|endoftext|>", "<|end|>", [(
        "{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}",
        "{{'<|assistant|>\n'}}" + OPEN + "{{message['content'] + '<|end|>'}}" + CLOSE + "{{'\n'}}",
    )]),
}


def say(*contents, system=None, roles=("user", "assistant")):
    talk = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
    return [{"role": "system", "content": system}] * bool(system) + talk


CASES = {
    "one turn": say("What is 2 + 2?", "Four."),
    "three turns": say("Hello", "Hi! How are you?", "Fine, and you?", "Fine.", "Say it again", "Fine, I said."),
    "system": say("Who are you?", "A parrot.", "Really?", "A grey one.", system="You are a parrot."),
    "space": say("  What now?\n", "\n\n  Two lines\nand a space \n", "And?", " Done. "),
    "the same words": say("yes", "yes", "yes", "yes"),
    "other letters": say("Übung – 好的?", "好的, grüezi 🦜.", "¿Qué?", "🦜"),
    "ends with a question": say("Hello", "Hi!", "How are you?"),
    "reasoning": say("1?", "<think>\nhm\n</think>\n\nOne.", "2?", "<think>\nwell\n</think>\n\nTwo."),
    "called": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": {"name": "sky", "arguments": {"days": 2}}}]},
        {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ],
}


class Noon(datetime):
    """A day that does not pass."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 2, 3, 12, 0, 0, tzinfo=tz)


def train():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    text = [message["content"] for case in CASES.values() for message in case] * 3
    tokenizer.train_from_iterator([*text, "user\nassistant\n\nsystem\nmodel\n", "<think>\n\n</think>\n\n"] * 3, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def masks(tokenizer, name, bos, eos, replacements):
    source = (TESTS / f"chat/templates/{name}.jinja").read_text()
    marked = source
    for old, new in replacements:
        assert old in marked, (name, old)
        marked = marked.replace(old, new)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=bos, eos_token=eos)
    found = {}
    for case, messages in CASES.items():
        try:
            whole = fast.apply_chat_template(messages, chat_template=source, tokenize=False)
        except Exception as error:  # a refusal, or a template that does not know tools
            print(f"{name} does not take {case!r}: {error}")
            continue
        if case == "called" and name != "qwen3":
            continue
        assert fast.apply_chat_template(messages, chat_template=marked, tokenize=False) == whole, (name, case)
        encoded = fast.apply_chat_template(
            messages, chat_template=marked, return_dict=True, return_assistant_tokens_mask=True
        )
        found[case] = {"ids": encoded["input_ids"], "mask": encoded["assistant_masks"]}
    return found


def main():
    chat_template_utils.datetime = Noon
    tokenizer = train()
    out = TESTS / "samples"
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    golden = {
        name: {"bos_token": bos, "eos_token": eos, "end": end, "cases": masks(tokenizer, name, bos, eos, replacements)}
        for name, (bos, eos, end, replacements) in TEMPLATES.items()
    }
    text = json.dumps({"cases": CASES, "templates": golden}, ensure_ascii=False, separators=(",", ":"))
    (out / "masks.json").write_text(text.replace('},"', '},\n"') + "\n")
    for name, one in golden.items():
        print(name, {case: sum(found["mask"]) for case, found in one["cases"].items()})


if __name__ == "__main__":
    main()
