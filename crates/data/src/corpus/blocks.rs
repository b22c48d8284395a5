//! Blocks of segments, for work on all cores.

use super::{Corpus, Segment};
use crate::DataError;

/// Text of a block. It does not depend on the machine, so neither does what is made of blocks.
const BLOCK_BYTES: usize = 16 << 20;

/// Hands out the corpus in blocks; the next one is read while one is worked on. `progress` is told the bytes read from
/// disk.
pub(crate) fn for_each_block(
    corpus: &Corpus,
    progress: &mut dyn FnMut(u64),
    mut work: impl FnMut(&[Segment]) -> Result<(), DataError> + Send,
) -> Result<(), DataError> {
    let mut segments = corpus.segments();
    let mut block = read(&mut segments)?;
    while !block.is_empty() {
        let (next, done) = rayon::join(|| read(&mut segments), || work(&block));
        done?;
        block = next?;
        progress(segments.bytes_read());
    }
    Ok(())
}

fn read(segments: &mut impl Iterator<Item = Result<Segment, DataError>>) -> Result<Vec<Segment>, DataError> {
    let mut block = Vec::new();
    let mut bytes = 0;
    while bytes < BLOCK_BYTES {
        let Some(segment) = segments.next().transpose()? else { break };
        // What a segment takes beside its text counts too, or a million tiny documents would not.
        bytes += segment.text.len() + size_of::<Segment>();
        block.push(segment);
    }
    Ok(block)
}
