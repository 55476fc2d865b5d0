//! "Did you mean": the known words closest to an unknown one.

/// The `candidates` that differ from `text` by few letters, nearest first, at most `limit`.
///
/// "Few" is a third of the longer word, so that short words need a near miss and long ids tolerate another number.
pub fn nearest<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>, limit: usize) -> Vec<&'a str> {
    scored(text, candidates).into_iter().take(limit).map(|(_, candidate)| candidate).collect()
}

/// The candidate that is closer than all others, if there is exactly one.
pub fn meant<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    match scored(text, candidates)[..] {
        [(first, _), (second, _), ..] if first == second => None,
        [(_, candidate), ..] => Some(candidate),
        [] => None,
    }
}

fn scored<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<(usize, &'a str)> {
    let mut scored: Vec<(usize, &str)> = candidates
        .into_iter()
        .map(|candidate| (distance(text, candidate), candidate))
        .filter(|(distance, candidate)| distance * 3 <= text.chars().count().max(candidate.chars().count()))
        .collect();
    scored.sort_unstable();
    scored.dedup();
    scored
}

/// Number of letters to insert, remove, replace or swap with their neighbour (optimal string alignment), ignoring case.
/// Texts are compared by their first 200 letters.
fn distance(left: &str, right: &str) -> usize {
    strsim::osa_distance(&comparable(left), &comparable(right))
}

fn comparable(text: &str) -> String {
    text.chars().take(200).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, expected) in
            [("", "", 0), ("abc", "", 3), ("size", "sise", 1), ("target", "tagret", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn near_misses_only_and_nearest_first() {
        let known = ["precision", "target", "iOS15", "iOS16"];
        assert_eq!(nearest("presicion", known, 3), ["precision"]);
        assert_eq!(nearest("iOS14", known, 3), ["iOS15", "iOS16"]);
        assert!(nearest("colour", known, 3).is_empty());
        assert_eq!(meant("tagret", known), Some("target"));
        assert_eq!(meant("iOS14", known), None);
        assert_eq!(meant("iOS14", ["iOS15", "iOS15"]), Some("iOS15"));
    }
}
