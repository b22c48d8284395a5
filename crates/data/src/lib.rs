//! Text to tokens, shards and batches.
