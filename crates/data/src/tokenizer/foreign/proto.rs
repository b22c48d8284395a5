//! The file of a SentencePiece model (`sentencepiece_model.proto`), as far as it says how a text is split.

use prost::Message;

use super::Settings;
use super::added::Token;
use super::class::Class;

/// Bytes of a file; the largest published one has 5 MB.
const LARGEST: usize = 256 << 20;
/// Work to look for the pairs that make each piece: the sum of the squares of their lengths. Gemma's 262,144 take 2²⁵.
const MOST_WORK: usize = 1 << 30;

/// A model.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Model {
    #[prost(message, repeated, tag = "1")]
    pub(super) pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

/// A token.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

/// How it was trained.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Trainer {
    #[prost(int32, optional, tag = "3", default = "1")]
    pub(super) model_type: Option<i32>,
    #[prost(bool, optional, tag = "35", default = "false")]
    pub(super) byte_fallback: Option<bool>,
    #[prost(int32, optional, tag = "40", default = "0")]
    pub(super) unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41", default = "1")]
    pub(super) bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42", default = "2")]
    pub(super) eos_id: Option<i32>,
    #[prost(string, optional, tag = "45", default = "<unk>")]
    pub(super) unk_piece: Option<String>,
}

/// What becomes of a text before it is split.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Normalizer {
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(super) precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    pub(super) add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    pub(super) remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    pub(super) escape_whitespaces: Option<bool>,
}

/// Kinds of pieces.
pub(super) const NORMAL: i32 = 1;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;

/// `model_type`.
pub(super) const UNIGRAM: i32 = 1;
pub(super) const BPE: i32 = 2;

impl Model {
    /// Reads a file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > LARGEST {
            return Err(format!("it has {} bytes, but the maximum is {LARGEST}", bytes.len()));
        }
        // Llama 3 came with a `tokenizer.model` of another kind: lines of base64 and a rank.
        let first = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let is_rank = |word: &[u8]| !word.is_empty() && word.iter().all(u8::is_ascii_digit);
        if first.is_ascii() && first.rsplit(|&byte| byte == b' ').next().is_some_and(is_rank) && first.contains(&b' ') {
            return Err("it is a file of tiktoken, not a SentencePiece model".to_owned());
        }
        let model = Self::decode(bytes).map_err(|error| format!("not a SentencePiece model: {error}"))?;
        if model.pieces.is_empty() {
            return Err("it has no pieces".to_owned());
        }
        let work = model.pieces.iter().try_fold(0usize, |sum, piece| sum.checked_add(piece.text().len().pow(2)));
        if work.is_none_or(|work| work > MOST_WORK) {
            return Err("its pieces are longer than any that are trained".to_owned());
        }
        if model.pieces.iter().any(|piece| !piece.score().is_finite()) {
            return Err("a piece has a score that is not a number".to_owned());
        }
        Ok(model)
    }

    pub(super) fn trainer(&self) -> Trainer {
        self.trainer.clone().unwrap_or_default()
    }

    pub(super) fn normalizer(&self) -> Normalizer {
        self.normalizer.clone().unwrap_or_default()
    }

    /// The pieces that are found in a text before it is split, and the special tokens that the class knows without being
    /// told: control pieces, those for what is unknown, begins and ends a text, and, if a class is to convert them,
    /// user-defined pieces; otherwise these are kept whole when the text is split.
    pub(super) fn added(&self, settings: &Settings) -> Vec<Token> {
        // Gemma's turns are user-defined pieces, but special.
        let turns = ["<start_of_turn>", "<end_of_turn>"];
        let class = Class::of(settings);
        let special =
            |piece: &Piece| piece.kind() == CONTROL || (class == Class::Gemma && turns.contains(&piece.text()));
        let is_added = |kind: i32| kind == CONTROL || (kind == USER_DEFINED && class != Class::None);
        let pieces = self.pieces.iter().filter(|piece| is_added(piece.kind()));
        let mut tokens: Vec<Token> = pieces.map(|piece| Token::new(piece.text(), special(piece))).collect();
        let trainer = self.trainer();
        let ids = [trainer.unk_id(), trainer.bos_id(), trainer.eos_id()];
        let named = ids.into_iter().filter_map(|id| self.pieces.get(usize::try_from(id).ok()?));
        tokens.extend(named.map(|piece| Token::new(piece.text(), true)));
        tokens
    }
}
