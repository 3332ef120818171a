//! The API client of the command line and of the agent: signed JSON 1.1 calls, signed WebSockets,
//! AWS profiles.
//!
//! Invariant: speaks to the public API only. Names are resolved without `getaddrinfo`, which a
//! static glibc binary must not call.

mod call;
mod credentials;
mod error;
pub mod profile;
mod resolve;
mod rest;
mod transport;
mod websocket;

pub use call::{Client, Options, Retry};
pub use credentials::{CredentialsProvider, RotatingCredentials};
pub use error::ClientError;
pub use longshore_sigv4::Credentials;
pub use rest::Answer;
pub use websocket::{Received, WebSocket, WebSocketReceiver, WebSocketSender};
