//! Docker's errors in our words. Pure.

use std::error::Error as _;

use bollard::errors::Error;

use crate::{Protocol, RuntimeError};

/// An error of a call about the container `id`.
pub(super) fn container_error(id: &str, error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError { status_code: 404, .. } => RuntimeError::NoSuchContainer(id.to_owned()),
        error => engine_error(error),
    }
}

/// An error of a call about nothing in particular.
pub(super) fn engine_error(error: Error) -> RuntimeError {
    RuntimeError::Unavailable(format!("Docker: {}", message(&error)))
}

/// Whether Docker answered that what was asked about is not there.
pub(super) fn is_missing(error: &Error) -> bool {
    status(error) == Some(404)
}

/// HTTP status of Docker's answer; `None` when there was none.
pub(super) fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What went wrong, in Docker's words where there are any, else with every cause.
pub(super) fn message(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.clone(),
        Error::DockerStreamError { error } => error.clone(),
        error => {
            let mut text = error.to_string();
            let mut cause = error.source();
            while let Some(inner) = cause {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text.push_str(": ");
                    text.push_str(&inner_text);
                }
                cause = inner.source();
            }
            text
        }
    }
}

/// The host port that a start failed on, with its protocol where Docker names it.
///
/// Docker's wording differs with its version and with whether its user-space proxy is on:
/// `Bind for 0.0.0.0:80 failed: port is already allocated`,
/// `listen tcp4 0.0.0.0:80: bind: address already in use`,
/// `failed to bind host port for 0.0.0.0:80:172.17.0.2:8080/tcp: address already in use`,
/// `failed to bind host port 0.0.0.0:80/tcp: address already in use`.
pub(super) fn port_in_use(message: &str) -> Option<(u16, Option<Protocol>)> {
    if !message.contains("port is already allocated") && !message.contains("address already in use") {
        return None;
    }
    for marker in ["Bind for ", "bind host port for ", "bind host port ", "listen tcp", "listen udp"] {
        let Some((_, rest)) = message.split_once(marker) else { continue };
        // What follows `listen tcp` is the address family, then the address.
        let rest = if marker.starts_with("listen") { rest.split_once(' ')?.1 } else { rest };
        let address = rest.split([' ', ',']).next()?;
        let protocol = match marker {
            "listen tcp" => Some(Protocol::Tcp),
            "listen udp" => Some(Protocol::Udp),
            _ if address.contains("/tcp") => Some(Protocol::Tcp),
            _ if address.contains("/udp") => Some(Protocol::Udp),
            _ => None,
        };
        return Some((host_port(address)?, protocol));
    }
    None
}

/// The port of `0.0.0.0:80`, `[::]:80`, `:::80`, with whatever follows.
fn host_port(address: &str) -> Option<u16> {
    let after_ip = match address.strip_prefix('[') {
        Some(rest) => rest.split_once("]:")?.1,
        None if address.starts_with(":::") => &address[3..],
        None => address.split_once(':')?.1,
    };
    let digits = after_ip.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wording_of_a_taken_port_is_understood() {
        let cases = [
            (
                "driver failed programming external connectivity on endpoint a (b): \
                 Bind for 0.0.0.0:8080 failed: port is already allocated",
                Some((8080, None)),
            ),
            (
                "Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use",
                Some((8080, Some(Protocol::Tcp))),
            ),
            ("listen udp 127.0.0.1:53: bind: address already in use", Some((53, Some(Protocol::Udp)))),
            ("listen tcp6 [::]:81: bind: address already in use", Some((81, Some(Protocol::Tcp)))),
            ("Bind for :::82 failed: port is already allocated", Some((82, None))),
            (
                "failed to bind host port for 0.0.0.0:8080:172.17.0.2:80/tcp: address already in use",
                Some((8080, Some(Protocol::Tcp))),
            ),
            ("failed to bind host port 0.0.0.0:83/udp: address already in use", Some((83, Some(Protocol::Udp)))),
            ("no such file or directory", None),
        ];
        for (message, expected) in cases {
            assert_eq!(port_in_use(message), expected, "{message}");
        }
    }
}
