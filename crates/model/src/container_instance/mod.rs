//! Container instances: their resource books and their attributes.

mod books;

pub use books::{Books, MAX_RESERVED_PORTS, Shortage};
