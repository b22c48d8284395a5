//! Time and memory of preparation, for `scripts/bench_tokenizer.py` and for whoever works on it. One test in a process
//! of its own, as peak memory is that of the process.

use std::path::PathBuf;
use std::time::Instant;

use llm_data::{DataSection, Progress, TokenizerKind, TokenizerSection, prepare};

/// `LLM_BENCH_FILE=text.txt cargo test --release -p llm-data --test bench -- --ignored --nocapture`
#[test]
#[ignore = "measures a file that LLM_BENCH_FILE names"]
fn prepare_a_file() {
    let file = PathBuf::from(std::env::var_os("LLM_BENCH_FILE").expect("LLM_BENCH_FILE names a file"));
    let set = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    let vocab_size = set("LLM_BENCH_VOCAB").unwrap_or(8192);
    let kind = std::env::var("LLM_BENCH_KIND").map_or(TokenizerKind::Bpe, |kind| kind.parse().expect("a kind"));
    let path = std::env::var_os("LLM_BENCH_TOKENIZER").map(PathBuf::from);
    let cache = tempfile::tempdir().expect("a folder for temporary files");
    let cache_dir = std::env::var_os("LLM_BENCH_CACHE").map_or(cache.path().to_owned(), PathBuf::from);
    let data = DataSection { paths: vec![file], cache_dir: Some(cache_dir), ..DataSection::default() };
    let section = TokenizerSection { kind, vocab_size, path, ..TokenizerSection::default() };

    let start = Instant::now();
    let mut stages: Vec<(String, f64)> = Vec::new();
    let prepared = prepare(&data, &section, &mut |progress| {
        if let Progress::Stage { stage, done: 0, .. } = progress {
            stages.push((format!("{stage:?}"), start.elapsed().as_secs_f64()));
        }
    })
    .expect("the file can be prepared");
    let total = start.elapsed().as_secs_f64();
    let ends = stages.iter().skip(1).map(|(_, at)| *at).chain([total]);
    let seconds: serde_json::Map<_, _> =
        stages.iter().zip(ends).map(|((stage, from), to)| (stage.clone(), (to - from).into())).collect();
    // Before anything else takes memory or time.
    let peak = peak_rss_mib();
    let again = Instant::now();
    assert!(prepare(&data, &section, &mut |_| ()).expect("the cache can be read").cached);
    let second_run = again.elapsed().as_secs_f64();

    let ids = {
        let mut ids = Vec::new();
        prepared
            .split
            .valid
            .read(0..prepared.split.valid.len().min(2_000_000), &mut ids)
            .expect("the shards can be read");
        ids
    };
    let decoding = Instant::now();
    let text = prepared.tokenizer.decode(&ids).expect("the ids can be decoded");
    let decode = text.len() as f64 / 1e6 / decoding.elapsed().as_secs_f64();
    println!(
        "{}",
        serde_json::json!({
            "seconds": seconds,
            "second_run_seconds": second_run,
            "tokens": prepared.split.train.len() + prepared.split.valid.len(),
            "decode_mb_per_second": decode,
            "peak_rss_mib": peak,
        })
    );
}

/// Most memory that this process ever had, on Linux.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
