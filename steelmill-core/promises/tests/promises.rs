//! What the compiler keeps core's promises about: no file of `refused` may compile, and each says why as written beside it.
//!
//! Once the words are worth having: `TRYBUILD=overwrite cargo test -p steelmill-promises` writes what the compiler says now.

#[test]
fn what_must_not_compile_is_refused_and_says_why() {
    trybuild::TestCases::new().compile_fail("refused/*.rs");
}
