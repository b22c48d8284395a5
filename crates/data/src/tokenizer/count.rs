//! Counting pieces and characters of a corpus with all cores and bounded memory.

use std::sync::{Mutex, PoisonError};

use ahash::{AHashMap, RandomState};
use compact_str::CompactString;
use rayon::prelude::*;

use super::split::Splitter;
use crate::DataError;
use crate::corpus::{Corpus, cut, for_each_block};

/// Pieces kept between blocks of text. Rare ones are dropped only there, so what is dropped depends on the text and
/// never on the number of threads.
const KEPT: usize = 1 << 19;
/// Pieces that BPE is trained on at most: its tables take about half a kilobyte for each.
const MOST_PIECES: usize = 1 << 17;
/// Bytes of these pieces together at most: its tables take 32 for each.
const MOST_BYTES: usize = 1 << 22;
/// Longer pieces, from text without white space such as genomes, are counted in parts.
const LONGEST: usize = 64;
const SHARDS: usize = 64;

/// The most frequent pieces of the corpus with their counts, most frequent first, and within a count by the piece.
///
/// All text is counted. When more than half a million different pieces have come up, the rarest are forgotten (lossy
/// counting, Manku and Motwani 2002): a piece that occurs once in tens of megabytes has no say in a merge.
pub(super) fn pieces(
    corpus: &Corpus,
    splitter: Splitter,
    progress: &mut dyn FnMut(u64),
) -> Result<Vec<(CompactString, u64)>, DataError> {
    let hasher = RandomState::with_seeds(1, 2, 3, 4);
    let shards: Vec<Mutex<AHashMap<CompactString, u64>>> = (0..SHARDS).map(|_| Mutex::default()).collect();
    for_each_block(corpus, progress, |segments| {
        segments.par_iter().for_each(|segment| {
            let mut counts: AHashMap<&str, u64> = AHashMap::new();
            splitter.for_each(&segment.text, |mut piece| {
                while piece.len() > LONGEST {
                    let (part, rest) = piece.split_at(cut(piece, LONGEST));
                    *counts.entry(part).or_default() += 1;
                    piece = rest;
                }
                *counts.entry(piece).or_default() += 1;
            });
            let mut parts: Vec<Vec<(&str, u64)>> = vec![Vec::new(); SHARDS];
            for (piece, count) in counts {
                parts[hasher.hash_one(piece) as usize % SHARDS].push((piece, count));
            }
            for (shard, part) in shards.iter().zip(parts) {
                let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                for (piece, count) in part {
                    match shard.get_mut(piece) {
                        Some(sum) => *sum += count,
                        None => drop(shard.insert(piece.into(), count)),
                    }
                }
            }
        });
        forget_rare(&shards);
        Ok(())
    })?;
    let counts = shards.into_iter().flat_map(|shard| shard.into_inner().unwrap_or_else(PoisonError::into_inner));
    let mut counts: Vec<_> = counts.collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(MOST_PIECES);
    let sums = counts.iter().scan(0, |bytes, (piece, _)| {
        *bytes += piece.len();
        Some(*bytes)
    });
    let fitting = sums.take_while(|bytes| *bytes <= MOST_BYTES).count();
    counts.truncate(fitting);
    Ok(counts)
}

/// Drops the pieces with the smallest counts until at most [`KEPT`] are left.
fn forget_rare(shards: &[Mutex<AHashMap<CompactString, u64>>]) {
    let lock =
        |shard: &'_ Mutex<AHashMap<CompactString, u64>>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
    if shards.iter().map(lock).sum::<usize>() <= KEPT {
        return;
    }
    let counts = |shard: &Mutex<AHashMap<CompactString, u64>>| {
        shard.lock().unwrap_or_else(PoisonError::into_inner).values().copied().collect::<Vec<_>>()
    };
    let mut all: Vec<u64> = shards.iter().flat_map(counts).collect();
    // Everything up to the count at the border goes, ties included.
    let border = all.len() - KEPT;
    let (_, &mut largest_dropped, _) = all.select_nth_unstable(border);
    for shard in shards {
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        shard.retain(|_, count| *count > largest_dropped);
        shard.shrink_to_fit();
    }
}

/// All characters of the corpus, sorted.
pub(super) fn characters(corpus: &Corpus, progress: &mut dyn FnMut(u64)) -> Result<Vec<char>, DataError> {
    let mut seen = vec![false; 0x11_0000];
    for_each_block(corpus, progress, |segments| {
        let found: Vec<Vec<char>> = segments
            .par_iter()
            .map(|segment| {
                let mut ascii = [false; 128];
                let mut others = ahash::AHashSet::new();
                for c in segment.text.chars() {
                    match ascii.get_mut(c as usize) {
                        Some(flag) => *flag = true,
                        None => drop(others.insert(c)),
                    }
                }
                others.extend((0..128u8).filter(|&b| ascii[usize::from(b)]).map(char::from));
                others.into_iter().collect()
            })
            .collect();
        for c in found.into_iter().flatten() {
            seen[c as usize] = true;
        }
        Ok(())
    })?;
    Ok(('\0'..=char::MAX).filter(|&c| seen[c as usize]).collect())
}
