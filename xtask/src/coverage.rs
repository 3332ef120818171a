//! `cargo xtask coverage`: which requirement rows the tests prove.
//!
//! A test that would fail if a row's behaviour broke cites the row in a comment: the word `spec`, a
//! colon, and the row's id, several separated by commas.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::built::{self, Operations};
use crate::{Result, root};

/// Runs the task.
pub(crate) fn task(arguments: &[String]) -> Result {
    let json = match arguments {
        [] => false,
        [option, format] if option == "--output" && format == "json" => true,
        [option, format] if option == "--output" && format == "text" => false,
        other => return Err(format!("no option `{}`; it takes --output json|text", other.join(" ")).into()),
    };
    let coverage = Coverage::read(&root())?;
    if json {
        println!("{}", serde_json::to_string_pretty(&coverage.report())?);
    } else {
        print!("{}", coverage.text());
    }
    Ok(())
}

/// One requirement row.
#[derive(Debug, PartialEq)]
pub(crate) struct Row {
    pub id: String,
    pub area: String,
}

/// Where a row is cited: `path:line`.
type Citations = BTreeMap<String, Vec<String>>;

/// What a row of `awaiting.tsv` may wait for: a companion of ECS, or a room of Longshore, that is still to come.
const AWAITABLE: [&str; 25] = [
    "App Mesh",
    "Application Auto Scaling",
    "Auto Scaling",
    "Cloud Map",
    "CloudFormation",
    "CloudWatch",
    "CodeDeploy",
    "command line",
    "console",
    "EC2",
    "ECR",
    "EFS",
    "EventBridge",
    "Fargate",
    "GPU",
    "IAM",
    "image pulls",
    "load balancers",
    "networking",
    "S3",
    "Secrets Manager",
    "Service Connect",
    "Service Quotas",
    "SSM",
    "volumes",
];

/// A row whose behaviour needs something that is still to come.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Awaiting {
    pub awaits: String,
    pub reason: String,
}

/// A row that no longer holds: another one, or the API itself, says otherwise.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Superseded {
    /// A row's id, or [`API`].
    pub by: String,
    pub reason: String,
}

/// What supersedes a row when no other row does: the service's API model.
const API: &str = "API";

/// Rows, citations, reasons, operations.
#[derive(Debug)]
pub(crate) struct Coverage {
    pub rows: Vec<Row>,
    pub proven: Citations,
    pub awaiting: BTreeMap<String, Awaiting>,
    pub superseded: BTreeMap<String, Superseded>,
    pub not_applicable: BTreeMap<String, String>,
    pub operations: Operations,
}

/// Numbers of one area.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Area {
    pub proven: usize,
    pub awaiting: usize,
    pub not_yet: usize,
    pub superseded: usize,
    pub not_applicable: usize,
}

#[derive(Serialize)]
struct Report<'a> {
    areas: BTreeMap<&'a str, Area>,
    total: Area,
    proven: &'a Citations,
    awaiting: &'a BTreeMap<String, Awaiting>,
    superseded: &'a BTreeMap<String, Superseded>,
    not_applicable: &'a BTreeMap<String, String>,
    ecs_operations: &'a Operations,
}

impl Coverage {
    /// Reads the rows and the sources below `root`.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let requirements = root.join("docs/requirements");
        let rows = rows(&requirements)?;
        let list = |name: &str| std::fs::read_to_string(requirements.join(name)).unwrap_or_default();
        let not_applicable = not_applicable(&list("not-applicable.tsv"))?;
        let awaiting = awaiting(&list("awaiting.tsv"))?;
        let superseded = superseded(&list("superseded.tsv"))?;
        let mut proven = Citations::new();
        for path in sources(root)? {
            let text = std::fs::read_to_string(&path)?;
            let name = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            cite(&name, &text, &mut proven);
        }
        let operations = built::ecs_operations(root)?;
        let coverage = Self { rows, proven, awaiting, superseded, not_applicable, operations };
        coverage.verify()?;
        Ok(coverage)
    }

    /// Every row that is cited or listed exists, and none is two of them.
    fn verify(&self) -> Result {
        let mut wrong = Vec::new();
        let mut known = BTreeSet::new();
        for row in &self.rows {
            if !known.insert(row.id.as_str()) {
                wrong.push(format!("row {} is there twice", row.id));
            }
        }
        let lists: [(&str, BTreeSet<&String>); 3] = [
            ("not-applicable.tsv", self.not_applicable.keys().collect()),
            ("awaiting.tsv", self.awaiting.keys().collect()),
            ("superseded.tsv", self.superseded.keys().collect()),
        ];
        for (id, places) in &self.proven {
            if !known.contains(id.as_str()) {
                wrong.push(format!("{}: no requirement row {id}", places.join(", ")));
            }
            for (file, _) in lists.iter().filter(|(_, ids)| ids.contains(id)) {
                wrong.push(format!("{}: row {id} is in {file}", places.join(", ")));
            }
        }
        for (number, (file, ids)) in lists.iter().enumerate() {
            for id in ids {
                if !known.contains(id.as_str()) {
                    wrong.push(format!("{file}: no requirement row {id}"));
                }
                for (other, _) in lists[..number].iter().filter(|(_, ids)| ids.contains(id)) {
                    wrong.push(format!("{file}: row {id} is in {other}, too"));
                }
            }
        }
        for (id, Superseded { by, .. }) in self.superseded.iter().filter(|(_, row)| row.by != API) {
            if !known.contains(by.as_str()) {
                wrong.push(format!("superseded.tsv: no requirement row {by}, which supersedes {id}"));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
    }

    /// Numbers by area.
    pub(crate) fn areas(&self) -> BTreeMap<&str, Area> {
        let mut areas: BTreeMap<&str, Area> = BTreeMap::new();
        for row in &self.rows {
            let area = areas.entry(&row.area).or_default();
            if self.proven.contains_key(&row.id) {
                area.proven += 1;
            } else if self.awaiting.contains_key(&row.id) {
                area.awaiting += 1;
            } else if self.superseded.contains_key(&row.id) {
                area.superseded += 1;
            } else if self.not_applicable.contains_key(&row.id) {
                area.not_applicable += 1;
            } else {
                area.not_yet += 1;
            }
        }
        areas
    }

    /// Numbers of all areas together.
    pub(crate) fn total(&self) -> Area {
        self.areas().into_values().fold(Area::default(), |total, area| Area {
            proven: total.proven + area.proven,
            awaiting: total.awaiting + area.awaiting,
            not_yet: total.not_yet + area.not_yet,
            superseded: total.superseded + area.superseded,
            not_applicable: total.not_applicable + area.not_applicable,
        })
    }

    /// How many rows await each thing that is still to come.
    pub(crate) fn awaited(&self) -> BTreeMap<&str, usize> {
        let mut awaited = BTreeMap::new();
        for row in self.awaiting.values() {
            *awaited.entry(row.awaits.as_str()).or_default() += 1;
        }
        awaited
    }

    fn report(&self) -> Report<'_> {
        Report {
            areas: self.areas(),
            total: self.total(),
            proven: &self.proven,
            awaiting: &self.awaiting,
            superseded: &self.superseded,
            not_applicable: &self.not_applicable,
            ecs_operations: &self.operations,
        }
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{:<12} {:>7} {:>9} {:>8} {:>11} {:>15}\n",
            "area", "proven", "awaiting", "not yet", "superseded", "not applicable"
        );
        let total = self.total();
        for (name, area) in self.areas().into_iter().chain([("all", total)]) {
            text.push_str(&format!(
                "{name:<12} {:>7} {:>9} {:>8} {:>11} {:>15}\n",
                area.proven, area.awaiting, area.not_yet, area.superseded, area.not_applicable
            ));
        }
        for (awaits, count) in self.awaited() {
            text.push_str(&format!("awaiting {awaits}: {count}\n"));
        }
        let (built, missing) = (self.operations.built.len(), self.operations.not_built.len());
        text.push_str(&format!("\nECS operations: {built} of {} built\n", built + missing));
        if missing > 0 {
            text.push_str(&format!("not built: {}\n", self.operations.not_built.join(", ")));
        }
        text
    }
}

fn rows(directory: &Path) -> Result<Vec<Row>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("rows-") && name.ends_with(".tsv") {
            paths.push(path.clone());
        }
    }
    paths.sort();
    let mut rows = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path)?;
        for (number, line) in text.lines().enumerate() {
            match line.split('\t').collect::<Vec<_>>().as_slice() {
                [id, area, _, _, _, _, _] => rows.push(Row { id: (*id).to_owned(), area: (*area).to_owned() }),
                columns => {
                    let count = columns.len();
                    return Err(format!("{}:{}: {count} columns, not 7", path.display(), number + 1).into());
                }
            }
        }
    }
    rows.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(rows)
}

fn not_applicable(text: &str) -> Result<BTreeMap<String, String>> {
    let mut reasons = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        match line.split_once('\t') {
            Some((id, reason)) if !reason.trim().is_empty() => {
                if reasons.insert(id.to_owned(), reason.to_owned()).is_some() {
                    return Err(format!("not-applicable.tsv:{}: {id} is there twice", number + 1).into());
                }
            }
            _ => return Err(format!("not-applicable.tsv:{}: wants a row's id, a tab and a reason", number + 1).into()),
        }
    }
    Ok(reasons)
}

fn awaiting(text: &str) -> Result<BTreeMap<String, Awaiting>> {
    let mut awaiting = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: String| format!("awaiting.tsv:{}: {what}", number + 1);
        let (id, awaits, reason) = match line.split('\t').collect::<Vec<_>>().as_slice() {
            [id, awaits, reason] if !reason.trim().is_empty() => (*id, *awaits, *reason),
            _ => {
                return Err(wrong("wants a row's id, what it awaits and a reason, with tabs between".to_owned()).into());
            }
        };
        if !AWAITABLE.contains(&awaits) {
            return Err(wrong(format!("`{awaits}` is none of: {}", AWAITABLE.join(", "))).into());
        }
        let row = Awaiting { awaits: awaits.to_owned(), reason: reason.to_owned() };
        if awaiting.insert(id.to_owned(), row).is_some() {
            return Err(wrong(format!("{id} is there twice")).into());
        }
    }
    Ok(awaiting)
}

fn superseded(text: &str) -> Result<BTreeMap<String, Superseded>> {
    let mut superseded = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |what: &str| format!("superseded.tsv:{}: {what}", number + 1);
        let (id, by, reason) = match line.split('\t').collect::<Vec<_>>().as_slice() {
            [id, by, reason] if !reason.trim().is_empty() && (is_id(by) || *by == API) => (*id, *by, *reason),
            _ => {
                let what = "wants a row's id, what supersedes it (a row's id, or API) and a reason, with tabs between";
                return Err(wrong(what).into());
            }
        };
        let row = Superseded { by: by.to_owned(), reason: reason.to_owned() };
        if superseded.insert(id.to_owned(), row).is_some() {
            return Err(wrong(&format!("{id} is there twice")).into());
        }
    }
    Ok(superseded)
}

/// Every source that may cite rows.
fn sources(root: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let entry = entry?;
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                if !name.starts_with('.') && name != "target" && name != "generated" {
                    pending.push(path);
                }
            } else if [".rs", ".py", ".sh"].iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Finds the citations of one file.
fn cite(name: &str, text: &str, citations: &mut Citations) {
    // Put together, so that this file cites nothing.
    let mark = concat!("spec", ": ");
    for (number, line) in text.lines().enumerate() {
        let Some((comment, list)) = line.split_once(mark) else { continue };
        let comment = comment.trim_start();
        if !(comment.starts_with("//") || comment.starts_with('#')) {
            continue;
        }
        for id in list.split(',').map(str::trim).take_while(|id| is_id(id)) {
            citations.entry(id.to_owned()).or_default().push(format!("{name}:{}", number + 1));
        }
    }
}

/// Whether a text has the form of a row's id: two digits, a hyphen, three digits.
fn is_id(text: &str) -> bool {
    let digits = |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    text.split_once('-').is_some_and(|(chapter, number)| digits(chapter, 2) && digits(number, 3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cited(text: &str) -> Vec<String> {
        let mut citations = Citations::new();
        cite("a.rs", text, &mut citations);
        citations.into_keys().collect()
    }

    #[test]
    fn a_comment_may_cite_several_rows() {
        assert_eq!(cited(concat!("    // spec", ": 05-028, 05-029\n")), ["05-028", "05-029"]);
        assert_eq!(cited(concat!("# spec", ": 05-028\n")), ["05-028"]);
    }

    #[test]
    fn only_comments_cite() {
        assert_eq!(cited(concat!("let text = \"spec", ": 05-028\";\n")), Vec::<String>::new());
        assert_eq!(cited(concat!("// spec", ": chapter 5\n")), Vec::<String>::new());
    }

    fn coverage(proven: &[&str], not_applicable: &[&str]) -> Coverage {
        Coverage {
            rows: ["01-001", "01-002", "01-003"].map(|id| Row { id: id.to_owned(), area: "api".to_owned() }).into(),
            proven: proven.iter().map(|id| ((*id).to_owned(), vec!["a.rs:1".to_owned()])).collect(),
            awaiting: BTreeMap::new(),
            superseded: BTreeMap::new(),
            not_applicable: not_applicable.iter().map(|id| ((*id).to_owned(), "why".to_owned())).collect(),
            operations: Operations::default(),
        }
    }

    #[test]
    fn rows_are_counted_by_area() {
        let coverage = coverage(&["01-001"], &["01-003"]);
        assert!(coverage.verify().is_ok());
        assert_eq!(
            coverage.areas()["api"],
            Area { proven: 1, awaiting: 0, not_yet: 1, superseded: 0, not_applicable: 1 }
        );
    }

    fn waits(mut coverage: Coverage, ids: &[&str]) -> Coverage {
        let lines: Vec<String> = ids.iter().map(|id| format!("{id}\tIAM\tneeds policies")).collect();
        coverage.awaiting = awaiting(&lines.join("\n")).unwrap();
        coverage
    }

    #[test]
    fn a_row_may_await_what_is_still_to_come() {
        let coverage = waits(coverage(&["01-001"], &[]), &["01-002"]);
        assert!(coverage.verify().is_ok());
        assert_eq!(
            coverage.areas()["api"],
            Area { proven: 1, awaiting: 1, not_yet: 1, superseded: 0, not_applicable: 0 }
        );
        assert_eq!(coverage.awaited(), BTreeMap::from([("IAM", 1)]));
    }

    #[test]
    fn an_awaiting_row_is_known_and_neither_proven_nor_inapplicable() {
        let error = |coverage: Coverage| coverage.verify().unwrap_err().to_string();
        let text = error(waits(coverage(&["01-001"], &["01-003"]), &["01-001", "01-003", "09-999"]));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "a.rs:1: row 01-001 is in awaiting.tsv",
                "awaiting.tsv: row 01-003 is in not-applicable.tsv, too",
                "awaiting.tsv: no requirement row 09-999",
            ]
        );
    }

    #[test]
    fn a_row_may_be_superseded_by_another_one_or_by_the_api() {
        let mut coverage = coverage(&["01-001"], &[]);
        coverage.superseded = superseded("01-002\t01-001\tit is so now\n01-003\tAPI\tit is taken").unwrap();
        assert!(coverage.verify().is_ok());
        assert_eq!(
            coverage.areas()["api"],
            Area { proven: 1, awaiting: 0, not_yet: 0, superseded: 2, not_applicable: 0 }
        );
    }

    #[test]
    fn a_superseded_row_is_known_not_proven_and_superseded_by_one_that_is_there() {
        let mut coverage = coverage(&["01-001"], &["01-003"]);
        coverage.superseded = superseded("01-001\t09-999\twhy\n01-003\tAPI\twhy\n08-888\tAPI\twhy").unwrap();
        let text = coverage.verify().unwrap_err().to_string();
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "a.rs:1: row 01-001 is in superseded.tsv",
                "superseded.tsv: row 01-003 is in not-applicable.tsv, too",
                "superseded.tsv: no requirement row 08-888",
                "superseded.tsv: no requirement row 09-999, which supersedes 01-001",
            ]
        );
        let error = |text: &str| superseded(text).unwrap_err().to_string();
        assert!(error("01-001\tsomebody\twhy").starts_with("superseded.tsv:1: wants a row's id"));
        assert!(error("01-001\tAPI\twhy\n01-001\tAPI\twhy").contains("01-001 is there twice"));
    }

    #[test]
    fn what_a_row_awaits_has_a_name_of_the_list() {
        let error = |text: &str| awaiting(text).unwrap_err().to_string();
        assert!(error("01-001\tgood weather\twhy").starts_with("awaiting.tsv:1: `good weather` is none of: "));
        assert!(error("01-001\tIAM").contains("wants a row's id"));
        assert!(error("01-001\tIAM\twhy\n01-001\tECR\twhy").contains("01-001 is there twice"));
    }

    #[test]
    fn an_unknown_row_is_refused() {
        let error = |coverage: Coverage| coverage.verify().map_err(|error| error.to_string());
        assert_eq!(error(coverage(&["09-999"], &[])), Err("a.rs:1: no requirement row 09-999".to_owned()));
        assert_eq!(error(coverage(&[], &["09-999"])), Err("not-applicable.tsv: no requirement row 09-999".to_owned()));
    }

    #[test]
    fn a_row_that_is_proven_cannot_be_inapplicable() {
        let error = coverage(&["01-001"], &["01-001"]).verify().map_err(|error| error.to_string());
        assert_eq!(error, Err("a.rs:1: row 01-001 is in not-applicable.tsv".to_owned()));
    }
}
