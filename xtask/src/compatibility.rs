//! `cargo xtask compatibility`: the page that says what is there, `docs/compatibility.md`.

use std::collections::BTreeMap;

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
    let notes = std::fs::read_to_string(root().join("docs/operations.tsv"))?;
    let page = page(&Coverage::read(&root())?, &notes)?;
    if !check {
        return Ok(std::fs::write(&path, page)?);
    }
    if std::fs::read_to_string(&path).is_ok_and(|present| present == page) {
        Ok(())
    } else {
        Err("docs/compatibility.md is stale; run `cargo xtask compatibility`".into())
    }
}

fn page(coverage: &Coverage, notes: &str) -> Result<String> {
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

What each does and where it differs from AWS is kept in [operations.tsv](operations.tsv).

| operation | built | what it does | difference from AWS |
|---|---|---|---|
",
        operations.built.len()
    );
    let mut all: Vec<(&str, &str)> = operations.built.iter().map(|name| (name.as_str(), "yes")).collect();
    all.extend(operations.not_built.iter().map(|name| (name.as_str(), "not yet")));
    all.sort_unstable();
    let mut notes = read_notes(notes)?;
    for (name, built) in all {
        let Some((does, differs)) = notes.remove(name) else {
            return Err(format!("docs/operations.tsv: nothing is said of {name}").into());
        };
        page.push_str(&format!("| {name} | {built} | {does} | {differs} |\n"));
    }
    if let Some(unknown) = notes.keys().next() {
        return Err(format!("docs/operations.tsv: there is no operation {unknown}").into());
    }
    page.push_str(
        "
## Behaviours

Each row of [requirements](requirements/) is one behaviour that ECS documents. A row counts as proven when an automated
test fails without it. Rows that need a companion of ECS, or a room of Longshore, that is still to come are listed with
what they await in [awaiting.tsv](requirements/awaiting.tsv); rows that no longer hold, because a later row or the API
says otherwise, in [superseded.tsv](requirements/superseded.tsv); rows that no Linux host outside AWS can have, with the
reason, in [not-applicable.tsv](requirements/not-applicable.tsv).

| area | proven | awaiting | not yet | superseded | not applicable |
|---|---:|---:|---:|---:|---:|
",
    );
    let total = coverage.total();
    for (name, area) in coverage.areas().into_iter().chain([("**all**", total)]) {
        page.push_str(&format!(
            "| {name} | {} | {} | {} | {} | {} |\n",
            area.proven, area.awaiting, area.not_yet, area.superseded, area.not_applicable
        ));
    }
    page.push_str("\nWhat the awaiting rows await:\n\n| awaits | rows |\n|---|---:|\n");
    for (awaits, count) in coverage.awaited() {
        page.push_str(&format!("| {awaits} | {count} |\n"));
    }
    Ok(page)
}

/// What is said of each operation: what it does, and how it differs from AWS.
fn read_notes(text: &str) -> Result<BTreeMap<&str, (&str, &str)>> {
    let mut notes = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("docs/operations.tsv:{}: {what}", number + 1);
        match line.split('\t').collect::<Vec<_>>().as_slice() {
            [name, does, differs] if !does.is_empty() && !differs.is_empty() => {
                if notes.insert(*name, (*does, *differs)).is_some() {
                    return Err(wrong("the operation is there twice").into());
                }
            }
            _ => return Err(wrong("wants an operation, what it does and how it differs, with tabs between").into()),
        }
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built::Operations;

    fn coverage() -> Coverage {
        Coverage {
            rows: Vec::new(),
            proven: BTreeMap::new(),
            awaiting: BTreeMap::new(),
            superseded: BTreeMap::new(),
            not_applicable: BTreeMap::new(),
            operations: Operations { built: vec!["RunTask".to_owned()], not_built: vec!["StopTask".to_owned()] },
        }
    }

    #[test]
    fn the_page_tells_of_each_operation_what_it_does_and_how_it_differs() {
        let notes = "RunTask\tRuns.\tslower\nStopTask\tStops.\tnone known\n";
        let page = page(&coverage(), notes).unwrap();
        assert!(page.contains("| RunTask | yes | Runs. | slower |\n| StopTask | not yet | Stops. | none known |\n"));
    }

    #[test]
    fn every_operation_and_no_other_is_told_of_once() {
        let error = |notes: &str| page(&coverage(), notes).unwrap_err().to_string();
        let both = "RunTask\tRuns.\tslower\nStopTask\tStops.\tnone known\n";
        assert!(error("RunTask\tRuns.\tslower\n").contains("nothing is said of StopTask"));
        assert!(error(&format!("{both}Walk\tWalks.\tnone\n")).contains("no operation Walk"));
        assert!(error(&format!("{both}RunTask\tRuns.\tnone\n")).contains("twice"));
        assert!(error("RunTask\tRuns.\n").contains("wants an operation"));
    }
}
