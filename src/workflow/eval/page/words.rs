//! Where two texts differ, word by word.

use serde::Serialize;

/// Texts of more words are not compared: the table of the comparison grows with the product.
const MOST_WORDS: usize = 600;

/// A piece of a text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Span {
    pub text: String,
    pub mark: Mark,
}

/// How a piece stands to the other text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mark {
    /// The other text has it as well.
    Same,
    /// The other text lacks it.
    Extra,
    /// Expected, and the other text lacks it.
    Missing,
}

/// A text without marks.
pub(super) fn plain(text: &str) -> Vec<Span> {
    vec![Span { text: text.to_owned(), mark: Mark::Same }]
}

/// The spans of what was expected and of what was found: `Missing` in the first, `Extra` in the second.
pub(super) fn compared(expected: &str, found: &str) -> (Vec<Span>, Vec<Span>) {
    let (a, b) = (words(expected), words(found));
    if a.len() > MOST_WORDS || b.len() > MOST_WORDS {
        return (plain(expected), plain(found));
    }
    let (in_a, in_b) = common(&a, &b);
    (spans(&a, &in_a, Mark::Missing), spans(&b, &in_b, Mark::Extra))
}

/// Words with the blanks behind them; letters of scripts that are written without blanks are words of their own.
fn words(text: &str) -> Vec<&str> {
    let stands_alone = |c: char| matches!(u32::from(c), 0x0e00..=0x0eff | 0x3040..=0x30ff | 0x3400..=0x9fff | 0xac00..=0xd7af | 0x20000..=0x3ffff);
    let mut words = Vec::new();
    let (mut start, mut ended) = (0, false);
    for (index, c) in text.char_indices() {
        if index > start && !c.is_whitespace() && (ended || stands_alone(c)) {
            words.push(&text[start..index]);
            start = index;
            ended = false;
        }
        ended = ended || c.is_whitespace() || stands_alone(c);
    }
    words.extend((start < text.len()).then(|| &text[start..]));
    words
}

/// Which words belong to the longest common subsequence; blanks do not count.
fn common(a: &[&str], b: &[&str]) -> (Vec<bool>, Vec<bool>) {
    let is_same = |i: usize, j: usize| a[i].trim_end() == b[j].trim_end();
    let width = b.len() + 1;
    let mut lengths = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            let (down, right) = (lengths[(i + 1) * width + j], lengths[i * width + j + 1]);
            lengths[i * width + j] = if is_same(i, j) { lengths[(i + 1) * width + j + 1] + 1 } else { down.max(right) };
        }
    }
    let (mut in_a, mut in_b) = (vec![false; a.len()], vec![false; b.len()]);
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        if is_same(i, j) {
            (in_a[i], in_b[j]) = (true, true);
            (i, j) = (i + 1, j + 1);
        } else if lengths[(i + 1) * width + j] >= lengths[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    (in_a, in_b)
}

fn spans(words: &[&str], common: &[bool], other: Mark) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut put = |text: &str, mark: Mark| match spans.last_mut().filter(|span| span.mark == mark) {
        Some(span) => span.text.push_str(text),
        None => spans.push(Span { text: text.to_owned(), mark }),
    };
    for (index, (word, is_common)) in words.iter().zip(common).enumerate() {
        let mark = if *is_common { Mark::Same } else { other };
        // The blank between a marked word and one without a mark has none.
        let ends = mark != Mark::Same && common.get(index + 1).is_none_or(|next| *next);
        let (inside, outside) = if ends { word.split_at(word.trim_end().len()) } else { (*word, "") };
        put(inside, mark);
        if !outside.is_empty() {
            put(outside, Mark::Same);
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(spans: &[Span]) -> String {
        let one = |span: &Span| match span.mark {
            Mark::Same => span.text.clone(),
            Mark::Extra => format!("[+{}]", span.text),
            Mark::Missing => format!("[-{}]", span.text),
        };
        spans.iter().map(one).collect()
    }

    #[test]
    fn words_that_differ_are_marked() {
        let (expected, found) = compared("the house is  small and green", "the home is small and green and so on");
        assert_eq!(told(&expected), "the [-house] is  small and green");
        assert_eq!(told(&found), "the [+home] is small and green [+and so on]");
        let (expected, found) = compared("", "a");
        assert_eq!((told(&expected).as_str(), told(&found).as_str()), ("", "[+a]"));
        let (expected, found) = compared("今日は雨", "今日は晴");
        assert_eq!((told(&expected).as_str(), told(&found).as_str()), ("今日は[-雨]", "今日は[+晴]"));
    }

    #[test]
    fn long_texts_stay_as_they_are() {
        let long = "a ".repeat(MOST_WORDS + 1);
        assert_eq!(compared(&long, "b").1, plain("b"));
    }
}
