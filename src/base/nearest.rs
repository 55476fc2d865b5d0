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

/// Optimal string alignment distance, ignoring case: letters to insert, remove, replace or swap with their neighbor.
fn distance(left: &str, right: &str) -> usize {
    let lower = |text: &str| text.chars().take(200).flat_map(char::to_lowercase).collect::<Vec<char>>();
    let (left, right) = (lower(left), lower(right));
    let mut rows = vec![(0..=right.len()).collect::<Vec<usize>>()];
    for (i, l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, r) in right.iter().enumerate() {
            let mut best = (rows[i][j] + usize::from(l != r)).min(row[j] + 1).min(rows[i][j + 1] + 1);
            if i > 0 && j > 0 && *l == right[j - 1] && left[i - 1] == *r {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[left.len()][right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (left, right, expected) in [("", "", 0), ("abc", "", 3), ("size", "sise", 1), ("target", "tagret", 1), ("kitten", "sitting", 3)]
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
