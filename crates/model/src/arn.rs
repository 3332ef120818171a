//! Amazon Resource Names: built and taken apart at the edge only; records hold ids.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Id;

/// Account and region: resources of different scopes never see each other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// Twelve digits.
    pub account: String,
    /// Any name that a signature's scope may carry.
    pub region: String,
}

impl Scope {
    /// A scope.
    #[must_use]
    pub fn new(account: impl Into<String>, region: impl Into<String>) -> Self {
        Self { account: account.into(), region: region.into() }
    }

    /// The AWS partition that the region belongs to: `aws`, `aws-cn` or `aws-us-gov`.
    #[must_use]
    pub fn partition(&self) -> &'static str {
        if self.region.starts_with("cn-") {
            "aws-cn"
        } else if self.region.starts_with("us-gov-") {
            "aws-us-gov"
        } else {
            "aws"
        }
    }

    /// An ECS ARN in this scope; `resource` is e.g. `cluster/default`.
    #[must_use]
    pub fn ecs_arn(&self, resource: impl fmt::Display) -> String {
        format!("arn:{}:ecs:{}:{}:{resource}", self.partition(), self.region, self.account)
    }

    /// `…:cluster/NAME`.
    #[must_use]
    pub fn cluster_arn(&self, cluster: &str) -> String {
        self.ecs_arn(format_args!("cluster/{cluster}"))
    }

    /// `…:task/CLUSTER/ID`, or `…:task/UUID` for an id of the short format.
    #[must_use]
    pub fn task_arn(&self, cluster: &str, task: Id) -> String {
        self.arn_in(cluster, "task", task)
    }

    /// `…:container-instance/CLUSTER/ID`, or `…:container-instance/UUID` for an id of the short format.
    #[must_use]
    pub fn container_instance_arn(&self, cluster: &str, instance: Id) -> String {
        self.arn_in(cluster, "container-instance", instance)
    }

    fn arn_in(&self, cluster: &str, kind: &str, id: Id) -> String {
        if id.is_short_format() {
            return self.ecs_arn(format_args!("{kind}/{}", id.in_arn()));
        }
        self.ecs_arn(format_args!("{kind}/{cluster}/{id}"))
    }

    /// `…:task-definition/FAMILY:REVISION`.
    #[must_use]
    pub fn task_definition_arn(&self, family: &str, revision: u32) -> String {
        self.ecs_arn(format_args!("task-definition/{family}:{revision}"))
    }

    /// `…:container/CLUSTER/TASK/UUID`, or `…:container/UUID` in a task with an id of the short format.
    #[must_use]
    pub fn container_arn(&self, cluster: &str, task: Id, container: &str) -> String {
        if task.is_short_format() {
            return self.ecs_arn(format_args!("container/{container}"));
        }
        self.ecs_arn(format_args!("container/{cluster}/{task}/{container}"))
    }

    /// `…:service/CLUSTER/NAME` (the long form).
    #[must_use]
    pub fn service_arn(&self, cluster: &str, service: &str) -> String {
        self.ecs_arn(format_args!("service/{cluster}/{service}"))
    }

    /// `…:service-deployment/CLUSTER/SERVICE/ID`.
    #[must_use]
    pub fn service_deployment_arn(&self, cluster: &str, service: &str, id: &str) -> String {
        self.ecs_arn(format_args!("service-deployment/{cluster}/{service}/{id}"))
    }

    /// `…:service-revision/CLUSTER/SERVICE/NUMBER`.
    #[must_use]
    pub fn service_revision_arn(&self, cluster: &str, service: &str, number: &str) -> String {
        self.ecs_arn(format_args!("service-revision/{cluster}/{service}/{number}"))
    }

    /// `…:task-set/CLUSTER/SERVICE/ID`; the id has a slash of its own.
    #[must_use]
    pub fn task_set_arn(&self, cluster: &str, service: &str, id: &str) -> String {
        self.ecs_arn(format_args!("task-set/{cluster}/{service}/{id}"))
    }
}

/// An ARN taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arn<'a> {
    /// `aws`, `aws-cn`, …
    pub partition: &'a str,
    /// `ecs`, `iam`, …
    pub service: &'a str,
    /// May be empty.
    pub region: &'a str,
    /// May be empty.
    pub account: &'a str,
    /// Everything after the fifth colon.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// The parts of `text`, or `None` when it is no ARN.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        if parts.next() != Some("arn") {
            return None;
        }
        let arn = Self {
            partition: parts.next()?,
            service: parts.next()?,
            region: parts.next()?,
            account: parts.next()?,
            resource: parts.next()?,
        };
        let complete = !arn.partition.is_empty() && !arn.service.is_empty() && !arn.resource.is_empty();
        complete.then_some(arn)
    }

    /// Whether it names something of ECS in `scope`.
    #[must_use]
    pub fn is_ecs_in(&self, scope: &Scope) -> bool {
        let here = self.region == scope.region && self.account == scope.account;
        self.service == "ecs" && self.partition == scope.partition() && here
    }

    /// The resource without its type: `TYPE/rest` → `rest`, when the type is `kind`.
    #[must_use]
    pub fn resource_of(&self, kind: &str) -> Option<&'a str> {
        self.resource.strip_prefix(kind)?.strip_prefix('/')
    }
}

/// How a request may name a resource that lives in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InCluster<'a> {
    /// By id or name alone, or by a short ARN without cluster.
    Bare(&'a str),
    /// By a long ARN: cluster name and id or name.
    Qualified(&'a str, &'a str),
    /// By an ARN of another type, service, account or region, or by something malformed.
    Foreign,
}

impl Scope {
    /// Reads a reference to a `kind` (`task`, `container-instance`, `service`) given as id, short ARN or long ARN.
    #[must_use]
    pub fn in_cluster<'a>(&self, kind: &str, text: &'a str) -> InCluster<'a> {
        if !text.starts_with("arn:") {
            return if text.is_empty() || text.contains('/') { InCluster::Foreign } else { InCluster::Bare(text) };
        }
        let Some(arn) = Arn::parse(text).filter(|arn| arn.is_ecs_in(self)) else {
            return InCluster::Foreign;
        };
        match arn.resource_of(kind).map(|rest| rest.split_once('/').ok_or(rest)) {
            Some(Ok((cluster, name))) if !name.contains('/') => InCluster::Qualified(cluster, name),
            Some(Err(name)) => InCluster::Bare(name),
            _ => InCluster::Foreign,
        }
    }

    /// Reads the ARN of a `kind` (`service-deployment`, `service-revision`, `task-set`) that belongs to a service of
    /// this scope: cluster, service, and the rest.
    #[must_use]
    pub fn in_service<'a>(&self, kind: &str, text: &'a str) -> Option<(&'a str, &'a str, &'a str)> {
        let rest = Arn::parse(text).filter(|arn| arn.is_ecs_in(self))?.resource_of(kind)?;
        let (cluster, rest) = rest.split_once('/')?;
        let (service, id) = rest.split_once('/')?;
        Some((cluster, service, id)).filter(|(cluster, service, id)| ![cluster, service, id].contains(&&""))
    }

    /// The cluster name in `text` (a name or an ARN of this scope); `None` when it is something else.
    #[must_use]
    pub fn cluster_name<'a>(&self, text: &'a str) -> Option<&'a str> {
        if !text.starts_with("arn:") {
            return Some(text);
        }
        Arn::parse(text).filter(|arn| arn.is_ecs_in(self))?.resource_of("cluster")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::new("123456789012", "eu-west-1")
    }

    #[test]
    fn resources_are_named_by_id_short_arn_or_long_arn() {
        let id = "0123456789abcdef0123456789abcdef";
        let arn = |rest: &str| format!("arn:aws:ecs:eu-west-1:123456789012:{rest}");
        assert_eq!(scope().in_cluster("task", id), InCluster::Bare(id));
        assert_eq!(scope().in_cluster("task", &arn("task/c/t")), InCluster::Qualified("c", "t"));
        assert_eq!(scope().in_cluster("task", &arn("task/t")), InCluster::Bare("t"));
        assert_eq!(scope().in_cluster("task", &arn("service/c/t")), InCluster::Foreign);
        assert_eq!(scope().in_cluster("task", "arn:aws:ecs:eu-west-2:123456789012:task/c/t"), InCluster::Foreign);
        assert_eq!(scope().in_cluster("task", "a/b"), InCluster::Foreign);
    }

    #[test]
    fn the_partition_follows_the_region() {
        assert_eq!(Scope::new("1", "cn-north-1").cluster_arn("c"), "arn:aws-cn:ecs:cn-north-1:1:cluster/c");
        assert_eq!(Scope::new("1", "us-gov-west-1").partition(), "aws-us-gov");
        assert_eq!(scope().partition(), "aws");
        let own = scope().cluster_arn("c");
        let elsewhere = own.replace("arn:aws:", "arn:aws-cn:");
        assert!(!Arn::parse(&elsewhere).unwrap().is_ecs_in(&scope()));
        assert!(Arn::parse(&own).unwrap().is_ecs_in(&scope()));
    }
}
