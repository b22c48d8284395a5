//! A SentencePiece model as a tokenizer of the `tokenizers` crate.
//!
//! `transformers` has a converter for each class; those of Llama and Gemma do not ask what the model says of its normalizer
//! (`LlamaConverter` and `GemmaConverter` of 4.57). A model of no class is split as SentencePiece itself would
//! (`build_tokenizer_from_spm_proto` of 5).

use ahash::AHashMap;
use serde_json::{Value, json};
use tokenizers::models::bpe::BPE;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::Sequence;
use tokenizers::{NormalizerWrapper, Tokenizer};

use super::class::Class;
use super::proto::{self, Model, NORMAL, USER_DEFINED};
use super::{Settings, assemble, charsmap, part};
use crate::DataError;
use crate::tokenizer::tokenize;

/// What a space is written as.
const SPACE: &str = "▁";

/// Builds the tokenizer of `model`, but for its added tokens.
pub(super) fn build(model: &Model, settings: &Settings) -> Result<Tokenizer, DataError> {
    match Class::of(settings) {
        Class::Llama => llama(model, settings),
        Class::Gemma => gemma(model),
        Class::None => plain(model),
    }
}

/// Llama's: a space before every text, and before every part of it that follows a special token.
fn llama(model: &Model, settings: &Settings) -> Result<Tokenizer, DataError> {
    let prefix = settings.flag("add_prefix_space").unwrap_or(true);
    let legacy = settings.flag("legacy").unwrap_or(true);
    let (normalizer, pre_tokenizer) = if legacy {
        let mut steps = vec![escape()];
        if prefix {
            steps.insert(0, json!({ "type": "Prepend", "prepend": SPACE }));
        }
        (json!({ "type": "Sequence", "normalizers": steps }), Value::Null)
    } else {
        (Value::Null, metaspace(if prefix { "first" } else { "never" }))
    };
    let normalizer = part(normalizer)?;
    let parts = [pre_tokenizer, Value::Null, decoder(true, prefix)];
    let pieces: Vec<(String, f32)> = model
        .pieces
        .iter()
        .enumerate()
        .map(|(id, piece)| (piece.text().to_owned(), if id < 3 { 0.0 } else { piece.score() }))
        .collect();
    match kind(model)? {
        Kind::Unigram => assemble(unigram(pieces, Some(0), true)?, normalizer, parts),
        Kind::Bpe => {
            assemble(bpe(vocabulary(&pieces), merges(&pieces), &model.trainer(), true, false)?, normalizer, parts)
        }
    }
}

/// Gemma's: no space before a text. Its oldest models have no piece for the tab, which takes the place of its byte.
fn gemma(model: &Model) -> Result<Tokenizer, DataError> {
    let mut pieces: Vec<(String, f32)> =
        model.pieces.iter().map(|piece| (piece.text().to_owned(), piece.score())).collect();
    pieces.iter_mut().take(3).for_each(|piece| piece.1 = 0.0);
    if !pieces.iter().any(|(text, _)| text == "\t")
        && let Some(tab) = pieces.iter_mut().find(|(text, _)| text == "<0x09>")
    {
        *tab = ("\t".to_owned(), 0.0);
    }
    let pre_tokenizer =
        json!({ "type": "Split", "pattern": { "String": " " }, "behavior": "MergedWithPrevious", "invert": false });
    let normalizer = part(escape())?;
    let parts = [pre_tokenizer, Value::Null, decoder(true, false)];
    match kind(model)? {
        Kind::Unigram => assemble(unigram(pieces, Some(3), true)?, normalizer, parts),
        Kind::Bpe => {
            assemble(bpe(vocabulary(&pieces), merges(&pieces), &model.trainer(), true, false)?, normalizer, parts)
        }
    }
}

/// As the model itself says.
fn plain(model: &Model) -> Result<Tokenizer, DataError> {
    let (trainer, normalizer) = (model.trainer(), model.normalizer());
    let [prefix, fallback] = [normalizer.add_dummy_prefix(), trainer.byte_fallback()];
    let user_defined: Vec<&str> =
        model.pieces.iter().filter(|piece| piece.kind() == USER_DEFINED).map(proto::Piece::text).collect();
    let pieces: Vec<(String, f32)> =
        model.pieces.iter().map(|piece| (piece.text().to_owned(), piece.score())).collect();

    let mut steps = Vec::new();
    let regex = |pattern: &str, content: &str| json!({ "type": "Replace", "pattern": { "Regex": pattern }, "content": content });
    if normalizer.remove_extra_whitespaces() {
        steps.extend([regex(r"\A +| +\z", ""), regex(" {2,}", " ")]);
    }
    if normalizer.escape_whitespaces() {
        steps.push(escape());
    }
    let mut splits = Vec::new();
    if prefix {
        // The space before a text is also put before one that begins with a space.
        steps.push(regex(&format!(r"\A{SPACE}"), &format!("{SPACE}{SPACE}")));
        splits.push(metaspace("always"));
    }
    if !user_defined.is_empty() {
        splits.push(json!({
            "type": "Split", "pattern": { "Regex": any_of(user_defined.clone()) }, "behavior": "Isolated", "invert": false,
        }));
    }
    let pre_tokenizer =
        if splits.is_empty() { Value::Null } else { json!({ "type": "Sequence", "pretokenizers": splits }) };
    let steps = steps.into_iter().map(|step| Ok(part(step)?.into_iter())).collect::<Result<Vec<_>, DataError>>()?;
    let map = normalizer.precompiled_charsmap();
    let map = if map.is_empty() { None } else { Some(charsmap::normalizer(map)?) };
    let steps: Vec<NormalizerWrapper> = map.into_iter().chain(steps.into_iter().flatten()).collect();
    let normalizer = Some(Sequence::new(steps).into());
    let parts = [pre_tokenizer, Value::Null, decoder(fallback, prefix)];
    match kind(model)? {
        Kind::Unigram => {
            assemble(unigram(pieces, usize::try_from(trainer.unk_id()).ok(), fallback)?, normalizer, parts)
        }
        Kind::Bpe => {
            let merges = merges_of_normal(model);
            assemble(bpe(vocabulary(&pieces), merges, &trainer, fallback, !user_defined.is_empty())?, normalizer, parts)
        }
    }
}

/// The two kinds that are read.
enum Kind {
    Unigram,
    Bpe,
}

fn kind(model: &Model) -> Result<Kind, DataError> {
    match model.trainer().model_type() {
        proto::UNIGRAM => Ok(Kind::Unigram),
        proto::BPE => Ok(Kind::Bpe),
        other => {
            let name = if other == 3 { "words" } else { "characters" };
            Err(DataError::Tokenize(format!("it is a SentencePiece model of {name}; only unigram and BPE are read")))
        }
    }
}

fn vocabulary(pieces: &[(String, f32)]) -> AHashMap<String, u32> {
    pieces.iter().enumerate().map(|(id, (text, _))| (text.clone(), id as u32)).collect()
}

fn unigram(pieces: Vec<(String, f32)>, unknown: Option<usize>, fallback: bool) -> Result<Unigram, DataError> {
    let pieces = pieces.into_iter().map(|(text, score)| (text, f64::from(score))).collect();
    Unigram::from(pieces, unknown, fallback).map_err(tokenize)
}

fn bpe(
    vocabulary: AHashMap<String, u32>,
    merges: Vec<(String, String)>,
    trainer: &proto::Trainer,
    fallback: bool,
    ignore_merges: bool,
) -> Result<BPE, DataError> {
    let builder = BPE::builder().vocab_and_merges(vocabulary, merges).unk_token(trainer.unk_piece().to_owned());
    builder.fuse_unk(true).byte_fallback(fallback).ignore_merges(ignore_merges).build().map_err(tokenize)
}

/// A pair that makes a token, with what its rank depends on.
struct Pair<'a> {
    score: f32,
    token: usize,
    /// Characters of both parts.
    lengths: [usize; 2],
    ids: [usize; 2],
    parts: [&'a str; 2],
}

/// All pairs of `tokens` that make one of them.
fn pairs<'a>(tokens: impl Iterator<Item = (usize, &'a str, f32)>) -> Vec<Pair<'a>> {
    // Of tokens that occur twice, the last is the one that is found.
    let tokens: AHashMap<&str, (usize, f32)> = tokens.map(|(id, text, score)| (text, (id, score))).collect();
    let mut found = Vec::new();
    for (&text, &(token, score)) in &tokens {
        for (chars, (at, _)) in text.char_indices().enumerate().skip(1) {
            let (left, right) = text.split_at(at);
            if let (Some((l, _)), Some((r, _))) = (tokens.get(left), tokens.get(right)) {
                let lengths = [chars, text.chars().count() - chars];
                found.push(Pair { score, token, lengths, ids: [*l, *r], parts: [left, right] });
            }
        }
    }
    found
}

fn in_order(pairs: Vec<Pair>) -> Vec<(String, String)> {
    pairs.into_iter().map(|Pair { parts: [left, right], .. }| (left.to_owned(), right.to_owned())).collect()
}

/// The merges as `generate_merges` orders them: the highest score first, then the longest left part, then the longest right
/// one; of equal ones, by the ids of the token and of its parts.
fn merges(pieces: &[(String, f32)]) -> Vec<(String, String)> {
    let mut pairs = pairs(pieces.iter().enumerate().map(|(id, (text, score))| (id, text.as_str(), *score)));
    pairs.sort_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score).then(b.lengths.cmp(&a.lengths));
        by_score.then(a.token.cmp(&b.token)).then(a.ids.cmp(&b.ids))
    });
    in_order(pairs)
}

/// The merges of normal pieces by score, then by id, then by how their parts are written.
fn merges_of_normal(model: &Model) -> Vec<(String, String)> {
    let normal = model.pieces.iter().enumerate().filter(|(_, piece)| piece.kind() == NORMAL);
    let mut pairs = pairs(normal.map(|(id, piece)| (id, piece.text(), piece.score())));
    pairs.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.token.cmp(&b.token)).then(a.parts.cmp(&b.parts)));
    in_order(pairs)
}

fn escape() -> Value {
    json!({ "type": "Replace", "pattern": { "String": " " }, "content": SPACE })
}

fn metaspace(prepend: &str) -> Value {
    json!({ "type": "Metaspace", "replacement": SPACE, "prepend_scheme": prepend, "split": false })
}

/// `fallback`: bytes are tokens; `prefix`: a space before a text is not part of it.
fn decoder(fallback: bool, prefix: bool) -> Value {
    let mut steps = vec![json!({ "type": "Replace", "pattern": { "String": SPACE }, "content": " " })];
    if fallback {
        steps.push(json!({ "type": "ByteFallback" }));
    }
    if fallback || prefix {
        steps.push(json!({ "type": "Fuse" }));
    }
    if prefix {
        steps.push(json!({ "type": "Strip", "content": " ", "start": 1, "stop": 0 }));
    }
    json!({ "type": "Sequence", "decoders": steps })
}

/// A regular expression for any of some texts, the longest first.
fn any_of(mut texts: Vec<&str>) -> String {
    texts.sort_by_key(|text| std::cmp::Reverse(text.chars().count()));
    let escaped = |text: &str| {
        let quoted = |c: char| if c.is_alphanumeric() || c == '_' { vec![c] } else { vec!['\\', c] };
        text.chars().flat_map(quoted).collect::<String>()
    };
    texts.into_iter().map(escaped).collect::<Vec<_>>().join("|")
}
