//! What is mapped where: proc_pid_maps(5).

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
