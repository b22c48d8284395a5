//! Samples as tokens: loss masks against `transformers` (`scripts/golden_masks.py`), and what has no golden value.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use llm_data::{
    ChatTemplate, Content, DataError, LeftOutReason, Rendering, SampleLimits, SampleSection, SampleSet,
    TokenizedSample, TokenizedSamples, Tokenizer, TrainOn,
};
use serde_json::{Map, Value, json};

/// 2026-02-03 12:00 UTC, when the golden masks were made.
const NOON: Duration = Duration::from_hours(491_700);
const TESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests");

const LIMITS: SampleLimits = SampleLimits { train_on: TrainOn::All, max_length: 1000, truncate: false };

/// The tokenizer of the golden masks with these settings.
fn tokenizer(config: &Value) -> Tokenizer {
    let json: Value =
        serde_json::from_slice(&fs::read(Path::new(TESTS).join("samples/tokenizer.json")).unwrap()).unwrap();
    Tokenizer::from_json(&json, config.as_object().unwrap().clone(), &Map::new()).unwrap()
}

/// A published template.
fn template(tokenizer: &Tokenizer, name: &str) -> ChatTemplate {
    let source = fs::read_to_string(Path::new(TESTS).join(format!("chat/templates/{name}.jinja"))).unwrap();
    ChatTemplate::with_tokens_of(tokenizer, &source).unwrap().at(Some(UNIX_EPOCH + NOON))
}

/// The samples of a file with these lines, all of them to train on.
fn samples(lines: &[Value]) -> SampleSet {
    let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    fs::write(file.path(), lines.iter().flat_map(|line| [line.to_string(), "\n".into()]).collect::<String>()).unwrap();
    let section =
        SampleSection { paths: vec![file.path().to_owned()], valid_fraction: 0.0, ..SampleSection::default() };
    SampleSet::load(&section, 0).unwrap()
}

/// What is trained, each stretch as text with special tokens.
fn trained(tokenizer: &Tokenizer, sample: &TokenizedSample) -> Vec<String> {
    let mut stretches = vec![Vec::new()];
    for (&id, &trained) in sample.ids.iter().zip(&sample.trained) {
        if trained {
            stretches.last_mut().unwrap().push(id);
        } else if !stretches.last().unwrap().is_empty() {
            stretches.push(Vec::new());
        }
    }
    stretches.retain(|stretch| !stretch.is_empty());
    let text = |id: &u32| {
        if tokenizer.is_special(*id) { tokenizer.token(*id).unwrap() } else { tokenizer.decode(&[*id]).unwrap() }
    };
    stretches.iter().map(|stretch| stretch.iter().map(text).collect()).collect()
}

fn tokenize(
    set: &SampleSet,
    tokenizer: &Tokenizer,
    template: Option<&ChatTemplate>,
    limits: SampleLimits,
) -> TokenizedSamples {
    set.tokenize(tokenizer, template, tokenizer.eos_ids(), limits).unwrap()
}

#[test]
fn masks_are_those_of_transformers() {
    let golden: Value =
        serde_json::from_slice(&fs::read(Path::new(TESTS).join("samples/masks.json")).unwrap()).unwrap();
    let mut count = 0;
    for (name, one) in golden["templates"].as_object().unwrap() {
        let tokenizer = tokenizer(&json!({"bos_token": one["bos_token"], "eos_token": one["eos_token"]}));
        let template = template(&tokenizer, name);
        for (case, expected) in one["cases"].as_object().unwrap() {
            let set = samples(&[json!({"messages": golden["cases"][case]})]);
            let tokenized = tokenize(&set, &tokenizer, Some(&template), LIMITS);
            assert_eq!(tokenized.summary.left_out, [], "{name}, {case}");
            assert_eq!(tokenized.summary.endless, [], "{name}, {case}");
            assert_eq!(tokenized.summary.end_of_turn, tokenizer.id(one["end"].as_str().unwrap()));
            let sample = &tokenized.train[0];
            assert_eq!(json!(sample.ids), expected["ids"], "{name}, {case}");
            let mask: Vec<u8> = sample.trained.iter().map(|&trained| trained.into()).collect();
            let said = trained(&tokenizer, sample);
            assert_eq!(json!(mask), expected["mask"], "{name}, {case}: trained is {said:?}");
            count += 1;
        }
    }
    assert_eq!(count, 40);
}

#[test]
fn a_template_that_marks_answers_is_believed() {
    let tokenizer = tokenizer(&json!({"eos_token": "<|im_end|>"}));
    let source = "{% for m in messages %}{{ m.role }}{% if m.role == 'assistant' %}{% generation %}{{ '>' + m.content }}\
                  {% endgeneration %} <|im_end|>{% endif %}{{ '\\n' }}{% endfor %}";
    let template = ChatTemplate::with_tokens_of(&tokenizer, source).unwrap();
    let talk = [("user", "yes"), ("assistant", "Hi!"), ("user", "And?"), ("assistant", "Done.")];
    let messages: Vec<_> = talk.iter().map(|(role, content)| json!({"role": role, "content": content})).collect();
    let set = samples(&[json!({"messages": messages})]);
    let of = |train_on| {
        let tokenized = tokenize(&set, &tokenizer, Some(&template), SampleLimits { train_on, ..LIMITS });
        assert_eq!(tokenized.summary.endless, []);
        trained(&tokenizer, &tokenized.train[0])
    };
    // The end of the turn is learned though it stands outside the marks.
    assert_eq!(of(TrainOn::All), [">Hi! <|im_end|>", ">Done. <|im_end|>"]);
    assert_eq!(of(TrainOn::Last), [">Done. <|im_end|>"]);
    assert_eq!(of(TrainOn::Everything), ["user\nassistant>Hi! <|im_end|>\nuser\nassistant>Done. <|im_end|>\n"]);
}

#[test]
fn the_last_answer_alone_is_trained_where_asked_for() {
    let tokenizer = tokenizer(&json!({"bos_token": "<bos>", "eos_token": "<eos>"}));
    let template = template(&tokenizer, "gemma");
    let talk = ["Hello", "Hi!", "And?", "Done."].iter().enumerate();
    let messages: Vec<_> =
        talk.map(|(i, content)| json!({"role": (["user", "assistant"][i % 2]), "content": content})).collect();
    let set = samples(&[json!({"messages": messages})]);
    let of = |train_on| {
        let tokenized = tokenize(&set, &tokenizer, Some(&template), SampleLimits { train_on, ..LIMITS });
        trained(&tokenizer, &tokenized.train[0])
    };
    assert_eq!(of(TrainOn::Last), ["Done.<end_of_turn>"]);
    assert_eq!(of(TrainOn::All), ["Hi!<end_of_turn>", "Done.<end_of_turn>"]);
    let everything = of(TrainOn::Everything);
    assert!(everything[0].starts_with("<bos><start_of_turn>user\nHello<end_of_turn>\n"), "{everything:?}");
}

#[test]
fn what_a_template_does_not_take_is_left_out_and_said() {
    let tokenizer = tokenizer(&json!({"bos_token": "<bos>", "eos_token": "<eos>"}));
    let gemma = template(&tokenizer, "gemma");
    let system = json!({"messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"},
    ]});
    let empty = json!({"instruction": "Say nothing.", "output": " "});
    let unanswered = json!({"messages": [{"role": "user", "content": "q"}]});
    let long = json!({"prompt": "q", "completion": "yes ".repeat(30)});
    let set = samples(&[system, empty, unanswered, long.clone(), json!({"prompt": "q", "completion": "a"})]);
    let limits = SampleLimits { max_length: 20, ..LIMITS };
    let tokenized = tokenize(&set, &tokenizer, Some(&gemma), limits);
    let reasons: Vec<_> = tokenized.summary.left_out.iter().map(|one| (one.origin.line, one.reason.clone())).collect();
    let LeftOutReason::TooLong { tokens, .. } = tokenized.summary.left_out[3].reason else { panic!() };
    assert!(tokens > 20);
    assert_eq!(
        reasons,
        [
            (1, LeftOutReason::Refused { message: "There is no turn for the system.".into() }),
            (2, LeftOutReason::EmptyAnswer),
            (3, LeftOutReason::NothingToTrain),
            (4, LeftOutReason::TooLong { tokens, max_length: 20 }),
        ]
    );
    assert_eq!(tokenized.train.len(), 1);

    let tokenized = tokenize(&samples(&[long]), &tokenizer, Some(&gemma), SampleLimits { truncate: true, ..limits });
    assert_eq!(tokenized.train[0].ids.len(), 20);
    let cut = &tokenized.summary.truncated[0];
    assert_eq!((cut.tokens, cut.kept), (tokens, 20));
}

#[test]
fn a_template_that_hides_its_answers_is_found_out() {
    let tokenizer = tokenizer(&json!({"eos_token": "<|im_end|>"}));
    let source = "{% for m in messages %}{{ m.content | upper }}<|im_end|>{% endfor %}{{ messages | length }}";
    let template = ChatTemplate::with_tokens_of(&tokenizer, source).unwrap();
    let messages = json!([
        {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "yes"}, {"role": "assistant", "content": "no"},
    ]);
    let tokenized = tokenize(&samples(&[json!({"messages": messages})]), &tokenizer, Some(&template), LIMITS);
    assert_eq!(tokenized.summary.left_out[0].reason, LeftOutReason::NotFound { message: 1 });
}

#[test]
fn without_a_template_chatml_is_taken_where_its_tokens_are_known() {
    let tokenizer = tokenizer(&json!({"bos_token": "<bos>", "eos_token": "<|endoftext|>", "add_bos_token": true}));
    let set = samples(&[
        json!({"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}),
        json!({"prompt": "2 + 2 =", "completion": " Four."}),
        json!({"text": "<bos>Who are you?<|endoftext|>"}),
        json!({"text": "Who are you?"}),
    ]);
    let tokenized = tokenize(&set, &tokenizer, None, LIMITS);
    assert_eq!(tokenized.summary.rendering, Rendering::ChatMl);
    assert_eq!(tokenized.summary.end_of_turn, tokenizer.id("<|im_end|>"));
    assert_eq!(tokenized.summary.endless, []);
    let said: Vec<_> = tokenized.train.iter().map(|sample| trained(&tokenizer, sample).join("|")).collect();
    // A text is learned as a whole; tokens that begin and end it stand there once.
    assert_eq!(
        said,
        ["a<|im_end|>", " Four.<|endoftext|>", "<bos>Who are you?<|endoftext|>", "Who are you?<|endoftext|>"]
    );
    assert_eq!(tokenized.train[2].ids, tokenized.train[3].ids);
    let bos = tokenizer.id("<bos>").unwrap();
    for sample in &tokenized.train {
        assert_eq!(sample.ids.iter().filter(|&&id| id == bos).count(), 1);
        assert_eq!(sample.ids[0], bos);
    }
    let (rendering, source) = Rendering::default_of(&tokenizer).unwrap();
    assert_eq!(rendering, Rendering::ChatMl);
    assert!(source.starts_with("{{ bos_token }}"), "{source}");
}

#[test]
fn without_a_template_and_its_tokens_turns_have_names() {
    let json = json!({
        "version": "1.0",
        "added_tokens": [{"id": 256, "content": "</s>", "special": true, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": alphabet(), "merges": []},
    });
    let config = json!({"eos_token": "</s>"}).as_object().unwrap().clone();
    let tokenizer = Tokenizer::from_json(&json, config, &Map::new()).unwrap();
    let set = samples(&[json!({"messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "q"}, {"role": "assistant", "content": "a b"},
        {"role": "user", "content": "r"}, {"role": "assistant", "content": "c"},
    ]})]);
    let tokenized = tokenize(&set, &tokenizer, None, LIMITS);
    assert_eq!(tokenized.summary.rendering, Rendering::Plain);
    let sample = &tokenized.train[0];
    assert_eq!(trained(&tokenizer, sample), [" a b</s>", " c</s>"]);
    let text = tokenizer.decode(&sample.ids).unwrap();
    assert_eq!(text, "Be brief.\n\nUser: q\nAssistant: a b\nUser: r\nAssistant: c\n");
}

/// The 256 characters of byte-level tokenizers, as `tokenizers` numbers them here.
fn alphabet() -> Value {
    let json: Value =
        serde_json::from_slice(&fs::read(Path::new(TESTS).join("samples/tokenizer.json")).unwrap()).unwrap();
    let vocab = json["model"]["vocab"].as_object().unwrap();
    let letters: Map<_, _> =
        vocab.iter().filter(|(_, id)| id.as_u64() < Some(256)).map(|(token, id)| (token.clone(), id.clone())).collect();
    assert!(letters.keys().all(|token| token.chars().count() == 1));
    letters.into()
}

#[test]
fn answers_without_an_end_are_reported() {
    let tokenizer = tokenizer(&json!({"eos_token": "<|im_end|>"}));
    let template =
        ChatTemplate::with_tokens_of(&tokenizer, "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
            .unwrap();
    let set = samples(&[json!({"prompt": "q", "completion": "a"})]);
    let tokenized = tokenize(&set, &tokenizer, Some(&template), LIMITS);
    assert_eq!((tokenized.summary.end_of_turn, tokenized.summary.endless.len()), (None, 1));
}

#[test]
fn preferences_are_learned_after_what_both_sides_share() {
    let tokenizer = tokenizer(&json!({"bos_token": "<bos>", "eos_token": "<eos>"}));
    let template = template(&tokenizer, "gemma");
    let user = |text| json!({"role": "user", "content": text});
    let said = |text| json!({"role": "assistant", "content": text});
    let lines = [
        json!({"prompt": "q", "chosen": "a", "rejected": "b"}),
        json!({"prompt": [user("q")], "chosen": [said("a")], "rejected": [said("b")]}),
        json!({"chosen": [user("q"), said("a")], "rejected": [user("q"), said("b")]}),
        json!({"prompt": "q", "chosen": [user("q"), said("a")], "rejected": [user("q"), said("b")]}),
        json!({"instruction": "q", "input": "", "chosen": "a", "rejected": "b", "output": "a"}),
    ];
    let pairs = samples(&lines).tokenize_pairs(&tokenizer, Some(&template), tokenizer.eos_ids(), LIMITS).unwrap();
    assert_eq!(pairs.train.len(), 5);
    for pair in &pairs.train {
        assert_eq!(trained(&tokenizer, &pair.chosen), ["a<end_of_turn>"]);
        assert_eq!(trained(&tokenizer, &pair.rejected), ["b<end_of_turn>"]);
        assert_eq!(pair.chosen.ids, pairs.train[0].chosen.ids);
    }
    // Turns that both share are not learned, nor anything where the sides are the same.
    let talk = |last| json!([user("q"), said("x"), user("r"), said(last)]);
    let set = samples(&[
        json!({"chosen": talk("a"), "rejected": talk("b")}),
        json!({"prompt": "q", "chosen": "a", "rejected": "a"}),
    ]);
    let everything = SampleLimits { train_on: TrainOn::Everything, ..LIMITS };
    let pairs = set.tokenize_pairs(&tokenizer, Some(&template), tokenizer.eos_ids(), everything).unwrap();
    assert_eq!(trained(&tokenizer, &pairs.train[0].chosen), ["a<end_of_turn>"]);
    assert_eq!(pairs.summary.left_out[0].reason, LeftOutReason::SameAnswers);

    let set = samples(&[lines[0].clone(), json!({"text": "t"})]);
    let error = set.tokenize_pairs(&tokenizer, Some(&template), tokenizer.eos_ids(), LIMITS).unwrap_err();
    assert!(
        matches!(&error, DataError::BadSamples { lines } if lines.len() == 1 && lines[0].origin.line == 2),
        "{error}"
    );
    let tokenized = tokenize(&samples(&lines), &tokenizer, Some(&template), LIMITS);
    assert_eq!(tokenized.summary.chosen_only, 5);
    assert!(matches!(&samples(&lines).train[0].content, Content::Preference { shared: 1, .. }));
}
