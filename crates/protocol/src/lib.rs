//! The agent protocol: what a container agent and a control plane say to each other.
//!
//! [`acs`] carries work down and acknowledgements up, [`tcs`] carries telemetry up, [`task`] is the
//! task as it is sent, [`docker`] the container settings that travel inside it as JSON texts.
//!
//! Reading follows the real agent: member names match without regard to case, unknown members are
//! ignored, `null` is absent, a wrong JSON type is an error. Writing uses the exact names.
//!
//! Invariant: pure. No I/O, no clock; signing a frame is the caller's work.

#[macro_use]
mod wire;

pub mod acs;
pub mod docker;
pub mod query;
pub mod task;
pub mod tcs;

use std::time::Duration;

pub use wire::{FrameError, JsonText};

/// Close codes after which an agent reconnects at once; after any other it backs off.
pub const RECONNECT_AT_ONCE: [u16; 4] = [1000, 1001, 1006, 1011];

/// The close code with which a server tells an agent that its instance is gone; the reason holds [`INACTIVE_INSTANCE`].
pub const CLOSE_INACTIVE_INSTANCE: u16 = 1003;

/// The exception that tells an agent, in a close reason or a refused handshake's body, that its instance is gone.
pub const INACTIVE_INSTANCE: &str = "InactiveInstanceException";

/// Reason of the close frame with which an agent ends a connection that has lasted long enough.
pub const CONNECTION_EXPIRED: &str = "ConnectionExpired: Reconnect to continue";

/// A server sends a heartbeat at least this often; an agent takes 60 to 120 s of silence for a dead connection.
pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// The least silence after which an agent gives a connection up.
pub const SILENCE: Duration = Duration::from_secs(60);

/// At most so much more than [`SILENCE`], chosen at random.
pub const SILENCE_JITTER: Duration = Duration::from_secs(60);

/// Between two rounds of telemetry.
pub const TELEMETRY_INTERVAL: Duration = Duration::from_secs(20);

/// Most tasks in one telemetry message.
pub const TELEMETRY_TASKS: usize = 10;

/// Whether an agent reconnects at once after its connection closed with `code`.
///
/// ```
/// assert!(longshore_protocol::reconnects_at_once(1006));
/// assert!(!longshore_protocol::reconnects_at_once(1003));
/// ```
#[must_use]
pub fn reconnects_at_once(code: u16) -> bool {
    RECONNECT_AT_ONCE.contains(&code)
}
