//! `llm chat` through a pipe, as scripts use it, with a tiny model of random weights.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Letters for roles, so that much fits into 64 characters.
const TEMPLATE: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}\
                        {% if add_generation_prompt %}a:{% endif %}";

/// A folder with a model in `tiny`, with a chat template or without.
struct Sandbox {
    dir: tempfile::TempDir,
}

impl Sandbox {
    fn new(template: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmd/generate.in/tiny");
        let to = dir.path().join("tiny");
        fs::create_dir(&to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
        if let Some(template) = template {
            fs::write(to.join("chat_template.jinja"), template).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command's output for this input.
    fn run(&self, command: &str, args: &[&str], input: impl AsRef<[u8]>) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_llm"))
            .current_dir(&self.dir)
            .args([command, "--model", "tiny", "--device", "cpu"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The program may end before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input.as_ref());
        child.wait_with_output().unwrap()
    }

    /// Greedy answers of at most four tokens.
    fn chat(&self, args: &[&str], input: &str) -> Output {
        self.run("chat", &[&["--temp", "0", "-n", "4"], args].concat(), input)
    }

    /// What the model makes of a text.
    fn generate(&self, prompt: &str) -> String {
        let made = self.run("generate", &["--temp", "0", "-n", "4", "--prompt", prompt], "");
        out(&made).trim_end_matches('\n').to_owned()
    }
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn messages(path: &Path) -> Vec<Value> {
    let file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    file["messages"].as_array().unwrap().clone()
}

#[test]
fn each_line_is_answered_after_what_was_said_before() {
    let sandbox = Sandbox::new(Some(TEMPLATE));
    let first = sandbox.generate("s:Be.\nu:hello\na:");
    let second = sandbox.generate(&format!("s:Be.\nu:hello\na:{first}\nu:and you\na:"));
    let talk = sandbox.chat(&["--system", "Be."], "hello\n\nand you\n");
    assert!(talk.status.success(), "{}", err(&talk));
    assert_eq!(out(&talk), format!("{first}\n{second}\n"));
    assert_eq!(err(&talk), "cut after 4 tokens; /set max-tokens N allows more\n".repeat(2));
}

#[test]
fn a_turn_reads_its_own_tokens_only() {
    let sandbox = Sandbox::new(Some(TEMPLATE));
    // One whose answer is read again as the tokens that it was written in.
    let words = ["hello", "cat", "dog", "sat", "mat", "ten"];
    let answers = |word: &&str| !sandbox.generate(&format!("u:{word}\na:")).contains("<unk>");
    let word = words.into_iter().find(answers).unwrap();
    let shown = err(&sandbox.chat(&["--verbose"], &format!("{word}\nyou\n")));
    assert!(shown.contains("temperature 0 (given), top-k 40 (default)"), "{shown}");
    let first = word.len() + 5;
    assert!(shown.contains(&format!("read {first} of {first} prompt tokens")), "{shown}");
    // The last token of the answer was drawn but not read; `\nu:you\na:` follows.
    assert!(shown.contains(&format!("read 10 of {} prompt tokens", first + 13)), "{shown}");
}

#[test]
fn messages_of_several_lines() {
    let sandbox = Sandbox::new(Some(TEMPLATE));
    let input = "\"\"\"one\n/two\"\"\"\nthree\\\nfour\n\"\"\"\nfive\n\"\"\"\n/save talk.json\n/bye\nnever read\n";
    assert!(sandbox.chat(&[], input).status.success());
    let said: Vec<_> = messages(&sandbox.path("talk.json")).iter().map(|m| m["content"].clone()).collect();
    assert_eq!([&said[0], &said[2], &said[4]], ["one\n/two", "three\nfour", "five"]);
    assert_eq!(said.len(), 6);
}

#[test]
fn a_saved_conversation_goes_on_as_if_it_had_not_ended() {
    let sandbox = Sandbox::new(Some(TEMPLATE));
    let whole = sandbox.chat(&["--system", "Be."], "hello\nyou\n");
    assert!(sandbox.chat(&["--system", "Be."], "hello\n/save talk.json\n").status.success());
    let saved = messages(&sandbox.path("talk.json"));
    assert_eq!(saved[..2], [json!({"role": "system", "content": "Be."}), json!({"role": "user", "content": "hello"})]);
    let rest = sandbox.chat(&[], "/load talk.json\nyou\n");
    assert!(err(&rest).contains("talk.json: resumed, 3 messages"), "{}", err(&rest));
    assert_eq!(out(&rest), out(&whole).lines().nth(1).unwrap().to_owned() + "\n");
    // After a reset the system message stays.
    let anew = sandbox.chat(&[], "/load talk.json\n/reset\nhello\n");
    assert_eq!(out(&anew), out(&whole).lines().next().unwrap().to_owned() + "\n");
}

#[test]
fn settings_change_what_follows() {
    let sandbox = Sandbox::new(Some(TEMPLATE));
    let greedy = out(&sandbox.chat(&[], "hello\n"));
    let set = sandbox.run("chat", &["-n", "9"], "/set temperature 0\n/set max-tokens 4\nhello\n/set\n");
    let shown = out(&set);
    assert!(shown.starts_with(&greedy), "{shown}");
    assert!(shown.contains("temperature 0\ntop-k 40\n") && shown.contains("max-tokens 4\n"), "{shown}");
    let same_seed =
        out(&sandbox.run("chat", &["-n", "9"], "/set seed 5\nhello\n/reset\n/set seed 5\nhello\n/reset\nhello\n"));
    let answers: Vec<_> = same_seed.lines().collect();
    assert_eq!(answers[0], answers[1]);
    assert_ne!(answers[1], answers[2], "another answer has other random numbers");
    let told = out(&sandbox.chat(&[], "/system Be.\nhello\n/system\n/set system\n/reset\nhello\n"));
    let expected = format!("{}\nBe.\n{greedy}", sandbox.generate("s:Be.\nu:hello\na:"));
    assert_eq!(told, expected);
}

#[test]
fn a_full_context_forgets_the_oldest_turns() {
    let sandbox = Sandbox::new(Some(TEMPLATE));
    let talk =
        sandbox.chat(&["--system", "Be."], "first message\nsecond message\nthird message\nfourth\n/save talk.json\n");
    assert!(talk.status.success(), "{}", err(&talk));
    let shown = err(&talk);
    assert!(shown.contains("warning: the context of 64 tokens is full: the oldest 4 messages are dropped"), "{shown}");
    let kept = messages(&sandbox.path("talk.json"));
    assert_eq!(kept[0]["content"], "Be.");
    assert_eq!(kept[1]["content"], "third message");
    // The answer is that to what is left.
    let left = format!("s:Be.\nu:third message\na:{}\nu:fourth\na:", kept[2]["content"].as_str().unwrap());
    assert_eq!(kept[4]["content"], sandbox.generate(&left));

    let long = sandbox.chat(&[], &format!("{}\n", "x".repeat(70)));
    assert_eq!(long.status.code(), Some(1));
    assert!(err(&long).contains("has 75 tokens, but the model's context is 64\nhint: "), "{}", err(&long));
}

#[test]
fn a_model_without_a_template_goes_on_with_the_text() {
    let sandbox = Sandbox::new(None);
    let talk = sandbox.chat(&[], "A cat\nsat\n");
    let first = sandbox.generate("A cat");
    assert_eq!(out(&talk), format!("{first}\n{}\n", sandbox.generate(&format!("A cat{first}\nsat"))));
    let shown = err(&talk);
    assert!(shown.starts_with("warning: this model has no chat template"), "{shown}");
    assert!(shown.contains("hint: ") && shown.contains("--chat-template"), "{shown}");
    fs::write(sandbox.path("mine.jinja"), TEMPLATE).unwrap();
    let given = sandbox.chat(&["--chat-template", "mine.jinja"], "hello\n");
    assert_eq!(out(&given), sandbox.generate("u:hello\na:") + "\n");
    assert!(!err(&given).contains("no chat template"));
}

#[test]
fn generation_config_sets_the_defaults() {
    let sandbox = Sandbox::new(Some(TEMPLATE));
    fs::write(sandbox.path("tiny/generation_config.json"), r#"{"do_sample": false, "max_new_tokens": 4}"#).unwrap();
    let talk = sandbox.run("chat", &["--verbose"], "hello\n");
    assert_eq!(out(&talk), sandbox.generate("u:hello\na:") + "\n");
    let shown = err(&talk);
    assert!(shown.contains("temperature 0 (generation_config.json)"), "{shown}");
    assert!(shown.contains("max-tokens 4 (generation_config.json)"), "{shown}");
    fs::write(sandbox.path("tiny/generation_config.json"), r#"{"top_p": -7}"#).unwrap();
    let shown = err(&sandbox.run("chat", &[], "hello\n"));
    assert!(shown.contains("generation_config.json: top_p is -7, but it must be"), "{shown}");
}

#[test]
fn mistakes_end_a_script_with_a_reason() {
    let sandbox = Sandbox::new(Some(
        "{{ messages[0].content }}{% if messages|length > 1 %}{{ raise_exception('Only one!') }}{% endif %}",
    ));
    fs::write(sandbox.path("broken.json"), "{\"messages\": [{\"role\"").unwrap();
    fs::write(sandbox.path("other.json"), "[{\"role\": \"user\"}]").unwrap();
    for (input, part) in [
        ("/hlep\n", "error: unknown command /hlep\nhint: /help"),
        ("/set heat 1\n", "error: unknown setting heat\nhint: "),
        ("/set top-p 1.5\n", "error: top-p is 1.5, but it must be more than 0 and at most 1"),
        ("/load missing.json\n", "error: missing.json: "),
        ("/load broken.json\n", "error: broken.json: not JSON: EOF"),
        ("/load other.json\n", "error: other.json: message 1 has no \"content\""),
        ("/save nowhere/talk.json\n", "error: nowhere/talk.json: "),
        ("hello\nagain\n", "error: the model's chat template rejects these messages: Only one!"),
    ] {
        let talk = sandbox.chat(&[], &format!("{input}hello\n"));
        assert_eq!(talk.status.code(), Some(1), "{input}");
        assert!(err(&talk).contains(part), "{input}: {}", err(&talk));
    }
    let latin1 = sandbox.run("chat", &[], b"caf\xe9\n");
    assert!(err(&latin1).contains("standard input: invalid UTF-8 at byte 3\nhint: "), "{}", err(&latin1));
    fs::write(sandbox.path("tiny/chat_template.jinja"), "a\n{% for %}").unwrap();
    let talk = sandbox.chat(&[], "hello\n");
    assert!(err(&talk).contains("error: the chat template, line 2: syntax error"), "{}", err(&talk));
    let missing = sandbox.chat(&["--chat-template", "missing.jinja"], "hello\n");
    assert!(err(&missing).contains("error: missing.jinja: "), "{}", err(&missing));
}

#[test]
fn the_end_of_a_turn_ends_an_answer() {
    // The token that the untrained model says first is declared to end turns: by an id, by several, or by the template.
    let sandbox = Sandbox::new(Some(TEMPLATE));
    let first = sandbox.generate("u:hello\na:").chars().next().unwrap();
    let path = sandbox.path("tiny/tokenizer.json");
    let mut tokenizer: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let id = tokenizer["model"]["vocab"][first.to_string()].as_u64().unwrap();
    for eos in [json!(id), json!([0, id])] {
        fs::write(sandbox.path("tiny/generation_config.json"), json!({"eos_token_id": eos}).to_string()).unwrap();
        let talk = sandbox.chat(&[], "hello\n");
        assert_eq!((out(&talk).as_str(), err(&talk).as_str()), ("\n", ""), "{eos}");
    }
    fs::remove_file(sandbox.path("tiny/generation_config.json")).unwrap();
    let special = json!({"id": id, "content": first.to_string(), "special": true, "single_word": false,
                         "lstrip": false, "rstrip": false, "normalized": false});
    tokenizer["added_tokens"].as_array_mut().unwrap().push(special);
    fs::write(&path, tokenizer.to_string()).unwrap();
    let said = out(&sandbox.chat(&[], "hello\n"));
    assert_ne!(said, "\n");
    let template = TEMPLATE.replace(
        "{{ m.content }}",
        &format!("{{{{ m.content }}}}{{{{ {:?} if m.role[0] == 'a' }}}}", first.to_string()),
    );
    fs::write(sandbox.path("tiny/chat_template.jinja"), template).unwrap();
    let talk = sandbox.chat(&[], "hello\n");
    assert_eq!((out(&talk).as_str(), err(&talk).as_str()), ("\n", ""));
}

/// A template with variables, as Qwen 3 and SmolLM 3 have them.
const THINKING: &str = "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}\n{% endfor %}\
                        {% if enable_thinking is defined and not enable_thinking %}-{% else %}+{% endif %}\
                        {% if effort %}{{ effort }}{% endif %}a:";

#[test]
fn template_variables_come_from_the_command_line_and_from_set() {
    let sandbox = Sandbox::new(Some(THINKING));
    let [on, off, low] = ["u:cat\n+a:", "u:cat\n-a:", "u:cat\n+lowa:"].map(|prompt| sandbox.generate(prompt) + "\n");
    assert!(on != off && on != low);
    assert_eq!(out(&sandbox.chat(&[], "cat\n")), on);
    let given = ["--chat-template-kwargs", r#"{"enable_thinking": false}"#];
    assert_eq!(out(&sandbox.chat(&given, "cat\n")), off);
    assert_eq!(out(&sandbox.chat(&given, "/set enable_thinking true\ncat\n")), on);
    assert_eq!(out(&sandbox.chat(&[], "/set enable_thinking False\ncat\n")), off);
    assert_eq!(out(&sandbox.chat(&given, "/set enable_thinking\ncat\n")), on);
    assert_eq!(out(&sandbox.chat(&[], "/set effort low\ncat\n")), low);
    let shown = out(&sandbox.chat(&given, "/set\n"));
    assert!(shown.ends_with("effort (default)\nenable_thinking false\n"), "{shown}");
    // The same of one answer.
    let asked = ["--temp", "0", "-n", "4", "--chat", "--prompt", "cat"];
    assert_eq!(out(&sandbox.run("generate", &asked, "")), on);
    assert_eq!(out(&sandbox.run("generate", &[&asked[..], &given].concat(), "")), off);
}

#[test]
fn variables_that_no_template_reads_are_told() {
    let sandbox = Sandbox::new(Some(THINKING));
    let talk = sandbox.chat(&["--chat-template-kwargs", r#"{"enable_thinkin": false}"#], "cat\n");
    let expected = "warning: the chat template does not read \"enable_thinkin\"; it has no effect\n\
                    hint: the template reads effort, enable_thinking\n";
    assert!(err(&talk).contains(expected), "{}", err(&talk));
    let talk = sandbox.chat(&[], "/set enable_thinkin false\n");
    let expected = "error: unknown setting enable_thinkin, and the chat template reads only effort, enable_thinking\n\
                    hint: /set shows the settings\n";
    assert_eq!((talk.status.code(), err(&talk).as_str()), (Some(1), expected));
    for wrong in ["enable_thinking=false", "[]", r#"{"messages": []}"#] {
        let talk = sandbox.chat(&["--chat-template-kwargs", wrong], "cat\n");
        assert_eq!(talk.status.code(), Some(2), "{wrong}");
    }
    let made = sandbox.run("generate", &["--prompt", "cat", "--chat-template-kwargs", "{}"], "");
    assert!(err(&made).contains("error: --chat-template-kwargs requires --chat\nhint: add --chat"), "{}", err(&made));
    // Without a template there is nothing to give them to.
    let bare = Sandbox::new(None);
    for (command, args) in [("chat", &[][..]), ("generate", &["--chat", "--prompt", "cat"])] {
        let made = bare.run(command, &[args, &["--chat-template-kwargs", "{}"]].concat(), "cat\n");
        assert!(err(&made).contains("error: this model has no chat template\nhint: "), "{}", err(&made));
    }
}
