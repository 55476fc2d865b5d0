//! The YAML front matter of a model card, edited line by line: only the keys of the outermost level are told apart, and
//! every line that is not one of ours stays as it was written.

use std::fmt;

const FENCE: &str = "---";

/// A value on one line: as it is where YAML and the marks of the card take it so, else between quotes.
pub(super) fn scalar(value: &str) -> String {
    let is_word = value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value.chars().all(|c| c.is_ascii_alphanumeric() || "._/-".contains(c));
    let means_something = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word));
    if is_word && !means_something {
        return value.to_owned();
    }
    let escaped = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        '\n' => "\\n".to_owned(),
        // `>` would end the comment that remembers the value, `;` part it from the next.
        c if c.is_control() || matches!(c, '>' | ';' | '\u{2028}' | '\u{2029}' | '\u{feff}') => {
            format!("\\u{:04x}", u32::from(c))
        }
        c => c.to_string(),
    };
    format!("\"{}\"", value.chars().map(escaped).collect::<String>())
}

/// Values in a list on one line.
pub(super) fn list(values: &[&str]) -> String {
    let values: Vec<String> = values.iter().map(|value| scalar(value)).collect();
    format!("[{}]", values.join(", "))
}

/// The lines between the two fences.
#[derive(Debug, Default)]
pub(super) struct FrontMatter {
    lines: Vec<String>,
}

impl FrontMatter {
    /// The front matter of a text (empty where it has none), and what follows it.
    pub(super) fn split(text: &str) -> (Self, &str) {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut lines = text.split_inclusive('\n');
        let Some(first) = lines.next().filter(|line| line.trim_end() == FENCE) else { return (Self::default(), text) };
        let (mut front, mut at) = (Self::default(), first.len());
        for line in lines {
            at += line.len();
            if line.trim_end() == FENCE {
                return (front, &text[at..]);
            }
            front.lines.push(line.trim_end_matches(['\r', '\n']).to_owned());
        }
        // Without a second fence the first one is a rule.
        (Self::default(), text)
    }

    /// The lines of a key: its own and those that belong to its value.
    fn block(&self, key: &str) -> Option<std::ops::Range<usize>> {
        let is_key = |line: &&String| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':'));
        let start = self.lines.iter().position(|line| is_key(&line))?;
        let belongs = |line: &&String| line.is_empty() || line.starts_with([' ', '\t', '-']);
        let length = self.lines[start + 1..].iter().take_while(belongs).count();
        Some(start..start + 1 + length)
    }

    fn value(&self, key: &str) -> Option<&str> {
        let block = self.block(key)?;
        Some(self.lines[block.start][key.len() + 1..].trim())
    }

    /// Sets a key that is not there, or that has the value of before.
    pub(super) fn set(&mut self, key: &str, value: &str, before: Option<&str>) {
        match (self.block(key), self.value(key)) {
            (Some(block), found) if found == before => _ = self.lines.splice(block, [format!("{key}: {value}")]),
            (Some(_), _) => {}
            (None, _) => self.lines.push(format!("{key}: {value}")),
        }
    }

    /// Removes a key that still has the value of before.
    pub(super) fn remove(&mut self, key: &str, before: &str) {
        if let Some(block) = self.block(key).filter(|_| self.value(key) == Some(before)) {
            self.lines.drain(block);
        }
    }

    /// Adds tags that are not there, in whichever form the others have.
    pub(super) fn add_tags(&mut self, tags: &[&str]) {
        let Some(block) = self.block("tags") else {
            self.lines.push("tags:".to_owned());
            self.lines.extend(tags.iter().map(|tag| format!("- {tag}")));
            return;
        };
        let value = self.value("tags").unwrap_or_default().to_owned();
        let listed = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        if let Some(inner) = value.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            let known: Vec<String> = inner.split(',').map(listed).filter(|tag| !tag.is_empty()).collect();
            let new = tags.iter().filter(|tag| !known.iter().any(|known| known == *tag)).map(|tag| (*tag).to_owned());
            let all: Vec<String> =
                inner.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()).chain(new).collect();
            self.lines[block.start] = format!("tags: [{}]", all.join(", "));
            return;
        }
        if value.starts_with('[') || value.starts_with(['&', '*', '|', '>']) {
            // A form that lines do not tell; the authors' tags are worth more than ours.
            return;
        }
        if !value.is_empty() && !value.starts_with('#') {
            self.lines.splice(block.start..=block.start, ["tags:".to_owned(), format!("- {value}")]);
        }
        let block = self.block("tags").unwrap_or(block);
        let items =
            || self.lines[block.clone()].iter().enumerate().filter(|(_, line)| line.trim_start().starts_with("- "));
        let known: Vec<String> = items().map(|(_, line)| listed(line.trim_start().trim_start_matches("- "))).collect();
        let (after, indent) =
            items().next_back().map_or((0, 0), |(index, line)| (index, line.len() - line.trim_start().len()));
        let at = block.start + after + 1;
        let new: Vec<String> = tags
            .iter()
            .filter(|tag| !known.iter().any(|known| known == *tag))
            .map(|tag| format!("{}- {tag}", " ".repeat(indent)))
            .collect();
        self.lines.splice(at..at, new);
    }
}

impl fmt::Display for FrontMatter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FENCE}")?;
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        writeln!(f, "{FENCE}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, edit: impl Fn(&mut FrontMatter)) -> String {
        let (mut front, body) = FrontMatter::split(text);
        edit(&mut front);
        format!("{front}{body}")
    }

    #[test]
    fn what_is_not_ours_is_not_touched() {
        let text = "---\n# mine\ndatasets:\n- a\nmetrics: {x: 1}\n---\nbody\n---\n";
        assert_eq!(edited(text, |_| ()), text);
        assert_eq!(FrontMatter::split("---\nno end\n").1, "---\nno end\n");
        assert_eq!(edited("a: b\n", |_| ()), "---\n---\na: b\n");
    }

    #[test]
    fn values_are_quoted_where_yaml_would_read_them_otherwise() {
        let plain = ["acme/taef1", "Qwen/Qwen2.5-0.5B", "mit"];
        assert_eq!(plain.map(scalar), plain);
        assert_eq!(
            ["1.0", "no", "a: b", "a#b", "", "é"].map(scalar),
            ["\"1.0\"", "\"no\"", "\"a: b\"", "\"a#b\"", "\"\"", "\"é\""]
        );
        assert_eq!(scalar("a\"\\\n-->;\u{7f}"), "\"a\\\"\\\\\\n--\\u003e\\u003b\\u007f\"");
        assert_eq!(list(&["a/b", "c, d"]), "[a/b, \"c, d\"]");
    }

    #[test]
    fn keys_are_set_where_they_are_ours() {
        let text = "---\nlicense: mit\nlicense_name: x\n---\n";
        assert_eq!(
            edited(text, |front| front.set("license", "isc", Some("mit"))),
            text.replace("license: mit", "license: isc")
        );
        assert_eq!(edited(text, |front| front.set("license", "isc", Some("gpl"))), text);
        assert_eq!(edited(text, |front| front.set("license", "isc", None)), text);
        assert_eq!(edited(text, |front| front.remove("license_name", "x")), "---\nlicense: mit\n---\n");
        assert_eq!(edited(text, |front| front.remove("license_name", "y")), text);
    }

    #[test]
    fn tags_in_every_form() {
        let add = |text: &str| edited(&format!("---\n{text}z: 1\n---\n"), |front| front.add_tags(&["coreml", "mlreg"]));
        assert_eq!(add("tags: [a, \"coreml\"]\n"), "---\ntags: [a, \"coreml\", mlreg]\nz: 1\n---\n");
        assert_eq!(add("tags: []\n"), "---\ntags: [coreml, mlreg]\nz: 1\n---\n");
        assert_eq!(add("tags:\n  - a\n  - 'mlreg'\n"), "---\ntags:\n  - a\n  - 'mlreg'\n  - coreml\nz: 1\n---\n");
        assert_eq!(add("tags: a\n"), "---\ntags:\n- a\n- coreml\n- mlreg\nz: 1\n---\n");
        assert_eq!(add("tags:\n"), "---\ntags:\n- coreml\n- mlreg\nz: 1\n---\n");
        assert_eq!(add("tags: [a,\n  b]\n"), "---\ntags: [a,\n  b]\nz: 1\n---\n");
        assert_eq!(add(""), "---\nz: 1\ntags:\n- coreml\n- mlreg\n---\n");
    }
}
