//! Signatures that others made, our own against our own, and every way to be refused.

use http::{HeaderMap, HeaderName, Method};
use longshore_seams::Timestamp;
use longshore_sigv4::{
    Authorization, Credentials, KeyCache, Known, Payload, Request, VerifyError, parse_amz_date, presign, sign,
};
use proptest::prelude::*;
use std::time::Duration;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const KNOWN: Known<'static> = Known { secret: SECRET, session_token: None, expires_at: None };

fn at(date: &str) -> Timestamp {
    parse_amz_date(date).unwrap()
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    map
}

fn verify(request: &Request<'_>, body: &[u8], known: Option<&Known<'_>>, now: Timestamp) -> Result<(), VerifyError> {
    let authorization = Authorization::read(request)?;
    authorization.check(known, now)?;
    authorization.verify(request, body, SECRET, &KeyCache::new(8))
}

/// Facts of AWS's published Signature Version 4 test suite: key AKIDEXAMPLE, us-east-1, `service`.
#[test]
fn verifies_the_published_test_suite() {
    let form = ("content-type", "application/x-www-form-urlencoded");
    let host = ("host", "example.amazonaws.com");
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str, &'a str);
    let table: &[Case<'_>] = &[
        (
            "GET",
            "/",
            "",
            &[host],
            "",
            "host;x-amz-date",
            "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
        ),
        (
            "POST",
            "/",
            "",
            &[host],
            "",
            "host;x-amz-date",
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
        ),
        (
            "GET",
            "/",
            "Param2=value2&Param1=value1",
            &[host],
            "",
            "host;x-amz-date",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (
            "GET",
            "/",
            "Param1=value1",
            &[host],
            "",
            "host;x-amz-date",
            "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb",
        ),
        (
            "GET",
            "/ሴ",
            "",
            &[host],
            "",
            "host;x-amz-date",
            "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
        ),
        (
            "GET",
            "/",
            "",
            &[host, ("my-header1", " value1"), ("my-header2", " \"a   b   c\"")],
            "",
            "host;my-header1;my-header2;x-amz-date",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            "POST",
            "/",
            "",
            &[form, host],
            "Param1=value1",
            "content-type;host;x-amz-date",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ];
    for (method, path, query, sent, body, signed, signature) in table {
        let mut headers = headers(sent);
        headers.insert("x-amz-date", "20150830T123600Z".parse().unwrap());
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders={signed}, \
             Signature={signature}"
        );
        headers.insert("authorization", authorization.parse().unwrap());
        let request = Request { method, path, query, headers: &headers };
        let verified = verify(&request, body.as_bytes(), Some(&KNOWN), at("20150830T123600Z"));
        assert_eq!(verified, Ok(()), "{method} {path}?{query} signing {signed}");
    }
}

/// `botocore.json` was made with botocore's signers.
#[test]
fn verifies_what_botocore_signs() {
    let cases: serde_json::Value = serde_json::from_str(include_str!("botocore.json")).unwrap();
    for case in cases.as_array().unwrap() {
        let text = |key: &str| case[key].as_str().unwrap_or_default();
        let pairs: Vec<(&str, &str)> = case["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(|pair| (pair[0].as_str().unwrap(), pair[1].as_str().unwrap()))
            .collect();
        let headers = headers(&pairs);
        let request = Request { method: text("method"), path: text("path"), query: text("query"), headers: &headers };
        let known = Known { session_token: case["token"].as_str(), ..KNOWN };
        let verified = verify(
            &request,
            text("body").as_bytes(),
            Some(&known),
            at("20261122T050000Z").minus(Duration::from_secs(590)),
        );
        assert_eq!(verified, Ok(()), "{}", text("name"));
    }
}

/// The agent's WebSocket client sends `+` for a space and signs `%20`.
#[test]
fn verifies_a_handshake_whose_spaces_are_plus_signs() {
    let (mut parts, ()) = http::Request::get("http://127.0.0.1:4747/acs/ws?d=DockerVersion%3A%2020.10.24%2Bdfsg1")
        .body(())
        .unwrap()
        .into_parts();
    let now = at("20261122T045009Z");
    sign(&mut parts, Payload::Bytes(b""), &credentials(None), "us-east-1", "ecs", now).unwrap();
    let query = "d=DockerVersion%3A+20.10.24%2Bdfsg1";
    let request = Request { method: "GET", path: "/acs/ws", query, headers: &parts.headers };
    assert_eq!(verify(&request, b"", Some(&KNOWN), now), Ok(()));
}

fn credentials(token: Option<&str>) -> Credentials {
    Credentials {
        access_key_id: "AKIDEXAMPLE".into(),
        secret_access_key: SECRET.into(),
        session_token: token.map(str::to_owned),
    }
}

const SIGNED_AT: &str = "20261122T045009Z";

/// A signed `ListClusters`.
fn signed() -> HeaderMap {
    let request = http::Request::post("http://127.0.0.1:4747/")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "AmazonEC2ContainerServiceV20141113.ListClusters");
    let (mut parts, ()) = request.body(()).unwrap().into_parts();
    sign(&mut parts, Payload::Bytes(b"{}"), &credentials(None), "us-east-1", "ecs", at(SIGNED_AT)).unwrap();
    parts.headers
}

fn refusal(headers: &HeaderMap, now: &str) -> VerifyError {
    let request = Request { method: "POST", path: "/", query: "", headers };
    verify(&request, b"{}", Some(&KNOWN), at(now)).unwrap_err()
}

fn with_authorization(change: impl FnOnce(&str) -> String) -> HeaderMap {
    let mut headers = signed();
    let changed = change(headers["authorization"].to_str().unwrap());
    headers.insert("authorization", changed.parse().unwrap());
    headers
}

#[test]
fn a_request_without_a_signature_misses_its_token() {
    let mut headers = signed();
    headers.remove("authorization");
    let error = refusal(&headers, SIGNED_AT);
    assert_eq!(
        (error.code(), error.query_code()),
        ("MissingAuthenticationTokenException", "MissingAuthenticationToken")
    );
    assert_eq!((error.status(), error.query_status()), (400, 403));
}

#[test]
fn each_absent_part_of_the_header_is_named() {
    let error = refusal(&with_authorization(|_| "AWS4-HMAC-SHA256 nothing".into()), SIGNED_AT);
    assert_eq!(error.code(), "IncompleteSignatureException");
    for part in ["'Credential'", "'SignedHeaders'", "'Signature'"] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut undated = signed();
    undated.remove("x-amz-date");
    assert!(refusal(&undated, SIGNED_AT).to_string().contains("'X-Amz-Date'"));
}

#[test]
fn unreadable_signatures_are_incomplete() {
    let changes: [fn(&str) -> String; 4] = [
        |_| "Bearer abc".into(),
        |_| "AWS4-HMAC-SHA256".into(),
        |text| text.replace("/aws4_request", ""),
        |text| text.replace("/ecs/", "//"),
    ];
    for change in changes {
        let headers = with_authorization(change);
        assert_eq!(refusal(&headers, SIGNED_AT).code(), "IncompleteSignatureException", "{headers:?}");
    }
    let mut misdated = signed();
    misdated.insert("x-amz-date", "yesterday".parse().unwrap());
    assert!(refusal(&misdated, SIGNED_AT).to_string().contains("Got 'yesterday'"));
}

#[test]
fn a_scope_of_another_day_or_terminator_or_no_region_is_invalid() {
    let changes =
        [("/20261122/", "/20261121/"), ("aws4_request", "aws5_request"), ("us-east-1", ""), ("us-east-1", "us:east")];
    for (from, to) in changes {
        let error = refusal(&with_authorization(|text| text.replace(from, to)), SIGNED_AT);
        assert_eq!(error.code(), "InvalidSignatureException", "{error}");
        assert!(error.to_string().contains("Credential"), "{error}");
    }
}

#[test]
fn dates_may_be_five_minutes_off_and_no_more() {
    let headers = signed();
    let request = Request { method: "POST", path: "/", query: "", headers: &headers };
    for now in ["20261122T045509Z", "20261122T044509Z"] {
        assert_eq!(verify(&request, b"{}", Some(&KNOWN), at(now)), Ok(()), "{now}");
    }
    let late = refusal(&headers, "20261122T045510Z");
    assert_eq!(late.code(), "InvalidSignatureException");
    assert_eq!(
        late.to_string(),
        "Signature expired: 20261122T045009Z is now earlier than 20261122T045010Z (20261122T045510Z - 5 min.)"
    );
    let early = refusal(&headers, "20261122T044508Z");
    assert_eq!(
        early.to_string(),
        "Signature not yet current: 20261122T045009Z is still later than 20261122T045008Z (20261122T044508Z + 5 min.)"
    );
}

#[test]
fn an_unknown_key_is_unrecognized() {
    let headers = signed();
    let request = Request { method: "POST", path: "/", query: "", headers: &headers };
    let error = verify(&request, b"{}", None, at(SIGNED_AT)).unwrap_err();
    assert_eq!((error.code(), error.query_code()), ("UnrecognizedClientException", "InvalidClientTokenId"));
    assert_eq!(error.to_string(), "The security token included in the request is invalid.");
}

#[test]
fn session_tokens_must_be_the_keys_own() {
    let now = at(SIGNED_AT);
    for (sent, known, verified) in [
        (Some("token"), Some("token"), Ok(())),
        (Some("other"), Some("token"), Err(VerifyError::UnknownKey)),
        (None, Some("token"), Err(VerifyError::UnknownKey)),
        (Some("token"), None, Err(VerifyError::UnknownKey)),
    ] {
        let (mut parts, ()) = http::Request::get("http://h/").body(()).unwrap().into_parts();
        sign(&mut parts, Payload::Bytes(b""), &credentials(sent), "r", "ecs", now).unwrap();
        let request = Request { method: "GET", path: "/", query: "", headers: &parts.headers };
        let known = Known { session_token: known, ..KNOWN };
        assert_eq!(verify(&request, b"", Some(&known), now), verified, "{sent:?}");
    }
}

#[test]
fn a_temporary_key_ends() {
    let headers = signed();
    let request = Request { method: "POST", path: "/", query: "", headers: &headers };
    let now = at(SIGNED_AT);
    let ended = Known { expires_at: Some(now), ..KNOWN };
    assert_eq!(verify(&request, b"{}", Some(&ended), now), Err(VerifyError::ExpiredKey));
    let alive = Known { expires_at: Some(now.plus(Duration::from_secs(1))), ..KNOWN };
    assert_eq!(verify(&request, b"{}", Some(&alive), now), Ok(()));
}

#[test]
fn host_and_target_must_be_signed() {
    for (from, to) in [("host;", ""), (";x-amz-target", "")] {
        let error = refusal(&with_authorization(|text| text.replace(from, to)), SIGNED_AT);
        assert!(error.to_string().contains("must be a 'SignedHeader'"), "{error}");
    }
}

#[test]
fn a_declared_payload_hash_must_be_the_bodys() {
    let mut headers = signed();
    headers.insert("x-amz-content-sha256", "00".parse().unwrap());
    assert!(refusal(&headers, SIGNED_AT).to_string().contains("x-amz-content-sha256"));
    headers.insert("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD".parse().unwrap());
    assert!(refusal(&headers, SIGNED_AT).to_string().contains("not supported"));
}

#[test]
fn an_unsigned_payload_is_taken_at_its_word() {
    let now = at(SIGNED_AT);
    let (mut parts, ()) = http::Request::put("http://h/bucket/key").body(()).unwrap().into_parts();
    sign(&mut parts, Payload::Unsigned, &credentials(None), "r", "s3", now).unwrap();
    let request = Request { method: "PUT", path: "/bucket/key", query: "", headers: &parts.headers };
    assert_eq!(verify(&request, b"anything", Some(&KNOWN), now), Ok(()));
}

#[test]
fn a_presigned_request_is_good_for_its_time_only() {
    let (mut parts, ()) = http::Request::get("http://h/?Action=A").body(()).unwrap().into_parts();
    presign(&mut parts, Duration::from_secs(60), &credentials(None), "r", "sts", at(SIGNED_AT)).unwrap();
    let query = parts.uri.query().unwrap();
    let request = Request { method: "GET", path: "/", query, headers: &parts.headers };
    assert_eq!(verify(&request, b"", Some(&KNOWN), at("20261122T045109Z")), Ok(()));
    let late = verify(&request, b"", Some(&KNOWN), at("20261122T045110Z")).unwrap_err();
    assert_eq!((late.query_code(), late.query_status()), ("RequestExpired", 400));
}

#[test]
fn a_presigned_request_may_not_outlast_seven_days() {
    let (mut parts, ()) = http::Request::get("http://h/").body(()).unwrap().into_parts();
    presign(&mut parts, Duration::from_secs(604_801), &credentials(None), "r", "sts", at(SIGNED_AT)).unwrap();
    let request = Request { method: "GET", path: "/", query: parts.uri.query().unwrap(), headers: &parts.headers };
    let error = verify(&request, b"", Some(&KNOWN), at(SIGNED_AT)).unwrap_err();
    assert_eq!(error.code(), "IncompleteSignatureException");
    assert!(error.to_string().contains("604800"), "{error}");
}

#[test]
fn a_partly_presigned_request_says_what_it_lacks() {
    let headers = headers(&[("host", "h")]);
    let request = Request { method: "GET", path: "/", query: "X-Amz-Signature=00", headers: &headers };
    let error = Authorization::read(&request).unwrap_err();
    assert!(error.to_string().contains("'X-Amz-Algorithm'"), "{error}");
}

#[test]
fn errors_and_debug_output_hold_no_secret() {
    assert!(!format!("{:?}", credentials(Some("token"))).contains(SECRET));
    assert!(!format!("{:?}", KeyCache::new(1)).contains(SECRET));
}

#[test]
fn a_cached_key_verifies_as_a_fresh_one() {
    let headers = signed();
    let request = Request { method: "POST", path: "/", query: "", headers: &headers };
    let cache = KeyCache::new(4);
    let authorization = Authorization::read(&request).unwrap();
    assert!(authorization.verify(&request, b"{}", "wrong", &cache).is_err());
    assert!(cache.is_empty(), "a wrong signature must not fill the cache");
    for _ in 0..2 {
        assert_eq!(authorization.verify(&request, b"{}", SECRET, &cache), Ok(()));
    }
    assert_eq!(cache.len(), 1);
    assert!(authorization.verify(&request, b"{ }", SECRET, &cache).is_err());
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![Just(Method::GET), Just(Method::POST), Just(Method::PUT)]
}

proptest! {
    #[test]
    fn what_is_signed_verifies_and_what_is_changed_does_not(
        method in method(),
        path in "(/[a-z0-9.~%:+]{0,8}){1,4}",
        query in "([a-zA-Z]{1,4}=[a-z0-9+*~-]{0,6}&?){0,4}",
        body in proptest::collection::vec(any::<u8>(), 0..64),
        region in "[a-z0-9-]{1,12}",
        service in prop_oneof![Just("ecs"), Just("s3"), Just("sts")],
        token in proptest::option::of("[a-zA-Z0-9/+=]{1,40}"),
        flip in any::<prop::sample::Index>(),
    ) {
        let uri = format!("http://127.0.0.1:4747{path}?{query}");
        let Ok(request) = http::Request::builder().method(method).uri(uri).body(()) else { return Ok(()) };
        let (mut parts, ()) = request.into_parts();
        let now = at(SIGNED_AT);
        sign(&mut parts, Payload::Bytes(&body), &credentials(token.as_deref()), &region, service, now).unwrap();
        let known = Known { session_token: token.as_deref(), ..KNOWN };
        let request = Request {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
        };
        prop_assert_eq!(verify(&request, &body, Some(&known), now), Ok(()));

        let mut longer = body.clone();
        longer.push(0);
        let other_query = format!("{}&zz=1", request.query);
        let other_path = format!("{}/zz", request.path);
        let mut other_headers = parts.headers.clone();
        let mut authorization = other_headers["authorization"].as_bytes().to_vec();
        let digit = authorization.len() - 64 + flip.index(64);
        authorization[digit] = if authorization[digit] == b'0' { b'1' } else { b'0' };
        other_headers.insert("authorization", http::HeaderValue::from_bytes(&authorization).unwrap());
        let changed = [
            ("body", request, &longer),
            ("method", Request { method: "DELETE", ..request }, &body),
            ("query", Request { query: &other_query, ..request }, &body),
            ("path", Request { path: &other_path, ..request }, &body),
            ("signature", Request { headers: &other_headers, ..request }, &body),
        ];
        for (what, request, body) in changed {
            prop_assert!(verify(&request, body, Some(&known), now).is_err(), "changed {}", what);
        }
    }

    #[test]
    fn no_authorization_header_makes_it_panic(text in "\\PC{0,80}", tail in "(AWS4-HMAC-SHA256 )?(Credential=[a-z/]{0,12},? ?)?(Signature=[a-z]*)?") {
        for value in [text, tail] {
            let Ok(value) = http::HeaderValue::from_str(&value) else { continue };
            let mut headers = headers(&[("host", "h"), ("x-amz-date", SIGNED_AT)]);
            headers.insert("authorization", value);
            let request = Request { method: "GET", path: "/", query: "", headers: &headers };
            let _ = Authorization::read(&request);
        }
    }

    #[test]
    fn no_query_makes_it_panic(query in "(X-Amz-[A-Za-z]{1,10}=[a-zA-Z0-9%/é-]{0,12}&?){0,5}") {
        let headers = headers(&[("host", "h")]);
        let request = Request { method: "GET", path: "/", query: &query, headers: &headers };
        let _ = Authorization::read(&request);
    }
}
