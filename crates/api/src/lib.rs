//! The wire shapes of every service that Longshore serves, generated from the service models in
//! `crates/api/models` by `cargo xtask codegen`, and the codecs that carry them.
//!
//! One codec for all protocols: a request of any protocol becomes a [`Value`]; a shape is read
//! from a `Value` and written to a [`Writer`] (JSON, XML, …).
//!
//! Invariant: no logic, no I/O. Everything below `generated/` is written by the generator only.

mod check;
mod error;
#[expect(missing_docs, reason = "the models carry no prose; names are the API reference's")]
mod generated;
mod member;
mod shape;
mod time;
mod value;
mod write;

pub use check::{Enumeration, summary};
pub use error::ServiceError;
pub use generated::*;
pub use member::{Layout, Member, Members};
pub use shape::{Operation, Output, Pagination, Path, ReadError, ServiceModel, Shape, Violation, Writer};
pub use time::{iso8601, iso8601_millis, parse as parse_time};
pub use value::{DEPTH_LIMIT, SyntaxError, Value};
pub use write::{
    DecodeError, FormWriter, JsonWriter, XmlWriter, from_json, from_value, to_event_json, to_json, to_json_list,
    to_value, xml_answer, xml_error,
};
