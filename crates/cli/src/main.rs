//! The `llm` command line.
fn main() {}
