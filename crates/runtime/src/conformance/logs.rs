//! Captured output.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::World;
use crate::{ContainerSpec, ContainerStatus, LogCursor, LogLine, OutputStream};

const MOST_LINE_BYTES: usize = 256 * 1024;

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| String::from_utf8(line.line.clone()).unwrap()).collect()
}

async fn all_lines(world: &World, spec: &ContainerSpec) -> Vec<LogLine> {
    let started = world.start(spec).await;
    world.lines(&started.id, LogCursor::default()).await
}

/// Both outputs, told apart, each in order, with the time of writing.
pub async fn both_outputs_are_captured(world: &World) {
    let before = world.seams.clock.now();
    let lines = all_lines(world, &world.shell("echo one; echo two >&2; echo three; echo; echo four >&2")).await;
    let of = |stream| texts(&lines.iter().filter(|line| line.stream == stream).cloned().collect::<Vec<_>>());
    assert_eq!(of(OutputStream::Stdout), ["one", "three", ""]);
    assert_eq!(of(OutputStream::Stderr), ["two", "four"]);
    let after = world.seams.clock.now();
    assert!(lines.iter().all(|line| before <= line.at && line.at <= after), "{lines:?}");
}

/// Output is read while the container runs, and reading ends with it.
pub async fn output_is_followed(world: &World) {
    let spec = ContainerSpec {
        init: true,
        ..world.shell("echo first; trap 'echo last; exit' TERM; while :; do sleep 60 & wait $!; done")
    };
    let started = world.start(&spec).await;
    let mut lines = world.runtime.logs(&started.id, LogCursor::default()).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap().line, b"first");
    assert_eq!(world.runtime.inspect(&started.id).await.unwrap().status, ContainerStatus::Running);
    world.runtime.stop(&started.id, Duration::from_secs(15)).await.unwrap();
    assert_eq!(lines.next().await.unwrap().unwrap().line, b"last");
    assert!(lines.next().await.is_none());
}

/// Following can begin before the start.
pub async fn output_is_followed_from_before_the_start(world: &World) {
    let id = world.runtime.create(&world.shell("echo started")).await.unwrap();
    let lines = world.runtime.logs(&id, LogCursor::default()).await.unwrap();
    let (lines, started) = tokio::join!(lines.collect::<Vec<_>>(), world.runtime.start(&id));
    started.unwrap();
    assert_eq!(lines.len(), 1);
}

/// From every line on, exactly the rest is read again; by a reopened runtime too.
pub async fn reading_goes_on_after_any_line(world: &World) {
    let script = "i=0; while [ $i -lt 40 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done";
    let spec = world.shell(script);
    let started = world.start(&spec).await;
    let all = world.lines(&started.id, LogCursor::default()).await;
    assert_eq!(all.len(), 80);
    let reopened = world.reopen().await;
    for index in [0, 1, 2, 30, 31, 77, 78, 79] {
        let rest = reopened.logs(&started.id, all[index].next).await.unwrap();
        let rest: Vec<LogLine> = rest.map(Result::unwrap).collect().await;
        assert_eq!(rest, all[index + 1..], "after line {index}");
    }
}

/// Reading that is broken off again and again while lines are written misses and repeats nothing.
pub async fn broken_off_reading_neither_misses_nor_repeats(world: &World) {
    let script = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); [ $((i % 50)) = 0 ] && sleep 0.05; done";
    let started = world.start(&world.shell(script)).await;
    let mut cursor = LogCursor::default();
    let mut read = Vec::new();
    loop {
        let lines = world.runtime.logs(&started.id, cursor).await.unwrap();
        let some: Vec<LogLine> = lines.take(37).map(Result::unwrap).collect().await;
        let Some(last) = some.last() else { break };
        cursor = last.next;
        read.extend(texts(&some));
    }
    assert_eq!(read, (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
}

/// A burst just before the end is read to its last line.
pub async fn a_burst_before_the_end_is_complete(world: &World) {
    for _ in 0..3 {
        let lines = all_lines(world, &world.spec(&["seq", "1", "5000"])).await;
        assert_eq!(lines.len(), 5000);
        assert_eq!(lines.last().unwrap().line, b"5000");
    }
}

/// Lines up to 256 KiB are whole, longer ones are split there.
pub async fn long_lines_are_split(world: &World) {
    let script = "head -c 100000 /dev/zero | tr '\\0' a; echo; head -c 300000 /dev/zero | tr '\\0' b; echo; echo end";
    let lengths: Vec<usize> = all_lines(world, &world.shell(script)).await.iter().map(|line| line.line.len()).collect();
    assert_eq!(lengths, [100_000, MOST_LINE_BYTES, 300_000 - MOST_LINE_BYTES, 3]);
}

/// The last line needs no newline.
pub async fn an_unfinished_last_line_is_read(world: &World) {
    assert_eq!(texts(&all_lines(world, &world.shell("echo one; printf two")).await), ["one", "two"]);
}

/// What a terminal shows is captured too.
pub async fn a_terminal_s_output_is_captured(world: &World) {
    let spec = ContainerSpec { tty: true, ..world.shell("echo one; echo two >&2") };
    let lines = texts(&all_lines(world, &spec).await);
    assert_eq!(lines.iter().map(|line| line.trim_end()).collect::<Vec<_>>(), ["one", "two"]);
}

/// A container that writes nothing has no output.
pub async fn silence_is_no_output(world: &World) {
    assert!(all_lines(world, &world.spec(&["true"])).await.is_empty());
}
