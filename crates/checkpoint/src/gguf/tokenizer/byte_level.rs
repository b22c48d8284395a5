//! Byte-level BPE: texts are split by a rule, and merges have ranks. The rules and their names are those of
//! <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp>, written as the `tokenizer.json` files have them
//! that llama.cpp took them from.

use serde_json::{Value as Json, json};

use super::super::keys::Keys;
use super::{Parts, bpe};
use crate::CheckpointError;

/// How a text is split.
enum Rule {
    /// GPT-2's rule, which the `ByteLevel` step has built in.
    Gpt2,
    /// Every digit by itself, then GPT-2's rule.
    Digits,
    /// Regular expressions, one after the other.
    Split(&'static [&'static str]),
}

/// A rule by its names in `tokenizer.ggml.pre`.
pub(super) struct Pre {
    /// The first is the one that is written.
    pub names: &'static [&'static str],
    rule: Rule,
    /// A whole piece that is a token is taken before merges are looked at.
    pub ignore_merges: bool,
    adds_bos: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The rules that are read, the common ones first.
pub(super) const PRES: [Pre; 10] = [
    Pre {
        names: &[
            "gpt-2",
            "phi-2",
            "mpt",
            "olmo",
            "jais",
            "trillion",
            "granite-docling",
            "exaone4",
            "gigachat",
            "mellum",
            "modern-bert",
            "a.x-4.0",
        ],
        rule: Rule::Gpt2,
        ignore_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        rule: Rule::Split(&[LLAMA3]),
        ignore_merges: true,
        adds_bos: true,
    },
    Pre {
        names: &["qwen2", "deepseek-r1-qwen", "kormo", "megrez", "stablelm2", "hunyuan", "solar-open"],
        rule: Rule::Split(&[QWEN2]),
        ignore_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum2"],
        rule: Rule::Digits,
        ignore_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["smaug-bpe", "dbrx", "chatglm-bpe"],
        rule: Rule::Split(&[LLAMA3]),
        ignore_merges: false,
        adds_bos: false,
    },
    Pre { names: &["qwen35"], rule: Rule::Split(&[QWEN35]), ignore_merges: false, adds_bos: false },
    Pre { names: &["tekken"], rule: Rule::Split(&[TEKKEN]), ignore_merges: true, adds_bos: true },
    Pre { names: &["gpt-4o", "llama4", "kanana2"], rule: Rule::Split(&[GPT4O]), ignore_merges: false, adds_bos: false },
    Pre {
        names: &["falcon"],
        rule: Rule::Split(&[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"]),
        ignore_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["default"],
        rule: Rule::Split(&[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", "[0-9][0-9][0-9]"]),
        ignore_merges: false,
        adds_bos: false,
    },
];

impl Pre {
    /// The `pre_tokenizer` of a `tokenizer.json`.
    pub fn json(&self) -> Json {
        let bytes = |use_regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": use_regex });
        match self.rule {
            Rule::Gpt2 => bytes(true),
            Rule::Digits => {
                json!({ "type": "Sequence", "pretokenizers": [{ "type": "Digits", "individual_digits": true }, bytes(true)] })
            }
            Rule::Split(patterns) => {
                let split = |pattern: &&str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
                let steps: Vec<Json> = patterns.iter().map(split).chain([bytes(false)]).collect();
                json!({ "type": "Sequence", "pretokenizers": steps })
            }
        }
    }
}

/// What is not the vocabulary of a tokenizer of this kind.
pub(super) fn read(keys: &Keys) -> Result<Parts, CheckpointError> {
    const PRE: &str = "tokenizer.ggml.pre";
    const MERGES: &str = "tokenizer.ggml.merges";
    // Files from before there were rules mean this one, as in llama.cpp.
    let name = keys.text(PRE)?.unwrap_or("default");
    let pre = PRES.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        let known: Vec<_> = PRES.iter().flat_map(|pre| pre.names).map(|name| format!("{name:?}")).collect();
        keys.bad(PRE, &crate::config::raw::one_of(&known))
    })?;
    let merges = keys.texts(MERGES)?.ok_or_else(|| keys.missing(MERGES))?;
    let pair = |merge: &String| {
        // The space that parts them is never the first character.
        let at = merge.char_indices().skip(1).find(|(_, c)| *c == ' ').map(|(at, _)| at)?;
        Some(json!([&merge[..at], &merge[at + 1..]]))
    };
    let pairs: Option<Vec<Json>> = merges.iter().map(pair).collect();
    let pairs = pairs.ok_or_else(|| keys.bad(MERGES, "a list of two tokens each, with a space between"))?;
    Ok(Parts {
        model: bpe(&pairs.into(), None, pre.ignore_merges, false),
        normalizer: Json::Null,
        pre_tokenizer: pre.json(),
        decoder: json!({ "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true }),
        spell: str::to_owned,
        adds_unknown: true,
        adds_bos: pre.adds_bos,
        strips: false,
        default_ids: [None, None],
    })
}
