//! The canonical request: what both sides hash.

use std::borrow::Cow;

use aws_lc_rs::digest;
use http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// RFC 3986's unreserved characters stay; everything else is encoded.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const PATH: &AsciiSet = &COMPONENT.remove(b'/');

/// A query string's pairs, decoded (`+` is a space, as forms and Go's clients write it).
pub(crate) fn query_pairs(query: &str) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

fn decode(text: &str) -> Vec<u8> {
    let text = if text.contains('+') { Cow::Owned(text.replace('+', "%20")) } else { Cow::Borrowed(text) };
    percent_decode_str(&text).collect()
}

pub(crate) fn encode(bytes: &[u8]) -> String {
    percent_encode(bytes, COMPONENT).to_string()
}

/// The canonical query string: pairs decoded, encoded anew and sorted, without `X-Amz-Signature`.
pub(crate) fn query(query: &str) -> String {
    let mut pairs: Vec<(String, String)> = query_pairs(query)
        .filter(|(name, _)| name != b"X-Amz-Signature")
        .map(|(name, value)| (encode(&name), encode(&value)))
        .collect();
    pairs.sort();
    let mut canonical = String::with_capacity(query.len());
    for (name, value) in pairs {
        if !canonical.is_empty() {
            canonical.push('&');
        }
        canonical.push_str(&name);
        canonical.push('=');
        canonical.push_str(&value);
    }
    canonical
}

/// The canonical path of `path` as it stands in the request line. S3 takes it as sent; every other
/// service removes dot segments and empty ones and encodes what is encoded once more.
pub(crate) fn path<'a>(path: &'a str, service: &str) -> Cow<'a, str> {
    if path.is_empty() || path == "/" {
        return Cow::Borrowed("/");
    }
    if service == "s3" {
        return Cow::Owned(percent_encode(&percent_decode_str(path).collect::<Vec<u8>>(), PATH).to_string());
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut normal = String::with_capacity(path.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if normal.is_empty() || path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") {
        normal.push('/');
    }
    Cow::Owned(percent_encode(normal.as_bytes(), PATH).to_string())
}

/// Adds a header's canonical value: each of its values trimmed, inner whitespace collapsed, joined by commas.
fn push_header_value(canonical: &mut String, headers: &HeaderMap, name: &str) {
    for (at, value) in headers.get_all(name).into_iter().enumerate() {
        if at > 0 {
            canonical.push(',');
        }
        let text = String::from_utf8_lossy(value.as_bytes());
        for (at, word) in text.split_ascii_whitespace().enumerate() {
            if at > 0 {
                canonical.push(' ');
            }
            canonical.push_str(word);
        }
    }
}

/// What the canonical request is made of.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    pub(crate) method: &'a str,
    /// As in the request line.
    pub(crate) path: &'a str,
    /// As in the request line, without `?`.
    pub(crate) query: &'a str,
    pub(crate) headers: &'a HeaderMap,
    /// Lower-case names, separated by `;`.
    pub(crate) signed_headers: &'a str,
    /// Hexadecimal hash, or a literal such as `UNSIGNED-PAYLOAD`.
    pub(crate) payload: &'a str,
}

impl Parts<'_> {
    /// The canonical request for `service`.
    pub(crate) fn request(&self, service: &str) -> String {
        let mut canonical = String::with_capacity(512);
        canonical.push_str(self.method);
        canonical.push('\n');
        canonical.push_str(&path(self.path, service));
        canonical.push('\n');
        canonical.push_str(&query(self.query));
        canonical.push('\n');
        for name in self.signed_headers.split(';') {
            canonical.push_str(name);
            canonical.push(':');
            push_header_value(&mut canonical, self.headers, name);
            canonical.push('\n');
        }
        canonical.push('\n');
        canonical.push_str(self.signed_headers);
        canonical.push('\n');
        canonical.push_str(self.payload);
        canonical
    }

    /// The string to sign at `date` (`YYYYMMDDTHHMMSSZ`) in `scope` (`DATE/REGION/SERVICE/aws4_request`).
    pub(crate) fn string_to_sign(&self, date: &str, scope: &str, service: &str) -> String {
        let hash = sha256_hex(self.request(service).as_bytes());
        format!("{}\n{date}\n{scope}\n{hash}", crate::ALGORITHM)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn paths_are_normal_and_encoded_twice_except_for_s3() {
        let table = [
            ("", "/", "/"),
            ("/", "/", "/"),
            ("//", "/", "//"),
            ("/./example", "/example", "/./example"),
            ("/a/../b/./c", "/b/c", "/a/../b/./c"),
            ("/a//b/", "/a/b/", "/a//b/"),
            ("/a/..", "/", "/a/.."),
            ("/a%20b", "/a%2520b", "/a%20b"),
            ("/x:y", "/x%3Ay", "/x%3Ay"),
            ("/ሴ", "/%E1%88%B4", "/%E1%88%B4"),
        ];
        for (raw, ecs, s3) in table {
            assert_eq!(path(raw, "ecs"), ecs, "{raw}");
            assert_eq!(path(raw, "s3"), s3, "{raw} for s3");
        }
    }

    #[test]
    fn query_pairs_are_sorted_after_decoding_and_encoding_anew() {
        let table = [
            ("", ""),
            ("b=2&a=1", "a=1&b=2"),
            ("a=2&a=1", "a=1&a=2"),
            ("a", "a="),
            ("d=DockerVersion%3A+20.10", "d=DockerVersion%3A%2020.10"),
            ("x=%7e%2a*", "x=~%2A%2A"),
            ("X-Amz-Signature=00&a=1", "a=1"),
            ("a=b=c", "a=b%3Dc"),
            ("a-b=1&a=2", "a=2&a-b=1"),
        ];
        for (raw, canonical) in table {
            assert_eq!(query(raw), canonical, "{raw}");
        }
    }

    #[test]
    fn header_values_are_trimmed_collapsed_and_joined() {
        let mut headers = HeaderMap::new();
        headers.append("my", "  a   b ".parse().unwrap());
        headers.append("my", "c".parse().unwrap());
        let mut canonical = String::new();
        push_header_value(&mut canonical, &headers, "my");
        assert_eq!(canonical, "a b,c");
    }

    proptest! {
        #[test]
        fn a_canonical_query_is_its_own_canonical_form(raw in "[a-zA-Z0-9%&=+*~ /-]{0,60}") {
            let once = query(&raw);
            prop_assert_eq!(query(&once), once);
        }
    }
}
