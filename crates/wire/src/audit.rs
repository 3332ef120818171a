//! Audit records: what a mutating call asked for, without its secrets.

use longshore_api::Value;

/// How much of an input a record keeps, in bytes of JSON.
const INPUT_LIMIT: usize = 16 * 1024;

const REDACTED: &str = "***";

/// `input` as JSON, with the values at `sensitive` paths (`a.b[].c`, map values `{}`) replaced and
/// cut at 16 KiB.
pub(crate) fn redacted(input: &Value, sensitive: &[&str]) -> serde_json::Value {
    let mut input = input.clone();
    for path in sensitive {
        redact(&mut input, path);
    }
    let json = serde_json::to_value(&input).unwrap_or_default();
    let text = json.to_string();
    if text.len() <= INPUT_LIMIT {
        return json;
    }
    let mut end = INPUT_LIMIT;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    serde_json::json!({ "cut": &text[..end], "bytes": text.len() })
}

fn redact(value: &mut Value, path: &str) {
    if matches!(value, Value::Null) {
        return;
    }
    if path.is_empty() {
        *value = Value::String(REDACTED.to_owned());
        return;
    }
    let path = path.strip_prefix('.').unwrap_or(path);
    if let Some(rest) = path.strip_prefix("[]") {
        match value {
            Value::List(items) => items.iter_mut().for_each(|item| redact(item, rest)),
            // A form's list: `Name.member.1`, `Name.1`.
            Value::Map(entries) => {
                for (name, entry) in entries {
                    redact(entry, if name == "member" { path } else { rest });
                }
            }
            _ => redact(value, ""),
        }
    } else if let Some(rest) = path.strip_prefix("{}") {
        match value {
            Value::Map(entries) => entries.values_mut().for_each(|entry| redact(entry, rest)),
            _ => redact(value, ""),
        }
    } else {
        let end = path.find(['.', '[', '{']).unwrap_or(path.len());
        match value {
            Value::Map(members) => {
                if let Some(member) = members.get_mut(&path[..end]) {
                    redact(member, &path[end..]);
                }
            }
            _ => redact(value, ""),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_secret_never_stays_whatever_stands_where_it_is_expected(
            path in prop_oneof![Just("s"), Just("s.t"), Just("s[].t"), Just("s{}"), Just("s[]")],
            in_list in any::<bool>(),
            in_member in any::<bool>(),
        ) {
            let mut value = Value::from("hidden");
            if in_member && path.contains(".t") {
                value = Value::from_iter([("t", value)]);
            }
            if in_list && path.contains("[]") {
                value = Value::List(vec![value.clone(), value]);
            }
            let redacted = redacted(&Value::from_iter([("s", value), ("open", Value::from("seen"))]), &[path]).to_string();
            prop_assert!(!redacted.contains("hidden"), "{} left {}", path, redacted);
            prop_assert!(redacted.contains("seen"));
        }
    }

    fn check(input: &str, sensitive: &[&str], expected: &str) {
        let input = Value::from_json(input.as_bytes()).unwrap();
        let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
        assert_eq!(redacted(&input, sensitive), expected);
    }

    #[test]
    fn sensitive_members_are_replaced_wherever_they_stand() {
        check(r#"{"a":"x","b":1}"#, &["a"], r#"{"a":"***","b":1}"#);
        check(
            r#"{"a":{"b":[{"c":"x","d":1},{"c":"y"}]}}"#,
            &["a.b[].c"],
            r#"{"a":{"b":[{"c":"***","d":1},{"c":"***"}]}}"#,
        );
        check(r#"{"a":{"k":"x","l":"y"}}"#, &["a{}"], r#"{"a":{"k":"***","l":"***"}}"#);
        check(r#"{"a":["x"],"b":[[{"c":1}]]}"#, &["a[]", "b[][].c"], r#"{"a":["***"],"b":[[{"c":"***"}]]}"#);
    }

    #[test]
    fn absent_and_null_members_stay_as_they_are() {
        check(r#"{"b":null}"#, &["a", "b", "c[].d"], r#"{"b":null}"#);
    }

    #[test]
    fn a_member_of_the_wrong_type_is_replaced_whole() {
        check(r#"{"a":"secret","b":"secret"}"#, &["a[].c", "b{}"], r#"{"a":"***","b":"***"}"#);
    }

    #[test]
    fn the_lists_of_forms_are_redacted_too() {
        let input = Value::from_form(b"P.member.1.Secret=x&P.member.2.Secret=y&Q.1=z").unwrap();
        let json = redacted(&input, &["P[].Secret", "Q[]"]).to_string();
        assert_eq!(json, r#"{"P":{"member":{"1":{"Secret":"***"},"2":{"Secret":"***"}}},"Q":{"1":"***"}}"#);
    }

    #[test]
    fn a_large_input_is_cut() {
        let input = Value::from_iter([("a", "é".repeat(20_000))]);
        let json = redacted(&input, &[]);
        assert!(json.to_string().len() < 17 * 1024);
        assert_eq!(json["bytes"], 40_008);
    }
}
