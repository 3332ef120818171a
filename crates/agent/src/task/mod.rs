//! One task: its state machine, what its containers are made from, the actor that owns it.

pub(crate) mod actor;
pub(crate) mod graph;
pub(crate) mod machine;
pub(crate) mod record;
mod reporting;
pub(crate) mod spec;
