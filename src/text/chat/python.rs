//! What templates rely on because their reference is a Python program: `%`, `tojson` as `json.dumps` writes, methods of
//! strings, lists and dictionaries, and values as Python prints them.

use std::fmt::Write as _;

use minijinja::{
    Error, ErrorKind, State, Value,
    formatting::{FormatStyle, format},
    value::{Kwargs, Rest, Tuple, ValueKind, from_args},
};

use super::dialect;

/// The widest field that a template may ask for.
const WIDEST: usize = 1 << 16;

fn wrong(text: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, text)
}

/// `str(value)`.
pub(super) fn text(value: &Value) -> String {
    match value.kind() {
        // A float has the shortest form that Python reads back.
        ValueKind::Number if !value.is_integer() => {
            format(FormatStyle::StrFormat, "{}", std::slice::from_ref(value)).unwrap_or_else(|_| value.to_string())
        }
        ValueKind::Undefined => String::new(),
        _ => value.to_string(),
    }
}

/// `repr(value)`.
fn repr(value: &Value) -> String {
    match value.kind() {
        ValueKind::String => format!("{value:?}"),
        _ => text(value),
    }
}

/// `left % right`: the remainder of numbers, or a text with its fields filled in.
pub(super) fn percent(left: &Value, right: &Value) -> Result<Value, Error> {
    if let Some(text) = left.as_str() {
        return printf(text, right).map(Value::from);
    }
    let kinds = || wrong(format!("tried to use % operator on unsupported types {} and {}", left.kind(), right.kind()));
    let integer = |value: &Value| match value.kind() {
        ValueKind::Bool => Some(i128::from(value.is_true())),
        ValueKind::Number if value.is_integer() => i128::try_from(value.clone()).ok(),
        _ => None,
    };
    let float = |value: &Value| match value.kind() {
        ValueKind::Bool | ValueKind::Number => {
            f64::try_from(value.clone()).ok().or_else(|| Some(integer(value)? as f64))
        }
        _ => None,
    };
    match (integer(left), integer(right), float(left), float(right)) {
        (Some(_), Some(0), ..) => Err(wrong("integer modulo by zero")),
        (Some(a), Some(b), ..) => Ok(Value::from(
            a.checked_rem(b).map_or(0, |rest| if rest != 0 && (rest < 0) != (b < 0) { rest + b } else { rest }),
        )),
        (_, _, Some(_), Some(0.0)) => Err(wrong("float modulo by zero")),
        (_, _, Some(a), Some(b)) => {
            let rest = a % b;
            Ok(Value::from(if rest != 0.0 && (rest < 0.0) != (b < 0.0) { rest + b } else { rest }))
        }
        _ => Err(kinds()),
    }
}

/// What fills the fields of a text.
struct Fillings<'a> {
    positional: Vec<Value>,
    mapping: Option<&'a Value>,
    used: usize,
}

impl Fillings<'_> {
    fn next(&mut self) -> Result<Value, Error> {
        let value = self.positional.get(self.used).cloned();
        self.used += 1;
        value.ok_or_else(|| wrong("not enough arguments for format string"))
    }

    /// A number or `*`.
    fn size(&mut self, text: &str) -> Result<(Option<usize>, usize), Error> {
        if text.starts_with('*') {
            let size = self.next()?.as_usize().filter(|&size| size <= WIDEST);
            return Ok((Some(size.ok_or_else(|| wrong("* wants int"))?), 1));
        }
        let length = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let size = text[..length].parse().ok();
        if length > 0 && size.is_none_or(|size: usize| size > WIDEST) {
            return Err(wrong("width or precision too big"));
        }
        Ok((size, length))
    }
}

/// Python's `text % values`.
fn printf(text: &str, values: &Value) -> Result<String, Error> {
    let positional = match values.downcast_object_ref::<Tuple>() {
        Some(tuple) => tuple.iter().cloned().collect(),
        None => vec![values.clone()],
    };
    let mapping = (values.kind() == ValueKind::Map).then_some(values);
    let mut fillings = Fillings { positional, mapping, used: 0 };
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('%') {
        out.push_str(&rest[..start]);
        let (field, length) = field(&rest[start + 1..], &mut fillings)?;
        out.push_str(&field);
        rest = &rest[start + 1 + length..];
    }
    // A mapping and a list may have more than the text asks for.
    let may_stay = fillings.mapping.is_some()
        || matches!(values.kind(), ValueKind::Seq | ValueKind::Iterable) && fillings.positional.len() == 1;
    let all_used = fillings.used >= fillings.positional.len();
    if !all_used && (!may_stay || values.downcast_object_ref::<Tuple>().is_some()) {
        return Err(wrong("not all arguments converted during string formatting"));
    }
    Ok(out + rest)
}

/// A field behind its `%`, filled in, and its length.
fn field(source: &str, fillings: &mut Fillings<'_>) -> Result<(String, usize), Error> {
    let mut at = 0;
    let mut key = None;
    if let Some(inner) = source.strip_prefix('(') {
        let end = inner.find(')').ok_or_else(|| wrong("incomplete format key"))?;
        key = Some(&inner[..end]);
        at = end + 2;
    }
    let flags = source[at..].find(|letter| !"#0- +".contains(letter)).unwrap_or(source.len() - at);
    let flags = &source[at..at + flags];
    at += flags.len();
    let (width, length) = fillings.size(&source[at..])?;
    at += length;
    let mut precision = None;
    if source[at..].starts_with('.') {
        let (digits, length) = fillings.size(&source[at + 1..])?;
        (precision, at) = (Some(digits.unwrap_or(0)), at + 1 + length);
    }
    if source[at..].starts_with(['h', 'l', 'L']) {
        at += 1;
    }
    let conversion = source[at..].chars().next().ok_or_else(|| wrong("incomplete format"))?;
    at += conversion.len_utf8();
    if conversion == '%' {
        return Ok(("%".to_owned(), at));
    }
    let value = match key {
        Some(key) => {
            let mapping = fillings.mapping.ok_or_else(|| wrong("format requires a mapping"))?;
            let value = mapping.get_item(&Value::from(key))?;
            if value.is_undefined() {
                return Err(wrong(format!("the mapping has no key `{key}`")));
            }
            value
        }
        None => fillings.next()?,
    };
    let (value, conversion) = match conversion {
        's' => (Value::from(text(&value)), 's'),
        'r' | 'a' => (Value::from(repr(&value)), 's'),
        // What counts is a number; text that looks like one is none.
        'd' | 'i' | 'u' if value.kind() == ValueKind::Number && !value.is_integer() => {
            let number = f64::try_from(value.clone()).ok().filter(|number| number.is_finite());
            let number = number.ok_or_else(|| wrong("cannot convert a float that is not finite to an integer"))?;
            (Value::from(number as i128), 'd')
        }
        'd' | 'i' | 'u' => (value, 'd'),
        'F' => (value, 'f'),
        'o' | 'x' | 'X' | 'e' | 'E' | 'f' | 'g' | 'G' | 'c' => (value, conversion),
        other => return Err(wrong(format!("unsupported format character `{other}`"))),
    };
    if conversion != 's' && conversion != 'c' && !matches!(value.kind(), ValueKind::Number | ValueKind::Bool) {
        return Err(wrong(format!("%{conversion} format: a number is required, not {}", value.kind())));
    }
    let width = width.map_or(String::new(), |width| width.to_string());
    let precision = precision.map_or(String::new(), |precision| format!(".{precision}"));
    let spec = format!("%{flags}{width}{precision}{conversion}");
    Ok((format(FormatStyle::Printf, &spec, &[value])?, at))
}

/// `json.dumps(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`, which transformers has for
/// Jinja's own filter.
pub(super) fn to_json(value: &Value, positional: Rest<Value>, named: Kwargs) -> Result<Value, Error> {
    let mut positional = positional.0.into_iter();
    let mut option = |name: &str| -> Result<Value, Error> {
        match positional.next() {
            Some(value) => Ok(value),
            None => Ok(named.get::<Option<Value>>(name)?.unwrap_or_else(|| Value::from(()))),
        }
    };
    let [ascii, indent, separators, sorted] =
        [option("ensure_ascii")?, option("indent")?, option("separators")?, option("sort_keys")?];
    if positional.next().is_some() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    named.assert_all_used()?;
    let indent = match indent.kind() {
        ValueKind::None | ValueKind::Undefined => None,
        ValueKind::String => Some(indent.to_string()),
        ValueKind::Bool => Some(" ".repeat(indent.is_true().into())),
        _ => Some(" ".repeat(i64::try_from(indent.clone())?.clamp(0, 1024) as usize)),
    };
    let (between, after_key) = match separators.kind() {
        ValueKind::None | ValueKind::Undefined => {
            (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned())
        }
        _ => match separators.try_iter()?.collect::<Vec<_>>().as_slice() {
            [between, after_key] => (between.to_string(), after_key.to_string()),
            _ => return Err(wrong("`separators`: expected two texts")),
        },
    };
    let writer = JsonWriter { ascii: ascii.is_true(), indent, between, after_key, sorted: sorted.is_true() };
    let mut out = String::new();
    writer.write(value, 0, &mut out)?;
    Ok(Value::from(out))
}

struct JsonWriter {
    ascii: bool,
    indent: Option<String>,
    between: String,
    after_key: String,
    sorted: bool,
}

impl JsonWriter {
    fn line(&self, depth: usize, out: &mut String) {
        if let Some(indent) = &self.indent {
            out.push('\n');
            (0..depth).for_each(|_| out.push_str(indent));
        }
    }

    fn text(&self, text: &str, out: &mut String) {
        out.push('"');
        for letter in text.chars() {
            match letter {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                '\u{8}' => out.push_str("\\b"),
                '\u{c}' => out.push_str("\\f"),
                _ if (letter as u32) < 0x20 || self.ascii && !letter.is_ascii() => {
                    for unit in letter.encode_utf16(&mut [0; 2]) {
                        let _ = write!(out, "\\u{unit:04x}");
                    }
                }
                _ => out.push(letter),
            }
        }
        out.push('"');
    }

    fn scalar(value: &Value) -> Option<String> {
        match value.kind() {
            ValueKind::None => Some("null".to_owned()),
            ValueKind::Bool => Some(if value.is_true() { "true" } else { "false" }.to_owned()),
            ValueKind::Number => Some(match text(value).as_str() {
                "nan" => "NaN".to_owned(),
                "inf" => "Infinity".to_owned(),
                "-inf" => "-Infinity".to_owned(),
                text => text.to_owned(),
            }),
            _ => None,
        }
    }

    fn write(&self, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
        const DEEPEST: usize = 200;
        if depth > DEEPEST {
            return Err(wrong("`tojson`: the value is nested too deeply"));
        }
        if let Some(text) = value.as_str() {
            self.text(text, out);
        } else if let Some(text) = Self::scalar(value) {
            out.push_str(&text);
        } else if value.kind() == ValueKind::Map {
            let mut pairs = Vec::new();
            for key in value.try_iter()? {
                let name = key.as_str().map(str::to_owned).or_else(|| Self::scalar(&key));
                let name = name.ok_or_else(|| wrong(format!("`tojson`: a key is a {}", key.kind())))?;
                pairs.push((name, value.get_item(&key)?));
            }
            if self.sorted {
                pairs.sort_by(|a, b| a.0.cmp(&b.0));
            }
            let write = |(name, value): &(String, Value), out: &mut String| {
                self.text(name, out);
                out.push_str(&self.after_key);
                self.write(value, depth + 1, out)
            };
            self.list(('{', '}'), &pairs, depth, out, &write)?;
        } else if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
            let items: Vec<Value> = value.try_iter()?.collect();
            self.list(('[', ']'), &items, depth, out, &|value, out| self.write(value, depth + 1, out))?;
        } else {
            return Err(wrong(format!("`tojson`: a value that is {} is not JSON serializable", value.kind())));
        }
        Ok(())
    }

    fn list<T>(
        &self,
        (open, close): (char, char),
        items: &[T],
        depth: usize,
        out: &mut String,
        write: &dyn Fn(&T, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        out.push(open);
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                out.push_str(&self.between);
            }
            self.line(depth + 1, out);
            write(item, out)?;
        }
        if !items.is_empty() {
            self.line(depth, out);
        }
        out.push(close);
        Ok(())
    }
}

/// `len(value)`; an undefined value has none.
pub(super) fn length(value: &Value) -> Result<usize, Error> {
    if value.is_undefined() {
        return Ok(0);
    }
    value.len().ok_or_else(|| wrong(format!("object of type {} has no length", value.kind())))
}

/// `value[start:stop:step]`, each of which may be none.
fn slice(value: &Value, start: &Value, stop: &Value, step: &Value) -> Result<Value, Error> {
    let number = |value: &Value| match value.is_none() {
        true => Ok(None),
        false => i64::try_from(value.clone()).map(Some),
    };
    let items: Vec<Value> = value.try_iter()?.collect();
    let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
    let step = number(step)?.unwrap_or(1);
    if step == 0 {
        return Err(wrong("slice step cannot be zero"));
    }
    // The places that a bound may have: behind the end only where one goes there.
    let (low, high) = if step > 0 { (0, length) } else { (-1, length - 1) };
    let place = |bound: Option<i64>, default: i64| match bound {
        None => default,
        Some(at) if at < 0 => at.saturating_add(length).max(low),
        Some(at) => at.min(high),
    };
    let (first, last) = if step > 0 { (low, high) } else { (high, low) };
    let (mut at, end) = (place(number(start)?, first), place(number(stop)?, last));
    let mut chosen = Vec::new();
    while if step > 0 { at < end } else { at > end } {
        chosen.extend(usize::try_from(at).ok().and_then(|at| items.get(at)).cloned());
        at = at.saturating_add(step);
    }
    Ok(match value.kind() {
        ValueKind::String => Value::from(chosen.iter().map(ToString::to_string).collect::<String>()),
        _ => Value::from(chosen),
    })
}

/// `value | int`: the default where it is no number.
pub(super) fn int(value: &Value, default: Option<Value>, base: Option<u32>, named: Kwargs) -> Result<Value, Error> {
    let default = default.map_or_else(|| named.get::<Option<Value>>("default"), |default| Ok(Some(default)))?;
    let default = default.unwrap_or_else(|| Value::from(0));
    let base = base.map_or_else(|| named.get("base"), |base| Ok(Some(base)))?;
    named.assert_all_used()?;
    let whole = |number: f64| number.is_finite().then(|| Value::from(number.trunc() as i128));
    let base = base.filter(|base| (2..=36).contains(base)).unwrap_or(10);
    let found = match value.kind() {
        ValueKind::Bool => Some(Value::from(i64::from(value.is_true()))),
        ValueKind::Number if value.is_integer() => Some(value.clone()),
        ValueKind::Number => f64::try_from(value.clone()).ok().and_then(whole),
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default().trim().replace('_', "");
            i128::from_str_radix(&text, base).ok().map(Value::from).or_else(|| text.parse().ok().and_then(whole))
        }
        _ => None,
    };
    Ok(found.unwrap_or(default))
}

/// `value | float`: the default where it is no number.
pub(super) fn float(value: &Value, default: Option<Value>, named: Kwargs) -> Result<Value, Error> {
    let default = default.map_or_else(|| named.get::<Option<Value>>("default"), |default| Ok(Some(default)))?;
    named.assert_all_used()?;
    let found = match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => value.as_str().and_then(|text| text.trim().replace('_', "").parse().ok()),
        _ => None,
    };
    Ok(found.map(Value::from).or(default).unwrap_or_else(|| Value::from(0.0)))
}

/// `value | replace(old, new, count)`.
pub(super) fn replace(value: &Value, old: &Value, new: &Value, count: Option<i64>) -> String {
    let [value, old, new] = [value, old, new].map(text);
    match count.and_then(|count| usize::try_from(count).ok()) {
        Some(count) => value.replacen(&old, &new, count),
        None => value.replace(&old, &new),
    }
}

/// `value | escape`, as markupsafe writes it.
pub(super) fn escape(value: &Value) -> Value {
    if value.is_safe() {
        return value.clone();
    }
    let text = text(value).replace('&', "&amp;").replace('>', "&gt;").replace('<', "&lt;");
    Value::from_safe_string(text.replace('\'', "&#39;").replace('"', "&#34;"))
}

/// `value | first` and `value | last`: undefined where there is nothing.
pub(super) fn at_end(value: &Value, is_last: bool) -> Result<Value, Error> {
    let mut items = value.try_iter()?;
    Ok(if is_last { items.last() } else { items.next() }.unwrap_or(Value::UNDEFINED))
}

/// `value | attr(name)`: keys of a mapping are no attributes.
pub(super) fn attribute(value: &Value, name: &str) -> Result<Value, Error> {
    if value.kind() == ValueKind::Map { Ok(Value::UNDEFINED) } else { value.get_attr(name) }
}

/// Whether Python's `iter` takes it; what is undefined is an empty iterable there.
pub(super) fn is_iterable(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String | ValueKind::Seq | ValueKind::Map | ValueKind::Iterable | ValueKind::Undefined
    )
}

/// White space as `str.isspace` has it.
fn is_space(letter: char) -> bool {
    letter.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&letter)
}

/// Methods of Python's values that minijinja does not have, or has otherwise; the rest is its own.
pub(super) fn method(
    state: &mut State<'_, '_>,
    value: &Value,
    name: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    if let (dialect::SLICE, [start, stop, step]) = (name, arguments) {
        return slice(value, start, stop, step);
    }
    let found = match value.kind() {
        ValueKind::String => value.as_str().map(|text| string_method(text, name, arguments)),
        ValueKind::Seq | ValueKind::Iterable => Some(list_method(value, name, arguments)),
        ValueKind::Map => Some(map_method(value, name, arguments)),
        _ => None,
    };
    match found {
        Some(Ok(Some(result))) => Ok(result),
        Some(Err(error)) => Err(error),
        _ => minijinja_contrib::pycompat::unknown_method_callback(state, value, name, arguments),
    }
}

fn string_method(text: &str, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "strip" | "lstrip" | "rstrip" => {
            let (letters,): (Option<&str>,) = from_args(arguments)?;
            let fits = |letter: char| letters.map_or_else(|| is_space(letter), |letters| letters.contains(letter));
            Value::from(match name {
                "strip" => text.trim_matches(fits),
                "lstrip" => text.trim_start_matches(fits),
                _ => text.trim_end_matches(fits),
            })
        }
        "split" | "rsplit" => {
            let (separator, most, named): (Option<Value>, Option<i64>, Kwargs) = from_args(arguments)?;
            let separator = match separator {
                Some(separator) => Some(separator),
                None => named.get::<Option<Value>>("sep")?,
            };
            let most = match most {
                Some(most) => Some(most),
                None => named.get("maxsplit")?,
            };
            named.assert_all_used()?;
            let most = usize::try_from(most.unwrap_or(-1)).ok();
            let separator = separator.filter(|separator| !separator.is_none());
            let separator =
                separator.as_ref().map(|it| it.as_str().ok_or_else(|| wrong("must be str or None"))).transpose()?;
            Value::from(match (separator, name) {
                (Some(""), _) => return Err(wrong("empty separator")),
                (Some(separator), "split") => match most {
                    Some(most) => text.splitn(most + 1, separator).map(Value::from).collect::<Vec<_>>(),
                    None => text.split(separator).map(Value::from).collect(),
                },
                (Some(separator), _) => {
                    let mut parts: Vec<Value> =
                        text.rsplitn(most.map_or(usize::MAX, |most| most + 1), separator).map(Value::from).collect();
                    parts.reverse();
                    parts
                }
                (None, "split") => words(text, most, false),
                (None, _) => words(text, most, true),
            })
        }
        "splitlines" => {
            let (keep, named): (Option<bool>, Kwargs) = from_args(arguments)?;
            let keep = keep.or(named.get("keepends")?).unwrap_or(false);
            named.assert_all_used()?;
            Value::from(lines(text, keep))
        }
        "partition" | "rpartition" => {
            let (separator,): (&str,) = from_args(arguments)?;
            let found = if name == "partition" { text.split_once(separator) } else { text.rsplit_once(separator) };
            let parts = match (found, name) {
                (Some((before, after)), _) => [before, separator, after],
                (None, "partition") => [text, "", ""],
                (None, _) => ["", "", text],
            };
            Value::from(Tuple::from(parts.map(Value::from)))
        }
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_prefix(prefix).unwrap_or(text))
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(arguments)?;
            Value::from(text.strip_suffix(suffix).filter(|_| !suffix.is_empty()).unwrap_or(text))
        }
        "find" | "rfind" | "index" | "rindex" | "count" => {
            let (what, from, to): (&str, Option<i64>, Option<i64>) = from_args(arguments)?;
            let letters: Vec<char> = text.chars().collect();
            let [from, to] = [bound(from.unwrap_or(0), letters.len()), bound(to.unwrap_or(i64::MAX), letters.len())];
            let part: String = letters.get(from..to.max(from)).unwrap_or_default().iter().collect();
            let at = if name.starts_with('r') { part.rfind(what) } else { part.find(what) };
            let at = at.map(|at| from + part[..at].chars().count());
            match (name, at) {
                ("count", _) if what.is_empty() => Value::from(part.chars().count() + 1),
                ("count", _) => Value::from(part.matches(what).count()),
                (_, Some(at)) => Value::from(at),
                ("find" | "rfind", None) => Value::from(-1),
                _ => return Err(wrong("substring not found")),
            }
        }
        "center" | "ljust" | "rjust" | "zfill" => {
            let (width, fill): (usize, Option<&str>) = from_args(arguments)?;
            if width > WIDEST {
                return Err(wrong("width too big"));
            }
            let fill = if name == "zfill" { "0" } else { fill.unwrap_or(" ") };
            let missing = width.saturating_sub(text.chars().count());
            let fill = |count: usize| fill.repeat(count);
            Value::from(match name {
                // Python puts the odd one to the left where the width is odd.
                "center" => {
                    let left = missing / 2 + (missing & width & 1);
                    format!("{}{text}{}", fill(left), fill(missing - left))
                }
                "ljust" => format!("{text}{}", fill(missing)),
                "zfill" if text.starts_with(['-', '+']) => format!("{}{}{}", &text[..1], fill(missing), &text[1..]),
                _ => format!("{}{text}", fill(missing)),
            })
        }
        "swapcase" => {
            let swap = |letter: char| match letter.is_uppercase() {
                true => letter.to_lowercase().collect::<String>(),
                false => letter.to_uppercase().collect(),
            };
            Value::from(text.chars().map(swap).collect::<String>())
        }
        "title" => {
            let mut inside = false;
            let letter = |letter: char| {
                let cased: String = match (letter.is_alphabetic(), inside) {
                    (true, true) => letter.to_lowercase().collect(),
                    (true, false) => letter.to_uppercase().collect(),
                    _ => letter.to_string(),
                };
                inside = letter.is_alphabetic();
                cased
            };
            Value::from(text.chars().map(letter).collect::<String>())
        }
        "casefold" => Value::from(text.to_lowercase().replace('ß', "ss")),
        "isdecimal" => Value::from(!text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit())),
        "expandtabs" | "translate" | "maketrans" | "encode" | "isidentifier" | "isprintable" | "istitle" => {
            return Err(wrong(format!("templates that call `{name}` of a text are not supported")));
        }
        _ => return Ok(None),
    }))
}

/// A place in a text as a slice has it.
fn bound(at: i64, length: usize) -> usize {
    let length = i64::try_from(length).unwrap_or(i64::MAX);
    let at = if at < 0 { (at + length).max(0) } else { at.min(length) };
    usize::try_from(at).unwrap_or(0)
}

/// The words of a text, split at most so often; what is left over keeps its inner white space.
fn words(text: &str, most: Option<usize>, from_the_end: bool) -> Vec<Value> {
    let mut parts = Vec::new();
    let mut rest = text.trim_matches(is_space);
    while !rest.is_empty() {
        if most == Some(parts.len()) {
            parts.push(rest);
            break;
        }
        let cut = if from_the_end { rest.rfind(is_space) } else { rest.find(is_space) };
        let (word, left) = match cut {
            None => (rest, ""),
            Some(at) if from_the_end => {
                let length = rest[at..].chars().next().map_or(1, char::len_utf8);
                (&rest[at + length..], rest[..at].trim_end_matches(is_space))
            }
            Some(at) => (&rest[..at], rest[at..].trim_start_matches(is_space)),
        };
        parts.push(word);
        rest = left;
    }
    if from_the_end {
        parts.reverse();
    }
    parts.into_iter().map(Value::from).collect()
}

/// The lines of a text, at every sign that ends one in Python.
fn lines(text: &str, keep: bool) -> Vec<Value> {
    let ends = ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut lines = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let at = rest.find(ends).unwrap_or(rest.len());
        let end = if rest[at..].starts_with("\r\n") { 2 } else { rest[at..].chars().next().map_or(0, char::len_utf8) };
        lines.push(Value::from(&rest[..if keep { at + end } else { at }]));
        rest = &rest[at + end..];
    }
    lines
}

fn list_method(value: &Value, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "index" => {
            let (what,): (&Value,) = from_args(arguments)?;
            let at = value.try_iter()?.position(|item| item == *what);
            Value::from(at.ok_or_else(|| wrong("the value is not in the list"))?)
        }
        "copy" => Value::from(value.try_iter()?.collect::<Vec<_>>()),
        "append" | "extend" | "insert" | "pop" | "remove" | "reverse" | "sort" | "clear" => {
            return Err(immutable(name, "list"));
        }
        _ => return Ok(None),
    }))
}

fn map_method(value: &Value, name: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    Ok(Some(match name {
        "copy" => {
            let () = from_args(arguments)?;
            value.clone()
        }
        "update" | "pop" | "popitem" | "setdefault" | "clear" => return Err(immutable(name, "dict")),
        _ => return Ok(None),
    }))
}

/// What transformers' sandbox says of methods that change a value.
fn immutable(method: &str, of: &str) -> Error {
    wrong(format!("access to attribute `{method}` of a {of} is unsafe: templates cannot change values"))
}
