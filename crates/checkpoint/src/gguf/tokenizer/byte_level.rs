//! Byte-level BPE: texts are split by a rule, and merges have ranks. The rules and their names are those of
//! <https://github.com/ggml-org/llama.cpp/blob/master/src/llama-vocab.cpp>, written as the `tokenizer.json` files have them
//! that llama.cpp took them from.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Parts, bpe, problem_at};
use crate::CheckpointError;
use crate::keys::GgufKeys;

/// How a text is split.
enum Rule {
    /// GPT-2's rule, which the `ByteLevel` step has built in.
    Gpt2,
    /// Every digit by itself, then GPT-2's rule.
    Digits,
    /// Regular expressions, one after the other.
    Split(&'static [&'static str]),
    /// Regular expressions, one after the other, then every digit by itself.
    SplitDigits(&'static [&'static str]),
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

/// Letters that have two cases, as the Unicode of 2018 had them.
const DEEPSEEK_LLM: &str = concat!(
    r"\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝ",
    "\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}",
    "\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}ℂℇℊ-ℓℕℙ-ℝℤ\u{2126}ℨ\u{212a}-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄ",
    "Ⰰ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
);
const DEEPSEEK_CJK: &str = "[一-龥\u{800}-一가-\u{d7ff}]+";
const DEEPSEEK_V3: &str = concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|"##,
    "[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
);

/// The rules that are read, the common ones first.
pub(super) const PRES: [Pre; 14] = [
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
        names: &["deepseek-v3", "hunyuan-dense", "joyai-llm"],
        rule: Rule::Split(&[r"\p{N}{1,3}", "[一-龥\u{3040}-ゟ゠-ヿ]+", DEEPSEEK_V3]),
        ignore_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["deepseek-llm"],
        rule: Rule::SplitDigits(&[
            "[\r\n]",
            DEEPSEEK_LLM,
            "\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+",
            r"\s+$",
            DEEPSEEK_CJK,
        ]),
        ignore_merges: false,
        adds_bos: false,
    },
    Pre {
        names: &["deepseek-coder"],
        rule: Rule::SplitDigits(&["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_CJK]),
        ignore_merges: false,
        adds_bos: false,
    },
    Pre { names: &["glm4", "glm5"], rule: Rule::Split(&[LLAMA3]), ignore_merges: true, adds_bos: false },
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
        let digits = || json!({ "type": "Digits", "individual_digits": true });
        let split = |pattern: &&str| json!({ "type": "Split", "pattern": { "Regex": pattern }, "behavior": "Isolated", "invert": false });
        let steps: Vec<Json> = match self.rule {
            Rule::Gpt2 => return bytes(true),
            Rule::Digits => vec![digits(), bytes(true)],
            Rule::Split(patterns) => patterns.iter().map(split).chain([bytes(false)]).collect(),
            Rule::SplitDigits(patterns) => patterns.iter().map(split).chain([digits(), bytes(false)]).collect(),
        };
        json!({ "type": "Sequence", "pretokenizers": steps })
    }
}

/// What is not the vocabulary of a tokenizer of this kind.
pub(super) fn read(path: &Path, keys: &GgufKeys) -> Result<Parts, CheckpointError> {
    const PRE: &str = "tokenizer.ggml.pre";
    const MERGES: &str = "tokenizer.ggml.merges";
    // Files from before there were rules mean this one, as in llama.cpp.
    let name = keys.text(PRE)?.unwrap_or("default");
    let pre = PRES.iter().find(|pre| pre.names.contains(&name)).ok_or_else(|| {
        let count = PRES.iter().flat_map(|pre| pre.names).count();
        problem_at(path, format!("{PRE} is {name:?}, which is not one of the {count} known pre-tokenizers"))
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
