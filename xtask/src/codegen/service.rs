//! A service's model constant, errors, trait and dispatch.

use std::path::{Path, PathBuf};

use super::constraints::Constraints;
use super::emit::{header, imports, literal, optional, strings};
use super::model::{Kind, Model, Operation, Shape};
use super::naming::{snake, type_name};
use super::{Generated, shapes};

/// Writes everything of one service.
pub(crate) fn emit(model: &Model, generated: &mut Generated) {
    let module = model.module();
    let constraints = Constraints::new(model);
    let mut files = shapes::emit(model, &constraints);
    let checks = constraints.emit();
    if !checks.is_empty() {
        files.push((PathBuf::from("constraints.rs"), checks));
    }
    files.push((PathBuf::from("error.rs"), errors(model)));
    files.push((PathBuf::from("model.rs"), description(model)));
    files.push((PathBuf::from("operations.rs"), operations(model)));
    let modules: Vec<String> = files.iter().filter_map(|(path, _)| module_name(path)).collect();
    files.push((PathBuf::from("mod.rs"), index(model, modules)));
    generated.files.extend(files.into_iter().map(|(path, text)| (Path::new(&module).join(path), text)));
    generated.unchecked.extend(constraints.unchecked.iter().map(|pattern| format!("{module}: {pattern}")));
}

/// The module that a file of the service's directory is, for those in the directory itself.
fn module_name(path: &Path) -> Option<String> {
    match path.parent() {
        Some(parent) if parent == Path::new("") => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
        _ if path.ends_with("mod.rs") => path.parent().map(|parent| parent.to_string_lossy().into_owned()),
        _ => None,
    }
}

fn index(model: &Model, mut modules: Vec<String>) -> String {
    modules.sort();
    let what = format!("{} {}.", model.metadata.service_id, model.metadata.api_version);
    let mut text = header(&what);
    for module in &modules {
        let visibility = if module == "error" { "pub " } else { "" };
        let expect = if module == "constraints" {
            "#[expect(clippy::ptr_arg, reason = \"they are passed as functions over the members' own types\")]\n"
        } else {
            ""
        };
        text.push_str(&format!("{expect}{visibility}mod {module};\n"));
    }
    text.push('\n');
    if modules.iter().any(|module| module == "enums") {
        text.push_str("pub use enums::*;\n");
    }
    text.push_str(&format!(
        "pub use model::MODEL;\npub use operations::{{{}, dispatch}};\npub use shapes::*;\n",
        model.interface()
    ));
    text
}

fn status(shape: &Shape) -> u16 {
    let modelled = shape.error.as_ref().and_then(|error| error.http_status_code);
    modelled.unwrap_or(if shape.fault { 500 } else { 400 })
}

fn query_code<'a>(name: &'a str, shape: &'a Shape) -> &'a str {
    shape.error.as_ref().and_then(|error| error.code.as_deref()).unwrap_or(name)
}

/// The service's own error for broken constraints.
fn refusal(model: &Model) -> String {
    if model.is_query() {
        return "ValidationError".to_owned();
    }
    let candidates =
        ["InvalidParameterException", "ValidationException", "InvalidParameterValueException", "InvalidInput"];
    let found = candidates.iter().find(|name| model.shapes.get(name).is_some_and(|shape| shape.exception));
    (*found.unwrap_or(&"ValidationException")).to_owned()
}

/// The service's nearest error for an operation that is not built.
fn not_built(model: &Model) -> String {
    let candidates = ["UnsupportedFeatureException", "UnsupportedOperationException", "InvalidOperationException"];
    let found = candidates.iter().find(|name| model.shapes.get(name).is_some_and(|shape| shape.exception));
    (*found.unwrap_or(&"UnsupportedOperation")).to_owned()
}

fn errors(model: &Model) -> String {
    let mut text = header("Errors.");
    text.push_str("use crate::ServiceError;\n");
    for (name, shape) in model.shapes.iter().filter(|(_, shape)| shape.exception) {
        let code = query_code(name, shape);
        let mut doc = format!("/// `{name}`, HTTP {}", status(shape));
        if code != name {
            doc.push_str(&format!("; `{code}` on query protocols"));
        }
        let further: Vec<String> = shape
            .members
            .iter()
            .filter(|(member, _)| !member.eq_ignore_ascii_case("message"))
            .map(|(member, _)| format!("`{member}`"))
            .collect();
        if !further.is_empty() {
            doc.push_str(&format!("; may carry {}", further.join(", ")));
        }
        text.push_str(&format!(
            "
{doc}.
#[must_use]
pub fn {}(message: impl Into<String>) -> ServiceError {{
    ServiceError {{ code: {}, query_code: {}, status: {}, message: message.into(), details: Vec::new() }}
}}
",
            snake(name),
            literal(name),
            literal(code),
            status(shape)
        ));
    }
    text.push_str(&format!(
        "
/// Input that breaks constraints of the model.
#[must_use]
pub fn validation(message: String) -> ServiceError {{
    ServiceError::client({}, message)
}}

/// An operation that this server does not have yet.
#[must_use]
pub fn not_built(operation: &str) -> ServiceError {{
    ServiceError::client({}, format!(\"{{operation}} is not built in this version of Longshore.\"))
}}
",
        literal(&refusal(model)),
        literal(&not_built(model))
    ));
    text
}

fn description(model: &Model) -> String {
    let metadata = &model.metadata;
    let signing = metadata.signing_name.as_deref().unwrap_or(&metadata.endpoint_prefix);
    // The one service whose actions are not named as its signatures are.
    let action = if signing == "monitoring" { "cloudwatch" } else { signing };
    let mut operations = String::new();
    for (name, operation) in model.operations.iter() {
        operations.push_str(&described(model, name, operation));
    }
    let body = format!(
        "
/// The service as its model describes it.
pub static MODEL: ServiceModel = ServiceModel {{
    signing_name: {},
    target_prefix: {},
    version: {},
    protocol: {},
    json_version: {},
    xml_namespace: {},
    action_prefix: {},
    operations: &[
{operations}    ],
}};
",
        literal(signing),
        optional(metadata.target_prefix.as_deref()),
        literal(&metadata.api_version),
        literal(protocol(model)),
        literal(metadata.json_version.as_deref().unwrap_or("1.1")),
        optional(metadata.xml_namespace.as_deref()),
        literal(action),
    );
    let uses = imports(&body, "crate", &["Operation", "Pagination", "ServiceModel"]);
    format!("{}{uses}{body}", header("The service model."))
}

/// The protocol that clients use first: CBOR stands first in some models, but JSON is what is sent.
fn protocol(model: &Model) -> &str {
    match model.metadata.protocol.as_str() {
        "smithy-rpc-v2-cbor" if model.metadata.protocols.iter().any(|protocol| protocol == "json") => "json",
        protocol => protocol,
    }
}

fn described(model: &Model, name: &str, operation: &Operation) -> String {
    const READING: &[&str] = &["Describe", "List", "Get", "Filter", "Discover", "BatchGet", "BatchCheck"];
    let input = operation.input.as_ref().map(|input| input.shape.as_str());
    let output = operation.output.as_ref().map(|output| output.shape.as_str());
    let sensitive = input.map(|input| shapes::sensitive_paths(model, input)).unwrap_or_default();
    let wrapper = operation.output.as_ref().and_then(|output| output.result_wrapper.as_deref());
    let errors: Vec<&str> = operation.errors.iter().map(|error| error.shape.as_str()).collect();
    let pagination = model.pagination.get(name).map_or_else(
        || "None".to_owned(),
        |pagination| {
            format!(
                "Some(Pagination {{ input_token: {}, output_token: {}, limit_key: {}, result_key: {}, more_results: {} }})",
                strings(pagination.input_token.as_slice()),
                strings(pagination.output_token.as_slice()),
                optional(pagination.limit_key.as_deref()),
                strings(pagination.result_key.as_slice()),
                optional(pagination.more_results.as_deref()),
            )
        },
    );
    format!(
        "        Operation {{
            name: {},
            input: {},
            output: {},
            unsigned: {},
            read_only: {},
            errors: {},
            sensitive: {},
            result_wrapper: {},
            pagination: {pagination},
        }},
",
        literal(name),
        literal(input.unwrap_or_default()),
        literal(output.unwrap_or_default()),
        operation.authtype.as_deref() == Some("none"),
        READING.iter().any(|prefix| name.starts_with(prefix)),
        strings(&errors),
        strings(&sensitive),
        optional(wrapper),
    )
}

/// The Rust type of an operation's input or output; `None` for none.
fn type_of(model: &Model, shape: Option<&super::model::Reference>) -> Option<String> {
    shape.filter(|shape| model.shape(&shape.shape).kind == Kind::Structure).map(|shape| type_name(&shape.shape))
}

fn operations(model: &Model) -> String {
    let interface = model.interface();
    let mut methods = String::new();
    let mut arms = String::new();
    let mut types = std::collections::BTreeSet::new();
    for (name, operation) in model.operations.iter() {
        let method = shapes::method(name);
        let input = type_of(model, operation.input.as_ref());
        let output = type_of(model, operation.output.as_ref());
        let (parameter, unused, argument) = match &input {
            Some(input) => {
                (format!(", input: {input}"), "(context, input)", ", check::input(input, error::validation)?")
            }
            None => (String::new(), "context", ""),
        };
        methods.push_str(&format!(
            "
    /// `{name}`.
    fn {method}(&self, context: &Self::Context{parameter}) -> impl Future<Output = Result<{answer}, ServiceError>> + Send {{
        let _ = {unused};
        ready(Err(error::not_built({literal})))
    }}
",
            answer = output.as_deref().unwrap_or("()"),
            literal = literal(name),
        ));
        arms.push_str(&format!("        {} => answer(service.{method}(context{argument}).await),\n", literal(name)));
        types.extend(input);
        types.extend(output);
    }
    let body = format!(
        "
/// The operations of {service}. One that is not overridden answers that it is not built.
pub trait {interface}: Send + Sync {{
    /// What every operation is told of its request.
    type Context: Send + Sync;
{methods}}}

/// Reads the input of `operation`, checks the model's constraints, and performs it.
///
/// # Errors
/// `SerializationException` for a member of another type, one error that lists all broken
/// constraints, `UnknownOperationException`, or the operation's own.
pub async fn dispatch<S: {interface}>(
    service: &S,
    context: &S::Context,
    operation: &str,
    input: &Value,
) -> Result<Box<dyn Output>, ServiceError> {{
    match operation {{
{arms}        other => Err(check::unknown_operation(other)),
    }}
}}
",
        service = model.metadata.service_id,
    );
    let types: Vec<String> = types.into_iter().collect();
    format!(
        "{}use std::future::ready;\n\nuse crate::check::{{self, answer}};\nuse crate::{{Output, ServiceError, Value}};\nuse super::{{error, {}}};\n{body}",
        header("Operations."),
        types.join(", ")
    )
}
