use longshore_seams::Timestamp;
use proptest::prelude::*;

use super::Query;
use crate::Node;

fn node() -> Node {
    let attributes = [
        ("stack", Some("dev")),
        ("ecs.instance-type", Some("t2.small")),
        ("ecs.availability-zone", Some("us-east-1a")),
        ("size", Some("9")),
        ("ecs.capability.full-sync", None),
    ];
    Node {
        id: "i".to_owned(),
        active: true,
        agent_connected: true,
        agent_version: Some("1.9.0".to_owned()),
        ec2_instance_id: Some("i-abcd1234".to_owned()),
        // 2018-06-18T22:28:28.500Z
        registered_at: Timestamp::from_millis(1_529_360_908_500),
        running_tasks: 1,
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect(),
        groups: [("service:production".to_owned(), 1), ("databases".to_owned(), 2)].into(),
        ..Node::default()
    }
}

fn check(cases: &[(&str, bool)]) {
    for (expression, expected) in cases {
        let query = Query::parse(expression).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(query.matches(&node()), *expected, "{expression}");
    }
}

fn refused(expression: &str) -> String {
    Query::parse(expression).expect_err(expression).reason
}

// spec: 14-064, 14-067, 14-072, 14-073, 14-080, 14-081, 14-082, 14-083
#[test]
fn attributes_are_compared_as_text() {
    check(&[
        ("attribute:stack == dev", true),
        ("attribute:stack equals prod", false),
        ("attribute:stack != prod", true),
        ("attribute:stack not_equals dev", false),
        ("attribute:ecs.instance-type in [t2.small, t2.medium]", true),
        ("attribute:ecs.instance-type !in [t2.small,t2.medium]", false),
        ("attribute:ecs.instance-type not_in ['t2.large']", true),
        ("attribute:ecs.instance-type =~ t2.*", true),
        ("attribute:ecs.instance-type matches t[34].*", false),
        ("attribute:ecs.instance-type !~ g2.*", true),
        ("attribute:ecs.instance-type not_matches t2.small", false),
        ("attribute:stack == 'dev'", true),
        ("attribute:stack==\"dev\"", true),
        ("attribute:ecs.instance-type =~ t2", false),
    ]);
}

// spec: 14-058
#[test]
fn an_instance_that_lacks_the_attribute_matches_no_comparison() {
    check(&[
        ("attribute:missing != prod", false),
        ("attribute:missing !in [prod]", false),
        ("attribute:missing !~ prod", false),
        ("attribute:missing == prod", false),
        ("not(attribute:missing == prod)", true),
    ]);
}

// spec: 14-078, 14-079
#[test]
fn exists_tests_for_the_subject_and_takes_no_argument() {
    check(&[
        ("attribute:ecs.capability.full-sync exists", true),
        ("attribute:missing exists", false),
        ("attribute:missing !exists", true),
        ("attribute:stack not_exists", false),
        ("task:group exists", true),
    ]);
    assert!(refused("attribute:stack exists dev").contains("expected the end"));
}

// spec: 14-074, 14-075, 14-076, 14-077
#[test]
fn attributes_that_are_numbers_are_ordered_as_numbers() {
    check(&[
        ("attribute:size < 10", true),
        ("attribute:size greater_than 10", false),
        ("attribute:size >= 9", true),
        ("attribute:size less_than_equal 9", true),
        ("attribute:size greater_than_equal 9.5", false),
        ("attribute:size less_than 9", false),
        ("attribute:size > 8", true),
        ("attribute:size greater_than 8.5", true),
        ("attribute:size >= 10", false),
        ("attribute:size < 9", false),
        ("attribute:size <= 8", false),
        ("attribute:size <= 9", true),
    ]);
}

// spec: 14-065
#[test]
fn agents_are_selected_by_their_connection() {
    check(&[
        ("agentConnected == true", true),
        ("agentConnected == false", false),
        ("agentConnected != false", true),
        ("agentConnected in [true]", true),
        ("agentConnected !in [true]", false),
        ("agentConnected =~ t.*", true),
        ("agentConnected !~ t.*", false),
    ]);
}

// spec: 14-066
#[test]
fn agent_versions_compare_by_number() {
    check(&[
        ("agentVersion < 1.14.5", true),
        ("agentVersion >= 1.14.5", false),
        ("agentVersion == 1.9.0", true),
        ("agentVersion == 1.9", true),
        ("agentVersion != 1.9.1", true),
        ("agentVersion > 1.8.10", true),
        ("agentVersion > 1.9.0", false),
        ("agentVersion <= 1.9.0", true),
        ("agentVersion <= 1.8.10", false),
    ]);
    let unknown = Node { agent_version: None, ..node() };
    assert!(!Query::parse("agentVersion != 1.0.0").unwrap().matches(&unknown));
}

// spec: 14-068
#[test]
fn instances_are_selected_by_their_ec2_id() {
    check(&[
        ("ec2InstanceId in ['i-abcd1234', 'i-wxyx7890']", true),
        ("ec2InstanceId == i-abcd1234", true),
        ("ec2InstanceId =~ i-a.*", true),
        ("ec2InstanceId !in [i-abcd1234]", false),
        ("ec2InstanceId != i-abcd1234", false),
        ("ec2InstanceId !~ i-a.*", false),
        ("ec2InstanceId !~ i-w.*", true),
    ]);
}

// spec: 14-069
#[test]
fn instances_are_selected_by_their_registration_time() {
    check(&[
        ("registeredAt < 2018-06-19", true),
        ("registeredAt < 2018-02-13", false),
        ("registeredAt == 2018-06-18T22:28:28+00:00", true),
        ("registeredAt == 2018-06-18T22:28:28Z", true),
        ("registeredAt <= 2018-06-18T22:28:28", true),
        ("registeredAt > 2018-06-18", true),
        ("registeredAt >= 2018-06-18T22:28:28", true),
        ("registeredAt >= 2018-06-19", false),
        ("registeredAt != 2018-06-18T22:28:28", false),
    ]);
    assert!(refused("registeredAt < yesterday").contains("'yesterday' is no date"));
}

// spec: 14-070
#[test]
fn instances_are_selected_by_their_number_of_running_tasks() {
    check(&[
        ("runningTasksCount == 1", true),
        ("runningTasksCount > 1", false),
        ("runningTasksCount <= 1", true),
        ("runningTasksCount != 1", false),
        ("runningTasksCount >= 1", true),
        ("runningTasksCount >= 2", false),
        ("runningTasksCount < 2", true),
        ("runningTasksCount < 1", false),
    ]);
    assert!(refused("runningTasksCount == many").contains("no whole number"));
}

// spec: 14-062, 14-063, 14-071
#[test]
fn instances_are_selected_by_the_groups_of_their_tasks() {
    check(&[
        ("task:group == service:production", true),
        ("task:group == databases", true),
        ("task:group == web", false),
        ("not(task:group == database)", true),
        ("not(task:group == databases)", false),
        ("task:group != web", true),
        ("task:group != databases", false),
        ("task:group =~ service:.*", true),
        ("task:group in [web, databases]", true),
    ]);
    let empty = Node { groups: [].into(), ..node() };
    assert!(Query::parse("not(task:group == database)").unwrap().matches(&empty));
}

// spec: 14-084, 14-085, 14-086, 14-087
#[test]
fn expressions_combine_and_bind_like_boolean_algebra() {
    check(&[
        ("attribute:stack == dev and runningTasksCount == 1", true),
        ("attribute:stack == dev && runningTasksCount == 2", false),
        ("attribute:stack == prod or runningTasksCount == 1", true),
        ("attribute:stack == prod || runningTasksCount == 2", false),
        ("! attribute:stack == prod", true),
        ("!(attribute:stack == dev)", false),
        ("not attribute:stack == prod", true),
        ("attribute:stack == dev or attribute:stack == a and attribute:stack == b", true),
        ("(attribute:stack == dev or attribute:stack == a) and attribute:stack == b", false),
        ("attribute:stack==dev||attribute:stack==prod", true),
        ("attribute:ecs.instance-type =~ t2.*||attribute:stack == x", true),
        ("(attribute:ecs.instance-type =~ t2.*) and (attribute:stack exists)", true),
    ]);
}

// spec: 14-087
#[test]
fn a_simple_expression_may_not_hold_parentheses() {
    assert!(refused("attribute:stack == (dev)").contains("expected a value"));
    assert!(refused("(attribute:stack == dev").contains("expected ')'"));
}

// spec: 14-088, 14-065, 14-066, 14-067, 14-068, 14-069, 14-070
#[test]
fn an_operator_that_the_subject_does_not_have_is_refused() {
    for expression in [
        "agentConnected > true",
        "agentConnected exists",
        "ec2InstanceId <= i-1",
        "agentVersion =~ 1.*",
        "agentVersion in [1.0.0]",
        "registeredAt exists",
        "registeredAt =~ 2018.*",
        "runningTasksCount in [1, 2]",
        "runningTasksCount !~ 1",
    ] {
        assert!(refused(expression).contains("is not supported for"), "{expression}");
    }
}

#[test]
fn bad_syntax_says_what_was_expected_and_where() {
    assert_eq!(refused(""), "expected a subject at its end");
    assert!(refused("stack == prod").starts_with("expected a subject (agentConnected"));
    assert_eq!(refused("attribute:stack ~ prod"), "expected an operator at character 17, found '~ prod'");
    assert!(refused("attribute:stack in prod").contains("expected a list"));
    assert!(refused("attribute:stack in [a b]").contains("expected ',' or ']'"));
    assert!(refused("attribute:stack == 'prod").contains("text that ends with '"));
    assert!(refused("attribute: == x").contains("needs the name"));
    assert!(refused("attribute:a =~ [").contains("no usable pattern"));
    assert!(refused(&"(".repeat(60)).contains("nests more than 50"));
    assert!(refused(&"a".repeat(2001)).contains("at most 2000"));
}

proptest! {
    #[test]
    fn parsing_never_panics(text in "[a-z:!=<>~()\\[\\],'\"&| .0-9é-]{0,60}") {
        let _ = Query::parse(&text);
    }

    #[test]
    fn any_value_can_be_quoted(value in "[^'\"]{0,40}") {
        let node = Node { attributes: [("a".to_owned(), Some(value.clone()))].into(), ..Node::default() };
        let query = Query::parse(&format!("attribute:a == '{value}'")).unwrap();
        prop_assert!(query.matches(&node));
    }
}
