//! Prefill, decode, sampling and streaming text.
