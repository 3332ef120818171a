//! Bodies that no client would write: whatever comes in, an answer of the model goes out.

use std::time::Duration;

use longshore_api::{Value, ecs};
use longshore_seams::{Clock, Random, SeededRandom, SystemClock, SystemRandom};
use longshore_wire::Service;

use crate::shapes::Model;
use crate::{MODEL, World, check_refusal};

/// Bodies that one control plane is given; what they make stays small.
const BODIES: u64 = 5_000;
/// Control planes of one run, by the same seed in every run: seconds in a debug build.
const ROUNDS: u64 = 20;
const SEED: u64 = 0x4c6f_6e67;
/// Longest body made up from nothing.
const NOISE: u64 = 200;

/// Pieces on which parsers and checks have stumbled before, there and elsewhere.
const PIECES: &[&str] = &[
    "null",
    "true",
    "{}",
    "[]",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "\\u0022",
    "\u{feff}",
    "-",
    "-0",
    "1e999",
    "-1e-999",
    "1.5",
    "9223372036854775807",
    "9223372036854775808",
    "-9223372036854775808",
    "18446744073709551616",
    "2147483648",
    "0.1",
    "NaN",
    "\"\"",
    "\"arn:aws:ecs:eu-west-1:123456789012:\"",
    "\"arn:aws:ecs:eu-west-1:123456789012:task/\"",
    "\"arn:aws:ecs:eu-west-1:123456789012:task/default/\"",
    "\"web:4294967296\"",
    "\"web:\"",
    "\":1\"",
    "\"/\"",
    "\"%00\"",
    "\"../..\"",
    "\"ä\"",
    "\"\u{10ffff}\"",
    "[[[[[[[[[[",
    "{\"a\":{\"a\":{\"a\":",
    "\"cluster\":null",
    "\"a\":1,\"a\":1",
];

fn below(random: &dyn Random, bound: usize) -> usize {
    usize::try_from(random.below(u64::try_from(bound.max(1)).unwrap())).unwrap()
}

/// One small thing done to `body`.
fn mutate(body: &mut Vec<u8>, random: &dyn Random) {
    let at = below(random, body.len() + 1);
    let end = (at + below(random, 12)).min(body.len());
    match random.below(6) {
        0 => body.truncate(at),
        1 => drop(body.drain(at..end)),
        2 => {
            let piece = body[at..end].to_vec();
            let to = below(random, body.len() + 1);
            body.splice(to..to, piece);
        }
        3 => {
            if let Some(byte) = body.get_mut(at) {
                *byte = u8::try_from(random.below(256)).unwrap();
            }
        }
        // A value in the place of another: what parses, but means something else.
        4 => {
            let from = (at..body.len()).find(|at| body[*at] == b':').map_or(body.len(), |at| at + 1);
            let to = (from..body.len()).find(|at| b",}]".contains(&body[*at])).unwrap_or(body.len());
            body.splice(from..to, PIECES[below(random, PIECES.len())].bytes());
        }
        _ => {
            body.splice(at..at, PIECES[below(random, PIECES.len())].bytes());
        }
    }
}

/// Made up from nothing, or something valid with a few things done to it.
fn body(model: &Model, shape: &str, random: &dyn Random) -> Vec<u8> {
    if random.below(20) == 0 {
        let mut noise = vec![0; usize::try_from(random.below(NOISE)).unwrap()];
        random.fill(&mut noise);
        return noise;
    }
    let mut body = model.random(shape, random, 0).to_string().into_bytes();
    for _ in 0..random.below(5) {
        mutate(&mut body, random);
    }
    body
}

#[tokio::test]
async fn no_body_brings_the_api_down() {
    let model = Model::parse(MODEL);
    let random: &dyn Random = &SeededRandom::new(SEED);
    let mut parsed = 0;
    for _ in 0..ROUNDS {
        parsed += round(&model, random).await;
    }
    assert!(parsed > ROUNDS * BODIES / 4, "too few bodies reach the operations: {parsed}");
    go_on(&model).await;
}

/// Other bodies in every run, for as many seconds as `LONGSHORE_FUZZ_SECONDS` says; none without it.
async fn go_on(model: &Model) {
    let seconds = std::env::var("LONGSHORE_FUZZ_SECONDS").map_or(0, |seconds| seconds.parse().unwrap());
    let clock = SystemClock::new();
    let until = clock.monotonic() + Duration::from_secs(seconds);
    while clock.monotonic() < until {
        let seed = SystemRandom.below(u64::MAX);
        // A test that fails shows what it has printed.
        println!("seed {seed:#x}");
        round(model, &SeededRandom::new(seed)).await;
    }
}

/// Throws bodies at a new control plane; answers how many were JSON.
async fn round(model: &Model, random: &dyn Random) -> u64 {
    let world = World::new().await;
    world.furnish().await;
    let operations = model.operations();
    let mut parsed = 0;
    for _ in 0..BODIES {
        let (operation, shape, errors) = &operations[below(random, operations.len())];
        let bytes = body(model, shape, random);
        let Ok(input) = Value::from_json(&bytes) else { continue };
        parsed += 1;
        let called = ecs::MODEL.operation(operation).unwrap();
        world.service.resources(&world.context, called, &input);
        if let Err(error) = world.call_with(operation, &input).await
            && error.code != "SerializationException"
        {
            check_refusal(operation, errors, &String::from_utf8_lossy(&bytes), &error);
        }
    }
    parsed
}
