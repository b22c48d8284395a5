//! Chat templates against `transformers` (`scripts/golden_chat.py`), and where a directory keeps them.

mod skip;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use llm_data::{ChatInput, ChatTemplate, DataError, Tokenizer};
use serde_json::{Map, Value, json};
use skip::skip;

/// Templates that lean on how Jinja2 escapes marked text, which is of no use in a chat.
const ESCAPING: [&str; 1] = ["meetkai-functionary-medium-v3.1"];

/// 2026-02-03 12:00 UTC, when the golden texts were written.
const NOON: Duration = Duration::from_hours(491_700);

fn golden_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/chat")
}

fn input(case: &Value) -> ChatInput<'_> {
    ChatInput {
        messages: case["messages"].as_array().unwrap(),
        tools: case["tools"].as_array().map(Vec::as_slice),
        documents: case["documents"].as_array().map(Vec::as_slice),
        add_generation_prompt: case["add_generation_prompt"] == true,
        variables: case["variables"].as_object().cloned().unwrap_or_default(),
    }
}

/// What differs from the golden file, one line each, and how many conversations there are.
fn compare(golden: &Path, templates: &Path, strict: bool) -> (Vec<String>, usize) {
    let golden: Value = serde_json::from_slice(&fs::read(golden).unwrap()).unwrap();
    let tokens = golden["tokens"].as_object().unwrap();
    let (mut differences, mut count) = (Vec::new(), 0);
    for (name, rendered) in golden["rendered"].as_object().unwrap() {
        let source = fs::read_to_string(templates.join(format!("{name}.jinja"))).unwrap();
        let template = ChatTemplate::new(&source, tokens.clone()).map(|template| template.at(Some(UNIX_EPOCH + NOON)));
        for (case, expected) in rendered.as_object().unwrap() {
            count += 1;
            let input = input(&golden["cases"][case]);
            let found = match template.as_ref().map(|template| template.render(&input)) {
                Ok(Ok(chat)) if expected.get("generated").is_some() => {
                    let spans: Vec<_> = chat.generated.iter().map(|span| [span.start, span.end]).collect();
                    json!({"text": chat.text, "generated": spans})
                }
                Ok(Ok(chat)) => json!({"text": chat.text}),
                Ok(Err(DataError::ChatRefused { message })) => json!({"refusal": message}),
                Ok(Err(error)) => json!({"error": error.to_string()}),
                Err(error) => json!({"error": error.to_string()}),
            };
            // Python words its errors in its own way, and iterating over None is one.
            let lenient = expected.get("error").is_some() && (found.get("error").is_some() || !strict);
            // So does Jinja where it is not the template that refuses.
            let by_jinja = |words: &str| words.ends_with("is unsafe.") || words.starts_with("cannot assign attribute");
            let unsafe_there = found.get("error").is_some() && expected["refusal"].as_str().is_some_and(by_jinja);
            if found != *expected && !lenient && !unsafe_there && !ESCAPING.contains(&name.as_str()) {
                differences.push(format!("{name}, {case}:\n  ours   {found}\n  theirs {expected}"));
            }
        }
    }
    (differences, count)
}

#[test]
fn published_templates_are_rendered_as_transformers_renders_them() {
    let (differences, count) = compare(&golden_folder().join("golden.json"), &golden_folder().join("templates"), true);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert_eq!(count, 9 * 13);
}

/// Jinja reads a template with Windows line ends as one with line feeds.
#[test]
fn line_ends_of_a_template_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden_folder().join("templates")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(folder.path().join(path.file_name().unwrap()), text.replace('\n', "\r\n")).unwrap();
    }
    let (differences, _) = compare(&golden_folder().join("golden.json"), folder.path(), true);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn what_python_and_jinja_offer_gives_what_it_gives_there() {
    let golden: Value = serde_json::from_slice(&fs::read(golden_folder().join("golden.json")).unwrap()).unwrap();
    let expressions = golden["expressions"].as_array().unwrap();
    assert_eq!(expressions.len(), 16);
    for pair in expressions {
        let (source, expected) = (pair[0].as_str().unwrap(), pair[1]["text"].as_str().unwrap());
        let found = ChatTemplate::new(source, Map::new()).unwrap().render(&ChatInput::default()).map(|chat| chat.text);
        assert_eq!(found.unwrap(), expected, "{source}");
    }
}

/// For example the templates of llama.cpp, after `scripts/golden_chat.py FOLDER`.
#[test]
fn further_templates_are_rendered_as_transformers_renders_them() {
    let Some(folder) = std::env::var_os("LLM_CHAT_TEMPLATES").map(PathBuf::from) else {
        return skip("chat-templates", "LLM_CHAT_TEMPLATES names no folder");
    };
    let (differences, count) = compare(&folder.join("golden.json"), &folder, false);
    assert!(differences.is_empty(), "{} of {count}:\n{}", differences.len(), differences.join("\n"));
}

/// A directory with a tokenizer and the given `tokenizer_config.json`.
fn directory(config: &Value) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [
            {"id": 3, "content": "<|im_end|>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
            {"id": 4, "content": "<s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false},
        ],
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [4], "tokens": ["<s>"]}},
        },
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "a": 1, "b": 2, "<|im_end|>": 3, "<s>": 4}, "unk_token": "<unk>"},
    });
    fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::write(dir.path().join("tokenizer_config.json"), config.to_string()).unwrap();
    dir
}

fn template_in(dir: &Path) -> Result<Option<ChatTemplate>, DataError> {
    ChatTemplate::of(&Tokenizer::load(dir).unwrap())
}

fn hello(template: &ChatTemplate) -> String {
    let messages = [json!({"role": "user", "content": "a"})];
    template.render(&ChatInput { messages: &messages, ..ChatInput::default() }).unwrap().text
}

#[test]
fn a_template_is_found_where_directories_keep_it() {
    assert!(template_in(directory(&json!({})).path()).unwrap().is_none());
    assert!(template_in(directory(&json!({"chat_template": null})).path()).unwrap().is_none());

    let source = "{{ bos_token }}{{ messages[0].content }}{{ pad_token }}";
    let dir = directory(&json!({"chat_template": source, "bos_token": {"content": "<s>"}, "pad_token": null}));
    assert_eq!(hello(&template_in(dir.path()).unwrap().unwrap()), "<s>a");

    let named = json!([{"name": "default", "template": "d"}, {"name": "tool_use", "template": "t"}]);
    let dir = directory(&json!({"chat_template": named}));
    assert_eq!(hello(&template_in(dir.path()).unwrap().unwrap()), "d");

    // The file of its own holds, and what is saved has both.
    fs::write(dir.path().join("chat_template.jinja"), "from the file").unwrap();
    assert_eq!(hello(&template_in(dir.path()).unwrap().unwrap()), "from the file");
    fs::create_dir(dir.path().join("additional_chat_templates")).unwrap();
    fs::write(dir.path().join("additional_chat_templates/tool_use.jinja"), "with tools").unwrap();
    let saved = tempfile::tempdir().unwrap();
    Tokenizer::load(dir.path()).unwrap().save(saved.path()).unwrap();
    for dir in [dir.path(), saved.path()] {
        let template = template_in(dir).unwrap().unwrap();
        assert_eq!(hello(&template), "from the file");
        let input = ChatInput { tools: Some(&[Value::Null]), ..ChatInput::default() };
        assert_eq!(template.render(&input).unwrap().text, "with tools");
    }

    for odd in [json!(7), json!([{"name": "default"}]), json!({"default": 1})] {
        let error = template_in(directory(&json!({"chat_template": odd})).path()).unwrap_err();
        assert!(error.to_string().contains("must be a text, or a list"), "{error}");
    }
}

#[test]
fn the_end_of_a_turn_is_the_special_token_after_it() {
    let end = |source: &str| {
        let dir = directory(&json!({"chat_template": source}));
        let tokenizer = Tokenizer::load(dir.path()).unwrap();
        ChatTemplate::of(&tokenizer).unwrap().unwrap().end_of_turn(&tokenizer)
    };
    assert_eq!(end("{% for m in messages %}{{ m.content }} <|im_end|>\n{% endfor %}"), Some(3));
    assert_eq!(end("{% for m in messages %}{{ m.content }} b <|im_end|>\n{% endfor %}"), None);
    assert_eq!(end("{% for m in messages %}{{ m.content }}{% endfor %}"), None);
    assert_eq!(end("{{ raise_exception('no') }}"), None);
}

#[test]
fn rendered_text_gets_no_further_special_tokens() {
    let tokenizer = Tokenizer::load(directory(&json!({})).path()).unwrap();
    assert_eq!(tokenizer.encode_prompt("a <|im_end|> b").unwrap(), [4, 1, 3, 2]);
    // No file but tokenizer.json says what begins a text, and where it is written it is not put there again.
    assert_eq!(tokenizer.encode_prompt("<s>a").unwrap(), [4, 1]);
    assert_eq!(tokenizer.encode_rendered("<s>a <|im_end|> b").unwrap(), [4, 1, 3, 2]);
    assert_eq!(tokenizer.encode_rendered("a").unwrap(), [1]);
    assert!(tokenizer.is_special(3) && !tokenizer.is_special(1) && !tokenizer.is_special(99));
    assert!(ChatTemplate::new("", Map::new()).is_ok());
}
