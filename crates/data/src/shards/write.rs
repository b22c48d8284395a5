//! Writing a shard file: beside its place, synced, then renamed.

use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::{HEADER_BYTES, ShardHeader, TokenShards};
use crate::tokenizer::open_to_others;
use crate::{DataError, Tokenizer};

/// How the names of files begin that are being written.
pub(crate) const PARTIAL: &str = "partial-";

/// Writes one shard file. Dropped before [`finish`](Self::finish), it leaves nothing behind.
pub struct ShardWriter {
    path: PathBuf,
    file: BufWriter<NamedTempFile>,
    header: ShardHeader,
    end_of_text: Option<u32>,
    /// A document has ended, and its end-of-text token is to come before the next one.
    ended: bool,
    bytes: Vec<u8>,
}

impl ShardWriter {
    /// Starts a file at `path`, whose folder must exist.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn create(path: &Path, tokenizer: &Tokenizer) -> Result<Self, DataError> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let partial =
            tempfile::Builder::new().prefix(PARTIAL).tempfile_in(folder).map_err(|e| DataError::write(folder, 0, e))?;
        let vocab_size = tokenizer.vocab_size() as u64;
        let header = ShardHeader {
            bits: if vocab_size <= 1 << 16 { 16 } else { 32 },
            vocab_size,
            tokens: 0,
            documents: 0,
            text_bytes: 0,
            unknown: 0,
            tokenizer_hash: tokenizer.hash().to_owned(),
        };
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(1 << 20, partial),
            header,
            end_of_text: tokenizer.end_of_text_id(),
            ended: false,
            bytes: Vec::new(),
        };
        writer.write(&[0; HEADER_BYTES])?;
        Ok(writer)
    }

    /// Appends ids of a part of a document, which is `text_bytes` long and holds `unknown` unknown tokens.
    ///
    /// # Errors
    /// [`DataError::DiskFull`], or another failure of writing.
    pub fn push(&mut self, ids: &[u32], text_bytes: u64, unknown: u64) -> Result<(), DataError> {
        if std::mem::take(&mut self.ended) {
            let end = self.end_of_text.ok_or(DataError::NoEndOfText)?;
            self.put(&[end])?;
        }
        self.header.text_bytes += text_bytes;
        self.header.unknown += unknown;
        self.put(ids)
    }

    /// Ends the document.
    pub fn end_document(&mut self) {
        self.header.documents += 1;
        self.ended = true;
    }

    /// Writes the header, syncs, renames and maps the file. If there are several documents, the last one ends with the
    /// end-of-text token as all others do; a single text stays as it is.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(mut self) -> Result<TokenShards, DataError> {
        if self.header.documents > 1 {
            self.push(&[], 0, 0)?;
        } else if self.header.documents == 0 && self.header.tokens > 0 {
            self.header.documents = 1;
        }
        let written = self.written();
        let failed = |error| DataError::write(&self.path, written, error);
        let mut file = self.file.into_inner().map_err(|e| failed(e.into_error()))?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(&self.header.to_bytes()).map_err(failed)?;
        open_to_others(file.as_file()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
        file.persist(&self.path).map_err(|e| failed(e.error))?;
        TokenShards::open(&self.path)
    }

    fn written(&self) -> u64 {
        HEADER_BYTES as u64 + self.header.tokens * u64::from(self.header.bits / 8)
    }

    fn put(&mut self, ids: &[u32]) -> Result<(), DataError> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        if self.header.bits == 16 {
            bytes.extend(ids.iter().flat_map(|&id| (id as u16).to_le_bytes()));
        } else {
            bytes.extend(ids.iter().flat_map(|id| id.to_le_bytes()));
        }
        self.write(&bytes)?;
        self.header.tokens += ids.len() as u64;
        self.bytes = bytes;
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        let written = self.written();
        self.file.write_all(bytes).map_err(|e| DataError::write(&self.path, written, e))
    }
}
