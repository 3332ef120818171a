//! Adding a section to one of the user's files and leaving everything else as it is.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::ProfileError;
use super::ini::{Ini, Line, normal};

/// What [`extend`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extended {
    /// The section is new.
    Added,
    /// The section was there and said the same.
    Unchanged,
    /// The section was there and said something else, and now says this.
    Changed,
}

/// Puts `settings` into `[section]` of the file at `path`.
///
/// Every other line stays as it is. The file is replaced atomically, ends with mode 0600 and
/// belongs to whom it belonged to before (a new one to the owner of its directory: `sudo longshore
/// up` must not leave root's files in the user's home). A link is followed.
///
/// # Errors
/// A section that is there with other values, unless `overwrite`; whatever the file system answers.
pub fn extend(
    path: &Path,
    section: &str,
    settings: &[(&str, &str)],
    overwrite: bool,
) -> Result<Extended, ProfileError> {
    if let Some((key, _)) = settings.iter().find(|(_, value)| value.contains(['\n', '\r'])) {
        return Err(ProfileError::Unwritable { key: (*key).to_owned() });
    }
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| ProfileError::Io { path, source }
    };
    let target = target(path).map_err(failed(path))?;
    let old = match fs::read_to_string(&target) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(ProfileError::Io { path: target, source }),
    };
    let text = old.unwrap_or_default();
    let (new, extended) = match Ini::parse(&text).section(section) {
        None => (appended(&text, section, settings), Extended::Added),
        Some(there) => {
            let same = |key: &str, value: &str| there.get(key).map(String::as_str) == Some(value);
            let Some((key, _)) = settings.iter().find(|(key, value)| !same(key, value)) else {
                return Ok(Extended::Unchanged);
            };
            if !overwrite {
                return Err(ProfileError::Taken { path: target, section: section.to_owned(), key: (*key).to_owned() });
            }
            (changed(&text, section, settings), Extended::Changed)
        }
    };
    replace(&target, &new).map_err(failed(&target))?;
    Ok(extended)
}

fn target(path: &Path) -> io::Result<PathBuf> {
    match fs::canonicalize(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path.to_owned()),
        other => other,
    }
}

fn appended(text: &str, section: &str, settings: &[(&str, &str)]) -> String {
    let mut new = text.to_owned();
    if !new.is_empty() {
        new.push_str(if new.ends_with('\n') { "\n" } else { "\n\n" });
    }
    new.push_str(&format!("[{section}]\n"));
    for (key, value) in settings {
        new.push_str(&format!("{key} = {value}\n"));
    }
    new
}

/// `text` with the settings replaced where they stand in the section, and those it lacks put after its head.
fn changed(text: &str, section: &str, settings: &[(&str, &str)]) -> String {
    let wanted = normal(section);
    let present = Ini::parse(text).section(section).unwrap_or_default();
    let mut new = String::new();
    let (mut inside, mut headed) = (false, false);
    for line in text.split_inclusive('\n') {
        match Line::of(line) {
            Line::Section(name) => {
                inside = normal(name) == wanted;
                new.push_str(line);
                if inside && !std::mem::replace(&mut headed, true) {
                    if !line.ends_with('\n') {
                        new.push('\n');
                    }
                    for (key, value) in settings.iter().filter(|(key, _)| !present.contains_key(*key)) {
                        new.push_str(&format!("{key} = {value}\n"));
                    }
                }
            }
            Line::Setting(key, _) if inside => {
                match settings.iter().find(|(wanted, _)| wanted.eq_ignore_ascii_case(key)) {
                    Some((key, value)) => new.push_str(&format!("{key} = {value}\n")),
                    None => new.push_str(line),
                }
            }
            _ => new.push_str(line),
        }
    }
    new
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_directory(directory)?;
    let owner = fs::metadata(path).or_else(|_| fs::metadata(directory))?;
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = write(&new, text, (owner.uid(), owner.gid())).and_then(|()| fs::rename(&new, path));
    if written.is_err() {
        // What is left of it is of no use; the error that matters is the one above.
        let _ = fs::remove_file(&new);
    }
    written?;
    fs::File::open(directory)?.sync_all()
}

fn write(path: &Path, text: &str, (uid, gid): (u32, u32)) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    let made = file.metadata()?;
    if (made.uid(), made.gid()) != (uid, gid) {
        std::os::unix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    file.sync_all()
}

/// Makes the directory (usually `~/.aws`) for the owner of the one it stands in.
fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        make_directory(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    let owner = fs::metadata(path.parent().unwrap_or(Path::new("/")))?;
    let made = fs::metadata(path)?;
    if (made.uid(), made.gid()) != (owner.uid(), owner.gid()) {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    const SETTINGS: [(&str, &str); 2] = [("region", "us-east-1"), ("endpoint_url", "http://127.0.0.1:4747")];

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        fs::write(&path, text).unwrap();
        (directory, path)
    }

    #[test]
    fn a_missing_file_is_made_for_its_owner_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".aws/config");
        assert_eq!(extend(&path, "profile longshore", &SETTINGS, false).unwrap(), Extended::Added);
        let expected = "[profile longshore]\nregion = us-east-1\nendpoint_url = http://127.0.0.1:4747\n";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "no other file is left behind");
    }

    #[test]
    fn what_is_there_stays_as_it_is() {
        let before = "; mine\n[default]\nregion=eu-west-1   # home\n[profile x]\n  odd";
        let (_guard, path) = file(before);
        extend(&path, "profile longshore", &SETTINGS, false).unwrap();
        let after = fs::read_to_string(&path).unwrap();
        assert_eq!(
            after.strip_prefix(before).unwrap(),
            "\n\n[profile longshore]\nregion = us-east-1\nendpoint_url = http://127.0.0.1:4747\n"
        );
    }

    #[test]
    fn the_same_section_again_changes_nothing() {
        let text = "[profile longshore]\nendpoint_url=http://127.0.0.1:4747\nregion = us-east-1\noutput = json";
        let (_guard, path) = file(text);
        assert_eq!(extend(&path, "profile longshore", &SETTINGS, false).unwrap(), Extended::Unchanged);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn another_section_of_that_name_is_refused() {
        let text = "[profile longshore]\nregion = elsewhere\n";
        let (_guard, path) = file(text);
        let error = extend(&path, "profile longshore", &SETTINGS, false).unwrap_err();
        assert!(error.to_string().contains("[profile longshore]") && error.to_string().contains("region"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn overwriting_replaces_only_the_settings_themselves() {
        let (_guard, path) =
            file("[profile longshore]\nregion = elsewhere # old\noutput = json\n[default]\nregion = x");
        assert_eq!(extend(&path, "profile longshore", &SETTINGS, true).unwrap(), Extended::Changed);
        let expected = "[profile longshore]\nendpoint_url = http://127.0.0.1:4747\nregion = us-east-1\noutput = json\n\
                        [default]\nregion = x";
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    }

    #[test]
    fn a_link_is_followed_and_stays_a_link() {
        let (directory, path) = file("[default]\n");
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        extend(&link, "profile longshore", &SETTINGS, false).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&path).unwrap().contains("[profile longshore]"));
    }

    proptest! {
        #[test]
        fn any_file_says_what_was_put_in_and_keeps_what_it_said(
            text in "(\\[(default|profile longshore|profile x)\\]\n|region ?= ?[a-z]{0,3}\n|s3 =\n  a = b\n|# c\n|\\PC{0,8}\n){0,8}(output = json)?",
        ) {
            let (_guard, path) = file(&text);
            let before = Ini::parse(&text);
            extend(&path, "profile longshore", &SETTINGS, true).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let after = Ini::parse(&text);
            let ours = after.section("profile longshore").unwrap();
            for (key, value) in SETTINGS {
                prop_assert_eq!(ours.get(key).map(String::as_str), Some(value), "{}", text);
            }
            for section in ["default", "profile x"] {
                prop_assert_eq!(before.section(section), after.section(section), "{}", text);
            }
            prop_assert_eq!(extend(&path, "profile longshore", &SETTINGS, false).unwrap(), Extended::Unchanged);
        }
    }

    #[test]
    fn a_value_with_a_line_break_is_refused() {
        let (_guard, path) = file("");
        assert!(extend(&path, "profile longshore", &[("region", "a\n[default]")], true).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
    }
}
