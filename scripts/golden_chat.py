"""Renders the chat templates in crates/data/tests/chat/templates with transformers, for the tests of crates/data.

Writes crates/data/tests/chat/golden.json. With a folder as argument, renders the templates in there instead and writes
golden.json beside them: LLM_CHAT_TEMPLATES=FOLDER makes the same test check it.

Needs transformers; see requirements.txt. Run from anywhere.
"""

import json
import sys
from datetime import datetime
from pathlib import Path

from jinja2.exceptions import TemplateError, UndefinedError
from transformers.utils import chat_template_utils

HOME = Path(__file__).resolve().parent.parent / "crates/data/tests/chat"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


class Noon(datetime):
    """A day that does not pass."""

    @classmethod
    def now(cls, tz=None):
        return cls(2026, 2, 3, 12, 0, 0, tzinfo=tz)


def user(content):
    return {"role": "user", "content": content}


def assistant(content, **more):
    return {"role": "assistant", "content": content, **more}


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather in a city, e.g. <Zürich> & \"Bern\".",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 1}},
            "required": ["city"],
        },
    },
}
CALL = {"id": "abcdefgh1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Zürich", "days": 2}}}
TALK = [user("Hello"), assistant("Hi! How are you?"), user("  Fine <b>&amp;</b> \"you\"?\n")]
CASES = {
    "question": {"messages": [user("What is 2 + 2?")], "add_generation_prompt": True},
    "talk": {"messages": TALK, "add_generation_prompt": True},
    "ended": {"messages": [*TALK, assistant("\n\nGood – 好的, grüezi.")]},
    "system": {"messages": [{"role": "system", "content": "Answer in one word. "}, *TALK], "add_generation_prompt": True},
    "thought": {
        "messages": [user("1?"), assistant("<think>\nhm\n</think>\n\nOne."), user("2?"), assistant("<think>a</think>Two.")],
        "variables": {"enable_thinking": False},
        "add_generation_prompt": True,
    },
    "reasoning": {"messages": [user("1?"), assistant("One.", reasoning_content="hm")], "variables": {"enable_thinking": True}},
    "parts": {"messages": [user([{"type": "text", "text": "Two"}, {"type": "text", "text": "parts"}])], "add_generation_prompt": True},
    "tools": {"messages": [user("Weather in Zürich?")], "tools": [WEATHER], "add_generation_prompt": True},
    "called": {
        "messages": [
            user("Weather in Zürich?"),
            assistant("", tool_calls=[CALL]),
            {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefgh1", "content": "{\"sun\": true, \"°C\": 21.5}"},
            assistant("Sunny."),
            user("Thanks"),
        ],
        "tools": [WEATHER],
        "add_generation_prompt": True,
    },
    "called without a word": {
        "messages": [
            user("Weather in Zürich?"),
            assistant(None, tool_calls=[CALL]),
            {"role": "tool", "name": "get_weather", "tool_call_id": "abcdefgh1", "content": "sunny"},
            assistant("Sunny."),
        ],
        "tools": [WEATHER],
    },
    "documents": {"messages": TALK[:1], "documents": [{"title": "A", "text": "Ä\n<b>"}], "add_generation_prompt": True},
    "wrong order": {"messages": [assistant("first"), user("second"), user("third")]},
    "unknown role": {"messages": [{"role": "note", "content": "n"}, user("q"), {"role": "end", "content": "e"}, user("r")]},
}
# What templates may use beyond what the published ones do; each is rendered by itself.
EXPRESSIONS = [
    "{{ '7'.zfill(3) }} {{ '-7'.zfill(4) }} {{ '+é'.zfill(2) }} {{ 'abc'.zfill(2) }}",
    "{{ 'a.b.c'.removeprefix('a.') }} {{ 'a.b'.removeprefix('b') }} {{ 'a.b'.removesuffix('.b') }} {{ 'a.b'.removesuffix('a') }}",
    "{{ 'a.b.c'.partition('.') }} {{ 'abc'.partition('.') }} {{ 'a.b.c'.rpartition('.') }} {{ 'abc'.rpartition('.') }}",
    "{{ 'a,b,c'.rsplit(',') }} {{ 'a,b,c'.rsplit(',', 1) }} {{ 'a,b,c'.rsplit(',', maxsplit=0) }} {{ ''.rsplit(',') }}",
    "{{ ' a  b c '.rsplit() }} {{ ' a  b c '.rsplit(None, 1) }} {{ ' a  b c '.rsplit(none, 0) }} {{ '  '.rsplit() }}",
    "{{ 'äbäb'.index('b') }} {{ 'äbäb'.rindex('b') }} {{ [3, 4].index(4) }}",
    "{{ 'ab'.ljust(5) }}| {{ 'ab'.rjust(5, '*') }} {{ 'ab'.center(5, '*') }} {{ 'abc'.center(6, '*') }} {{ 'abc'.center(2) }}",
    "{{ 'aBß'.swapcase() }} {{ 'Straße ÄÖ'.casefold() }} {{ 'ab cd'.title() }} {{ 'x'.isdigit() }}",
    "{{ [1].copy() }} {{ {'a': 1}.copy() }}",
    "{{ '<a href=\"x\">it\\'s &</a>' | escape }} {{ '<' | e }} {{ ('<' | e) | e }} {{ 5 | e }}",
    "{{ ({'role': 'x'} | attr('role')) is defined }} {{ ({'role': 'x'} | attr('role')) }}|",
    "{% set ns = namespace(a=1) %}{{ ns | attr('a') }} {% for x in [1] %}{{ loop | attr('index') }}{% endfor %}",
    "{{ lipsum is defined }} {{ cycler is defined }} {{ joiner is defined }} {{ debug is defined }} {{ dict is defined }} {{ range is defined }}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }} {% set j = joiner('-') %}{{ j() }}x{{ j() }}y",
    "a\r\nb\rc\n{{ 'd\r\ne' }}{{ 'f\\r\\n' }}\r\n",
    "{% if true %}\r\n  x\r\n{% endif %}\r\n{# note #}\r\ny\r\n",
]


def render(source, case):
    arguments = {key: value for key, value in case.items() if key not in ("messages", "variables")}
    mask = "{% generation" in source or "{%- generation" in source
    try:
        texts, spans = chat_template_utils.render_jinja_template(
            [case["messages"]],
            chat_template=source,
            return_assistant_tokens_mask=mask,
            **arguments,
            **case.get("variables", {}),
            **TOKENS,
        )
    except UndefinedError as error:
        return {"error": f"{error}"}
    except TemplateError as error:
        return {"refusal": f"{error}"}
    except (TypeError, ValueError) as error:
        return {"error": f"{error}"}
    found = {"text": texts[0]}
    if mask:
        # Python counts characters, Rust bytes.
        found["generated"] = [[len(texts[0][:place].encode()) for place in span] for span in spans[0]]
    return found


def main():
    chat_template_utils.datetime = Noon
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HOME / "templates"
    templates = sorted(folder.glob("*.jinja"))
    rendered = {}
    for path in templates:
        source = path.read_bytes().decode()
        rendered[path.stem] = {name: render(source, case) for name, case in CASES.items()}
    expressions = [[source, render(source, {"messages": []})] for source in EXPRESSIONS]
    out = (HOME if folder == HOME / "templates" else folder) / "golden.json"
    out.write_text(json.dumps({"tokens": TOKENS, "cases": CASES, "expressions": expressions, "rendered": rendered}, ensure_ascii=False, indent=1) + "\n")
    print(f"{out}: {len(templates)} templates, {len(CASES)} conversations")


if __name__ == "__main__":
    main()
