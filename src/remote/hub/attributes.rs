//! `.gitattributes`: which files git keeps as LFS pointers (gitattributes(5), as far as the Hub writes it).
//!
//! Whatever went up as a large object must have a rule, or a clone shows it as changed; existing rules stay as they
//! are.

use std::collections::BTreeMap;

use globset::{GlobBuilder, GlobMatcher};

use super::tree::Mode;

/// The file's name.
pub(super) const FILE: &str = ".gitattributes";
const LFS: &str = "filter=lfs diff=lfs merge=lfs -text";

/// A line that has something to say about LFS.
struct Rule {
    matcher: GlobMatcher,
    whole_path: bool,
    is_lfs: bool,
}

impl Rule {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let pattern = words.next().filter(|pattern| !pattern.starts_with(['#', '[']))?;
        let filter = words.rfind(|word| word.contains("filter"))?;
        let pattern = unescaped(pattern);
        let whole_path = pattern.trim_end_matches('/').contains('/');
        let glob = GlobBuilder::new(pattern.trim_start_matches('/')).literal_separator(true).build().ok()?;
        Some(Self { matcher: glob.compile_matcher(), whole_path, is_lfs: filter == "filter=lfs" })
    }

    fn matches(&self, path: &str) -> bool {
        let subject = if self.whole_path { path } else { path.rsplit('/').next().unwrap_or(path) };
        self.matcher.is_match(subject)
    }
}

/// Blanks in patterns are written so, because a blank ends the pattern.
const BLANK: &str = "[[:space:]]";

fn unescaped(pattern: &str) -> String {
    pattern.replace(BLANK, " ")
}

/// The text with a rule for every large file of `files`, and for no small one; `None` where it is right as it is. `all`
/// are the files of the whole branch.
pub(super) fn complete(existing: &str, files: &BTreeMap<String, Mode>, all: &BTreeMap<String, Mode>) -> Option<String> {
    let rules: Vec<Rule> = existing.lines().filter_map(Rule::parse).collect();
    // The last rule that matches counts.
    let is_lfs = |path: &str| rules.iter().rev().find(|rule| rule.matches(path)).is_some_and(|rule| rule.is_lfs);
    let mut added = Vec::new();
    for (path, mode) in files {
        match (mode, is_lfs(path)) {
            (Mode::Lfs, false) => added.push(pattern(path, all)),
            (Mode::Regular, true) => added.push(format!("{} !filter !diff !merge text", exact(path))),
            _ => {}
        }
    }
    added.sort();
    added.dedup();
    if added.is_empty() {
        return None;
    }
    let mut text = existing.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    Some(text + &added.join("\n") + "\n")
}

/// A rule for a large file: for its ending where no small file has it, else for itself alone.
fn pattern(path: &str, files: &BTreeMap<String, Mode>) -> String {
    let ending = |path: &str| path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_owned());
    let plain = |ending: &String| !ending.is_empty() && ending.chars().all(|c| c.is_ascii_alphanumeric());
    let own = ending(path).filter(plain);
    let shared = || files.iter().any(|(other, mode)| *mode == Mode::Regular && ending(other) == own);
    match &own {
        Some(ending) if !shared() => format!("*.{ending} {LFS}"),
        _ => format!("{} {LFS}", exact(path)),
    }
}

/// A pattern that matches one path: what would be a wildcard matches itself.
fn exact(path: &str) -> String {
    let mut pattern = String::from("/");
    for c in path.chars() {
        match c {
            ' ' => pattern.push_str(BLANK),
            '*' | '?' | '[' => pattern.extend(['[', c, ']']),
            c => pattern.push(c),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUB: &str = "*.bin filter=lfs diff=lfs merge=lfs -text\n*.mlmodel filter=lfs diff=lfs merge=lfs \
         -text\nsaved_model/**/* filter=lfs diff=lfs merge=lfs -text\n";

    fn files(files: &[(&str, Mode)]) -> BTreeMap<String, Mode> {
        files.iter().map(|(path, mode)| ((*path).to_owned(), *mode)).collect()
    }

    fn complete_all(existing: &str, files: &BTreeMap<String, Mode>) -> Option<String> {
        complete(existing, files, files)
    }

    #[test]
    fn what_the_hub_writes_is_enough_for_packages() {
        let package = [("p/a.mlpackage/weights/weight.bin", Mode::Lfs), ("p/model.mlmodel", Mode::Lfs), ("p/Manifest.json", Mode::Regular)];
        assert_eq!(complete_all(HUB, &files(&package)), None);
    }

    #[test]
    fn rules_are_added_for_what_has_none() {
        let text = complete_all(HUB, &files(&[("p/a/model.mil", Mode::Lfs), ("p/b/model.mil", Mode::Lfs)])).unwrap();
        assert_eq!(text, format!("{HUB}*.mil {LFS}\n"));
        assert_eq!(complete_all(&text, &files(&[("p/c/model.mil", Mode::Lfs)])), None);
        let one = complete_all("# none", &files(&[("p/big file.json", Mode::Lfs), ("p/small.json", Mode::Regular)])).unwrap();
        assert_eq!(one, format!("# none\n/p/big[[:space:]]file.json {LFS}\n"));
        assert_eq!(complete_all(&one, &files(&[("p/big file.json", Mode::Lfs), ("p/small.json", Mode::Regular)])), None);
    }

    #[test]
    fn small_files_are_taken_out_of_rules() {
        let text = complete_all(HUB, &files(&[("p/empty.bin", Mode::Regular)])).unwrap();
        assert_eq!(text, format!("{HUB}/p/empty.bin !filter !diff !merge text\n"));
        assert_eq!(complete_all(&text, &files(&[("p/empty.bin", Mode::Regular)])), None);
    }
}
