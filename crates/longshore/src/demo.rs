//! The image that comes with the program: this executable as a small web server.
//!
//! It lets a first container run on a machine without Docker, registry or network.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::output::Failure;

/// Its name.
pub const IMAGE: &str = "longshore/demo:latest";
/// The port it listens on.
pub const PORT: u16 = 8080;
/// Longest request head it reads.
const MAX_HEAD: usize = 8 * 1024;

fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(archive: &mut tar::Builder<impl io::Write>, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    archive.append_data(&mut header, path, bytes)
}

/// Writes the image as a `docker save` archive into a temporary file in `dir`.
///
/// # Errors
/// The file system's.
pub fn archive(dir: &Path) -> Result<tempfile::NamedTempFile, Failure> {
    let mut binary = Vec::new();
    fs::File::open("/proc/self/exe")?.read_to_end(&mut binary)?;
    let mut layer = tar::Builder::new(Vec::new());
    entry(&mut layer, "longshore", 0o755, &binary)?;
    let layer = layer.into_inner()?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {"Entrypoint": ["/longshore", "demo-web"], "ExposedPorts": {format!("{PORT}/tcp"): {}}, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", sha256(&layer))]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "longshore"}],
    });
    let config = serde_json::to_vec(&config).map_err(io::Error::other)?;
    let config_name = format!("{}.json", sha256(&config));
    let manifest = json!([{"Config": config_name, "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    let manifest = serde_json::to_vec(&manifest).map_err(io::Error::other)?;
    let file = tempfile::NamedTempFile::new_in(dir)?;
    let mut image = tar::Builder::new(file.as_file());
    entry(&mut image, &config_name, 0o644, &config)?;
    entry(&mut image, "layer.tar", 0o644, &layer)?;
    entry(&mut image, "manifest.json", 0o644, &manifest)?;
    image.finish()?;
    drop(image);
    Ok(file)
}

/// Serves until it is asked to stop: `/` says hello, `/healthz` says ok.
///
/// # Errors
/// The port is taken.
#[expect(clippy::disallowed_methods, reason = "a process of its own in a container, outside the seams")]
pub async fn serve() -> Result<(), Failure> {
    let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
    crate::output::print_line(&format!("listening on port {PORT}"))?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, peer) = accepted?;
                tokio::spawn(async move {
                    // A client that goes away in the middle is its own affair.
                    if let Ok(line) = answer(stream).await {
                        let _ = crate::output::print_line(&format!("{} {line}", peer.ip()));
                    }
                });
            }
            _ = terminate.recv() => {
                crate::output::print_line("asked to stop")?;
                return Ok(());
            }
        }
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    let mut buffer = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < MAX_HEAD {
        let count = stream.read(&mut buffer).await?;
        if count == 0 {
            break;
        }
        head.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8_lossy(&head);
    let line = text.lines().next().unwrap_or_default().to_owned();
    let path = line.split(' ').nth(1).unwrap_or_default();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let (status, body) = match path {
        "/" => ("200 OK", format!("Hello from Longshore. This is container {}.\n", host.trim())),
        "/healthz" => ("200 OK", "ok\n".to_owned()),
        _ => ("404 Not Found", "there is nothing here\n".to_owned()),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    Ok(line)
}
