//! Training tokenizers.

use ahash::AHashMap;
use compact_str::CompactString;
use tokenizers::decoders::fuse::Fuse;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, ModelWrapper, SplitDelimiterBehavior};

use super::files::SpecialTokens;
use super::split::{Splitter, WORDS};
use super::{END_OF_TEXT, Tokenizer, TokenizerKind, TokenizerSection, bytes, count, tokenize};
use crate::DataError;
use crate::corpus::Corpus;

/// The token for characters that a character tokenizer does not know.
const UNKNOWN: &str = "<unk>";
/// 256 bytes and the end of the text.
const SMALLEST: usize = 257;
/// Sixty times what the largest published models have.
const LARGEST: usize = 1 << 24;

impl Tokenizer {
    /// Trains a tokenizer, or loads the one that `section.path` names.
    ///
    /// The same text gives the same tokenizer, whatever the number of threads. `<|endoftext|>` is always the last
    /// token.
    ///
    /// # Errors
    /// Whatever is wrong with the corpus or the section.
    pub fn train(section: &TokenizerSection, corpus: &Corpus) -> Result<Self, DataError> {
        Self::train_with(section, corpus, &mut |_| ())
    }

    /// [`train`](Self::train) with a callback that is told the bytes read so far, of [`Corpus::disk_bytes`].
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn train_with(
        section: &TokenizerSection,
        corpus: &Corpus,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, DataError> {
        if let Some(path) = &section.path {
            return Self::load(path);
        }
        let sized = matches!(section.kind, TokenizerKind::Word | TokenizerKind::Bpe);
        if sized && section.vocab_size > LARGEST {
            return Err(DataError::VocabularyTooLarge { given: section.vocab_size, most: LARGEST });
        }
        if sized && section.vocab_size < SMALLEST {
            return Err(DataError::VocabularyTooSmall {
                given: section.vocab_size,
                least: SMALLEST,
                kind: section.kind.to_string(),
            });
        }
        match section.kind {
            TokenizerKind::Char => characters(&count::characters(corpus, progress)?),
            TokenizerKind::Byte => byte_level(byte_model(&[])?, None),
            TokenizerKind::Word => {
                let words = count::pieces(corpus, Splitter::Words, progress)?;
                let frequent = words.into_iter().filter(|(w, n)| w.len() > 1 && *n >= section.min_frequency.max(1));
                let words: Vec<_> = frequent.map(|(word, _)| word).take(section.vocab_size - SMALLEST).collect();
                byte_level(byte_model(&words)?, Some(Splitter::Words))
            }
            TokenizerKind::Bpe => {
                let counts = count::pieces(corpus, Splitter::Gpt2, progress)?;
                byte_level(merges(section, counts)?, Some(Splitter::Gpt2))
            }
        }
    }
}

/// One token for each character. BPE without merges is what splits a text into characters fastest.
fn characters(characters: &[char]) -> Result<Tokenizer, DataError> {
    let tokens = characters.iter().map(char::to_string).chain([UNKNOWN.to_owned()]);
    let vocab: AHashMap<String, u32> = tokens.zip(0..).collect();
    let model = BPE::builder().vocab_and_merges(vocab, vec![]).unk_token(UNKNOWN.into()).build().map_err(tokenize)?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer.with_decoder(Some(Fuse::new()));
    finish(tokenizer, Some(UNKNOWN))
}

/// The 256 bytes, the id being the value, and then whole words. A word of the vocabulary is taken whole before merges
/// are looked at, and as there are none, every other word falls into bytes: any text comes back as it was.
fn byte_model(words: &[CompactString]) -> Result<BPE, DataError> {
    let alphabet = bytes::CHARACTERS.iter().map(char::to_string);
    let tokens = alphabet.chain(words.iter().map(|word| bytes::spell(word.as_bytes())));
    let vocab: AHashMap<String, u32> = tokens.zip(0..).collect();
    BPE::builder().vocab_and_merges(vocab, vec![]).ignore_merges(!words.is_empty()).build().map_err(tokenize)
}

/// Byte-level BPE from the counts of pieces.
fn merges(section: &TokenizerSection, counts: Vec<(CompactString, u64)>) -> Result<BPE, DataError> {
    // The trainer adds up pairs in 32 bits. Beyond that, counts are scaled down together.
    let total: u64 = counts.iter().map(|(piece, count)| piece.len() as u64 * count).sum();
    let scale = total.div_ceil(i32::MAX as u64).max(1);
    let spelled = |(piece, count): (CompactString, u64)| {
        (CompactString::from(bytes::spell(piece.as_bytes())), count.div_ceil(scale))
    };
    let words: AHashMap<CompactString, u64> = counts.into_iter().map(spelled).collect();
    let trainer = BpeTrainer::builder()
        .vocab_size(section.vocab_size - 1) // <|endoftext|> comes after
        .min_frequency(section.min_frequency)
        .initial_alphabet(bytes::CHARACTERS.into_iter().collect())
        .show_progress(false)
        .build();
    let mut model = BPE::default();
    trainer.do_train(&words, &mut model).map_err(tokenize)?;
    Ok(model)
}

/// A byte-level tokenizer around a model.
fn byte_level(model: BPE, splitter: Option<Splitter>) -> Result<Tokenizer, DataError> {
    let mut tokenizer = tokenizers::Tokenizer::new(ModelWrapper::BPE(model));
    match splitter {
        Some(Splitter::Words) => {
            let pattern = SplitPattern::Regex(WORDS.into());
            let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false).map_err(tokenize)?;
            let bytes = ByteLevel::new(false, true, false);
            tokenizer.with_pre_tokenizer(Some(Sequence::new(vec![split.into(), bytes.into()])));
        }
        splitter => drop(tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, splitter.is_some())))),
    }
    tokenizer.with_decoder(Some(ByteLevel::default()));
    finish(tokenizer, None)
}

fn finish(mut tokenizer: tokenizers::Tokenizer, unknown: Option<&str>) -> Result<Tokenizer, DataError> {
    tokenizer.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(tokenize)?;
    let special = SpecialTokens::trained(&tokenizer, unknown);
    Tokenizer::from_parts(tokenizer, special)
}
