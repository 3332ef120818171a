//! The query strings with which an agent opens its two connections.
//!
//! Pairs are decoded; encoding them (a space is `+` on the wire and `%20` in the signature) is the
//! client's and the front door's work.

/// Prefix of the engine's version in the ACS query.
const DOCKER_VERSION_PREFIX: &str = "DockerVersion: ";

/// Query of `<endpoint>/ws`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcsQuery {
    /// Commit the agent was built from.
    pub agent_hash: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Cluster as the agent was configured: usually a name.
    pub cluster: String,
    /// ARN of the container instance.
    pub container_instance_arn: String,
    /// Version of the container engine.
    pub docker_version: String,
    /// 2: the server may close a connection on which heartbeat acknowledgements stop.
    pub protocol_version: u32,
    /// Whether the server should send the current credentials of all tasks at once.
    pub send_credentials: bool,
}

impl AcsQuery {
    /// The pairs, sorted by name.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("agentHash", self.agent_hash.clone()),
            ("agentVersion", self.agent_version.clone()),
            ("clusterArn", self.cluster.clone()),
            ("containerInstanceArn", self.container_instance_arn.clone()),
            ("dockerVersion", format!("{DOCKER_VERSION_PREFIX}{}", self.docker_version)),
            ("protocolVersion", self.protocol_version.to_string()),
            ("sendCredentials", self.send_credentials.to_string()),
            ("seqNum", "1".to_owned()),
        ]
    }

    /// Reads decoded pairs; what is missing stays empty.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            match name {
                "agentHash" => query.agent_hash = value.to_owned(),
                "agentVersion" => query.agent_version = value.to_owned(),
                "clusterArn" => query.cluster = value.to_owned(),
                "containerInstanceArn" => query.container_instance_arn = value.to_owned(),
                "dockerVersion" => {
                    query.docker_version = value.strip_prefix(DOCKER_VERSION_PREFIX).unwrap_or(value).to_owned();
                }
                "protocolVersion" => query.protocol_version = value.parse().unwrap_or(0),
                "sendCredentials" => query.send_credentials = value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        query
    }
}

/// Query of `<telemetryEndpoint>/ws`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TcsQuery {
    /// Commit the agent was built from.
    pub agent_hash: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Cluster as the agent was configured.
    pub cluster: String,
    /// ARN of the container instance.
    pub container_instance: String,
    /// Version of the container engine.
    pub docker_version: String,
}

impl TcsQuery {
    /// The pairs, sorted by name.
    #[must_use]
    pub fn pairs(&self) -> Vec<(&'static str, String)> {
        vec![
            ("agentHash", self.agent_hash.clone()),
            ("agentVersion", self.agent_version.clone()),
            ("cluster", self.cluster.clone()),
            ("containerInstance", self.container_instance.clone()),
            ("dockerVersion", self.docker_version.clone()),
        ]
    }

    /// Reads decoded pairs; what is missing stays empty.
    #[must_use]
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut query = Self::default();
        for (name, value) in pairs {
            match name {
                "agentHash" => query.agent_hash = value.to_owned(),
                "agentVersion" => query.agent_version = value.to_owned(),
                "cluster" => query.cluster = value.to_owned(),
                "containerInstance" => query.container_instance = value.to_owned(),
                "dockerVersion" => query.docker_version = value.to_owned(),
                _ => {}
            }
        }
        query
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_transcripts_query_is_read_and_written() {
        let pairs = [
            ("agentHash", "a8b3e7d3"),
            ("agentVersion", "1.105.1"),
            ("clusterArn", "demo"),
            ("containerInstanceArn", "arn:i"),
            ("dockerVersion", "DockerVersion: 20.10.24+dfsg1"),
            ("protocolVersion", "2"),
            ("sendCredentials", "true"),
            ("seqNum", "1"),
        ];
        let query = AcsQuery::from_pairs(pairs);
        assert_eq!((query.docker_version.as_str(), query.send_credentials), ("20.10.24+dfsg1", true));
        let written = query.pairs();
        assert_eq!(written.iter().map(|(name, value)| (*name, value.as_str())).collect::<Vec<_>>(), pairs);
    }

    #[test]
    fn telemetry_names_differ() {
        let query = TcsQuery { cluster: "demo".into(), container_instance: "arn:i".into(), ..TcsQuery::default() };
        let written = query.pairs();
        assert_eq!(TcsQuery::from_pairs(written.iter().map(|(name, value)| (*name, value.as_str()))), query);
    }
}
