//! Group commit against what the disk does by itself.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use longshore_store::embedded::{Embedded, EmbeddedOptions};
use longshore_store::{Op, Store, Txn};

use crate::Result;
use crate::figure::{Figure, Floor};
use crate::process::Bench;

const NAME: &str = "store";
/// Submitters that wait for their transaction before they submit the next, and the least that
/// they are to do together, in times of a plain append and `fdatasync`.
const SUBMITTERS: [(usize, f64); 3] = [(1, 0.2), (16, 2.0), (256, 10.0)];
const RUNS: usize = 3;
const RUN: Duration = Duration::from_secs(2);
/// As a task's record and its key have.
const KEY_BYTES: usize = 90;
const VALUE_BYTES: usize = 900;

/// Measures. Plain appends and transactions take turns, so that a busy disk is busy for both.
///
/// # Errors
/// The disk's.
pub async fn measure(bench: &Bench) -> Result<Vec<Figure>> {
    let dir = bench.scratch.join("store");
    std::fs::create_dir_all(&dir)?;
    let store = Arc::new(Embedded::open(&dir.join("store.redb"), EmbeddedOptions::default(), &bench.seams)?);
    let mut raw = Vec::new();
    let mut rates = vec![Vec::new(); SUBMITTERS.len()];
    for _ in 0..RUNS {
        for (rates, (submitters, _)) in rates.iter_mut().zip(SUBMITTERS) {
            raw.push(append(bench, &dir.join("raw"))?);
            rates.push(submit(bench, &store, submitters).await?);
        }
    }
    store.close().await?;
    std::fs::remove_dir_all(&dir)?;
    let raw = median(&mut raw);
    Ok(SUBMITTERS
        .iter()
        .zip(&mut rates)
        .map(|((submitters, least), rates)| {
            Figure::new(NAME, format!("durable transactions a second, {submitters} submitters"), median(rates), "/s")
                .beside("append + fdatasync", raw)
                .held_to(Floor::RatioAtLeast(*least))
        })
        .collect())
}

fn median(rates: &mut [f64]) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Appends of one record, each followed by `fdatasync`, a second.
fn append(bench: &Bench, path: &std::path::Path) -> Result<f64> {
    let mut file = File::create(path)?;
    let record = vec![b'x'; KEY_BYTES + VALUE_BYTES];
    let began = bench.seams.clock.monotonic();
    let mut count = 0.0;
    loop {
        file.write_all(&record)?;
        file.sync_data()?;
        count += 1.0;
        let passed = bench.seams.clock.monotonic().saturating_sub(began);
        if passed > RUN {
            return Ok(count / passed.as_secs_f64());
        }
    }
}

/// Transactions of one record a second.
#[expect(clippy::cast_precision_loss, reason = "transactions of some seconds")]
async fn submit(bench: &Bench, store: &Arc<Embedded>, submitters: usize) -> Result<f64> {
    let before = store.statistics().transactions;
    let began = bench.seams.clock.monotonic();
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..submitters {
        let (store, seams) = (store.clone(), bench.seams.clone());
        all.spawn(async move {
            while seams.clock.monotonic().saturating_sub(began) < RUN {
                let mut key = vec![b'k'; KEY_BYTES];
                seams.random.fill(&mut key[KEY_BYTES - 16..]);
                let put = Op::Put(key, vec![b'v'; VALUE_BYTES]);
                store.submit(Txn { compares: Vec::new(), ops: vec![put] }).await?;
            }
            Ok::<(), longshore_store::StoreError>(())
        });
    }
    while let Some(done) = all.join_next().await {
        done??;
    }
    let passed = bench.seams.clock.monotonic().saturating_sub(began);
    Ok((store.statistics().transactions - before) as f64 / passed.as_secs_f64())
}
