//! Memory, as the system tells of it: what is mapped where, what is left, what a process uses. proc_pid_maps(5), proc_meminfo(5),
//! proc_pid_statm(5), cgroups(7).

use std::ops::Range;

/// The addresses around `address` that can be read and written: of the mapping that it is in, and of those that adjoin it,
/// as a library's uninitialised data adjoin the others. Empty where that cannot be told.
pub fn writable_around(address: usize) -> Range<usize> {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return 0..0 };
    let mut found = 0..0;
    for mapping in maps.lines().filter_map(writable) {
        if mapping.start == found.end {
            found.end = mapping.end;
        } else if found.contains(&address) {
            break;
        } else {
            found = mapping;
        }
    }
    if found.contains(&address) { found } else { 0..0 }
}

/// `7f00-7f10 rw-p ...` as a range, unless it cannot be read and written.
fn writable(line: &str) -> Option<Range<usize>> {
    let mut parts = line.split(' ');
    let (range, permissions) = (parts.next()?, parts.next()?);
    let (start, end) = range.split_once('-')?;
    let number = |text| usize::from_str_radix(text, 16).ok();
    permissions.starts_with("rw").then_some(number(start)?..number(end)?)
}

/// How much memory this process could still get: what the machine has, and what the control group (version 2) allows.
pub fn available() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    let machine = kibibytes.map_or(usize::MAX, |kibibytes| kibibytes.saturating_mul(1024));
    machine.min(left_in_group())
}

fn left_in_group() -> usize {
    let text = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let Some(path) = text.lines().find_map(|line| line.strip_prefix("0::")) else { return usize::MAX };
    let number = |file: &str| -> Option<usize> {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup{path}/{file}")).ok()?;
        text.trim().parse().ok()
    };
    match (number("memory.max"), number("memory.current")) {
        (Some(limit), Some(used)) => limit.saturating_sub(used),
        _ => usize::MAX,
    }
}

/// The resident memory of a process in bytes; 0 where it is gone.
pub fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap_or_default();
    let pages: u64 = text.split_ascii_whitespace().nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    pages * rustix::param::page_size() as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    static mut WRITTEN: [u64; 2] = [1, 2];

    #[test]
    fn data_are_found_and_code_is_not() {
        let data = (&raw const WRITTEN) as usize;
        assert!(writable_around(data).contains(&data));
        assert!(writable_around(writable_around as *const () as usize).is_empty());
    }

    #[test]
    fn a_line_is_a_range() {
        assert_eq!(writable("7f00-7f10 rw-p 00000000 00:00 0"), Some(0x7f00..0x7f10));
        assert_eq!(writable("7f00-7f10 r--p 00000000 00:00 0"), None);
        assert_eq!(writable(""), None);
    }
}
