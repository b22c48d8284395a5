//! What a person sees: the help of every command, results on fixed input, and each common failure.
//!
//! After an intended change, `TRYCMD=overwrite cargo test --release -p llm-cli --test cmd` rewrites the files.

#[test]
fn commands_print_what_their_files_say() {
    let cache = tempfile::tempdir().unwrap();
    trycmd::TestCases::new().env("XDG_CACHE_HOME", cache.path().display().to_string()).case("tests/cmd/*.trycmd");
}
