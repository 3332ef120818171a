//! The Lambda functions of lifecycle hooks. They are none of the server's doing: they remember what they were asked
//! through all its lives. What one says follows from its name.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longshore_control::reconcilers::{HookFunctions, InvocationError};
use longshore_seams::{BoxFuture, Random, SeededRandom};
use serde_json::{Value as Json, json};

use crate::executor::{Executor, between, locked};
use crate::network::{ACCOUNT, REGION};
use crate::story::Verdict;

/// How long a call is on its way, each way.
const WAY: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(2));
/// The shortest and the longest time after which a function wants to be asked again, in seconds.
const DELAY: (u64, u64) = (1, 40);

/// The functions. Clones share what they remember.
#[derive(Clone, Debug)]
pub(crate) struct Functions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    executor: Executor,
    random: SeededRandom,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// So many reasons hold why nobody can be reached.
    away: u32,
    was_away: bool,
    /// By execution id: how often it was asked.
    asked: BTreeMap<String, u32>,
    /// By execution id: what it has said in the end.
    said: BTreeMap<String, &'static str>,
}

/// The ARN of the function that says this.
pub(crate) fn arn(verdict: Verdict) -> String {
    let name = match verdict {
        Verdict::Succeeds => "succeeds".to_owned(),
        Verdict::Fails => "fails".to_owned(),
        Verdict::Asks(times) => format!("asks-{times}"),
    };
    format!("arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}")
}

impl Functions {
    pub fn new(executor: Executor, seed: u64) -> Self {
        let random = SeededRandom::new(seed ^ 0x6675_6e63);
        Self(Arc::new(Inner { executor, random, memory: Mutex::default() }))
    }

    /// Nobody can be reached, or again.
    pub fn set_away(&self, away: bool) {
        let mut memory = locked(&self.0.memory);
        memory.was_away |= away;
        memory.away = if away { memory.away + 1 } else { memory.away.saturating_sub(1) };
    }

    /// What a function has said in the end, by execution id.
    pub fn said(&self, execution: &str) -> Option<&'static str> {
        locked(&self.0.memory).said.get(execution).copied()
    }

    /// Whether there was ever a time when they could not be reached.
    pub fn were_away(&self) -> bool {
        locked(&self.0.memory).was_away
    }

    fn answer(&self, function: &str, event: &[u8]) -> Result<Json, InvocationError> {
        let event: Json = serde_json::from_slice(event).unwrap_or_default();
        let execution = event["executionId"].as_str().unwrap_or_default().to_owned();
        let delay = DELAY.0 + self.0.random.below(DELAY.1 - DELAY.0 + 1);
        let mut memory = locked(&self.0.memory);
        if memory.away > 0 {
            return Err(InvocationError::Unreachable("connection refused".to_owned()));
        }
        let asked = memory.asked.entry(execution.clone()).or_default();
        *asked += 1;
        let name = function.rsplit(':').next().unwrap_or_default();
        let patience = name.strip_prefix("asks-").and_then(|times| times.parse::<u32>().ok()).unwrap_or(0);
        if *asked <= patience {
            return Ok(json!({"hookStatus": "IN_PROGRESS", "callBackDelay": delay, "hookDetails": {"asked": asked}}));
        }
        let said = if name == "fails" { "FAILED" } else { "SUCCEEDED" };
        memory.said.insert(execution, said);
        Ok(json!({"hookStatus": said}))
    }
}

impl HookFunctions for Functions {
    fn are_there(&self) -> bool {
        true
    }

    fn invoke<'a>(&'a self, function: &'a str, event: Vec<u8>) -> BoxFuture<'a, Result<Vec<u8>, InvocationError>> {
        Box::pin(async move {
            let random = &self.0.random;
            self.0.executor.sleep(between(random, WAY.0, WAY.1)).await;
            let answer = self.answer(function, &event);
            // A server that dies now never hears it.
            self.0.executor.sleep(between(random, WAY.0, WAY.1)).await;
            answer.map(|answer| answer.to_string().into_bytes())
        })
    }
}
