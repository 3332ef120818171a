use proptest::prelude::*;

use super::Pattern;

fn check(pattern: &str, messages: &[(&str, bool)]) {
    let parsed = Pattern::parse(pattern).unwrap_or_else(|error| panic!("{error}"));
    for (message, matches) in messages {
        assert_eq!(parsed.matches(message), *matches, "{pattern} on {message}");
    }
}

#[test]
fn an_empty_pattern_matches_everything() {
    check("", &[("", true), ("anything", true)]);
    check("  ", &[("anything", true)]);
}

#[test]
fn every_term_must_be_there_in_its_case() {
    check("ERROR", &[("[ERROR] x", true), ("error", false)]);
    check("ERROR ARGUMENTS", &[("ERROR 1 ARGUMENTS", true), ("ERROR", false), ("ARGUMENTS ERROR", true)]);
}

#[test]
fn a_quoted_phrase_must_be_there_as_it_is() {
    check("\"out of memory\"", &[("fatal: out of memory", true), ("memory out of", false)]);
    check(r#""say \"no\"""#, &[(r#"I say "no""#, true), ("say no", false)]);
}

#[test]
fn one_of_the_optional_terms_is_enough() {
    check("?ERROR ?WARN", &[("ERROR", true), ("WARN", true), ("INFO", false)]);
    check("?\"a b\" ?c", &[("a b", true), ("a", false), ("c", true)]);
}

#[test]
fn an_excluded_term_must_not_be_there() {
    check("ERROR -TIMEOUT", &[("ERROR", true), ("ERROR TIMEOUT", false)]);
    check("-\"GET /health\"", &[("GET /", true), ("GET /health 200", false)]);
}

#[test]
fn a_regular_expression_stands_between_percent_signs() {
    check("%4[0-9]{2}%", &[("status 404", true), ("status 500", false)]);
}

#[test]
fn json_strings_are_compared_with_wildcards() {
    check("{ $.name = \"web\" }", &[(r#"{"name":"web"}"#, true), (r#"{"name":"db"}"#, false), ("web", false)]);
    check("{ $.name = we* }", &[(r#"{"name":"web"}"#, true), (r#"{"name":"ew"}"#, false)]);
    check("{ $.name != *e* }", &[(r#"{"name":"web"}"#, false), (r#"{"name":"db"}"#, true), (r#"{"other":1}"#, false)]);
    check("{ $.name = %^w.b$% }", &[(r#"{"name":"web"}"#, true), (r#"{"name":"webs"}"#, false)]);
}

#[test]
fn json_numbers_are_compared_by_size() {
    check("{ $.n = 200 }", &[(r#"{"n":200}"#, true), (r#"{"n":2e2}"#, true), (r#"{"n":201}"#, false)]);
    check("{ $.n > 1.5 }", &[(r#"{"n":2}"#, true), (r#"{"n":1.5}"#, false)]);
    check("{ $.n <= -1 }", &[(r#"{"n":-1}"#, true), (r#"{"n":0}"#, false)]);
    check("{ $.n >= 1e3 }", &[(r#"{"n":1000}"#, true), (r#"{"n":"x"}"#, false)]);
}

#[test]
fn json_members_are_found_by_path() {
    check("{ $.a.b = 1 }", &[(r#"{"a":{"b":1}}"#, true), (r#"{"a":1}"#, false)]);
    check("{ $.a[1].c = 1 }", &[(r#"{"a":[0,{"c":1}]}"#, true), (r#"{"a":[{"c":1}]}"#, false)]);
    check("{ $.a[*] = x }", &[(r#"{"a":["y","x"]}"#, true), (r#"{"a":["y"]}"#, false)]);
    check("{ $.[\"a b\"] = 1 }", &[(r#"{"a b":1}"#, true)]);
    check("{ $['a b'].c = 1 }", &[(r#"{"a b":{"c":1}}"#, true)]);
}

#[test]
fn json_conditions_are_joined() {
    let pattern = "{ ($.a = 1 || $.b = 2) && $.c = 3 }";
    check(pattern, &[(r#"{"a":1,"c":3}"#, true), (r#"{"b":2,"c":3}"#, true), (r#"{"a":1,"b":2}"#, false)]);
    check("{ $.a = 1 || $.b = 2 && $.c = 3 }", &[(r#"{"a":1}"#, true), (r#"{"b":2}"#, false)]);
}

#[test]
fn json_values_can_be_null_true_false_or_missing() {
    check("{ $.a IS NULL }", &[(r#"{"a":null}"#, true), (r#"{"a":0}"#, false), ("{}", false)]);
    check("{ $.a IS TRUE }", &[(r#"{"a":true}"#, true), (r#"{"a":false}"#, false)]);
    check("{ $.a is false }", &[(r#"{"a":false}"#, true), (r#"{"a":true}"#, false)]);
    check("{ $.a NOT EXISTS }", &[("{}", true), (r#"{"a":null}"#, false)]);
}

#[test]
fn fields_are_cut_at_spaces_quotes_and_brackets() {
    let message = r#"127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534"#;
    check("[ip, id, user, time, request, status, size]", &[(message, true), ("a b", false)]);
    check("[ip, id, user, time, request = *html*, status = 4*, size > 1000]", &[(message, true)]);
    check("[ip, id, user, time, request, status = 5*, size]", &[(message, false)]);
    check("[..., status = 404, size]", &[(message, true)]);
    check("[ip = 127.0.0.1, ...]", &[(message, true)]);
    check("[ip, ..., size = 1534 || size = 1]", &[(message, true)]);
    check("[ip, ..., (size > 1 && size < 1000)]", &[(message, false)]);
    check("[]", &[("", true), ("a", false)]);
}

#[test]
fn what_is_wrong_with_a_pattern_is_said() {
    for (pattern, reason) in [
        ("\"open", "a quote is not closed"),
        ("{ $.a = 1", "expected \"}\""),
        ("{ $.a }", "expected one of"),
        ("{ a = 1 }", "expected \"$\""),
        ("{ $.a > x }", "only numbers"),
        ("{ $.a IS 1 }", "expected NULL"),
        ("{ $.a = 1 } x", "something follows"),
        ("[a, b", "expected one of"),
        ("[..., a, ...]", "once only"),
        ("[a = 1 && b = 2]", "stands in the field"),
        ("%[%", "not a regular expression"),
        ("-", "a term is empty"),
    ] {
        let error = Pattern::parse(pattern).expect_err(pattern).to_string();
        assert!(error.starts_with("Invalid filter pattern") && error.contains(reason), "{pattern}: {error}");
    }
    let deep = format!("{{ {}$.a = 1{} }}", "(".repeat(40), ")".repeat(40));
    assert!(Pattern::parse(&deep).expect_err("too deep").to_string().contains("nested"));
}

proptest! {
    #[test]
    fn any_text_parses_or_is_refused_and_matching_never_panics(pattern in ".{0,40}", message in ".{0,40}") {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            let _ = pattern.matches(&message);
        }
    }

    #[test]
    fn pattern_like_texts_never_panic(pattern in r#"[\[{][ $.a-c0-9=!<>&|()*"%,\]}]{0,30}"#, message in r#"[\[ "a-c0-9{}:\]]{0,30}"#) {
        if let Ok(pattern) = Pattern::parse(&pattern) {
            let _ = pattern.matches(&message);
        }
    }

    #[test]
    fn a_quoted_term_is_found_in_what_contains_it(before in "[a-z ]{0,9}", term in "[a-z ]{1,9}", after in "[a-z ]{0,9}") {
        let pattern = Pattern::parse(&format!("\"{term}\"")).unwrap();
        let message = format!("{before}{term}{after}");
        prop_assert!(pattern.matches(&message));
    }
}
