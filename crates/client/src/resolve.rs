//! Host names to addresses, without `getaddrinfo`: loopback names, `/etc/hosts`, then DNS.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hickory_resolver::TokioResolver;
use hyper_util::client::legacy::connect::dns::Name;
use longshore_seams::Disk;
use tokio::sync::OnceCell;

const HOSTS: &str = "/etc/hosts";

/// Resolves names; the DNS client is made at the first name that needs it.
#[derive(Clone)]
pub(crate) struct Resolver {
    disk: Arc<dyn Disk>,
    dns: Arc<OnceCell<TokioResolver>>,
}

impl Resolver {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, dns: Arc::default() }
    }

    async fn resolve(self, name: &str) -> io::Result<Vec<IpAddr>> {
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        // An unreadable hosts file is like none, as in every other resolver.
        let hosts = self.disk.read(Path::new(HOSTS)).ok().flatten().unwrap_or_default();
        let known = in_hosts(&String::from_utf8_lossy(&hosts), &name);
        if !known.is_empty() {
            return Ok(known);
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let dns = self.dns.get_or_try_init(|| async { TokioResolver::builder_tokio()?.build() }).await;
        let dns = dns.map_err(|error| io::Error::other(format!("cannot set up DNS from /etc/resolv.conf: {error}")))?;
        let found = dns.lookup_ip(format!("{name}.")).await;
        let found = match found {
            // A short name may be meant within one of resolv.conf's search domains.
            Err(_) if !name.contains('.') => dns.lookup_ip(name.as_str()).await,
            other => other,
        };
        let found = found.map_err(|error| io::Error::other(format!("cannot resolve the name '{name}': {error}")))?;
        Ok(found.iter().collect())
    }
}

/// Addresses of `name` (lower case) in the text of a hosts file, in its order.
fn in_hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|alias| alias.eq_ignore_ascii_case(name)).then_some(address)
    });
    lines.collect()
}

impl tower_service::Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.resolve(name.as_str()).await?;
            // The connector puts the port in.
            let sockets: Vec<SocketAddr> = addresses.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
            Ok(sockets.into_iter())
        })
    }
}

#[cfg(test)]
mod tests {
    use longshore_seams::MemoryDisk;

    use super::*;

    #[test]
    fn hosts_files_are_read_with_aliases_and_comments() {
        let text = "# nothing\n127.0.0.1 localhost\n10.0.0.7\tserver.test  server # the server\n::1 localhost ip6-loopback\nbad line\n";
        assert_eq!(in_hosts(text, "server"), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(in_hosts(text, "localhost").len(), 2);
        assert!(in_hosts(text, "the").is_empty());
        assert!(in_hosts(text, "line").is_empty());
    }

    #[tokio::test]
    async fn hosts_come_before_everything_and_loopback_names_need_no_dns() {
        let disk = MemoryDisk::default();
        disk.open(Path::new(HOSTS)).unwrap().append(b"10.0.0.7 server.test\n").unwrap();
        let resolver = Resolver::new(Arc::new(disk));
        let resolve = |name: &'static str| resolver.clone().resolve(name);
        assert_eq!(resolve("Server.Test.").await.unwrap(), ["10.0.0.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(resolve("data-x.localhost").await.unwrap()[0], Ipv4Addr::LOCALHOST);
        assert_eq!(resolve("192.0.2.1").await.unwrap(), ["192.0.2.1".parse::<IpAddr>().unwrap()]);
    }
}
