//! What the generator promises, on small models of each protocol.

use std::path::Path;

use super::pattern::translate;
use super::{Generated, Model, generate, naming, service};
use crate::root;

/// Generates a service from a model's text; its files by name.
fn emit(file: &str, text: &str) -> Generated {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(file);
    std::fs::write(&path, text).unwrap();
    let mut generated = Generated { files: Vec::new(), unchecked: Vec::new() };
    service::emit(&Model::read(&path).unwrap(), &mut generated);
    generated
}

fn file<'a>(generated: &'a Generated, path: &str) -> &'a str {
    let found = generated.files.iter().find(|(name, _)| name == Path::new(path));
    found.map_or_else(|| panic!("no {path}"), |(_, text)| text)
}

fn model(protocol: &str, shapes: &str) -> String {
    format!(
        r#"{{"metadata": {{"apiVersion": "2020-01-01", "endpointPrefix": "toy", "protocol": "{protocol}", "serviceId": "Toy"}},
        "operations": {{"Do": {{"input": {{"shape": "In"}}, "output": {{"shape": "Out", "resultWrapper": "DoResult"}}}}}},
        "shapes": {{{shapes}}}}}"#
    )
}

#[test]
fn every_pattern_of_our_models_is_checked() {
    let generated = generate(&root().join("crates/api/models")).unwrap();
    assert_eq!(generated.unchecked, Vec::<String>::new());
}

#[test]
fn patterns_match_whole_values_as_java_does() {
    let matches = |pattern: &str, value: &str| regex::Regex::new(&translate(pattern).unwrap()).unwrap().is_match(value);
    assert!(matches("[a-z]+", "abc") && !matches("[a-z]+", "abc1"));
    assert!(matches("^$|arn:.*", "") && matches("^$|arn:.*", "arn:x") && !matches("^$|arn:.*", "x"));
    assert!(matches(r"[\w+=,.@-]*", "a_1+=,.@-") && !matches(r"[\w]+", "é"));
    assert!(matches(r"\d{12}", "123456789012") && !matches(r"\d", "٣"));
    assert!(matches(r"[\u0020-\uD7FF\uE000-\uFFFD\uD800\uDC00-\uDBFF\uDFFF\r\n\t]*", "a🦀\n"));
    assert!(!matches(r"[\u0020-\u007E]*", "é"));
    assert!(matches(r"\p{Print}+", "a b") && !matches(r"\p{Print}+", "a\n"));
    assert!(matches(r"[a-z&&]+", "a&") && matches(r"[-()_.!~*';/?:@\x26=+$,A-Za-z0-9]+", "~&"));
}

#[test]
fn a_pattern_that_cannot_be_said_is_listed_and_not_checked() {
    assert_eq!(translate(r"^(?!arn:)[!-~]+$"), None);
    let shapes = r#""In": {"type": "structure", "members": {"name": {"shape": "Name"}}},
        "Out": {"type": "structure", "members": {}},
        "Name": {"type": "string", "max": 9, "pattern": "^(?!arn:)x$"}"#;
    let generated = emit("toy-2020-01-01.json", &model("json", shapes));
    assert_eq!(generated.unchecked, ["toy: Name: ^(?!arn:)x$"]);
    let constraints = file(&generated, "toy/constraints.rs");
    assert!(constraints.contains("text_length") && !constraints.contains("Pattern"), "{constraints}");
}

#[test]
fn ec2_requests_and_answers_name_members_differently() {
    let shapes = r#""In": {"type": "structure", "members": {
            "Ids": {"shape": "Ids", "locationName": "subnetIdSet", "queryName": "SubnetId"},
            "DryRun": {"shape": "Flag", "locationName": "dryRun"}}},
        "Out": {"type": "structure", "members": {}},
        "Ids": {"type": "list", "member": {"shape": "Id", "locationName": "item"}},
        "Id": {"type": "string"}, "Flag": {"type": "boolean"}"#;
    let generated = emit("toy-2020-01-01.json", &model("ec2", shapes));
    let structures = file(&generated, "toy/shapes/i.rs");
    assert!(structures.contains(r#"members.get_as("SubnetId", "subnetIdSet", &layouts::IDS, at)?"#), "{structures}");
    assert!(
        structures.contains(r#"put_as(writer, "DryRun", "dryRun", &Layout::DEFAULT, &self.dry_run);"#),
        "{structures}"
    );
    assert!(file(&generated, "toy/layouts.rs").contains(r#"item: "item""#));
}

#[test]
fn query_services_keep_their_wrapper_and_codes() {
    let shapes = r#""In": {"type": "structure", "members": {}}, "Out": {"type": "structure", "members": {}},
        "GoneException": {"type": "structure", "members": {"resource": {"shape": "Id"}}, "exception": true,
            "error": {"code": "Gone", "httpStatusCode": 404}},
        "Id": {"type": "string"}"#;
    let generated = emit("toy-2020-01-01.json", &model("query", shapes));
    assert!(file(&generated, "toy/model.rs").contains(r#"result_wrapper: Some("DoResult")"#));
    let errors = file(&generated, "toy/error.rs");
    assert!(errors.contains(r#"code: "GoneException", query_code: "Gone", status: 404"#), "{errors}");
    assert!(errors.contains("may carry `resource`"), "{errors}");
    assert!(errors.contains(r#"ServiceError::client("ValidationError", message)"#), "{errors}");
}

#[test]
fn structures_that_hold_themselves_are_boxed() {
    let shapes = r#""In": {"type": "structure", "members": {"tree": {"shape": "Tree"}}},
        "Out": {"type": "structure", "members": {}},
        "Tree": {"type": "structure", "members": {"left": {"shape": "Branch"}, "all": {"shape": "Trees"}}},
        "Branch": {"type": "structure", "members": {"tree": {"shape": "Tree"}}},
        "Trees": {"type": "list", "member": {"shape": "Tree"}}"#;
    let generated = emit("toy-2020-01-01.json", &model("json", shapes));
    let trees = file(&generated, "toy/shapes/t.rs");
    assert!(trees.contains("pub left: Option<Box<Branch>>") && trees.contains("pub all: Option<Vec<Tree>>"), "{trees}");
    assert!(file(&generated, "toy/shapes/i.rs").contains("pub tree: Option<Tree>"));
}

#[test]
fn enum_values_have_distinct_rust_names() {
    let values = ["EC2", "t2.micro", "T2_MICRO", "1.0", "", "*", "Self", "UnknownVariant"].map(str::to_owned);
    let names: Vec<String> = naming::variants(&values).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["Ec2", "T2Micro", "T2Micro2", "V10", "Empty", "Symbol", "SelfValue", "UnknownVariant2"]);
}

#[test]
fn member_names_are_the_field_s_own() {
    assert_eq!(naming::snake("enableECSManagedTags"), "enable_ecs_managed_tags");
    assert_eq!(
        naming::snake("fsxWindowsFileServerVolumeConfiguration"),
        "fsx_windows_file_server_volume_configuration"
    );
    assert_eq!(naming::snake("assignIPv6Address"), "assign_ipv6_address");
    assert_eq!(naming::snake("type"), "r#type");
    assert_eq!(naming::type_name("Path"), "PathShape");
}

#[test]
fn a_reference_to_no_shape_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("toy-2020-01-01.json");
    std::fs::write(&path, model("json", r#""In": {"type": "structure", "members": {}}"#)).unwrap();
    let error = Model::read(&path).map(drop).map_err(|error| error.to_string());
    assert!(error.is_err_and(|error| error.ends_with("no shape `Out`")));
}
