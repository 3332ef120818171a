//! Who may do what, until policies come: account roots everything in their account, agents what an
//! agent needs, a task's role
//! only to ask who it is, nobody else anything.

use longshore_api::ServiceError;
use longshore_wire::{AuthorizationRequest, Authorizer, Principal};

/// What a joined agent may call. That it speaks only for its own container instance is checked
/// where the instance is resolved.
const AGENT_ACTIONS: &[&str] = &[
    "ecs:DiscoverPollEndpoint",
    "ecs:ListTagsForResource",
    "ecs:Poll",
    "ecs:RegisterContainerInstance",
    "ecs:StartTelemetrySession",
    "ecs:SubmitAttachmentStateChanges",
    "ecs:SubmitContainerStateChange",
    "ecs:SubmitTaskStateChange",
    "ecs:UpdateContainerInstancesState",
    "logs:CreateLogGroup",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
    "longshore:RotateAgentCredentials",
    "sts:GetCallerIdentity",
];

/// Actions that need no signature: they carry a proof of their own.
const ANONYMOUS_ACTIONS: &[&str] = &["longshore:JoinAgent"];

/// What every principal may do, as with AWS.
const EVERYBODYS_ACTION: &str = "sts:GetCallerIdentity";

/// Decides by the kind of principal alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct RootAuthorizer;

impl Authorizer for RootAuthorizer {
    fn authorize(&self, request: &AuthorizationRequest<'_>) -> Result<(), ServiceError> {
        let context = request.context;
        let allowed = match &context.principal {
            Principal::Root { account } => *account == context.account,
            Principal::ContainerInstance { account, region, .. } => {
                *account == context.account
                    && *region == context.region
                    && AGENT_ACTIONS.contains(&request.action.as_str())
            }
            // Until policies come a role allows nothing.
            Principal::AssumedRole { account, .. } => {
                *account == context.account && request.action == EVERYBODYS_ACTION
            }
            Principal::Anonymous => ANONYMOUS_ACTIONS.contains(&request.action.as_str()),
        };
        if allowed {
            return Ok(());
        }
        let resource = request.resources.first().map_or("*", String::as_str);
        Err(ServiceError::client(
            "AccessDeniedException",
            format!(
                "User: {} is not authorized to perform: {} on resource: {resource} because no identity-based policy allows the {} action",
                context.principal.arn(),
                request.action,
                request.action
            ),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::Timestamp;
    use longshore_wire::RequestContext;

    fn decide(principal: Principal, action: &str) -> Result<(), ServiceError> {
        let context = RequestContext {
            request_id: String::new(),
            principal,
            access_key_id: String::new(),
            account: "123456789012".to_owned(),
            region: "us-east-1".to_owned(),
            source_ip: std::net::Ipv4Addr::LOCALHOST.into(),
            user_agent: String::new(),
            base_url: String::new(),
            received_at: Timestamp::default(),
        };
        let (action, resources, conditions) = (action.to_owned(), vec!["*".to_owned()], Vec::new());
        RootAuthorizer.authorize(&AuthorizationRequest { context: &context, action, resources, conditions })
    }

    fn root(account: &str) -> Principal {
        Principal::Root { account: account.to_owned() }
    }

    fn agent(region: &str) -> Principal {
        let (account, region, grant) = ("123456789012".to_owned(), region.to_owned(), "g".to_owned());
        Principal::ContainerInstance { account, region, grant }
    }

    #[test]
    fn a_root_may_do_everything_in_its_own_account_only() {
        assert!(decide(root("123456789012"), "ecs:DeleteCluster").is_ok());
        assert_eq!(decide(root("210987654321"), "ecs:DeleteCluster").unwrap_err().code, "AccessDeniedException");
    }

    // spec: 20-097
    #[test]
    fn an_agent_may_do_only_what_agents_do_in_its_own_region() {
        assert!(decide(agent("us-east-1"), "ecs:SubmitTaskStateChange").is_ok());
        let refused = decide(agent("us-east-1"), "ecs:RunTask").unwrap_err();
        let expected = format!("User: {} is not authorized to perform: ecs:RunTask on resource: *", agent("").arn());
        assert!(refused.message.starts_with(&expected), "{refused}");
        assert!(decide(agent("eu-west-1"), "ecs:SubmitTaskStateChange").is_err());
    }

    #[test]
    fn a_tasks_role_may_only_ask_who_it_is() {
        let role = || Principal::AssumedRole {
            account: "123456789012".to_owned(),
            role: "app".to_owned(),
            session: "t".to_owned(),
        };
        assert!(decide(role(), "sts:GetCallerIdentity").is_ok());
        for action in ["ecs:ListClusters", "ecs:SubmitTaskStateChange", "logs:PutLogEvents", "longshore:JoinAgent"] {
            let refused = decide(role(), action).unwrap_err();
            assert_eq!(refused.code, "AccessDeniedException");
            let expected = format!(
                "User: arn:aws:sts::123456789012:assumed-role/app/t is not authorized to perform: {action} on resource: *"
            );
            assert!(refused.message.starts_with(&expected), "{refused}");
        }
    }

    #[test]
    fn nobody_may_only_join() {
        assert!(decide(Principal::Anonymous, "longshore:JoinAgent").is_ok());
        assert!(decide(Principal::Anonymous, "ecs:ListClusters").is_err());
    }
}
