//! `cargo xtask compatibility`: the page that says what is there, `docs/compatibility.md`.

use crate::coverage::Coverage;
use crate::{Result, root};

/// Runs the task.
pub(crate) fn task(arguments: &[String]) -> Result {
    let check = match arguments {
        [] => false,
        [option] if option == "--check" => true,
        other => return Err(format!("no option `{}`; it takes --check", other.join(" ")).into()),
    };
    let path = root().join("docs/compatibility.md");
    let page = page(&Coverage::read(&root())?);
    if !check {
        return Ok(std::fs::write(&path, page)?);
    }
    if std::fs::read_to_string(&path).is_ok_and(|present| present == page) {
        Ok(())
    } else {
        Err("docs/compatibility.md is stale; run `cargo xtask compatibility`".into())
    }
}

fn page(coverage: &Coverage) -> String {
    let operations = &coverage.operations;
    let total = operations.built.len() + operations.not_built.len();
    let mut page = format!(
        "\
<!-- Written by `cargo xtask compatibility`: do not edit. -->

# Compatibility

What of Amazon ECS this version has. An operation that is not built answers `UnsupportedFeatureException` and
says its name; it never pretends.

## ECS operations

{} of {total} operations of the API 2014-11-13 are built.

| operation | built |
|---|---|
",
        operations.built.len()
    );
    let mut all: Vec<(&str, &str)> = operations.built.iter().map(|name| (name.as_str(), "yes")).collect();
    all.extend(operations.not_built.iter().map(|name| (name.as_str(), "not yet")));
    all.sort_unstable();
    for (name, built) in all {
        page.push_str(&format!("| {name} | {built} |\n"));
    }
    page.push_str(
        "
## Behaviours

Each row of [requirements](requirements/) is one behaviour that ECS documents. A row counts as proven when an automated
test fails without it. Rows that need a companion of ECS, or a room of Longshore, that is still to come are listed with
what they await in [awaiting.tsv](requirements/awaiting.tsv); rows that no Linux host outside AWS can have are listed
with the reason in [not-applicable.tsv](requirements/not-applicable.tsv).

| area | proven | awaiting | not yet | not applicable |
|---|---:|---:|---:|---:|
",
    );
    let total = coverage.total();
    for (name, area) in coverage.areas().into_iter().chain([("**all**", total)]) {
        page.push_str(&format!(
            "| {name} | {} | {} | {} | {} |\n",
            area.proven, area.awaiting, area.not_yet, area.not_applicable
        ));
    }
    page.push_str("\nWhat the awaiting rows await:\n\n| awaits | rows |\n|---|---:|\n");
    for (awaits, count) in coverage.awaited() {
        page.push_str(&format!("| {awaits} | {count} |\n"));
    }
    page
}
