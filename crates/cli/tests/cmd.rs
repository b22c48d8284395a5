//! What a person sees: the help of every command, results on fixed input, and each common failure.
//!
//! After a change that is meant, `TRYCMD=overwrite cargo test -p llm-cli --test cmd` writes the files anew.

#[test]
fn commands_print_what_their_files_say() {
    trycmd::TestCases::new().case("tests/cmd/*.trycmd");
}
