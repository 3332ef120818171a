//! Express gateway services: real services with real task definitions. No load balancer serves
//! their ingress paths here.

mod change;
mod describe;
#[cfg(test)]
mod tests;

pub use change::{create, delete, update};
pub use describe::describe;
