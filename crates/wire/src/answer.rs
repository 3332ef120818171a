//! Answers, in the protocol the request came in.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use longshore_api::{
    JsonWriter, Operation, Output, ServiceError, ServiceModel, Value, Writer, XmlWriter, xml_answer, xml_error,
};
use longshore_sigv4::VerifyError;

pub(crate) type Answer = Response<Full<Bytes>>;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");
const QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

/// The document format of one request and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json10,
    Json11,
    /// Query and `ec2`: a form in, XML out.
    Query,
}

/// All that decides how an answer looks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    pub(crate) protocol: Protocol,
    /// The service, once it is known.
    pub(crate) model: Option<&'static ServiceModel>,
    /// `x-amzn-query-mode: true`: the client wants the query protocol's error code as well.
    pub(crate) query_mode: bool,
}

impl Envelope {
    pub(crate) fn success(&self, operation: &Operation, request_id: &str, output: &dyn Output) -> Answer {
        let body = match (self.protocol, self.model) {
            (Protocol::Query, Some(model)) => xml_answer(model, operation, request_id, output),
            _ => {
                let mut writer = JsonWriter::new();
                output.write(&mut writer);
                writer.into_bytes()
            }
        };
        self.answer(StatusCode::OK, request_id, body)
    }

    pub(crate) fn error(&self, request_id: &str, error: &ServiceError) -> Answer {
        let body = match (self.protocol, self.model) {
            (Protocol::Query, Some(model)) => xml_error(model, request_id, error),
            (Protocol::Query, None) => plain_xml_error(request_id, error),
            _ => json_error(error),
        };
        let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut answer = self.answer(status, request_id, body);
        if self.protocol != Protocol::Query {
            answer.headers_mut().insert(ERROR_TYPE, HeaderValue::from_static(error.code));
            if self.query_mode {
                let fault = if error.status < 500 { "Sender" } else { "Receiver" };
                if let Ok(value) = HeaderValue::try_from(format!("{};{fault}", error.query_code)) {
                    answer.headers_mut().insert(QUERY_ERROR, value);
                }
            }
        }
        answer
    }

    /// The refusal of a signature, under the codes and statuses of the request's protocol.
    pub(crate) fn refusal(&self, error: &VerifyError) -> ServiceError {
        let status = if self.protocol == Protocol::Query { error.query_status() } else { error.status() };
        ServiceError {
            code: error.code(),
            query_code: error.query_code(),
            status,
            message: error.to_string(),
            details: Vec::new(),
        }
    }

    fn answer(&self, status: StatusCode, request_id: &str, body: Vec<u8>) -> Answer {
        let content_type = match self.protocol {
            Protocol::Json10 => "application/x-amz-json-1.0",
            Protocol::Json11 => "application/x-amz-json-1.1",
            Protocol::Query => "text/xml",
        };
        with_type(status, request_id, content_type, body)
    }
}

/// An answer with `body` of `content_type`.
pub(crate) fn with_type(
    status: StatusCode,
    request_id: &str,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    answer
}

fn json_error(error: &ServiceError) -> Vec<u8> {
    let mut writer = JsonWriter::new();
    writer.begin_structure();
    writer.member("__type", "");
    writer.string(error.code);
    writer.member("message", "");
    writer.string(&error.message);
    for (name, value) in &error.details {
        writer.member(name, "");
        write_value(&mut writer, value);
    }
    writer.end_structure();
    writer.into_bytes()
}

fn write_value(writer: &mut JsonWriter, value: &Value) {
    match value {
        Value::Null => writer.null(),
        Value::Bool(value) => writer.boolean(*value),
        Value::Int(value) => writer.integer(*value),
        Value::Float(value) => writer.float(*value),
        Value::String(text) | Value::Text(text) => writer.string(text),
        Value::List(items) => {
            writer.begin_list("");
            items.iter().for_each(|item| write_value(writer, item));
            writer.end_list();
        }
        Value::Map(entries) => {
            writer.begin_map("", "", "");
            for (key, entry) in entries {
                writer.key(key);
                write_value(writer, entry);
            }
            writer.end_map();
        }
    }
}

/// An error of nobody's service, in the form most query services share.
fn plain_xml_error(request_id: &str, error: &ServiceError) -> Vec<u8> {
    let mut writer = XmlWriter::new();
    writer.start("ErrorResponse");
    writer.start("Error");
    writer.element("Type", if error.status < 500 { "Sender" } else { "Receiver" });
    writer.element("Code", error.query_code);
    writer.element("Message", &error.message);
    writer.finish("Error");
    writer.element("RequestId", request_id);
    writer.finish("ErrorResponse");
    writer.into_text().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: Envelope = Envelope { protocol: Protocol::Json11, model: None, query_mode: false };

    #[test]
    fn json_errors_carry_their_further_members() {
        let error = ServiceError::client("ConflictException", "no").with_detail("resourceIds", vec!["a", "b"]);
        assert_eq!(json_error(&error), br#"{"__type":"ConflictException","message":"no","resourceIds":["a","b"]}"#);
    }

    #[test]
    fn json_errors_name_their_type_in_a_header() {
        let answer = JSON.error("id", &ServiceError::client("ClusterNotFoundException", "Cluster not found."));
        assert_eq!(answer.headers()["x-amzn-errortype"], "ClusterNotFoundException");
        assert_eq!(answer.headers()["x-amzn-requestid"], "id");
        assert!(!answer.headers().contains_key("x-amzn-query-error"));
    }

    #[test]
    fn query_mode_adds_the_query_code_and_whose_fault_it_is() {
        let envelope = Envelope { query_mode: true, ..JSON };
        let mut error = ServiceError::client("ResourceNotFoundException", "no");
        error.query_code = "ResourceNotFound";
        assert_eq!(envelope.error("id", &error).headers()["x-amzn-query-error"], "ResourceNotFound;Sender");
        let error = ServiceError::server("InternalServiceFault", "no");
        assert_eq!(envelope.error("id", &error).headers()["x-amzn-query-error"], "InternalServiceFault;Receiver");
    }
}
