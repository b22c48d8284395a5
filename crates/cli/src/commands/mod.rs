//! One file for each command: its arguments as they are typed, and `run`.

pub mod bench;
pub mod chat;
pub mod compare;
pub mod completions;
pub mod convert;
pub mod data;
pub mod eval;
pub mod finetune;
pub mod generate;
pub mod inspect;
pub mod merge;
pub mod plan;
pub mod tokenize;
pub mod tokenizer;
pub mod train;
