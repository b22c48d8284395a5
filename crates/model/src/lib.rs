//! The Transformer as Burn modules.
