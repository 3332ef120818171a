//! Placement: which container instances get a task, and what refused each of the others.
//!
//! Everything here is a function of what is passed in, randomness included, so the same code
//! places tasks, answers dry runs, explains failures and runs in simulation.
//!
//! Invariants: pure (no I/O, no clock, no randomness of its own); a plan never takes more than an
//! instance has left; the same snapshot, request and seed give the same plan.

mod capacity;
mod explain;
mod index;
mod node;
mod placement;
pub mod query;
mod scale_in;
mod strategy;

pub use capacity::{Share, split};
pub use explain::{Obstacle, obstacles, smallest_change};
pub use index::Index;
pub use node::Node;
pub use placement::{Assignment, Attribute, Constraint, Placement, Refusal, Refused, Request, place, refusals};
pub use query::{Query, QueryError};
pub use scale_in::{Candidate, ZONE, scale_in, service_default};
pub use strategy::{BinpackField, SpreadField, Strategy, StrategyError};
