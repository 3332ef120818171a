//! The crate as its users see it.

mod codecs;
mod models;
mod support;
