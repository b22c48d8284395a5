//! From files to token shards, with everything that was made before taken from a cache.
//!
//! The cache holds the trained tokenizers and the shards under names made of content hashes, and the hashes of files
//! by path, size and time, so that a second run reads nothing but the shards. It can be deleted at any time.

mod cache;
mod encode;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use crate::corpus::{Corpus, CorpusOptions, FileStats, Note};
use crate::{DataError, TokenShards, Tokenizer, TokenizerSection};
use cache::Cache;
pub use cache::default_cache_dir;
use encode::Plan;
pub use encode::{EncodedText, encode_corpus};

/// Documents that must fall to validation for a split by documents; with fewer, one odd document would say too much.
const LEAST_VALIDATION_DOCUMENTS: f64 = 10.0;

/// The section `[data]` of a configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSection {
    /// Files and folders to train on: `.txt`, `.md`, `.jsonl`, also with `.gz` or `.zst`; one may stand without a list.
    #[serde(deserialize_with = "one_or_several")]
    pub paths: Vec<PathBuf>,
    /// Files and folders to validate on. Without them, a share of the text is set aside.
    #[serde(deserialize_with = "one_or_several")]
    pub valid: Vec<PathBuf>,
    /// The share that is set aside; 0 for none: then the last weights of a run are its result.
    pub valid_fraction: f64,
    /// Key of a `.jsonl` line that holds the text.
    pub text_key: String,
    /// Replace invalid UTF-8 by U+FFFD instead of stopping.
    pub lossy: bool,
    /// Where prepared tokens are kept; [`default_cache_dir`] without it.
    pub cache_dir: Option<PathBuf>,
}

impl Default for DataSection {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            valid: Vec::new(),
            valid_fraction: 0.1,
            text_key: "text".into(),
            lossy: false,
            cache_dir: None,
        }
    }
}

/// Reads a path, or a list of them.
pub(crate) fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PathBuf>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a path or a list of paths")]
    enum Paths {
        One(PathBuf),
        Several(Vec<PathBuf>),
    }
    Ok(match Paths::deserialize(deserializer)? {
        Paths::One(path) => vec![path],
        Paths::Several(paths) => paths,
    })
}

/// What preparation is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Reads the files once: hashes, counts, errors.
    Scan,
    /// Trains the tokenizer.
    TrainTokenizer,
    /// Turns text into tokens.
    Encode,
}

/// What preparation reports while it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// How far a stage is, in bytes on disk.
    Stage {
        /// The stage.
        stage: Stage,
        /// Bytes done.
        done: u64,
        /// Bytes in all.
        total: u64,
    },
    /// Something about the files, whether they were read before or not.
    Note(Note),
}

/// Tokens to train on and tokens to validate on.
#[derive(Debug, Clone)]
pub struct Split {
    /// Tokens to train on.
    pub train: TokenShards,
    /// Tokens to validate on.
    pub valid: TokenShards,
    /// What was taken for validation, for example `validation: last 10 % of the text (111,540 of 1,115,394
    /// characters)`, and how many tokens are unknown, if any.
    pub note: String,
    /// Hash of all that the tokens depend on: contents, tokenizer, split.
    pub hash: String,
}

/// A text that is ready for training.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Trained here, loaded or taken from the cache.
    pub tokenizer: Tokenizer,
    /// Its tokens.
    pub split: Split,
    /// Everything came from the cache.
    pub cached: bool,
}

/// Reads the files, trains or loads the tokenizer, and makes the token shards, each unless the cache has it.
///
/// # Errors
/// Whatever is wrong with the files or the sections, and [`DataError::DiskFull`].
pub fn prepare(
    data: &DataSection,
    tokenizer: &TokenizerSection,
    progress: &mut dyn FnMut(Progress),
) -> Result<Prepared, DataError> {
    let sources = Sources::open(data, progress)?;
    let (tokenizer, known) = sources.tokenizer(tokenizer, progress)?;
    let (split, made) = sources.split(data, &tokenizer, progress)?;
    Ok(Prepared { tokenizer, split, cached: known && !made })
}

/// [`prepare`] with a tokenizer that is there already, for example of the model to fine-tune.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_split(
    data: &DataSection,
    tokenizer: &Tokenizer,
    progress: &mut dyn FnMut(Progress),
) -> Result<Split, DataError> {
    Ok(Sources::open(data, progress)?.split(data, tokenizer, progress)?.0)
}

/// A corpus and what is known of its files.
struct Source {
    corpus: Corpus,
    stats: Vec<FileStats>,
}

impl Source {
    fn documents(&self) -> u64 {
        self.stats.iter().map(|s| s.documents).sum()
    }

    fn characters(&self) -> u64 {
        self.stats.iter().map(|s| s.characters).sum()
    }

    fn size(&self) -> u64 {
        self.stats.iter().map(|s| s.size).sum()
    }

    /// Hash of all that the documents depend on: contents, kind of file, and how they are read.
    fn fingerprint(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{:?}", self.corpus.options()).as_bytes());
        for (path, stats) in self.corpus.files().iter().zip(&self.stats) {
            // The kind of file and of compression, whatever the name.
            let extension = |path: &Path| path.extension().map(|kind| kind.to_string_lossy().into_owned());
            let outer = extension(path).unwrap_or_default();
            let inner = extension(&path.with_extension("")).filter(|_| outer == "gz" || outer == "zst");
            let kind = inner.map_or(outer.clone(), |inner| format!("{inner}.{outer}"));
            hasher.update(format!("\n{} {kind}", stats.hash).as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }
}

struct Sources {
    cache: Cache,
    text: Source,
    valid: Option<Source>,
    /// Files that were named for training too, and are left to validation.
    left_out: usize,
}

impl Sources {
    fn open(data: &DataSection, progress: &mut dyn FnMut(Progress)) -> Result<Self, DataError> {
        if data.valid.is_empty() && !(0.0..1.0).contains(&data.valid_fraction) {
            return Err(DataError::BadFraction { fraction: data.valid_fraction });
        }
        let options = CorpusOptions { text_key: data.text_key.clone(), lossy: data.lossy };
        let mut text = Corpus::open(&data.paths, options.clone())?;
        let valid = match data.valid.as_slice() {
            [] => None,
            paths => Some(Corpus::open(paths, options)?),
        };
        let left_out = valid.as_ref().map_or(Ok(0), |valid| text.leave_out(valid))?;
        let mut cache = Cache::open(data.cache_dir.clone().unwrap_or_else(default_cache_dir))?;
        let total = text.disk_bytes()? + valid.as_ref().map_or(Ok(0), Corpus::disk_bytes)?;
        progress(Progress::Stage { stage: Stage::Scan, done: 0, total });
        let text = cache.scan(text)?;
        let valid = valid.map(|valid| cache.scan(valid)).transpose()?;
        cache.save_index()?;
        progress(Progress::Stage { stage: Stage::Scan, done: total, total });
        for source in [Some(&text), valid.as_ref()].into_iter().flatten() {
            source.corpus.notes(&source.stats).into_iter().map(Progress::Note).for_each(&mut *progress);
        }
        Ok(Self { cache, text, valid, left_out })
    }

    /// The tokenizer, and whether it was there before.
    fn tokenizer(
        &self,
        section: &TokenizerSection,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Tokenizer, bool), DataError> {
        if let Some(path) = &section.path {
            return Ok((Tokenizer::load(path)?, true));
        }
        let name = cache::name("tokenizer", &[&self.text.fingerprint(), &format!("{section:?}")]);
        let folder = self.cache.path(&name);
        // A cached tokenizer that does not load is made again.
        if let Ok(tokenizer) = Tokenizer::load(&folder) {
            return Ok((tokenizer, true));
        }
        let total = self.text.size();
        let mut report = |done| progress(Progress::Stage { stage: Stage::TrainTokenizer, done, total });
        report(0);
        let tokenizer = Tokenizer::train_with(section, &self.text.corpus, &mut report)?;
        tokenizer.save(&folder)?;
        Ok((tokenizer, false))
    }

    /// The shards, and whether they had to be made.
    fn split(
        &self,
        data: &DataSection,
        tokenizer: &Tokenizer,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Split, bool), DataError> {
        let plan = self.plan(data.valid_fraction)?;
        let valid_print = self.valid.as_ref().map(Source::fingerprint).unwrap_or_default();
        let separator = format!("{:?}", tokenizer.end_of_text_id());
        let parts = [&self.text.fingerprint(), tokenizer.hash(), &separator, &format!("{plan:?}"), &valid_print];
        let hash = cache::name("text", &parts);
        let [train_path, valid_path] =
            ["train", "valid"].map(|side| self.cache.path(&(cache::name(side, &parts) + ".tokens")));
        let open = |path| TokenShards::open_for(path, tokenizer);
        if let (Ok(train), Ok(valid)) = (open(&train_path), open(&valid_path)) {
            let note = self.note(data, plan, [&train, &valid]);
            return Ok((Split { train, valid, note, hash }, false));
        }
        // Not there, or damaged: made again.
        let total = self.text.size() + self.valid.as_ref().map_or(0, Source::size);
        let mut report = |done| progress(Progress::Stage { stage: Stage::Encode, done, total });
        report(0);
        let corpora = (&self.text.corpus, self.valid.as_ref().map(|valid| &valid.corpus));
        let (train, valid) = encode::write(corpora, plan, tokenizer, [&train_path, &valid_path], &mut report)?;
        let note = self.note(data, plan, [&train, &valid]);
        Ok((Split { train, valid, note, hash }, true))
    }

    fn plan(&self, fraction: f64) -> Result<Plan, DataError> {
        let (documents, characters) = (self.text.documents(), self.text.characters());
        if self.valid.is_some() || fraction == 0.0 {
            return Ok(Plan::All);
        }
        if documents as f64 * fraction >= LEAST_VALIDATION_DOCUMENTS {
            return Ok(Plan::Documents { fraction });
        }
        let train = (characters as f64 * (1.0 - fraction)) as u64;
        if train == 0 || train == characters {
            return Err(DataError::NoValidation { characters, fraction });
        }
        Ok(Plan::Tail { train })
    }

    fn note(&self, data: &DataSection, plan: Plan, [train, valid]: [&TokenShards; 2]) -> String {
        // To two decimals, without zeros at the end.
        let percent = (data.valid_fraction * 1e4).round() / 1e2;
        let mut note = match plan {
            Plan::All if self.valid.is_none() => "validation: none".to_string(),
            Plan::All => {
                let documents = grouped(valid.header().documents);
                let names: Vec<_> = data.valid.iter().map(|path| path.display().to_string()).collect();
                let left_out = match self.left_out {
                    0 => String::new(),
                    files => format!("; {} of these files not trained on", grouped(files as u64)),
                };
                format!("validation: {} ({documents} documents{left_out})", names.join(", "))
            }
            Plan::Documents { .. } => format!(
                "validation: {percent} % of the documents, evenly spread ({} of {} documents)",
                grouped(valid.header().documents),
                grouped(self.text.documents())
            ),
            Plan::Tail { train } => format!(
                "validation: last {percent} % of the text ({} of {} characters)",
                grouped(self.text.characters() - train),
                grouped(self.text.characters())
            ),
        };
        for (side, shards) in [("training", train), ("validation", valid)] {
            if shards.header().unknown > 0 {
                let (unknown, tokens) = (grouped(shards.header().unknown), grouped(shards.len()));
                note.extend(["; ", &unknown, " of ", &tokens, " ", side, " tokens are unknown to the tokenizer"]);
            }
        }
        note
    }
}

/// 1234567 as 1,234,567.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}
