//! Text to shards on all cores, with a bounded number of segments in memory.

use std::path::Path;

use rayon::prelude::*;

use crate::corpus::{Corpus, Segment, for_each_block};
use crate::{DataError, ShardWriter, TokenShards, Tokenizer};

/// Which text is for training and which for validation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Plan {
    /// All for training; validation has files of its own, or there is none.
    All,
    /// A share of the documents, evenly spread, is for validation.
    Documents { fraction: f64 },
    /// The first `train` characters are for training, the rest is for validation.
    Tail { train: u64 },
}

/// Writes both files.
pub(super) fn write(
    (text, valid): (&Corpus, Option<&Corpus>),
    plan: Plan,
    tokenizer: &Tokenizer,
    paths: [&Path; 2],
    progress: &mut dyn FnMut(u64),
) -> Result<(TokenShards, TokenShards), DataError> {
    let [train_path, valid_path] = paths;
    let mut sides = [ShardWriter::create(train_path, tokenizer)?, ShardWriter::create(valid_path, tokenizer)?];
    let mut divider = Divider { plan, documents: 0, characters: 0 };
    for_each_block(text, progress, |block| {
        let parts = block.iter().flat_map(|segment| divider.divide(segment)).collect::<Vec<_>>();
        append(&mut sides, &parts, tokenizer)
    })?;
    if let Some(valid) = valid {
        let before = text.disk_bytes()?;
        for_each_block(valid, &mut |done| progress(before + done), |block| {
            let part = |segment| Part { side: Side::Valid, ..Part::whole(segment) };
            append(&mut sides, &block.iter().map(part).collect::<Vec<_>>(), tokenizer)
        })?;
    }
    let [train, valid] = sides;
    Ok((train.finish()?, valid.finish()?))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Side {
    Train = 0,
    Valid = 1,
}

/// A segment, or a part of one, and where it goes.
struct Part<'a> {
    side: Side,
    text: &'a str,
    /// The text continues the part before, which was cut at a space.
    continues: bool,
    ends_document: bool,
}

impl<'a> Part<'a> {
    fn whole(segment: &'a Segment) -> Self {
        Self {
            side: Side::Train,
            text: &segment.text,
            continues: !segment.starts_document,
            ends_document: segment.ends_document,
        }
    }
}

/// Decides for one segment after the other.
struct Divider {
    plan: Plan,
    /// Documents that have ended.
    documents: u64,
    /// Characters so far.
    characters: u64,
}

impl Divider {
    fn divide<'a>(&mut self, segment: &'a Segment) -> impl Iterator<Item = Part<'a>> + use<'a> {
        let whole = Part::whole(segment);
        let parts = match self.plan {
            Plan::All => [Some(whole), None],
            Plan::Documents { fraction } => {
                let share = |documents: u64| (documents as f64 * fraction) as u64;
                let side = if share(self.documents + 1) > share(self.documents) { Side::Valid } else { Side::Train };
                [Some(Part { side, ..whole }), None]
            }
            Plan::Tail { train } => {
                let left = train.saturating_sub(self.characters) as usize;
                let text = whole.text;
                self.characters += text.chars().count() as u64;
                match text.char_indices().nth(left) {
                    _ if left == 0 => [Some(Part { side: Side::Valid, ..whole }), None],
                    None => [Some(whole), None],
                    Some((at, _)) => {
                        let (head, tail) = text.split_at(at);
                        let ends_document = whole.ends_document;
                        let tail = Part { side: Side::Valid, text: tail, continues: false, ends_document };
                        [Some(Part { text: head, ends_document: false, ..whole }), Some(tail)]
                    }
                }
            }
        };
        self.documents += u64::from(segment.ends_document);
        parts.into_iter().flatten()
    }
}

/// A text as tokens, all of it in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedText {
    /// The ids, with the token that ends a text between documents, as in training.
    pub ids: Vec<u32>,
    /// Bytes of UTF-8 that they stand for.
    pub bytes: usize,
}

/// Reads and encodes all of `corpus`.
///
/// # Errors
/// What is wrong with the files; [`DataError::NoEndOfText`] for several documents; a failure of the tokenizer.
pub fn encode_corpus(corpus: &Corpus, tokenizer: &Tokenizer) -> Result<EncodedText, DataError> {
    let mut text = EncodedText { ids: Vec::new(), bytes: 0 };
    let mut ended = false;
    for_each_block(corpus, &mut |_| (), |block| {
        let encode = |segment: &Segment| {
            let mut ids = Vec::new();
            tokenizer.encode_into(&segment.text, !segment.starts_document, &mut ids).map(|_| ids)
        };
        let encoded = block.par_iter().map(encode).collect::<Result<Vec<_>, _>>()?;
        for (segment, ids) in block.iter().zip(encoded) {
            if std::mem::replace(&mut ended, segment.ends_document) {
                text.ids.push(tokenizer.end_of_text_id().ok_or(DataError::NoEndOfText)?);
            }
            text.ids.extend(ids);
            text.bytes += segment.text.len();
        }
        Ok(())
    })?;
    Ok(text)
}

/// Encodes the parts in parallel and appends them in order.
fn append(sides: &mut [ShardWriter; 2], parts: &[Part<'_>], tokenizer: &Tokenizer) -> Result<(), DataError> {
    let encode = |part: &Part<'_>| {
        let mut ids = Vec::new();
        let unknown = tokenizer.encode_into(part.text, part.continues, &mut ids)?;
        Ok((ids, unknown))
    };
    let encoded = parts.par_iter().map(encode).collect::<Result<Vec<_>, DataError>>()?;
    for (part, (ids, unknown)) in parts.iter().zip(encoded) {
        let side = &mut sides[part.side as usize];
        side.push(&ids, part.text.len() as u64, unknown)?;
        if part.ends_document {
            side.end_document();
        }
    }
    Ok(())
}
