//! Memory that a process holds though it has no use for it.

#![expect(unsafe_code, reason = "madvise has no safe form")]

use std::{fs, io};

use nix::libc;

/// Lets go of the pages of this program's code that it has touched. What it goes on using comes back from the page cache
/// within microseconds; what only its start needed, most of it, stays away.
///
/// # Errors
/// The kernel tells nothing of the process's memory, or refuses.
pub fn release_code() -> io::Result<()> {
    for (start, length) in code(&fs::read_to_string("/proc/self/maps")?) {
        // SAFETY: the range is a private mapping of a file that was never written to, as it is executable and not
        // writable: a page of it that is taken away is the same when it is mapped again.
        if unsafe { libc::madvise(std::ptr::without_provenance_mut(start), length, libc::MADV_DONTNEED) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Start and length of each mapping of code from a file, in the form of `/proc/PID/maps`.
fn code(maps: &str) -> Vec<(usize, usize)> {
    let mapping = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let (range, access) = (fields.next()?, fields.next()?);
        let inode = fields.nth(2)?;
        let (start, end) = range.split_once('-')?;
        let (start, end) = (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?);
        (access == "r-xp" && inode != "0").then(|| (start, end.saturating_sub(start)))
    };
    maps.lines().filter_map(mapping).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_what_is_executable_and_comes_from_a_file() {
        let maps = "\
00200000-00989000 r--p 00000000 fe:00 1234                               /usr/bin/longshore
0098a000-026ed000 r-xp 00789000 fe:00 1234                               /usr/bin/longshore
026ef000-0280d000 r--p 024ed000 fe:00 1234                               /usr/bin/longshore
0280d000-02817000 rw-p 0260a000 fe:00 1234                               /usr/bin/longshore
7ffff7fc5000-7ffff7fc7000 r-xp 00000000 00:00 0                          [vdso]
";
        assert_eq!(code(maps), [(0x0098_a000, 0x026e_d000 - 0x0098_a000)]);
    }

    #[test]
    fn a_process_goes_on_without_the_code_that_it_let_go() {
        let resident = || -> u64 {
            let status = fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
            line.trim().split(' ').next().unwrap().parse().unwrap()
        };
        // Everything is touched: a program of a few megabytes.
        let (start, length) = code(&fs::read_to_string("/proc/self/maps").unwrap())[0];
        let mut memory = fs::File::open("/proc/self/mem").unwrap();
        io::Seek::seek(&mut memory, io::SeekFrom::Start(start as u64)).unwrap();
        io::copy(&mut io::Read::take(memory, length as u64), &mut io::sink()).unwrap();
        let before = resident();
        release_code().unwrap();
        let after = resident();
        assert!(after < before, "{after} KiB of {before} are left");
    }
}
