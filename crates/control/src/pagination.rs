//! The one paginator: tokens that name the last item of the page before.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longshore_api::{ServiceError, ecs};

/// Where a page begins and how long it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    list: &'static str,
    /// Only items after this key, when there was a page before.
    pub after: Option<String>,
    /// Most items.
    pub limit: usize,
}

impl PageRequest {
    /// Reads `maxResults` and `nextToken` of the operation `list`; pages have `most` items at most and by default.
    ///
    /// # Errors
    /// `InvalidParameterException` for a size out of range or a token of another operation.
    pub fn parse(
        list: &'static str,
        max_results: Option<i64>,
        next_token: Option<&str>,
        most: usize,
    ) -> Result<Self, ServiceError> {
        let limit = match max_results {
            None => most,
            Some(wanted) => {
                usize::try_from(wanted).ok().filter(|wanted| (1..=most).contains(wanted)).ok_or_else(|| {
                    ecs::error::invalid_parameter_exception(format!(
                        "maxResults is {wanted}; it must be between 1 and {most}."
                    ))
                })?
            }
        };
        let after = match next_token.filter(|token| !token.is_empty()) {
            None => None,
            Some(token) => Some(decode(list, token).ok_or_else(|| {
                ecs::error::invalid_parameter_exception(format!(
                    "Invalid token: nextToken is none that {list} has given."
                ))
            })?),
        };
        Ok(Self { list, after, limit })
    }

    /// The token with which a later page goes on after `last`.
    #[must_use]
    pub fn token(&self, last: &str) -> String {
        encode(self.list, last)
    }

    /// Takes one page of `items`, which come by ascending key and all lie after [`Self::after`].
    pub fn take<T>(&self, items: impl Iterator<Item = (String, T)>) -> (Vec<T>, Option<String>) {
        let mut page = Vec::new();
        let mut last = None;
        for (key, item) in items {
            if page.len() == self.limit {
                return (page, last.map(|last: String| encode(self.list, &last)));
            }
            last = Some(key);
            page.push(item);
        }
        (page, None)
    }
}

fn encode(list: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("1:{list}:{key}"))
}

fn decode(list: &str, token: &str) -> Option<String> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    Some(text.strip_prefix("1:")?.strip_prefix(list)?.strip_prefix(':')?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(limit: i64) -> Vec<Vec<i32>> {
        let mut token = None;
        let mut pages = Vec::new();
        loop {
            let request = PageRequest::parse("ListTasks", Some(limit), token.as_deref(), 100).unwrap();
            let all = (0..5).map(|n| (format!("{n}"), n));
            let rest = all.filter(|(key, _)| request.after.as_ref().is_none_or(|after| key > after));
            let (page, next) = request.take(rest);
            pages.push(page);
            token = next;
            if token.is_none() {
                return pages;
            }
        }
    }

    #[test]
    fn pages_join_to_the_whole_without_an_empty_last_page() {
        assert_eq!(pages(2), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(pages(5), [vec![0, 1, 2, 3, 4]]);
    }

    #[test]
    fn sizes_out_of_range_and_foreign_tokens_are_refused() {
        for max_results in [0, -1, 101] {
            assert!(PageRequest::parse("ListTasks", Some(max_results), None, 100).is_err());
        }
        let token = encode("ListClusters", "a");
        for token in [token.as_str(), "x", "!!"] {
            assert!(PageRequest::parse("ListTasks", None, Some(token), 100).is_err());
        }
    }
}
