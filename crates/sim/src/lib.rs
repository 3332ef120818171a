//! The simulator: the real control plane and the real agents in a world made from a seed.
//!
//! A world has one thread, time that jumps from event to event, machines with simulated container
//! runtimes and disks, and a network between them. What happens in it is a [`Story`]: calls, and
//! things that go wrong. While it is played, and in the end, the rules of [`Violation`] are held to;
//! a story that breaks one is made as short as it can be and printed, and plays the same every time.
//!
//! Invariants: nothing here is read from the machine that it runs on; the code under test is the
//! product's own, and cannot tell that it is not on real machines.

mod checks;
mod disk;
mod executor;
mod functions;
mod generate;
mod machine;
mod network;
mod operator;
mod rollouts;
mod server;
mod settled;
mod shrink;
mod signals;
mod speaker;
mod store;
mod story;
mod trace;
mod waiting;
mod world;

pub use checks::Violation;
pub use generate::generate;
pub use shrink::shrink;
pub use story::{Asked, Expectation, OnAlarm, Pause, Program, Rollout, Shift, Step, Story, StoryError, Verdict};
pub use world::{Outcome, play};
