//! Numbers as people read them.

/// A size for people, e.g. `2.4 MB`.
pub fn told_bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1e3;
    let mut unit = 0;
    // What would print as 1000.0 is one of the next unit.
    while value >= 999.95 {
        value /= 1e3;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}
