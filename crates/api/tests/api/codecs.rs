//! Shapes through every document: what is written reads back as the same.

use crate::support::{Choices, Model};
use longshore_api::{
    FormWriter, Shape, Value, ecs, from_json, from_value, logs, sts, summary, to_json, to_value, xml_answer, xml_error,
};
use longshore_seams::Timestamp;
use proptest::prelude::*;

/// The value reads as `T`, and `T` writes the same value, in memory and as JSON.
fn round_trip<T: Shape + PartialEq + std::fmt::Debug>(model: &Model, name: &str, seed: u64) {
    let value = model.random(name, &mut Choices(seed), false, 0);
    let shape: T = from_value(&value).unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(to_value(&shape), value, "{name}");
    let json = to_json(&shape);
    assert_eq!(Value::from_json(&json), Ok(value), "{name}: {}", String::from_utf8_lossy(&json));
    assert_eq!(from_json::<T>(&json).as_ref(), Ok(&shape), "{name}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shapes_survive_json(seed in any::<u64>()) {
        let model = Model::read("ecs-2014-11-13");
        round_trip::<ecs::RegisterTaskDefinitionRequest>(&model, "RegisterTaskDefinitionRequest", seed);
        round_trip::<ecs::RunTaskRequest>(&model, "RunTaskRequest", seed);
        round_trip::<ecs::Service>(&model, "Service", seed);
        round_trip::<ecs::Task>(&model, "Task", seed);
        round_trip::<ecs::ContainerInstance>(&model, "ContainerInstance", seed);
        round_trip::<ecs::CreateCapacityProviderRequest>(&model, "CreateCapacityProviderRequest", seed);
        let model = Model::read("logs-2014-03-28");
        round_trip::<logs::PutLogEventsRequest>(&model, "PutLogEventsRequest", seed);
        round_trip::<logs::DescribeLogStreamsResponse>(&model, "DescribeLogStreamsResponse", seed);
    }

    #[test]
    fn shapes_survive_xml_answers(seed in any::<u64>()) {
        let model = Model::read("sts-2011-06-15");
        let value = model.random("AssumeRoleResponse", &mut Choices(seed), true, 0);
        let shape: sts::AssumeRoleResponse = from_value(&value).expect("the value is of the shape");
        let operation = sts::MODEL.operation("AssumeRole").expect("it is in the model");
        let xml = xml_answer(&sts::MODEL, operation, "request-1", &shape);
        let answer = Value::from_xml(&xml).expect("it is XML");
        let result = answer.get("AssumeRoleResult").expect("the result is wrapped");
        prop_assert_eq!(from_value::<sts::AssumeRoleResponse>(result), Ok(shape));
    }

    #[test]
    fn shapes_survive_forms(seed in any::<u64>()) {
        let model = Model::read("sts-2011-06-15");
        let value = model.random("AssumeRoleRequest", &mut Choices(seed), true, 0);
        let shape: sts::AssumeRoleRequest = from_value(&value).expect("the value is of the shape");
        let mut writer = FormWriter::new();
        shape.write(&mut writer);
        let form = Value::from_form(&writer.into_bytes()).expect("it is a form");
        prop_assert_eq!(from_value::<sts::AssumeRoleRequest>(&form), Ok(shape));
    }

    #[test]
    fn any_bytes_are_a_value_or_a_syntax_error(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = (Value::from_json(&bytes), Value::from_form(&bytes), Value::from_xml(&bytes));
    }

    #[test]
    fn milliseconds_are_exact(millis in -2_000_000_000_000..4_000_000_000_000_i64) {
        let event = ecs::ServiceEvent { created_at: Some(Timestamp::from_millis(millis)), ..Default::default() };
        prop_assert_eq!(from_json::<ecs::ServiceEvent>(&to_json(&event)), Ok(event));
    }
}

fn json(text: &str) -> Value {
    Value::from_json(text.as_bytes()).expect("it is JSON")
}

#[test]
fn timestamps_are_epoch_seconds_without_a_needless_fraction() {
    let at = |millis| {
        let event = ecs::ServiceEvent { created_at: Some(Timestamp::from_millis(millis)), ..Default::default() };
        String::from_utf8(to_json(&event)).expect("JSON is UTF-8")
    };
    assert_eq!(at(1_700_000_000_000), r#"{"createdAt":1700000000}"#);
    assert_eq!(at(1_700_000_000_123), r#"{"createdAt":1700000000.123}"#);
}

#[test]
fn absent_and_null_members_are_the_same_and_unknown_ones_are_ignored() {
    let tag: ecs::Tag = from_json(br#"{"key":"a","value":null,"colour":[1]}"#).expect("it is a tag");
    assert_eq!(tag, ecs::Tag { key: Some("a".to_owned()), value: None });
    assert_eq!(to_json(&tag), br#"{"key":"a"}"#);
}

#[test]
fn unknown_enum_values_are_kept() {
    let device: ecs::Device = from_json(br#"{"permissions":["read","levitate"]}"#).expect("it is a device");
    let permissions = device.permissions.clone().expect("they are there");
    assert_eq!(permissions[0], ecs::DeviceCgroupPermission::Read);
    assert_eq!(permissions[1], ecs::DeviceCgroupPermission::UnknownVariant("levitate".to_owned()));
    assert_eq!(to_json(&device), br#"{"permissions":["read","levitate"]}"#);
}

#[test]
fn numbers_are_numbers() {
    let read = |text: &str| from_json::<ecs::ContainerDefinition>(text.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(read(r#"{"memory":512.0}"#).map(|container| container.memory), Ok(Some(512)));
    assert_eq!(read(r#"{"memory":"512"}"#), Err("memory: expected a 32-bit integer, found a string".to_owned()));
    assert_eq!(read(r#"{"memory":512.5}"#), Err("memory: expected a 32-bit integer, found a number".to_owned()));
    assert_eq!(read(r#"{"memory":2147483648}"#), Err("memory: expected a 32-bit integer, found an integer".to_owned()));
    assert_eq!(
        read(r#"{"portMappings":[{},{"containerPort":true}]}"#),
        Err("portMappings.2.member.containerPort: expected a 32-bit integer, found a boolean".to_owned())
    );
    assert_eq!(
        read(r#"{"dockerLabels":{"a":1}}"#),
        Err("dockerLabels.a.member: expected a string, found an integer".to_owned())
    );
}

#[test]
fn json_keeps_integers_that_fit_and_makes_the_others_floats() {
    assert_eq!(json("9223372036854775807"), Value::Int(i64::MAX));
    assert_eq!(json("-9223372036854775808"), Value::Int(i64::MIN));
    assert_eq!(json("9223372036854775808"), Value::Float(9_223_372_036_854_775_808.0));
    assert_eq!(json("1.5e3"), Value::Float(1500.0));
}

#[test]
fn json_errors_say_where() {
    let error = |text: &str| Value::from_json(text.as_bytes()).expect_err("it is no JSON").to_string();
    assert!(error("{\"a\": }").ends_with("at line 1 column 7"), "{}", error("{\"a\": }"));
    assert!(error("{} {}").starts_with("trailing characters"));
    assert!(error(r#"{"a":1,"a":2}"#).starts_with("`a` is there twice"));
    assert!(error(&"[".repeat(65)).starts_with("nested deeper than 64 levels"));
    assert!(Value::from_json(format!("{}{}", "[".repeat(64), "]".repeat(64)).as_bytes()).is_ok());
}

#[test]
fn an_empty_body_is_an_empty_input() {
    assert_eq!(Value::from_json(b""), Ok(Value::map()));
    assert_eq!(Value::from_json(b" \n"), Ok(Value::map()));
}

#[test]
fn forms_may_number_items_with_or_without_member() {
    let read = |form: &str| {
        let value = Value::from_form(form.as_bytes()).expect("it is a form");
        from_value::<sts::AssumeRoleRequest>(&value).map_err(|error| error.to_string())
    };
    let arn = |arn: &str| sts::PolicyDescriptorType { arn: Some(arn.to_owned()) };
    let wanted = Ok(sts::AssumeRoleRequest {
        role_arn: Some("r".to_owned()),
        duration_seconds: Some(900),
        policy_arns: Some(vec![arn("b"), arn("a"), arn("c")]),
        ..Default::default()
    });
    let member =
        "RoleArn=r&DurationSeconds=900&PolicyArns.member.2.arn=a&PolicyArns.member.1.arn=b&PolicyArns.member.10.arn=c";
    assert_eq!(read(member), wanted);
    assert_eq!(read(&member.replace(".member", "")), wanted);
    assert_eq!(read("PolicyArns=").map(|request| request.policy_arns), Ok(Some(Vec::new())));
    assert_eq!(read("DurationSeconds=long"), Err("DurationSeconds: expected a 32-bit integer, found text".to_owned()));
}

#[test]
fn forms_that_contradict_themselves_are_refused() {
    let error = |form: &str| Value::from_form(form.as_bytes()).expect_err("it contradicts itself").to_string();
    assert_eq!(error("A=1&A=2"), "`A` is there twice");
    assert_eq!(error("A=1&A.B=2"), "`A.B`: `A` has a value of its own");
    assert_eq!(error("A.B=1&A=2"), "`A` is there twice");
    assert!(error(&format!("{}A=1", "A.".repeat(100))).ends_with("nested deeper than 64 levels"));
}

#[test]
fn json_lists_are_not_spelled_as_forms() {
    let numbered = from_value::<ecs::DescribeClustersRequest>(&json(r#"{"clusters":{"1":"a"}}"#));
    assert_eq!(
        numbered.map_err(|error| error.to_string()),
        Err("clusters: expected a list, found an object".to_owned())
    );
}

#[test]
fn query_answers_are_wrapped() {
    let answer = sts::GetCallerIdentityResponse {
        account: Some("123456789012".to_owned()),
        arn: Some("a<b>&\"c\"".to_owned()),
        user_id: None,
    };
    let operation = sts::MODEL.operation("GetCallerIdentity").expect("it is in the model");
    assert_eq!(
        String::from_utf8(xml_answer(&sts::MODEL, operation, "r1", &answer)).expect("XML is UTF-8"),
        "<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><GetCallerIdentityResult>\
         <Account>123456789012</Account><Arn>a&lt;b&gt;&amp;&quot;c&quot;</Arn></GetCallerIdentityResult>\
         <ResponseMetadata><RequestId>r1</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    );
}

#[test]
fn query_errors_name_the_query_code() {
    let error = sts::error::packed_policy_too_large_exception("too <large>");
    assert_eq!(
        String::from_utf8(xml_error(&sts::MODEL, "r1", &error)).expect("XML is UTF-8"),
        "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><Error><Type>Sender</Type>\
         <Code>PackedPolicyTooLarge</Code><Message>too &lt;large&gt;</Message></Error>\
         <RequestId>r1</RequestId></ErrorResponse>"
    );
}

#[test]
fn constraints_are_worded_as_aws_words_them() {
    let violations = |shape: &dyn Fn(&mut Vec<longshore_api::Violation>)| {
        let mut violations = Vec::new();
        shape(&mut violations);
        violations.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    fn of<T: Shape>(text: &str) -> impl Fn(&mut Vec<longshore_api::Violation>) {
        let shape: T = from_json(text.as_bytes()).expect("it is of the shape");
        move |violations| shape.validate(&mut longshore_api::Path::default(), violations)
    }
    assert_eq!(
        violations(&of::<ecs::RunTaskRequest>(r#"{"launchType":"MOON","tags":[{"key":"a#"}]}"#)),
        [
            "Value 'MOON' at 'launchType' failed to satisfy constraint: Member must satisfy enum value set: \
             [EC2, FARGATE, EXTERNAL, MANAGED_INSTANCES]",
            "Value 'a#' at 'tags.1.member.key' failed to satisfy constraint: Member must satisfy regular expression pattern: \
             ([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)",
            "Value null at 'taskDefinition' failed to satisfy constraint: Member must not be null",
        ]
    );
    assert_eq!(
        violations(&of::<ecs::CapacityProviderStrategyItem>(r#"{"capacityProvider":"x","weight":1001,"base":-1}"#)),
        [
            "Value '1001' at 'weight' failed to satisfy constraint: Member must have value less than or equal to 1000",
            "Value '-1' at 'base' failed to satisfy constraint: Member must have value greater than or equal to 0",
        ]
    );
    assert_eq!(
        violations(&of::<ecs::CapacityProviderStrategyItem>(r#"{"capacityProvider":"x","base":100001}"#)),
        ["Value '100001' at 'base' failed to satisfy constraint: Member must have value less than or equal to 100000"]
    );
    let long = "x".repeat(129);
    assert_eq!(
        violations(&of::<ecs::Tag>(&format!(r#"{{"key":"{long}"}}"#))),
        [format!(
            "Value '{long}' at 'key' failed to satisfy constraint: Member must have length less than or equal to 128"
        )]
    );
    assert_eq!(
        violations(&of::<longshore_api::longshore::JoinAgentRequest>(r#"{"token":""}"#)),
        ["Value at 'token' failed to satisfy constraint: Member must have length greater than or equal to 1"]
    );
}

#[test]
fn a_long_list_of_violations_is_cut() {
    let tags = ecs::TagResourceRequest {
        tags: Some(vec![ecs::Tag { key: Some("#".to_owned()), value: None }; 51]),
        ..Default::default()
    };
    let mut violations = Vec::new();
    tags.validate(&mut longshore_api::Path::default(), &mut violations);
    let text = summary(&violations);
    assert!(text.starts_with("53 validation errors detected: "), "{text}");
    assert_eq!(text.matches("Value ").count(), 20, "{text}");
}

#[test]
fn debug_never_shows_sensitive_members() {
    let session = ecs::Session {
        session_id: Some("s".to_owned()),
        token_value: Some("hunter2".to_owned()),
        ..Default::default()
    };
    let text = format!("{session:?}");
    assert!(text.contains("token_value: Some(***)"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
    let container: ecs::ContainerDefinition =
        from_json(br#"{"name":"web","environment":[{"name":"A","value":"hunter2"}]}"#).expect("it is a container");
    assert!(!format!("{container:?}").contains("hunter2"));
}

#[test]
fn shapes_embed_in_serde_documents() {
    #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
    struct Record {
        launch_type: ecs::LaunchType,
        task: ecs::Task,
    }
    let record = Record {
        launch_type: ecs::LaunchType::Fargate,
        task: ecs::Task { created_at: Some(Timestamp::from_millis(1_700_000_000_123)), ..Default::default() },
    };
    let text = serde_json::to_string(&record).expect("it serializes");
    assert_eq!(text, r#"{"launch_type":"FARGATE","task":{"createdAt":1700000000.123}}"#);
    assert_eq!(serde_json::from_str::<Record>(&text).expect("it deserializes"), record);
}
