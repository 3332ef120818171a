//! What is measured: one file a scenario.

pub mod agent;
pub mod calls;
pub mod placement;
pub mod recovery;
pub mod run_task;
pub mod scale;
pub mod services;
pub mod startup;
pub mod store;
