//! Which container runtime a command means.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use longshore_net::{CREDENTIAL_PORT, NetworkConfig};
use longshore_runtime::ContainerRuntime;
use longshore_runtime::docker::{self, DockerRuntime};
use longshore_runtime::oci::{OciOptions, OciRuntime};
use longshore_seams::{BoxFuture, Seams};
use tokio::net::{TcpListener, TcpSocket};

use crate::cli::RuntimeChoice;
use crate::datadir::DataDir;
use crate::output::Failure;

fn failed(error: &longshore_runtime::RuntimeError) -> Failure {
    Failure::failed(error.to_string())
}

/// Opens the embedded runtime of a data directory.
///
/// # Errors
/// It can't run here: not root, no namespaces, an address overlap.
pub async fn oci(dir: &DataDir, subnet: Option<&str>, seams: &Seams) -> Result<Arc<OciRuntime>, Failure> {
    let options = oci_options(subnet)?;
    let runtime = OciRuntime::open(dir.runtime(), dir.id(), options, seams.clone()).await;
    Ok(Arc::new(runtime.map_err(|error| failed(&error))?))
}

fn oci_options(subnet: Option<&str>) -> Result<OciOptions, Failure> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Failure::failed(
            "the embedded runtime needs root: run as root, or use Docker with --runtime docker",
        ));
    }
    let subnet = subnet.map(|text| {
        text.parse().map_err(|error: longshore_net::NetError| Failure::usage(format!("--subnet: {error}")))
    });
    Ok(OciOptions { subnet: subnet.transpose()?, ..OciOptions::new(std::env::current_exe()?) })
}

async fn docker_at(socket: &Path, dir: &DataDir, seams: &Seams) -> Result<Arc<dyn ContainerRuntime>, Failure> {
    let runtime = DockerRuntime::connect(socket, dir.id(), seams.clone()).await.map_err(|error| failed(&error))?;
    Ok(Arc::new(runtime))
}

/// The file in a data directory that says which runtime it is used with.
const REMEMBERED: &str = "runtime-kind";

/// What `choice` means for a data directory: `auto` is the runtime that it was used with before, else Docker when it
/// answers, else the embedded one. So images go where the tasks look for them, and what runs is found again.
async fn decide(choice: RuntimeChoice, dir: &DataDir, seams: &Seams) -> RuntimeChoice {
    if choice != RuntimeChoice::Auto {
        return choice;
    }
    match std::fs::read_to_string(dir.path().join(REMEMBERED)).as_deref().map(str::trim) {
        Ok("oci") => RuntimeChoice::Oci,
        Ok("docker") => RuntimeChoice::Docker,
        _ if docker::detect(seams).await.is_some() => RuntimeChoice::Docker,
        _ => RuntimeChoice::Oci,
    }
}

/// Remembers the runtime that a data directory's agent uses, for later commands that name none.
fn remember(kind: &str, dir: &DataDir, seams: &Seams) -> Result<(), Failure> {
    let path = dir.path().join(REMEMBERED);
    if std::fs::read(&path).is_ok_and(|known| known == kind.as_bytes()) {
        return Ok(());
    }
    Ok(seams.disk.write_atomically(&path, kind.as_bytes())?)
}

/// The runtime that was chosen, for its images alone: an agent may be running containers with it meanwhile.
///
/// # Errors
/// As [`open`].
pub async fn open_images(
    choice: RuntimeChoice,
    dir: &DataDir,
    seams: &Seams,
) -> Result<Arc<dyn ContainerRuntime>, Failure> {
    match decide(choice, dir, seams).await {
        RuntimeChoice::Docker => open(RuntimeChoice::Docker, dir, None, seams).await,
        RuntimeChoice::Oci | RuntimeChoice::Auto => {
            let runtime = OciRuntime::visit(dir.runtime(), dir.id(), oci_options(None)?, seams.clone());
            Ok(Arc::new(runtime.map_err(|error| failed(&error))?))
        }
    }
}

/// Opens the runtime that was chosen.
///
/// # Errors
/// The chosen one can't be used.
pub async fn open(
    choice: RuntimeChoice,
    dir: &DataDir,
    subnet: Option<&str>,
    seams: &Seams,
) -> Result<Arc<dyn ContainerRuntime>, Failure> {
    match decide(choice, dir, seams).await {
        RuntimeChoice::Docker => match docker::detect(seams).await {
            Some(socket) => docker_at(&socket, dir, seams).await,
            None => Err(Failure::failed(
                "Cannot connect to the Docker daemon. Is the docker daemon running on this host? Start it, set DOCKER_HOST, or use --runtime oci",
            )),
        },
        RuntimeChoice::Oci | RuntimeChoice::Auto => Ok(oci(dir, subnet, seams).await?),
    }
}

/// Makes the listener on which an agent's containers ask for credentials.
pub type CredentialListener = BoxFuture<'static, std::io::Result<TcpListener>>;

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 128;

/// Opens the runtime for an agent: the choice is remembered, and what the first container would wait for is made
/// meanwhile. With it comes what listens for containers that ask for credentials, where they can reach it.
///
/// # Errors
/// As [`open`]; the choice can't be written down.
pub async fn open_for_agent(
    choice: RuntimeChoice,
    dir: &DataDir,
    subnet: Option<&str>,
    seams: &Seams,
) -> Result<(Arc<dyn ContainerRuntime>, Option<CredentialListener>), Failure> {
    let chosen = decide(choice, dir, seams).await;
    if chosen == RuntimeChoice::Docker {
        remember("docker", dir, seams)?;
        return Ok((open(chosen, dir, subnet, seams).await?, None));
    }
    remember("oci", dir, seams)?;
    let runtime = oci(dir, subnet, seams).await?;
    let ahead = runtime.clone();
    let prepare = async move {
        // Whoever starts a container that needs it is told then.
        if let Err(error) = ahead.prepare_network().await {
            tracing::warn!(%error, "the containers' network could not be made ahead of the first container");
        }
    };
    seams.spawner.spawn("container network", Box::pin(prepare));
    let (network, bridge) = (runtime.clone(), NetworkConfig::bridge_of(dir.id()));
    let listener = Box::pin(async move {
        let address = network.prepare_network().await.map_err(std::io::Error::other)?;
        listen_on(&bridge, address)
    });
    Ok((runtime, Some(listener)))
}

/// Listens where containers that ask for credentials are led, for what comes in by `bridge` alone: each data directory has a bridge
/// of its own. Besides its containers only the host itself gets there.
fn listen_on(bridge: &str, address: Ipv4Addr) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind_device(Some(bridge.as_bytes()))?;
    socket.bind((address, CREDENTIAL_PORT).into())?;
    socket.listen(BACKLOG)
}
