//! In which order daemons are prepared, run and stopped.

mod support;

use steelmill_core::{Deadlines, Result, World};
use support::{Script, assert_before, journal};

stories! {
    dependencies_prepare_first_and_stop_last
}

async fn dependencies_prepare_first_and_stop_last(world: impl World) -> Result {
    let (journal, mut lines) = journal();
    let script = Script::new(&world, journal)
        .part('a', "")
        .part('b', "a")
        .part('c', "b");
    let demo = script.factory(world, Deadlines::default())?.start().await?;
    let report = demo.stop().await;
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.to_string(), "demo: ended cleanly");
    let lines = lines.take();
    for (needed, by) in [("a", "b"), ("b", "c")] {
        assert_before(
            &lines,
            &format!("{needed} prepare done"),
            &format!("{by} prepares"),
        );
        assert_before(&lines, &format!("{by} run done"), &format!("{needed} stops"));
        assert_before(&lines, &format!("{by} stop done"), &format!("{needed} stops"));
        assert_before(&lines, &format!("{by} dropped"), &format!("{needed} dropped"));
    }
    assert_before(&lines, "c prepare done", "a runs");
    Ok(())
}
