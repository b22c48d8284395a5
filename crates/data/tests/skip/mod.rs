//! Tests that need what is not in the repository.

/// Says that a test is skipped and why; fails instead where `LLM_REQUIRE_ALL` is set, so that nothing sleeps unseen.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("LLM_REQUIRE_ALL").is_none(), "LLM_REQUIRE_ALL is set, but {reason}");
    eprintln!("skipped: {reason}");
}
