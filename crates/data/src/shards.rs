//! Token ids on disk.
//!
//! A shard file is a header of [`HEADER_BYTES`] and then one little-endian id of 16 or 32 bits for each token:
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `LLMTOKS\0` |
//! | 8..12 | version, 1 |
//! | 12..16 | bits of an id, 16 or 32 |
//! | 16..56 | vocabulary, tokens, documents, UTF-8 bytes of the text, unknown tokens: 64 bits each |
//! | 56..88 | blake3 of the tokenizer |
//! | 88..96 | first 8 bytes of the blake3 of all before |

mod write;

use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use memmap2::Mmap;

use crate::{DataError, Tokenizer, mmap};
pub(crate) use write::PARTIAL;
pub use write::ShardWriter;

/// Size of the header.
pub const HEADER_BYTES: usize = 96;
const MAGIC: &[u8; 8] = b"LLMTOKS\0";
const VERSION: u32 = 1;

/// What the header of a shard file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardHeader {
    /// Bits of an id on disk: 16 for vocabularies up to 65,536, else 32.
    pub bits: u32,
    /// Size of the vocabulary; every id is below.
    pub vocab_size: u64,
    /// Tokens, those that end documents included.
    pub tokens: u64,
    /// Documents.
    pub documents: u64,
    /// UTF-8 bytes of the text that the tokens stand for: what bits per byte are counted by.
    pub text_bytes: u64,
    /// How many tokens are the unknown token.
    pub unknown: u64,
    /// [`Tokenizer::hash`] of the tokenizer that made the tokens.
    pub tokenizer_hash: String,
}

impl ShardHeader {
    fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.bits.to_le_bytes());
        let counts = [self.vocab_size, self.tokens, self.documents, self.text_bytes, self.unknown];
        for (place, count) in bytes[16..56].chunks_exact_mut(8).zip(counts) {
            place.copy_from_slice(&count.to_le_bytes());
        }
        if let Ok(hash) = blake3::Hash::from_hex(&self.tokenizer_hash) {
            bytes[56..88].copy_from_slice(hash.as_bytes());
        }
        let sum = blake3::hash(&bytes[..88]);
        bytes[88..].copy_from_slice(&sum.as_bytes()[..8]);
        bytes
    }

    /// Reads a header and checks all that can be checked against the length of the file.
    fn read(bytes: &[u8]) -> Result<Self, String> {
        let len = bytes.len() as u64;
        let header = bytes.get(..HEADER_BYTES).ok_or(format!("it has {len} bytes, the header alone {HEADER_BYTES}"))?;
        let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
        if &header[..8] != MAGIC {
            return Err("it does not begin as a shard file does".into());
        }
        if u32_at(8) != VERSION {
            return Err(format!("its format is version {}, this program reads version {VERSION}", u32_at(8)));
        }
        if blake3::hash(&header[..88]).as_bytes()[..8] != header[88..] {
            return Err("its header is damaged (the checksum differs)".into());
        }
        let bits = u32_at(12);
        if bits != 16 && bits != 32 {
            return Err(format!("ids have {bits} bits, which must be 16 or 32"));
        }
        let tokens = u64_at(24);
        let wanted = tokens.checked_mul(u64::from(bits / 8)).and_then(|n| n.checked_add(HEADER_BYTES as u64));
        if wanted != Some(len) {
            return Err(format!("the header counts {tokens} tokens of {bits} bits, which do not make {len} bytes"));
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(&header[56..88]);
        Ok(Self {
            bits,
            vocab_size: u64_at(16),
            tokens,
            documents: u64_at(32),
            text_bytes: u64_at(40),
            unknown: u64_at(48),
            tokenizer_hash: blake3::Hash::from_bytes(hash).to_hex().to_string(),
        })
    }
}

/// A text as token ids, memory-mapped. Clones share the map.
#[derive(Debug, Clone)]
pub struct TokenShards {
    path: PathBuf,
    header: ShardHeader,
    map: Arc<Mmap>,
}

impl TokenShards {
    /// Maps a shard file.
    ///
    /// # Errors
    /// A missing file, or [`DataError::Shards`] for one that is damaged or of another kind.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|e| DataError::io(path, e))?;
        let map = mmap::map(&file, path)?;
        let header = ShardHeader::read(&map).map_err(|message| DataError::Shards { path: path.to_owned(), message })?;
        Ok(Self { path: path.to_owned(), header, map: Arc::new(map) })
    }

    /// [`open`](Self::open), and the tokens must come from this tokenizer.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`DataError::OtherTokenizer`].
    pub fn open_for(path: &Path, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let shards = Self::open(path)?;
        if shards.header.tokenizer_hash != tokenizer.hash() {
            return Err(DataError::OtherTokenizer {
                path: path.to_owned(),
                found: shards.header.tokenizer_hash,
                expected: tokenizer.hash().to_owned(),
            });
        }
        Ok(shards)
    }

    /// The header.
    pub fn header(&self) -> &ShardHeader {
        &self.header
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of tokens.
    pub fn len(&self) -> u64 {
        self.header.tokens
    }

    /// Whether there are no tokens.
    pub fn is_empty(&self) -> bool {
        self.header.tokens == 0
    }

    /// Appends the ids at `range` to `out`.
    ///
    /// # Errors
    /// [`DataError::Shards`] for a range that ends behind the last token and for an id that is not below the
    /// vocabulary, which only a damaged file has.
    pub fn read(&self, range: Range<u64>, out: &mut Vec<u32>) -> Result<(), DataError> {
        let damaged = |message| DataError::Shards { path: self.path.clone(), message };
        if range.start > range.end || range.end > self.len() {
            return Err(damaged(format!(
                "tokens {}..{} were asked for, there are {}",
                range.start,
                range.end,
                self.len()
            )));
        }
        let width = (self.header.bits / 8) as usize;
        let bytes = &self.map[HEADER_BYTES + range.start as usize * width..HEADER_BYTES + range.end as usize * width];
        let from = out.len();
        if width == 2 {
            out.extend(bytes.chunks_exact(2).map(|id| u32::from(u16::from_le_bytes([id[0], id[1]]))));
        } else {
            out.extend(bytes.chunks_exact(4).map(|id| u32::from_le_bytes([id[0], id[1], id[2], id[3]])));
        }
        match out[from..].iter().position(|&id| u64::from(id) >= self.header.vocab_size) {
            None => Ok(()),
            Some(i) => Err(damaged(format!(
                "token {} is {}, but the vocabulary has {}",
                range.start + i as u64,
                out[from + i],
                self.header.vocab_size
            ))),
        }
    }

    /// Checks that a model has a row for every token.
    ///
    /// # Errors
    /// [`DataError::VocabularyMismatch`] if the model's vocabulary is smaller than the tokenizer's.
    pub fn check_vocabulary(&self, model_vocab_size: usize) -> Result<(), DataError> {
        let tokenizer = self.header.vocab_size as usize;
        if tokenizer > model_vocab_size {
            return Err(DataError::VocabularyMismatch { tokenizer, model: model_vocab_size });
        }
        Ok(())
    }
}
