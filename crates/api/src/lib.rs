//! The wire shapes of every service that Longshore serves, generated from the service models in
//! `crates/api/models` by `cargo xtask codegen`, and the codecs that carry them.
//!
//! One codec for all protocols: a request of any protocol becomes a [`Value`]; a shape is read
//! from a `Value` and written to a [`Writer`] (JSON, XML, …).
//!
//! Invariant: no logic, no I/O. Everything below `generated/` is written by the generator only.

mod error;
mod shape;
mod value;

pub use error::ServiceError;
pub use shape::{Operation, Path, ReadError, ServiceModel, Shape, Violation, Writer};
pub use value::Value;
