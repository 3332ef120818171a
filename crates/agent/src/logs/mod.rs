//! Shipping containers' output to the log service.
//!
//! The runtime's captured output is the spool: a shipper reads on from its cursor, and moves the
//! cursor only after the log service has taken what was read. So nothing is lost while disconnected
//! or killed; what was taken between the answer and the cursor's write is sent twice.

mod multiline;
mod shipper;

use std::sync::Arc;

use longshore_protocol::docker::LogConfig;
use longshore_protocol::task::{Container, Task};

pub(crate) use multiline::Assembler;
pub(crate) use shipper::{Prepared, Shipper};

use crate::plane::LogStreamName;

/// Where a container's output goes, from its log configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LogDestination {
    /// Region; the agent's own when absent.
    pub region: Option<String>,
    /// Log group.
    pub group: String,
    /// Log stream; the container's id when absent.
    pub stream: Option<String>,
    /// Makes the group when it is not there.
    pub create_group: bool,
    /// The container fails when the stream can't be made: it asked for this destination by name.
    pub required: bool,
    /// Regular expression that the first line of an event matches.
    pub first_line: Option<String>,
}

impl LogDestination {
    /// The destination that a container's log configuration names; that of every other container when it
    /// names none, so that its output can be read all the same; none when its driver takes it elsewhere.
    pub fn of(task: &Task, container: &Container, log: Option<&LogConfig>, cluster: &str) -> Option<Self> {
        match log.map(|log| (log.kind.as_str(), &log.config)) {
            None | Some(("" | "json-file", _)) => Some(Self {
                region: None,
                group: format!("/longshore/{}", cluster.rsplit('/').next().unwrap_or(cluster)),
                stream: Some(format!("{}/{}/{}", task.family, container.name, task.id())),
                create_group: true,
                required: false,
                first_line: None,
            }),
            Some(("awslogs", options)) => {
                let option = |name: &str| options.get(name).filter(|value| !value.is_empty()).cloned();
                let format = option("awslogs-datetime-format").map(|format| multiline::pattern_of(&format));
                Some(Self {
                    region: option("awslogs-region"),
                    group: option("awslogs-group").unwrap_or_default(),
                    stream: option("awslogs-stream").or_else(|| {
                        Some(format!("{}/{}/{}", option("awslogs-stream-prefix")?, container.name, task.id()))
                    }),
                    create_group: option("awslogs-create-group").is_some_and(|value| value == "true"),
                    required: true,
                    first_line: format.or_else(|| option("awslogs-multiline-pattern")),
                })
            }
            Some(_) => None,
        }
    }

    /// The stream's address, once the container's id is known.
    pub fn name(&self, container_id: &str) -> LogStreamName {
        LogStreamName {
            region: self.region.clone(),
            group: self.group.clone(),
            stream: self.stream.clone().unwrap_or_else(|| container_id.to_owned()),
        }
    }

    /// What cuts lines into events.
    pub fn assembler(&self) -> Assembler {
        let pattern = self.first_line.as_deref().and_then(|pattern| match regex::Regex::new(pattern) {
            Ok(pattern) => Some(Arc::new(pattern)),
            Err(error) => {
                tracing::warn!(group = %self.group, pattern, %error, "multiline pattern ignored: every line is an event");
                None
            }
        });
        Assembler::new(pattern)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn destination(kind: &str, options: &[(&str, &str)]) -> Option<LogDestination> {
        let task = Task { arn: "arn:aws:ecs:r:1:task/demo/abc".into(), family: "web".into(), ..Task::default() };
        let container = Container { name: "main".into(), ..Container::default() };
        let config = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        LogDestination::of(&task, &container, Some(&LogConfig { kind: kind.into(), config }), "demo")
    }

    // spec: 07-013, 07-014, 07-009
    #[test]
    fn awslogs_streams_are_named_by_prefix_container_and_task_or_by_container_id() {
        let named =
            destination("awslogs", &[("awslogs-group", "g"), ("awslogs-region", "r"), ("awslogs-stream-prefix", "p")]);
        let named = named.unwrap();
        assert_eq!(named.name("id").stream, "p/main/abc");
        assert_eq!((named.region.as_deref(), named.group.as_str(), named.create_group), (Some("r"), "g", false));
        let unnamed = destination("awslogs", &[("awslogs-group", "g"), ("awslogs-create-group", "true")]).unwrap();
        assert_eq!((unnamed.name("id").stream.as_str(), unnamed.create_group), ("id", true));
    }

    #[test]
    fn output_without_configuration_is_shipped_as_well() {
        let shipped = destination("json-file", &[]).unwrap();
        assert_eq!((shipped.group.as_str(), shipped.name("id").stream.as_str()), ("/longshore/demo", "web/main/abc"));
        assert!(shipped.create_group && !shipped.required);
        assert_eq!(destination("syslog", &[]), None);
        assert_eq!(destination("none", &[]), None);
    }

    // spec: 07-019
    #[test]
    fn the_datetime_format_wins_over_the_multiline_pattern() {
        let both = [("awslogs-group", "g"), ("awslogs-datetime-format", "%Y"), ("awslogs-multiline-pattern", "^x")];
        assert_eq!(destination("awslogs", &both).unwrap().first_line, Some(multiline::pattern_of("%Y")));
    }
}
