//! Writes the bundled corpus: tales, questions, summaries, translations and a special domain.
//!
//! ```text
//! cargo run --release -p llm-data --example tales -- --out data [--seed N]
//! ```
//!
//! Every byte follows from the seed (default 20), on every machine. See `data/README.md` for what the files hold and the
//! module docs for how they are made: [`lexicon`] reads words and rules, [`grammar`] turns templates into sentences,
//! [`plots`] let things happen in a [`world`] and tell them, [`translate`] and [`domain`] plan
//! sentences of their own, and [`sets`] puts everything into files.

mod domain;
mod german;
mod grammar;
mod lexicon;
mod plots;
mod referent;
mod rng;
mod sets;
mod teller;
#[cfg(test)]
mod tests;
mod translate;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs, io};

/// The seed of the committed files.
const SEED: u64 = 20;

const USAGE: &str = "usage: tales --out DIR [--seed N]";

fn main() -> ExitCode {
    let result =
        arguments().and_then(|(out, seed)| write(&out, seed).map_err(|error| format!("{}: {error}", out.display())));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn arguments() -> Result<(PathBuf, u64), String> {
    let (mut out, mut seed) = (None, SEED);
    let mut args = env::args().skip(1);
    while let Some(flag) = args.next() {
        let value = args.next().ok_or_else(|| format!("{flag} needs a value\n{USAGE}"))?;
        match flag.as_str() {
            "--out" => out = Some(PathBuf::from(value)),
            "--seed" => seed = value.parse().map_err(|_| format!("--seed takes a whole number, not {value:?}"))?,
            _ => return Err(format!("unknown flag {flag}\n{USAGE}")),
        }
    }
    Ok((out.ok_or_else(|| format!("--out is missing\n{USAGE}"))?, seed))
}

fn write(out: &Path, seed: u64) -> io::Result<()> {
    for (name, content) in sets::files(seed) {
        let path = out.join(&name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&path, &content)?;
        println!("{:>9} bytes  {:>6} lines  {name}", content.len(), content.lines().count());
    }
    Ok(())
}
