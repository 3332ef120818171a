//! Which ECS operations are built: those whose method some implementation of the trait overrides.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::Result;
use crate::codegen::{self, snake};

/// ECS operations by whether this version has them.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Operations {
    pub built: Vec<String>,
    pub not_built: Vec<String>,
}

/// Looks for `impl … Ecs for …` in the control plane.
pub(crate) fn ecs_operations(root: &Path) -> Result<Operations> {
    let mut methods = BTreeSet::new();
    let mut pending = vec![root.join("crates/control/src")];
    while let Some(directory) = pending.pop() {
        for entry in std::fs::read_dir(&directory)? {
            let path = entry?.path();
            if path.is_dir() {
                pending.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                methods.append(&mut overridden(&path)?);
            }
        }
    }
    let mut operations = Operations::default();
    for name in codegen::operations(&root.join("crates/api/models/ecs-2014-11-13.json"))? {
        let list = if methods.contains(&snake(&name)) { &mut operations.built } else { &mut operations.not_built };
        list.push(name);
    }
    Ok(operations)
}

fn overridden(path: &PathBuf) -> Result<BTreeSet<String>> {
    let text = std::fs::read_to_string(path)?;
    if !text.contains("Ecs for") {
        return Ok(BTreeSet::new());
    }
    methods(&text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// Methods of the file's implementations of a trait called `Ecs`, outside tests.
fn methods(text: &str) -> syn::Result<BTreeSet<String>> {
    let file = syn::parse_file(text)?;
    let mut found = BTreeSet::new();
    for item in file.items {
        let syn::Item::Impl(item) = item else { continue };
        let is_ecs = item
            .trait_
            .as_ref()
            .and_then(|implemented| implemented.0.segments.last())
            .is_some_and(|segment| segment.ident == "Ecs");
        if is_ecs {
            found.extend(item.items.iter().filter_map(|item| match item {
                syn::ImplItem::Fn(method) => Some(method.sig.ident.to_string()),
                _ => None,
            }));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_methods_of_every_implementation_count() {
        let text = "
            impl ecs::Ecs for Service { type Context = (); async fn run_task(&self) {} }
            impl Service { fn stop_task(&self) {} }
            mod tests { impl ecs::Ecs for Fake { async fn start_task(&self) {} } }
        ";
        assert_eq!(methods(text).ok(), Some(BTreeSet::from(["run_task".to_owned()])));
    }
}
