//! The domain: ARNs, ids, stored records, state machines, validation.
//!
//! Invariant: pure. No async, no clock, no randomness, no I/O.

pub mod account_setting;
pub mod arn;
pub mod capacity_provider;
pub mod container_instance;
pub mod daemon;
pub mod ebs;
pub mod express;
pub mod fargate;
pub mod gateway;
pub mod id;
pub mod names;
pub mod record;
pub mod records;
pub mod service;
pub mod tags;
pub mod task;
pub mod task_definition;
pub mod vpc;

pub use arn::{Arn, Scope};
pub use id::Id;
