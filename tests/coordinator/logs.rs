//! Log lines: each one once, none lost.

use ffrtmp::core::job::Job;
use ffrtmp::core::protocol::{DirectiveKind, FinishRequest, ResultStatus};

use crate::world::{Kind, World, log_text, over_every_store, result, status};

async fn texts(world: &World, job: &Job) -> Vec<String> {
    let lines = world.master.logs(&job.id.into()).await.unwrap();
    lines.into_iter().map(|(_, line)| line.text).collect()
}

async fn lines_that_are_sent_again_are_kept_once(kind: Kind) {
    let mut world = World::new(kind).await;
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    let job = world.running(node).await;
    world.report(node, vec![status(&job, Some(0), &["one", "two"])]).await;
    // Its answer was lost: the next one has the same lines again, and one more.
    world.report(node, vec![status(&job, Some(0), &["one", "two", "three"])]).await;
    assert_eq!(texts(&world, &job).await, ["one", "two", "three"]);

    world.master = world.another_master().await;
    world.report(node, vec![status(&job, Some(1), &["two", "three", "four"])]).await;
    assert_eq!(texts(&world, &job).await, ["one", "two", "three", "four"], "another master knows it from the store");

    let last = FinishRequest { logs: log_text(&["four", "five"]), logs_from: Some(3), ..result(node, &job, None) };
    for _ in 0..2 {
        world.master.finish(last.clone()).await.unwrap();
    }
    assert_eq!(texts(&world, &job).await, ["one", "two", "three", "four", "five"]);
}

async fn equal_lines_of_two_attempts_are_both_kept(kind: Kind) {
    let world = World::new(kind).await;
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    for _ in 0..2 {
        let job = world.running(node).await;
        let released = FinishRequest {
            status: ResultStatus::Released,
            logs: log_text(&["begins", "begins"]),
            logs_from: Some(0),
            ..result(node, &job, None)
        };
        world.master.finish(released).await.unwrap();
    }
    let job = world.running(node).await;
    let lines = world.master.logs(&job.id.into()).await.unwrap();
    assert_eq!(lines.iter().map(|(attempt, _)| *attempt).collect::<Vec<_>>(), [1, 1, 2, 2]);
}

async fn a_canceled_attempt_keeps_its_last_words(kind: Kind) {
    let world = World::new(kind).await;
    let node = world.node("a").await;
    for numbered in [true, false] {
        world.submit("720p30-h264").await;
        let job = world.running(node).await;
        world.master.cancel(&job.id.into()).await.unwrap();
        assert_eq!(world.beat(node, &[&job], 1.0).await, [DirectiveKind::Cancel]);
        let stopped = FinishRequest {
            status: ResultStatus::Canceled,
            metrics: None,
            logs: log_text(&["stopped"]),
            logs_from: numbered.then_some(0),
            ..result(node, &job, None)
        };
        for _ in 0..2 {
            world.master.finish(stopped.clone()).await.unwrap();
        }
        assert_eq!(texts(&world, &job).await, ["stopped"], "numbered: {numbered}");
    }
}

over_every_store!(
    lines_that_are_sent_again_are_kept_once,
    equal_lines_of_two_attempts_are_both_kept,
    a_canceled_attempt_keeps_its_last_words,
);
