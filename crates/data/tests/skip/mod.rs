//! Tests that need what is not in the repository.

/// Says that a test is skipped, for want of `what`, and why. Where `LLM_REQUIRE_ALL` is set it fails instead, so that nothing
/// sleeps unseen, unless `what` is among the names in `LLM_WITHOUT`, with commas between them.
pub fn skip(what: &str, reason: &str) {
    let without = std::env::var("LLM_WITHOUT").unwrap_or_default();
    let named = without.split(',').any(|name| name == what);
    assert!(named || std::env::var_os("LLM_REQUIRE_ALL").is_none(), "{what} is required, but {reason}");
    eprintln!("skipped: {reason}");
}
