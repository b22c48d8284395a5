//! Nothing is learned that its author did not mean: marks, calls, contents that are not there, tokens within words.

use std::fs;
use std::path::Path;

use llm_data::{
    ChatTemplate, DataError, FindingKind, LeftOutReason, RemarkKind, SampleLimits, SampleSection, SampleSet, Severity,
    TokenizedSamples, Tokenizer, TrainOn, check_samples, row_length,
};
use serde_json::{Map, Value, json};

const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");
const LIMITS: SampleLimits = SampleLimits { train_on: TrainOn::All, max_length: 1000, truncate: false };
/// Writes tools as JSON, calls with arguments that it turns into JSON, and the content whether there is any or not.
const CALLING: &str = "{% if tools %}<|system|>{{ tools | tojson }}<|end|>{% endif %}{% for m in messages %}\
    <|{{ m.role }}|>{{ m.content }}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]\
    {% endfor %}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
/// Asks whether there is a content, and joins arguments as texts.
const JOINING: &str = "{% for m in messages %}<|{{ m.role }}|>{% if m.content is none %}{% for c in m.tool_calls %}\
    {{ '[' + c.function.name + ' ' + c.function.arguments + ']' }}{% endfor %}{% else %}{{ m.content }}{% endif %}<|end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
/// Puts the beginning of reasoning before an answer that is asked for.
const THINKING: &str = "{% for m in messages %}<|{{ m.role }}|>{% if m.content is none %}{% for c in m.tool_calls %}\
    {{ '[' + c.function.name + ' ' + c.function.arguments + ']' }}{% endfor %}{% else %}{{ m.content }}{% endif %}<|end|>\
    {% endfor %}{% if add_generation_prompt %}<|assistant|><think>{% endif %}";
/// Knows nothing of tools.
const TALKING: &str = "{% for m in messages %}{% if m.role in ['user', 'assistant'] %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n\
    {% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}";

fn tokenizer() -> Tokenizer {
    let json = fs::read(Path::new(TESTS).join("samples/tokenizer.json")).unwrap();
    let config = json!({"eos_token": "<|end|>"}).as_object().unwrap().clone();
    Tokenizer::from_json(&serde_json::from_slice(&json).unwrap(), config, &Map::new()).unwrap()
}

fn load(lines: &[Value]) -> Result<SampleSet, DataError> {
    let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    fs::write(file.path(), lines.iter().flat_map(|line| [line.to_string(), "\n".into()]).collect::<String>()).unwrap();
    let section =
        SampleSection { paths: vec![file.path().to_owned()], valid_fraction: 0.0, ..SampleSection::default() };
    SampleSet::load(&section, 0)
}

/// The samples of these lines, written by a template.
struct Tokenized {
    set: SampleSet,
    tokenizer: Tokenizer,
    samples: TokenizedSamples,
}

impl Tokenized {
    fn new(lines: &[Value], template: &str, limits: SampleLimits) -> Self {
        let (set, tokenizer) = (load(lines).unwrap(), tokenizer());
        let template = ChatTemplate::with_tokens_of(&tokenizer, template).unwrap();
        let samples = set.tokenize(&tokenizer, Some(&template), tokenizer.eos_ids(), limits).unwrap();
        Self { set, tokenizer, samples }
    }

    fn text(&self, ids: &[u32]) -> String {
        let tokenizer = &self.tokenizer;
        let text = |id: &u32| {
            if tokenizer.is_special(*id) { tokenizer.token(*id).unwrap() } else { tokenizer.decode(&[*id]).unwrap() }
        };
        ids.iter().map(text).collect()
    }

    /// A sample with what is learned in brackets.
    fn shown(&self, sample: usize) -> String {
        let sample = &self.samples.train[sample];
        let mut place = 0;
        let stretches = sample.trained.chunk_by(|one, other| one == other);
        stretches
            .map(|stretch| {
                let ids = &sample.ids[place..place + stretch.len()];
                place += stretch.len();
                if stretch[0] { format!("⟦{}⟧", self.text(ids)) } else { self.text(ids) }
            })
            .collect()
    }

    fn left_out(&self) -> Vec<&LeftOutReason> {
        self.samples.summary.left_out.iter().map(|one| &one.reason).collect()
    }

    fn remarks(&self) -> Vec<(u64, &RemarkKind)> {
        self.samples.summary.remarks.iter().map(|remark| (remark.origin.line, &remark.kind)).collect()
    }

    fn findings(&self) -> Vec<(FindingKind, Severity, Vec<String>)> {
        let findings = check_samples(&self.set, &[], &self.samples.summary, self.tokenizer.eos_ids());
        let notes = |places: Vec<llm_data::Place>| places.into_iter().map(|place| place.note).collect();
        let findings = findings.into_iter().filter(|finding| finding.kind != FindingKind::NoValidation);
        findings.map(|finding| (finding.kind, finding.severity, notes(finding.places))).collect()
    }
}

fn all(lines: &[Value], template: &str) -> Tokenized {
    Tokenized::new(lines, template, LIMITS)
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": text})
}

/// A good answer behind a bad one with these keys.
fn marked(keys: &Value) -> Value {
    let mut bad = json!({"role": "assistant", "content": "bad"});
    bad.as_object_mut().unwrap().extend(keys.as_object().unwrap().clone());
    json!({"messages": [user("q"), bad, user("r"), {"role": "assistant", "content": "good"}]})
}

#[test]
fn answers_that_are_marked_are_not_learned() {
    for keys in [
        json!({"weight": 0}),
        json!({"weight": 0.0}),
        json!({"weight": false}),
        json!({"train": false}),
        json!({"training": false}),
        json!({"trainable": 0}),
        json!({"loss": false}),
        json!({"weight": 0, "train": false}),
    ] {
        let found = all(&[marked(&keys)], TALKING);
        let expected =
            "<|user|>\nq<|end|>\n<|assistant|>\nbad<|end|>\n<|user|>\nr<|end|>\n<|assistant|>\n⟦good<|end|>⟧\n";
        assert_eq!(found.shown(0), expected, "{keys}");
        assert_eq!(found.findings(), [], "{keys}");
    }
    for keys in
        [json!({}), json!({"weight": 1}), json!({"weight": null}), json!({"train": true}), json!({"weight": 1.0})]
    {
        let shown = all(&[marked(&keys)], TALKING).shown(0);
        assert!(shown.contains("⟦bad<|end|>⟧") && shown.contains("⟦good<|end|>⟧"), "{keys}: {shown}");
    }
    // ShareGPT's form keeps its marks, and so do prompts with completions and preferences.
    let turns = json!([
        {"from": "human", "value": "q"}, {"from": "gpt", "value": "bad", "weight": 0},
        {"from": "human", "value": "r"}, {"from": "gpt", "value": "good"},
    ]);
    let messages = marked(&json!({"train": false}))["messages"].clone();
    let list = messages.as_array().unwrap();
    for line in [json!({"conversations": turns}), json!({"prompt": list[..1], "completion": list[1..]})] {
        let shown = all(&[line], TALKING).shown(0);
        assert!(shown.contains("\nbad<|end|>") && shown.contains("⟦good<|end|>⟧"), "{shown}");
    }
    // Where questions are learned, marked messages are not, whoever says them.
    let line = json!({"messages": [
        {"role": "user", "content": "no", "weight": 0}, {"role": "assistant", "content": "bad", "weight": 0}, user("r"),
        {"role": "assistant", "content": "good"},
    ]});
    let everything = SampleLimits { train_on: TrainOn::Everything, ..LIMITS };
    let shown = Tokenized::new(&[line], TALKING, everything).shown(0);
    let expected =
        "⟦<|user|>\n⟧no⟦<|end|>\n<|assistant|>\n⟧bad<|end|>⟦\n<|user|>\nr<|end|>\n<|assistant|>\ngood<|end|>\n⟧";
    assert_eq!(shown, expected);
}

#[test]
fn samples_that_are_marked_are_left_out() {
    let answer = json!({"role": "assistant", "content": "a", "weight": 0});
    let lines = [
        json!({"prompt": "q", "completion": "a", "weight": 0}),
        json!({"text": "t", "train": false}),
        json!({"messages": [user("s"), answer]}),
        json!({"prompt": "r", "completion": "a", "weight": 1}),
    ];
    let found = all(&lines, TALKING);
    assert_eq!(found.left_out(), [&LeftOutReason::Unlearned; 3]);
    let notes = vec!["it is marked as not to be trained on".to_owned(); 3];
    assert_eq!(found.findings(), [(FindingKind::Unlearned, Severity::Warning, notes)]);
    // The last answer is the last, whatever it is marked as.
    let last = SampleLimits { train_on: TrainOn::Last, ..LIMITS };
    let line = json!({"messages": [user("q"), {"role": "assistant", "content": "a"}, user("r"),
                                   {"role": "assistant", "content": "b", "train": false}]});
    assert_eq!(Tokenized::new(&[line], TALKING, last).left_out(), [&LeftOutReason::Unlearned]);
}

#[test]
fn marks_that_cannot_be_obeyed_are_refused() {
    for (line, expected) in [
        (marked(&json!({"weight": 0.5})), r#""weight" of message 2 of "messages" to be 0 or 1"#),
        (marked(&json!({"train": "no"})), r#""train" of message 2 of "messages" to be 0 or 1"#),
        (marked(&json!({"weight": 0, "train": true})), r#""train" of message 2 of "messages" to agree"#),
        (marked(&json!({"train_detail": [{"begin_offset": 0}]})), r#"no "train_detail" in message 2"#),
        (json!({"prompt": "q", "completion": "a", "weight": 2}), r#""weight" of the sample to be 0 or 1"#),
        (json!({"instruction": "q", "output": "a", "history": [["b", "c"]]}), r#""messages" in place of "history""#),
        (json!({"messages": [user("q")], "functions": [{"name": "f"}]}), r#""tools" in place of "functions""#),
        (marked(&json!({"function_call": {"name": "f"}})), r#""tool_calls" in place of "function_call" in message 2"#),
        (marked(&json!({"tool_calls": ["f"]})), r#""tool_calls" of message 2 of "messages" to be a list of objects"#),
        (json!({"messages": [user("q")], "tools": "none"}), r#""tools" to be a list"#),
        (json!({"messages": [user("q")], "system": 5}), r#""system" to be a text"#),
    ] {
        let error = load(
            &[user("q"), line.clone()].map(|line| if line.get("role").is_some() { json!({"text": "t"}) } else { line }),
        );
        let DataError::BadSamples { lines } = error.unwrap_err() else { panic!("{line}") };
        assert_eq!((lines.len(), lines[0].origin.line), (1, 2), "{line}");
        assert!(lines[0].expected.contains(expected), "{line}: {}", lines[0]);
    }
    let weight = load(&[marked(&json!({"weight": 0.5}))]).unwrap_err().to_string();
    assert!(weight.contains(":1: expected \"weight\"") && weight.contains(", found 0.5\n"), "{weight}");
}

/// A question, an answer with these calls, what they gave, and an answer.
fn called(content: &Value, calls: &Value) -> Value {
    json!({"messages": [
        user("q"), {"role": "assistant", "content": content, "tool_calls": calls}, {"role": "tool", "content": "sunny"},
        {"role": "assistant", "content": "It is sunny."},
    ]})
}

fn call(arguments: &Value) -> Value {
    json!({"id": "call00001", "type": "function", "function": {"name": "sky", "arguments": arguments}})
}

#[test]
fn arguments_have_the_form_that_the_template_takes() {
    let object = json!({"city": "Bern", "days": [1, 2.5]});
    let text = json!(r#"{"city": "Bern", "days": [1, 2.5]}"#);
    for arguments in [&object, &text] {
        for (template, end) in [(CALLING, "\n"), (JOINING, "\n"), (THINKING, "")] {
            let shown = all(&[called(&Value::Null, &json!([call(arguments)]))], template).shown(0);
            let expected = format!(
                "<|user|>q<|end|>{end}<|assistant|>⟦[sky {{\"city\": \"Bern\", \"days\": [1, 2.5]}}]<|end|>⟧{end}<|tool|>sunny\
                 <|end|>{end}<|assistant|>⟦It is sunny.<|end|>⟧{end}"
            );
            assert_eq!(shown, expected, "{arguments} {template}");
        }
    }
    // Not JSON, so it stays a text.
    let shown = all(&[called(&json!(""), &json!([call(&json!("print(1)"))]))], CALLING).shown(0);
    assert!(shown.contains("⟦[sky \"print(1)\"]<|end|>⟧"), "{shown}");
}

#[test]
fn a_content_that_is_not_there_is_none_to_a_template_that_asks() {
    let mut absent = called(&Value::Null, &json!([call(&json!("{}"))]));
    absent["messages"][1].as_object_mut().unwrap().remove("content");
    for line in [called(&Value::Null, &json!([call(&json!("{}"))])), absent] {
        assert!(all(std::slice::from_ref(&line), JOINING).shown(0).contains("⟦[sky {}]<|end|>⟧"));
        // The word None is nobody's answer.
        assert!(all(&[line], CALLING).shown(0).contains("⟦[sky {}]<|end|>⟧"));
    }
}

/// What a tool gave is never learned, in whatever way a template closes the calls before it.
#[test]
fn what_a_tool_gave_is_not_learned() {
    let calls = "{% for c in m.tool_calls or [] %}[{{ c.function.name }}]{% endfor %}";
    let of = |template: String| all(&[called(&Value::Null, &json!([call(&json!({}))]))], &template);
    // The same turn goes on with the result and the answer to it.
    let one_turn = format!(
        "{{% for m in messages %}}{{% if m.role == 'user' %}}<|user|>{{{{ m.content }}}}<|end|><|assistant|>{{% else %}}\
         {calls}{{% if m.role == 'tool' %}}({{{{ m.content }}}}){{% else %}}{{{{ m.content or '' }}}}\
         {{% if loop.last %}}<|end|>{{% endif %}}{{% endif %}}{{% endif %}}{{% endfor %}}"
    );
    let found = of(one_turn);
    assert_eq!(found.shown(0), "<|user|>q<|end|><|assistant|>⟦[sky]⟧(sunny)⟦It is sunny.<|end|>⟧");
    assert_eq!(found.findings()[0].0, FindingKind::NoEndOfTurn);
    // The calls are closed by another token once there is a result.
    let closed_later = format!(
        "{{% for m in messages %}}{{% if m.role == 'tool' %}}<|system|>{{% else %}}<|{{{{ m.role }}}}|>{{% endif %}}\
         {{{{ m.content or '' }}}}{calls}{{{{ '<|end|>' if loop.last or m.role != 'assistant' else '<|eot_id|>' }}}}{{% endfor %}}\
         {{% if add_generation_prompt %}}<|assistant|>{{% endif %}}"
    );
    let shown = of(closed_later).shown(0);
    let expected =
        "<|user|>q<|end|><|assistant|>⟦[sky]⟧<|eot_id|><|system|>sunny<|end|><|assistant|>⟦It is sunny.<|end|>⟧";
    assert_eq!(shown, expected);
    // Where the word None would be said, also with a line break behind it.
    let none = CALLING.replace("{{ m.content }}", "{% if m.content != '' %}{{ m.content }}\n{% endif %}");
    let shown = of(none).shown(0);
    assert!(shown.contains("⟦[sky {}]<|end|>⟧"), "{shown}");
}

#[test]
fn calls_that_a_template_does_not_write_are_an_error() {
    let calls = json!([call(&json!({"city": "Bern"}))]);
    let first_only = CALLING.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]");
    let no_arguments = CALLING.replace(" {{ c.function.arguments | tojson }}", "");
    let no_results = CALLING.replace("{{ m.content }}", "{{ m.content if m.role != 'tool' }}");
    let tools = json!([{"type": "function", "function": {"name": "sky", "parameters": {}}}]);
    let mut with_tools = json!({"messages": [user("q"), {"role": "assistant", "content": "a"}]});
    with_tools["tools"] = tools.clone();
    let mut in_a_text = with_tools.clone();
    in_a_text["tools"] = tools.to_string().into();
    for (line, template, what) in [
        (called(&Value::Null, &calls), TALKING, "message 3 (of the role tool)"),
        (
            json!({"messages": called(&Value::Null, &calls)["messages"].as_array().unwrap()[..2]}),
            TALKING,
            "the calls of message 2",
        ),
        (called(&json!("Let me see."), &json!([calls[0], calls[0]])), &first_only, "the calls of message 2"),
        (called(&json!(""), &calls), &no_arguments, "the calls of message 2"),
        (called(&json!(""), &calls), &no_results, "message 3 (of the role tool)"),
        (with_tools.clone(), TALKING, "the tools"),
        (in_a_text.clone(), TALKING, "the tools"),
        (json!({"conversations": with_tools["messages"], "tools": tools}), TALKING, "the tools"),
    ] {
        let found = all(std::slice::from_ref(&line), template);
        let calls_and_results = ["the calls of message 2", "message 3 (of the role tool)"];
        let [LeftOutReason::NotWritten { what: found_what }] = found.left_out()[..] else {
            panic!("{line}: {:?} {:?}", found.left_out(), found.samples.train.len())
        };
        assert!(
            found_what == what || template == TALKING && calls_and_results.contains(&found_what.as_str()),
            "{line}: {found_what}"
        );
        let errors: Vec<_> =
            found.findings().into_iter().filter(|(_, severity, _)| *severity == Severity::Error).collect();
        assert_eq!(errors[0].0, FindingKind::NotWritten, "{line}");
        let error = found.samples.summary.require_written().unwrap_err().to_string();
        assert!(error.contains(":1: the chat template does not write ") && error.contains("\nhint: "), "{error}");
    }
    for line in [called(&Value::Null, &calls), with_tools, in_a_text] {
        let found = all(&[line], CALLING);
        assert_eq!((found.left_out().len(), found.findings().len()), (0, 0));
        found.samples.summary.require_written().unwrap();
    }
}

#[test]
fn other_parts_that_a_template_does_not_write_are_told() {
    let lines = [
        json!({"messages": [{"role": "system", "content": "Be brief."}, user("q"), {"role": "assistant", "content": "a"}]}),
        json!({"messages": [user("q"), {"role": "assistant", "content": "a", "reasoning_content": "hm"}]}),
        // What stands beside a conversation as its system message is one.
        json!({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "Be brief."}),
        json!({"instruction": "q", "output": "a", "system": "Be brief."}),
    ];
    let found = all(&lines, TALKING);
    let not_written = |what: &str| RemarkKind::NotWritten { what: what.into() };
    let (system, reasoning) =
        (not_written("message 1 (of the role system)"), not_written("the reasoning of message 2"));
    assert_eq!(found.remarks(), [(1, &system), (2, &reasoning), (3, &system), (4, &system)]);
    assert_eq!((found.findings()[0].0, found.findings()[0].1), (FindingKind::PartNotWritten, Severity::Warning));
    assert_eq!(found.samples.train.len(), 4);
    let written = all(&lines[2..], CALLING);
    assert_eq!(written.remarks(), []);
    assert!(written.shown(0).starts_with("<|system|>Be brief.<|end|>\n<|user|>q"), "{}", written.shown(0));
    // Reasoning of earlier turns is left out on purpose.
    let earlier = json!({"messages": [
        user("q"), {"role": "assistant", "content": "a", "reasoning_content": "hm"}, user("r"), {"role": "assistant", "content": "b"},
    ]});
    assert_eq!(all(&[earlier], TALKING).remarks(), []);
}

#[test]
fn tokens_that_no_prompt_ends_with_are_told() {
    let lines = [
        json!({"messages": [user("q"), {"role": "assistant", "content": "\n\n a"}]}),
        json!({"messages": [user("q"), {"role": "assistant", "content": "a"}]}),
        json!({"messages": [user("say <|end|> and more"), {"role": "assistant", "content": "<|end|>"}]}),
    ];
    let found = all(&lines, TALKING);
    let (shared, control) = (&found.remarks()[0], &found.remarks()[1]);
    assert_eq!(*shared, (1, &RemarkKind::SharedToken { text: "\n\n".into() }));
    assert_eq!(*control, (3, &RemarkKind::ControlToken { message: 1, token: "<|end|>".into() }));
    assert_eq!(found.remarks().len(), 2);
    let kinds: Vec<_> = found.findings().into_iter().map(|(kind, severity, _)| (kind, severity)).collect();
    assert_eq!(kinds, [(FindingKind::ControlToken, Severity::Warning), (FindingKind::SharedToken, Severity::Warning)]);

    // Of a prompt and its completion where no template writes them, and of preferences.
    let lines = [
        json!({"prompt": "Who are", "completion": " you"}),
        json!({"prompt": "Who are ", "completion": "you"}),
        json!({"prompt": "<bos>Who", "completion": " are you<|endoftext|>"}),
    ];
    let (set, tokenizer) = (load(&lines).unwrap(), tokenizer());
    let samples = set.tokenize(&tokenizer, None, tokenizer.eos_ids(), LIMITS).unwrap();
    let remarks: Vec<_> = samples.summary.remarks.iter().map(|remark| (remark.origin.line, &remark.kind)).collect();
    assert_eq!(remarks, [(2, &RemarkKind::SharedToken { text: " you".into() })]);
    let set = load(&[json!({"prompt": "Who are ", "chosen": "you", "rejected": "we"})]).unwrap();
    let pairs = set.tokenize_pairs(&tokenizer, None, tokenizer.eos_ids(), LIMITS).unwrap();
    assert!(matches!(pairs.summary.remarks[0].kind, RemarkKind::SharedToken { .. }));
}

#[test]
fn what_other_programs_act_on_is_told() {
    let lines = [
        json!({"messages": [{"role": "user", "content": "q", "train": true}, {"role": "assistant", "content": "a"}]}),
        json!({"prompt": "q", "completion": "a", "label": false, "system": "s", "id": 7, "category": "c"}),
        json!({"messages": [user("r"), {"role": "assistant", "content": "a"}], "images": ["a.png"], "label": "fine"}),
        json!({"text": "t", "tools": [{"name": "f"}], "images": [], "system": null}),
    ];
    let found = all(&lines, TALKING);
    let key = |key: &str| RemarkKind::UnusedKey { key: key.into() };
    let expected = [
        (1, &RemarkKind::MarkedQuestion { message: 1 }),
        (2, &key("system")),
        (2, &key("label")),
        (3, &key("images")),
        (4, &key("tools")),
    ];
    assert_eq!(found.remarks(), expected);
    let kinds: Vec<_> = found.findings().into_iter().map(|(kind, _, places)| (kind, places.len())).collect();
    assert_eq!(kinds, [(FindingKind::MarkedQuestion, 1), (FindingKind::UnusedKey, 4)]);
}

/// What is left out changes neither what is set aside nor anything else.
#[test]
fn what_is_left_out_might_as_well_not_be_there() {
    let line = |i: usize| json!({"prompt": format!("q{i}"), "completion": "a"}).to_string();
    let long = json!({"prompt": "q", "completion": "yes ".repeat(900)}).to_string();
    let tokenizer = tokenizer();
    let template = ChatTemplate::with_tokens_of(&tokenizer, TALKING).unwrap();
    let tokenized = |lines: &[String], seed| {
        let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
        fs::write(file.path(), lines.join("\n")).unwrap();
        let section =
            SampleSection { paths: vec![file.path().to_owned()], valid_fraction: 0.1, ..SampleSection::default() };
        let set = SampleSet::load(&section, seed).unwrap();
        let samples = set.tokenize(&tokenizer, Some(&template), tokenizer.eos_ids(), LIMITS).unwrap();
        let findings = check_samples(&set, &[], &samples.summary, tokenizer.eos_ids());
        assert!(findings.iter().all(|finding| finding.kind == FindingKind::TooLong), "{findings:?}");
        let ids = |part: &[llm_data::TokenizedSample]| part.iter().map(|sample| sample.ids.clone()).collect::<Vec<_>>();
        (ids(&samples.train), ids(&samples.valid))
    };
    for seed in 0..20 {
        let good: Vec<String> = (0..14).map(line).collect();
        let mut more = good.clone();
        more.insert(5, long.clone());
        assert_eq!(tokenized(&good, seed), tokenized(&more, seed), "seed {seed}");
        assert_eq!(tokenized(&more, seed).1.len(), 1);
    }
}

#[test]
fn rows_are_as_long_as_what_is_in_them() {
    assert_eq!(row_length([3, 65, 9].into_iter(), 1000), 128);
    assert_eq!(row_length([3, 65, 9].into_iter(), 100), 100);
    assert_eq!(row_length([64].into_iter(), 1000), 64);
    assert_eq!(row_length([].into_iter(), 1000), 64);
}
