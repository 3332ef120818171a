//! The messages that the code gives to exceptions, found in its syntax.
//!
//! A message is the literal given to an exception's constructor (`error::client_exception("…")`, `format!` included),
//! to a function that only hands its parameter on to one, or to a variable or constant that is given to one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use heck::ToUpperCamelCase;
use syn::visit::{self, Visit};

use crate::Result;

/// Ending of the constructors' names.
const CONSTRUCTOR: &str = "_exception";

/// Forms of messages, by exception.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Forms(BTreeMap<String, BTreeSet<String>>);

impl Forms {
    /// Reads all Rust files below `directories`, tests left out.
    pub(super) fn read(root: &Path, directories: &[&str]) -> Result<Self> {
        let mut forms = Self::default();
        for directory in directories {
            let mut files = BTreeMap::new();
            let mut pending = vec![root.join(directory)];
            while let Some(directory) = pending.pop() {
                for entry in std::fs::read_dir(&directory)? {
                    let path = entry?.path();
                    if path.is_dir() {
                        pending.push(path);
                    } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test(&path) {
                        let text = std::fs::read_to_string(&path)?;
                        let file = syn::parse_file(&text).map_err(|error| format!("{}: {error}", path.display()))?;
                        files.insert(path, file);
                    }
                }
            }
            forms.add(&files);
        }
        Ok(forms)
    }

    /// The forms of an exception's messages.
    pub(super) fn of(&self, exception: &str) -> impl Iterator<Item = &String> {
        self.0.get(exception).into_iter().flatten()
    }

    fn add(&mut self, files: &BTreeMap<PathBuf, syn::File>) {
        let mut helpers: BTreeMap<&Path, BTreeMap<String, String>> = BTreeMap::new();
        for (path, file) in files {
            let mut found = Helpers::default();
            found.visit_file(file);
            // A module's helpers are used by the modules below it.
            let scope =
                if path.file_name().is_some_and(|name| name == "mod.rs") { path.parent() } else { Some(&**path) };
            helpers.entry(scope.unwrap_or(path)).or_default().extend(found.found);
        }
        for (path, file) in files {
            let mut known = BTreeMap::new();
            let ancestors: Vec<&Path> = path.ancestors().collect();
            for scope in ancestors.into_iter().rev() {
                known.extend(helpers.get(scope).into_iter().flatten().map(|(name, to)| (name.clone(), to.clone())));
            }
            let mut messages = Messages { helpers: known, literals: BTreeMap::new(), forms: self };
            messages.visit_file(file);
        }
    }
}

fn is_test(path: &Path) -> bool {
    let name = |path: &Path| path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let stem = name(path);
    let below = path.parent().map(name).unwrap_or_default();
    stem.contains("test") || below == "tests" || stem == "answers"
}

fn is_test_module(item: &syn::ItemMod) -> bool {
    item.ident == "tests"
}

/// `ClientException` for `client_exception` behind any path.
fn constructed(function: &syn::Expr) -> Option<String> {
    let syn::Expr::Path(path) = function else { return None };
    let name = path.path.segments.last()?.ident.to_string();
    name.ends_with(CONSTRUCTOR).then(|| name.to_upper_camel_case())
}

fn called(function: &syn::Expr) -> Option<String> {
    let syn::Expr::Path(path) = function else { return None };
    Some(path.path.segments.last()?.ident.to_string())
}

/// Functions that hand a parameter on to a constructor.
#[derive(Default)]
struct Helpers {
    found: BTreeMap<String, String>,
    inside: Option<(String, BTreeSet<String>)>,
}

impl<'ast> Visit<'ast> for Helpers {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test_module(item) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let parameters = item.sig.inputs.iter().filter_map(|input| match input {
            syn::FnArg::Typed(typed) => match &*typed.pat {
                syn::Pat::Ident(name) => Some(name.ident.to_string()),
                _ => None,
            },
            syn::FnArg::Receiver(_) => None,
        });
        let outer = self.inside.replace((item.sig.ident.to_string(), parameters.collect()));
        visit::visit_item_fn(self, item);
        self.inside = outer;
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let (Some(exception), Some(syn::Expr::Path(given)), Some((name, parameters))) =
            (constructed(&call.func), call.args.first(), &self.inside)
            && given.path.get_ident().is_some_and(|ident| parameters.contains(&ident.to_string()))
        {
            self.found.insert(name.clone(), exception);
        }
        visit::visit_expr_call(self, call);
    }
}

struct Messages<'a> {
    helpers: BTreeMap<String, String>,
    /// Literals of the variables and constants met so far.
    literals: BTreeMap<String, Vec<String>>,
    forms: &'a mut Forms,
}

impl Messages<'_> {
    fn exception(&self, function: &syn::Expr) -> Option<String> {
        constructed(function).or_else(|| self.helpers.get(&called(function)?).cloned())
    }

    fn literals(&self, value: &syn::Expr) -> Vec<String> {
        match value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => vec![text.value()],
            syn::Expr::Macro(call) if call.mac.path.is_ident("format") => {
                let first = call.mac.tokens.clone().into_iter().next();
                let text = first.and_then(|token| syn::parse_str::<syn::LitStr>(&token.to_string()).ok());
                text.map(|text| shown(&text.value())).into_iter().collect()
            }
            syn::Expr::Path(path) => {
                let name = path.path.segments.last().map(|segment| segment.ident.to_string()).unwrap_or_default();
                self.literals.get(&name).cloned().unwrap_or_default()
            }
            syn::Expr::Reference(inner) => self.literals(&inner.expr),
            syn::Expr::If(branches) => {
                let mut found = last(&branches.then_branch).map(|value| self.literals(value)).unwrap_or_default();
                if let Some((_, otherwise)) = &branches.else_branch {
                    found.extend(self.literals(otherwise));
                }
                found
            }
            syn::Expr::Block(block) => last(&block.block).map(|value| self.literals(value)).unwrap_or_default(),
            syn::Expr::MethodCall(call) => self.literals(&call.receiver),
            _ => Vec::new(),
        }
    }
}

fn last(block: &syn::Block) -> Option<&syn::Expr> {
    match block.stmts.last() {
        Some(syn::Stmt::Expr(value, None)) => Some(value),
        _ => None,
    }
}

/// A format string as it is shown: `…` for what has no name.
fn shown(format: &str) -> String {
    let mut shown = String::new();
    let mut rest = format.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '{' | '}' if rest.peek() == Some(&character) => {
                rest.next();
                shown.push(character);
            }
            '{' => {
                let name: String = rest.by_ref().take_while(|character| *character != '}').collect();
                let name = name.split(':').next().unwrap_or_default();
                shown.push_str(&if name.is_empty() { "…".to_owned() } else { format!("{{{name}}}") });
            }
            other => shown.push(other),
        }
    }
    shown
}

impl<'ast> Visit<'ast> for Messages<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test_module(item) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        let literals = self.literals(&item.expr);
        self.literals.insert(item.ident.to_string(), literals);
        visit::visit_item_const(self, item);
    }

    fn visit_local(&mut self, local: &'ast syn::Local) {
        let pattern = match &local.pat {
            syn::Pat::Type(typed) => &*typed.pat,
            other => other,
        };
        if let (syn::Pat::Ident(name), Some(value)) = (pattern, &local.init) {
            let literals = self.literals(&value.expr);
            self.literals.insert(name.ident.to_string(), literals);
        }
        visit::visit_local(self, local);
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let (Some(exception), Some(message)) = (self.exception(&call.func), call.args.first()) {
            let literals = self.literals(message).into_iter().filter(|form| !form.is_empty());
            self.forms.0.entry(exception).or_default().extend(literals);
        }
        visit::visit_expr_call(self, call);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forms(files: &[(&str, &str)]) -> BTreeMap<String, Vec<String>> {
        let parsed = files.iter().map(|(path, text)| (PathBuf::from(path), syn::parse_file(text).unwrap())).collect();
        let mut forms = Forms::default();
        forms.add(&parsed);
        forms.0.into_iter().map(|(exception, forms)| (exception, forms.into_iter().collect())).collect()
    }

    #[test]
    fn messages_are_found_however_they_reach_the_constructor() {
        let text = r#"
            const GONE: &str = "d";
            fn refuse(message: impl Into<String>) -> ServiceError { error::client_exception(message) }
            fn work() {
                error::client_exception("a");
                ecs::error::client_exception(format!("b {name} {} {{1}}", 2));
                let message = format!("c {:?}", it);
                error::client_exception(message);
                error::client_exception(GONE);
                refuse("e");
                error::client_exception(if it { "f" } else { "g" });
            }
            mod tests { fn it() { error::client_exception("never"); } }
        "#;
        let found = forms(&[("src/work.rs", text)]);
        assert_eq!(found["ClientException"], ["a", "b {name} … {1}", "c …", "d", "e", "f", "g"]);
    }

    #[test]
    fn a_modules_helper_is_known_to_the_modules_below_it_and_nowhere_else() {
        let parent = "fn refuse(message: String) -> E { error::client_exception(message) }";
        let user = r#"fn work() { refuse("a"); }"#;
        let found =
            forms(&[("src/a/mod.rs", parent), ("src/a/b.rs", user), ("src/c.rs", r#"fn work() { refuse("b"); }"#)]);
        assert_eq!(found["ClientException"], ["a"]);
    }
}
