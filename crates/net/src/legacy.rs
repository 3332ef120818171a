//! The old iptables, which keeps its tables apart from nftables'.
//!
//! Only its own program can change them, so it is run where its filter table is in use and the program is there; on
//! other machines nothing here does anything.

use std::process::{Command, Stdio};

const PROGRAM: &str = "iptables-legacy";

/// Whether the old filter table exists.
fn is_used() -> bool {
    std::fs::read_to_string("/proc/net/ip_tables_names")
        .is_ok_and(|tables| tables.lines().any(|table| table == "filter"))
}

fn run(action: &str, direction: &str, bridge: &str) -> bool {
    let arguments = ["-w", action, "FORWARD", direction, bridge, "-j", "ACCEPT"];
    let status = Command::new(PROGRAM).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// Lets the bridge through.
pub(crate) fn accept(bridge: &str) {
    if !is_used() {
        return;
    }
    for direction in ["-i", "-o"] {
        if !run("-C", direction, bridge) && !run("-I", direction, bridge) {
            tracing::warn!(bridge, "could not accept forwarded packets in the old iptables' FORWARD chain");
        }
    }
}

/// Takes back what [`accept`] did.
pub(crate) fn forget(bridge: &str) {
    if !is_used() {
        return;
    }
    for direction in ["-i", "-o"] {
        while run("-D", direction, bridge) {}
    }
}
