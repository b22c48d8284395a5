//! Windows over a text that is longer than a model's context, for evaluation.

use llm_data::Batch;
use llm_model::IGNORED;

/// Batches in which every id of `ids` but the first is a target exactly once.
///
/// A window has `context` tokens, or what there is, and begins `stride` tokens after the one before it; what that one
/// scored does not count again. So each target has at least `context - stride` tokens before it, but at the beginning of
/// the text (<https://huggingface.co/docs/transformers/perplexity>). A stride of `context` is fastest, and says the
/// most against the model. Up to `rows` windows make a batch.
///
/// # Panics
/// If `stride` is not from 1 to `context`, or `rows` is 0.
pub fn text_windows(
    ids: &[u32],
    context: usize,
    stride: usize,
    rows: usize,
) -> impl ExactSizeIterator<Item = Batch> + '_ {
    assert!((1..=context).contains(&stride) && rows > 0, "windows of {context} tokens, {stride} apart, {rows} at once");
    let targets = ids.len().saturating_sub(1);
    // The last one ends at or behind the last target.
    let windows = if targets == 0 { 0 } else { targets.saturating_sub(context).div_ceil(stride) + 1 };
    (0..windows.div_ceil(rows)).map(move |batch| {
        let windows = batch * rows..windows.min((batch + 1) * rows);
        let time = context.min(targets - windows.start * stride);
        let mut out = Batch { time, batch: windows.len(), ..Batch::default() };
        for window in windows {
            let start = window * stride;
            let scored = if window == 0 { 0 } else { start - stride + context };
            for at in start..start + time {
                // The last window may be shorter than others of its batch.
                out.inputs.push(ids.get(at).map_or(0, |&id| id as i32));
                let target = ids.get(at + 1).filter(|_| at >= scored);
                out.targets.push(target.map_or(IGNORED, |&id| id as i32));
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_but_the_first_is_a_target_once() {
        for len in 0..40u32 {
            let ids: Vec<u32> = (0..len).collect();
            for (context, stride, rows) in [(8, 8, 1), (8, 3, 1), (8, 1, 4), (7, 5, 2), (1, 1, 3), (64, 9, 2)] {
                let mut targets = Vec::new();
                for batch in text_windows(&ids, context, stride, rows) {
                    assert_eq!(batch.inputs.len(), batch.batch * batch.time);
                    assert!(batch.time <= context && batch.batch <= rows);
                    for (at, (&input, &target)) in batch.inputs.iter().zip(&batch.targets).enumerate() {
                        if target != IGNORED {
                            assert_eq!(target, input + 1);
                            let first = input as usize == at % batch.time; // of the text
                            assert!(first || at % batch.time >= context - stride, "{len} {context} {stride}");
                            targets.push(target as u32);
                        }
                    }
                }
                assert_eq!(targets, ids.get(1..).unwrap_or_default(), "{len} {context} {stride} {rows}");
            }
        }
    }
}
