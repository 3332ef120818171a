//! Container instances: their resource books and their attributes.

pub mod attributes;
mod books;
pub mod interfaces;
mod resources;

pub use books::{Books, MAX_RESERVED_PORTS, Shortage};
pub use resources::{books, registered, remaining};
