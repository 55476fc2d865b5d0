//! What transformers' templates may say and minijinja does not parse, rewritten into what it does: `{% generation %}`
//! blocks (scopes without an effect), `%` between anything but numbers, string literals side by side, slices with a
//! step, and the line feed at the beginning of a `raw` block. Everything else stays as it is, byte for byte.

/// The function that `%` becomes.
pub(super) const PERCENT: &str = "__percent";
/// The method that a slice with a step becomes.
pub(super) const SLICE: &str = "__slice";

/// A token of an expression: its place in the source, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Token {
    kind: Kind,
    start: usize,
    end: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Number,
    Text,
    Open,
    Close,
    Operator,
}

/// Words that stand between operands, or before them.
const WORDS: [&str; 21] = [
    "and",
    "or",
    "not",
    "in",
    "is",
    "if",
    "else",
    "elif",
    "for",
    "set",
    "with",
    "call",
    "filter",
    "print",
    "do",
    "return",
    "recursive",
    "macro",
    "block",
    "include",
    "import",
];

/// Names of a macro's other arguments, which minijinja does not collect.
const COLLECTED: [&str; 2] = ["varargs", "kwargs"];

/// The template as minijinja takes it, with `\n` at the end of every line. What is damaged stays damaged: the parser
/// says where.
///
/// # Errors
/// The name that a template uses and minijinja gives no meaning.
pub(super) fn rewritten(source: &str) -> Result<String, &'static str> {
    let source = source.replace("\r\n", "\n").replace('\r', "\n");
    let mut out = String::with_capacity(source.len());
    let mut rest = source.as_str();
    while let Some(start) = rest.find('{') {
        let opening = rest.get(start..start + 2).unwrap_or("");
        let end = match opening {
            "{#" => rest[start..].find("#}").map(|at| start + at + 2),
            "{{" | "{%" => {
                inside(&rest[start + 2..], if opening == "{{" { "}}" } else { "%}" }).map(|at| start + 2 + at)
            }
            _ => {
                out.push_str(&rest[..start + 1]);
                rest = &rest[start + 1..];
                continue;
            }
        };
        let Some(end) = end else { break };
        out.push_str(&rest[..start]);
        let tag = &rest[start..end];
        rest = &rest[end..];
        if opening == "{#" {
            out.push_str(tag);
            continue;
        }
        if let Some(name) = COLLECTED.into_iter().find(|name| names(tag, name)) {
            return Err(name);
        }
        out.push_str(&tag_rewritten(tag));
        if opening == "{%" && word(tag) == Some("raw") {
            let length = raw_length(rest);
            // Jinja keeps the first line feed of what is raw, minijinja trims it as behind any block.
            out.push_str(if rest.starts_with('\n') && !tag.ends_with("-%}") { "\n" } else { "" });
            out.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// Whether a tag has a name that is no attribute.
fn names(tag: &str, name: &str) -> bool {
    if !tag.contains(name) {
        return false;
    }
    let tokens = tokens(tag);
    let text = |token: Token| &tag[token.start..token.end];
    tokens
        .iter()
        .enumerate()
        .any(|(at, token)| token.kind == Kind::Name && text(*token) == name && (at == 0 || text(tokens[at - 1]) != "."))
}

/// Where a tag ends, behind its closing sign; signs in string literals and brackets do not close it.
fn inside(source: &str, closing: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let (mut at, mut depth) = (0, 0_usize);
    while at < bytes.len() {
        match bytes[at] {
            quote @ (b'"' | b'\'') => at += text_length(&source[at..], quote)?,
            _ if depth == 0 && source[at..].starts_with(closing) => return Some(at + closing.len()),
            byte => {
                match byte {
                    b'(' | b'[' | b'{' => depth += 1,
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                at += 1;
                while !source.is_char_boundary(at) {
                    at += 1;
                }
            }
        }
    }
    None
}

/// The length of a string literal with its quotes.
fn text_length(source: &str, quote: u8) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in source.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            _ if byte == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// The first word of a block.
fn word(tag: &str) -> Option<&str> {
    let body = tag.strip_prefix("{%")?.trim_start_matches(['-', '+']).trim_start();
    let length = body.find(|letter: char| !letter.is_alphanumeric() && letter != '_').unwrap_or(body.len());
    (length > 0).then(|| &body[..length])
}

/// How much of a text a `raw` block holds, without its end.
fn raw_length(source: &str) -> usize {
    let ends = source.match_indices("{%").map(|(at, _)| at);
    ends.into_iter().find(|&at| word(&source[at..]) == Some("endraw")).unwrap_or(source.len())
}

fn tag_rewritten(tag: &str) -> String {
    for (name, scope) in [("generation", "with"), ("endgeneration", "endwith")] {
        if word(tag) == Some(name) {
            return tag.replacen(name, scope, 1);
        }
    }
    let mut tag = tag.to_owned();
    while let Some(next) = next_rewriting(&tag) {
        tag = next;
    }
    tag
}

/// The tag with the first thing rewritten that minijinja does not have.
fn next_rewriting(tag: &str) -> Option<String> {
    if !tag.contains(['%', '"', '\'', '[']) {
        return None;
    }
    let tokens = tokens(tag);
    let joined = tokens.windows(2).position(|pair| pair[0].kind == Kind::Text && pair[1].kind == Kind::Text);
    if let Some(first) = joined {
        let count = tokens[first..].iter().take_while(|token| token.kind == Kind::Text).count();
        let literals: Vec<&str> =
            tokens[first..first + count].iter().map(|token| &tag[token.start..token.end]).collect();
        let (start, end) = (tokens[first].start, tokens[first + count - 1].end);
        return Some(format!("{}({}){}", &tag[..start], literals.join(" ~ "), &tag[end..]));
    }
    if let Some(rewritten) = slice_rewritten(tag, &tokens) {
        return Some(rewritten);
    }
    let is = |index: usize, text: &str| tokens.get(index).is_some_and(|token| &tag[token.start..token.end] == text);
    let at = (0..tokens.len()).find(|&index| tokens[index].kind == Kind::Operator && is(index, "%"))?;
    let left = left_operand(tag, &tokens, at)?;
    let right = right_operand(tag, &tokens, at)?;
    let [start, end] = [tokens[left].start, tokens[right].end];
    let (before, after) = (&tag[start..tokens[at].start], &tag[tokens[at].end..end]);
    Some(format!("{}{PERCENT}({},{}){}", &tag[..start], before.trim_end(), after, &tag[end..]))
}

/// The tag with its first slice that has a step as a call.
fn slice_rewritten(tag: &str, tokens: &[Token]) -> Option<String> {
    let text = |at: usize| &tag[tokens[at].start..tokens[at].end];
    let is_slice = |open: usize| -> Option<String> {
        let close = operand(tokens, open)?;
        let mut depth = 0_usize;
        let mut colons = Vec::new();
        for (at, token) in tokens.iter().enumerate().take(close).skip(open + 1) {
            match token.kind {
                Kind::Open => depth += 1,
                Kind::Close => depth = depth.checked_sub(1)?,
                Kind::Operator if depth == 0 && text(at) == ":" => colons.push(at),
                _ => {}
            }
        }
        let [first, second] = colons[..] else { return None };
        let part = |from: usize, to: usize| {
            let part = tag[tokens[from].end..tokens[to].start].trim();
            if part.is_empty() { "none".to_owned() } else { part.to_owned() }
        };
        let parts = [part(open, first), part(first, second), part(second, close)].join(", ");
        Some(format!("{}.{SLICE}({parts}){}", &tag[..tokens[open].start], &tag[tokens[close].end..]))
    };
    let opens = (1..tokens.len()).filter(|&at| text(at) == "[" && ends(tag, tokens[at - 1]));
    opens.into_iter().find_map(is_slice)
}

fn tokens(tag: &str) -> Vec<Token> {
    let end = tag.len() - 2;
    let mut tokens = Vec::new();
    let mut at = 2;
    while at < end {
        let rest = &tag[at..end];
        let Some(letter) = rest.chars().next() else { break };
        let run = |fits: &dyn Fn(char) -> bool| rest.find(|letter| !fits(letter)).unwrap_or(rest.len());
        let (kind, length) = match letter {
            _ if letter.is_whitespace() => {
                at += letter.len_utf8();
                continue;
            }
            '"' | '\'' => (Kind::Text, text_length(rest, letter as u8).unwrap_or(rest.len())),
            _ if letter.is_ascii_digit() => (Kind::Number, number_length(rest)),
            _ if letter.is_alphanumeric() || letter == '_' => {
                (Kind::Name, run(&|it| it.is_alphanumeric() || it == '_'))
            }
            '(' | '[' | '{' => (Kind::Open, 1),
            ')' | ']' | '}' => (Kind::Close, 1),
            _ => {
                let double = ["**", "//", "==", "!=", "<=", ">="].into_iter().find(|sign| rest.starts_with(sign));
                (Kind::Operator, double.map_or(letter.len_utf8(), str::len))
            }
        };
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
    tokens
}

/// `1`, `1_000`, `1.5` and `1e-3`, but not the dot of `1.method`.
fn number_length(text: &str) -> usize {
    let digits = |from: usize| {
        text[from..]
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .map_or(text.len(), |at| from + at)
    };
    let mut length = digits(0);
    let behind =
        |at: usize| text[at..].starts_with('.') && text[at + 1..].starts_with(|letter: char| letter.is_ascii_digit());
    if behind(length) {
        length = digits(length + 1);
    }
    let is_power = text[..length].ends_with(['e', 'E']) && !text.starts_with("0x");
    if is_power && text[length..].starts_with(['+', '-']) {
        length = digits(length + 1);
    }
    length
}

/// Whether a token can end an operand.
fn ends(tag: &str, token: Token) -> bool {
    match token.kind {
        Kind::Name => !WORDS.contains(&&tag[token.start..token.end]),
        Kind::Number | Kind::Text | Kind::Close => true,
        Kind::Open | Kind::Operator => false,
    }
}

/// The first token of what `%` at `at` takes on its left: products, powers and signs bind as strongly or more.
fn left_operand(tag: &str, tokens: &[Token], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut first = None;
    for index in (0..at).rev() {
        let token = tokens[index];
        let text = &tag[token.start..token.end];
        match token.kind {
            Kind::Close => depth += 1,
            Kind::Open if depth == 0 => break,
            Kind::Open => depth -= 1,
            _ if depth > 0 => {}
            Kind::Name if WORDS.contains(&text) => break,
            Kind::Operator => match text {
                "." | "|" | "**" | "*" | "/" | "//" => {}
                // A sign belongs to the operand; a sum and the tag's own sign for white space do not.
                "-" | "+" if index > 0 && !ends(tag, tokens[index - 1]) || index == 0 && token.start > 2 => {}
                _ => break,
            },
            _ => {}
        }
        first = Some(index);
    }
    first.filter(|&first| first < at)
}

/// The last token of what `%` at `at` takes on its right: one operand with its sign, calls, filters and power.
fn right_operand(tag: &str, tokens: &[Token], at: usize) -> Option<usize> {
    let mut index = at + 1;
    let text = |index: usize| tokens.get(index).map(|token| &tag[token.start..token.end]);
    while matches!(text(index), Some("-" | "+")) {
        index += 1;
    }
    let mut last = operand(tokens, index)?;
    loop {
        let next = last + 1;
        last = match text(next) {
            Some("." | "|") => next + 1,
            Some("**") => {
                let signs = (next + 1..).take_while(|&index| matches!(text(index), Some("-" | "+"))).count();
                operand(tokens, next + 1 + signs)?
            }
            Some("(" | "[") => operand(tokens, next)?,
            _ => return Some(last),
        };
        tokens.get(last)?;
    }
}

/// The last token of the operand that begins at `index`: itself, or the bracket that closes it.
fn operand(tokens: &[Token], index: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate().skip(index) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.checked_sub(1)?,
            Kind::Operator if depth == 0 => return None,
            _ => {}
        }
        if depth == 0 {
            return Some(at);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percent_becomes_a_call_with_its_operands() {
        let expected = [
            ("{{ 'say %s' % x }}", "{{ __percent('say %s', x) }}"),
            ("{{ a + 'say %s' % x ~ b }}", "{{ a + __percent('say %s', x) ~ b }}"),
            ("{{- '%s %s' % (a, b[1].c) -}}", "{{- __percent('%s %s', (a, b[1].c)) -}}"),
            ("{% if loop.index0 % 2 == 0 %}", "{% if __percent(loop.index0, 2) == 0 %}"),
            (
                "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}",
                "{%- if (m.role == 'user') != (__percent(loop.index0, 2) == 0) -%}",
            ),
            ("{% set x = f('a%s' | upper % y | trim) %}", "{% set x = f(__percent('a%s' | upper, y | trim)) %}"),
            ("{{ a * b % c % d }}", "{{ __percent(__percent(a * b, c), d) }}"),
            ("{{ -7 % -3 ** 2 }}", "{{ __percent(-7, -3 ** 2) }}"),
            ("{{ - 7 % 3 }}{{-7 % 3-}}", "{{ __percent(- 7, 3) }}{{-__percent(7, 3)-}}"),
            ("{{ '}} %}' % x }}", "{{ __percent('}} %}', x) }}"),
            ("{{ '%(a)s' % {'a': 1} }}", "{{ __percent('%(a)s', {'a': 1}) }}"),
            ("{{ x[1 % 2] }}{{ not a % b }}", "{{ x[__percent(1, 2)] }}{{ not __percent(a, b) }}"),
            ("{% for i in 'a' % b if i % 2 %}", "{% for i in __percent('a', b) if __percent(i, 2) %}"),
            (
                "{{ 'a' % b if c % 2 else d.e(f)[0] % g.h }}",
                "{{ __percent('a', b) if __percent(c, 2) else __percent(d.e(f)[0], g.h) }}",
            ),
        ];
        for (source, text) in expected {
            assert_eq!(rewritten(source).unwrap(), text, "{source}");
        }
    }

    #[test]
    fn generation_blocks_become_scopes() {
        let source = "a{% generation %}b{%- endgeneration -%} c{%+generation%}{% endgeneration%}";
        assert_eq!(rewritten(source).unwrap(), "a{% with %}b{%- endwith -%} c{%+with%}{% endwith%}");
        assert_eq!(
            rewritten("{{ generation }}{% set generation = 1 %}").unwrap(),
            "{{ generation }}{% set generation = 1 %}"
        );
    }

    #[test]
    fn literals_side_by_side_are_one() {
        assert_eq!(rewritten("{{ 'a' \"b\"\n'c' + 'd' }}").unwrap(), "{{ ('a' ~ \"b\" ~ 'c') + 'd' }}");
        assert_eq!(rewritten("{{ 'a%s' 'b' % x }}").unwrap(), "{{ __percent(('a%s' ~ 'b'), x) }}");
    }

    #[test]
    fn slices_with_a_step_become_calls() {
        assert_eq!(rewritten("{{ m[::-1][0].x }}").unwrap(), "{{ m.__slice(none, none, -1)[0].x }}");
        assert_eq!(
            rewritten("{{ m[1:] }}{{ m[a[0]:b - 1:2] }}").unwrap(),
            "{{ m[1:] }}{{ m.__slice(a[0], b - 1, 2) }}"
        );
        assert_eq!(rewritten("{{ f(x)[3:0:-1] | list }}").unwrap(), "{{ f(x).__slice(3, 0, -1) | list }}");
        assert_eq!(rewritten("{{ [1, {'a': 2}] }}").unwrap(), "{{ [1, {'a': 2}] }}");
    }

    #[test]
    fn lines_end_alike_and_what_has_no_meaning_is_named() {
        assert_eq!(rewritten("a\r\nb\rc\n").unwrap(), "a\nb\nc\n");
        assert_eq!(rewritten("{% raw %}\na{% endraw %}").unwrap(), "{% raw %}\n\na{% endraw %}");
        assert_eq!(rewritten("{% macro m() %}{{ varargs }}{% endmacro %}"), Err("varargs"));
    }

    #[test]
    fn text_comments_and_raw_blocks_stay() {
        for source in [
            "100 % of {# a % b {{ #} {",
            "{% raw %}{{ 'a' % b }}{% generation %}{% endraw %}",
            "{% raw -%}\n{{ a % b }}{%- endraw %}",
            "{{ 'a' % }}",
            "{{ % 2 }}",
            "{{ 'open",
            "{% if x %",
            "%}}{{{",
            "é{{ 'ü' }}% ö",
            "{{ a.b['%'] }}",
            "{{ a.kwargs }}",
        ] {
            assert_eq!(rewritten(source).unwrap(), source);
        }
    }
}
