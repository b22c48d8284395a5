//! Which samples share a row.

use std::collections::BTreeSet;

/// Fills rows of `capacity` tokens with samples of the given lengths, none of which is larger: the longest first, each
/// into the row that it fills best ("best-fit decreasing", Johnson 1973, at most 11/9 of the fewest rows possible).
/// Gives the samples of each row.
pub(super) fn best_fit_decreasing(lengths: &[usize], capacity: usize) -> Vec<Vec<u32>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    order.sort_by_key(|&sample| (std::cmp::Reverse(lengths[sample]), sample));
    let mut rows: Vec<Vec<u32>> = Vec::new();
    // (free tokens, row)
    let mut open: BTreeSet<(usize, usize)> = BTreeSet::new();
    for sample in order {
        let length = lengths[sample];
        debug_assert!(length <= capacity);
        let best = open.range((length, 0)..).next().copied();
        let (free, row) = best.unwrap_or((capacity, rows.len()));
        if best.is_some() {
            open.remove(&(free, row));
        } else {
            rows.push(Vec::new());
        }
        rows[row].push(sample as u32);
        open.insert((free - length, row));
    }
    rows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_sample_is_in_one_row_and_no_row_is_over_length(
            lengths in proptest::collection::vec(1usize..40, 0..200), more in 0usize..30
        ) {
            let capacity = lengths.iter().max().copied().unwrap_or(1) + more;
            let rows = best_fit_decreasing(&lengths, capacity);
            let mut seen: Vec<u32> = rows.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len() as u32).collect::<Vec<_>>());
            let filled = |row: &Vec<u32>| row.iter().map(|&sample| lengths[sample as usize]).sum::<usize>();
            prop_assert!(rows.iter().all(|row| filled(row) <= capacity));
            // Two rows that would fit into one are never left apart.
            let half_empty = rows.iter().filter(|row| filled(row) * 2 <= capacity).count();
            prop_assert!(half_empty <= 1, "{half_empty} rows are at most half full");
        }
    }

    #[test]
    fn a_sample_goes_where_it_leaves_the_least_room() {
        assert_eq!(best_fit_decreasing(&[3, 7, 5, 4, 1], 10), [vec![1, 0], vec![2, 3, 4]]);
        assert_eq!(best_fit_decreasing(&[2, 6, 8], 10), [vec![2, 0], vec![1]]);
    }
}
