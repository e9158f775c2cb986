//! `assert_sometimes!` and its kin say what they want, and take nothing that would act on its own: in production, where
//! nothing is evaluated, the code goes the same way.
use steelmill_core::{assert_always, assert_reachable, assert_sometimes};

async fn service(names: &[&'static str], mut full: impl FnMut() -> Result<bool, ()>) -> Result<(), ()> {
    assert_sometimes!(full() == Ok(true));
    assert_reachable!(names[0]);
    assert_always!(names.len(), "it has names");
    assert_always!(full()?, "it is full");
    assert_sometimes!(std::future::ready(true).await, "it is ready");
    Ok(())
}

fn main() {
    drop(service(&[], || Ok(true)));
}
