//! Who a container's first process runs as.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// Longest passwd or group file that is looked into, bytes.
const MAX_FILE: u64 = 4 << 20;

/// A user inside a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) additional_gids: Vec<u32>,
    pub(super) home: String,
}

/// A container's root directory, from which nothing leads out.
pub(super) struct Rootfs(OwnedFd);

impl Rootfs {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self(openat(CWD, path, flags, Mode::empty())?))
    }

    /// Opens `path` with links resolved as the container would.
    pub(super) fn resolve(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(openat2(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// A small text file; empty when there is none.
    pub(super) fn text(&self, path: &str) -> String {
        let read = || -> io::Result<String> {
            let file = File::from(self.resolve(path, OFlags::RDONLY | OFlags::NONBLOCK)?);
            let mut bytes = Vec::new();
            file.take(MAX_FILE).read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        read().unwrap_or_default()
    }

    /// Makes the directory `path` with its parents.
    pub(super) fn create_dir_all(&self, path: &str) -> io::Result<()> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        match self.resolve(path, flags) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let path = path.trim_end_matches('/');
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { "/" } else { parent };
        self.create_dir_all(parent)?;
        let parent = self.resolve(parent, flags)?;
        Ok(rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(0o755))?)
    }
}

/// `user`, `uid`, `user:group`, `uid:gid`, …; an empty text is root.
///
/// # Errors
/// A sentence that names what is in neither `passwd` nor `group`.
pub(super) fn resolve(wanted: &str, passwd: &str, group: &str) -> Result<User, String> {
    let (user, explicit_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (wanted, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let entry = passwd.lines().map(fields).find(|entry| {
        entry.first() == Some(&user) || (number.is_some() && entry.get(2).and_then(|uid| uid.parse().ok()) == number)
    });
    let field = |index: usize| entry.as_ref().and_then(|entry| entry.get(index).copied());
    let uid = match (field(2).and_then(|uid| uid.parse().ok()), number) {
        (Some(uid), _) => uid,
        (None, Some(uid)) => uid,
        (None, None) => return Err(format!("unable to find user {user}: no matching entries in passwd file")),
    };
    let home = field(5).filter(|home| !home.is_empty()).unwrap_or(if uid == 0 { "/root" } else { "/" }).to_owned();
    if let Some(wanted) = explicit_group {
        let gid = find_group(wanted, group)?;
        return Ok(User { uid, gid, additional_gids: vec![gid], home });
    }
    let gid = field(3).and_then(|gid| gid.parse().ok()).unwrap_or(0);
    let name = field(0);
    let member = |line: &str| {
        let entry = fields(line);
        let lists = name.is_some() && entry.get(3)?.split(',').any(|member| Some(member) == name);
        lists.then(|| entry.get(2)?.parse().ok()).flatten()
    };
    let others = group.lines().filter_map(member).filter(|other| *other != gid);
    // As Docker has it: a file that bars this very group bars the process also once it has another primary group.
    Ok(User { uid, gid, additional_gids: std::iter::once(gid).chain(others).collect(), home })
}

fn find_group(wanted: &str, group: &str) -> Result<u32, String> {
    let number: Option<u32> = wanted.parse().ok();
    let by_name = group.lines().map(fields).find(|entry| entry.first() == Some(&wanted));
    by_name
        .and_then(|entry| entry.get(2)?.parse().ok())
        .or(number)
        .ok_or_else(|| format!("unable to find group {wanted}: no matching entries in group file"))
}

fn fields(line: &str) -> Vec<&str> {
    line.trim().split(':').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv/web:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:50:web,other\nops:x:51:root\n";

    fn user(uid: u32, gid: u32, additional_gids: &[u32], home: &str) -> User {
        User { uid, gid, additional_gids: additional_gids.to_vec(), home: home.to_owned() }
    }

    #[test]
    fn users_are_found_by_name_or_number() {
        let table = [
            ("", user(0, 0, &[0, 51], "/root")),
            ("web", user(33, 34, &[34, 50], "/srv/web")),
            ("33", user(33, 34, &[34, 50], "/srv/web")),
            ("web:ops", user(33, 51, &[51], "/srv/web")),
            ("web:7", user(33, 7, &[7], "/srv/web")),
            ("1000", user(1000, 0, &[0], "/")),
            ("1000:1001", user(1000, 1001, &[1001], "/")),
        ];
        for (wanted, expected) in table {
            assert_eq!(resolve(wanted, PASSWD, GROUP), Ok(expected), "{wanted:?}");
        }
    }

    #[test]
    fn unknown_names_are_named() {
        assert!(resolve("ghost", PASSWD, GROUP).unwrap_err().contains("user ghost"));
        assert!(resolve("web:ghosts", PASSWD, GROUP).unwrap_err().contains("group ghosts"));
    }

    #[test]
    fn an_image_without_passwd_still_has_root() {
        assert_eq!(resolve("", "", ""), Ok(user(0, 0, &[0], "/root")));
    }
}
