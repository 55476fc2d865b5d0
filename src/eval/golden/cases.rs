//! Names of golden tensors, and the cases that they make.

use std::{cmp::Ordering, collections::BTreeMap};

use candle_core::Tensor;

use super::GoldenError;

/// What goes into a program and what should come out.
#[derive(Debug, Clone, Default)]
pub struct Case {
    /// Its name; empty where the file has only one.
    pub name: String,
    /// What goes in.
    pub inputs: BTreeMap<String, Tensor>,
    /// What should come out.
    pub outputs: BTreeMap<String, Tensor>,
}

/// Names of other tools and what they are called here: `latents_nchw=latent`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameMap(BTreeMap<String, String>);

impl NameMap {
    /// Reads mappings of the form `theirs=ours`.
    ///
    /// # Errors
    /// When one has another form, or a name is mapped twice.
    pub fn parse<S: AsRef<str>>(mappings: impl IntoIterator<Item = S>) -> Result<Self, GoldenError> {
        let mut map = BTreeMap::new();
        for mapping in mappings {
            let text = mapping.as_ref();
            let parts = text.split_once('=').filter(|(from, to)| !from.is_empty() && !to.is_empty());
            let (from, to) = parts.ok_or_else(|| GoldenError::Mapping { text: text.to_owned() })?;
            if map.insert(from.to_owned(), to.to_owned()).is_some() {
                return Err(GoldenError::MappedTwice { name: from.to_owned() });
            }
        }
        Ok(Self(map))
    }

    /// Their names, and ours.
    pub fn pairs(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

/// Whether a tensor goes in or comes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    In,
    Out,
}

/// The cases of a golden file, in natural order (`case2` before `case10`).
///
/// A tensor is called `<case>.in.<name>`, `<case>.out.<name>`, `in.<name>` or `out.<name>`. The first part between dots
/// that is `in` or `out` divides the case from the name, so both may contain dots. Tensors with other names belong to
/// no case. A mapped tensor takes the place of one that has the name anyway.
///
/// # Errors
/// When there is no case, a mapping maps nothing, or two mappings give tensors of one case the same name.
pub fn cases(tensors: BTreeMap<String, Tensor>, map: &NameMap) -> Result<Vec<Case>, GoldenError> {
    let mut cases: BTreeMap<String, Case> = BTreeMap::new();
    let mut names: Vec<String> = Vec::new();
    let mut used: BTreeMap<&str, bool> = map.0.keys().map(|name| (name.as_str(), false)).collect();
    let mut mapped = Vec::new();
    for (full, tensor) in tensors {
        let Some((case, side, name)) = split(&full) else {
            names.push(full);
            continue;
        };
        let slot = cases.entry(case.to_owned()).or_insert_with(|| Case { name: case.to_owned(), ..Case::default() });
        if let Some((from, to)) = map.0.get_key_value(name) {
            used.insert(from, true);
            mapped.push((case.to_owned(), side, from, to, tensor));
        } else {
            slot.side(side).insert(name.to_owned(), tensor);
        }
    }
    if cases.is_empty() {
        return Err(GoldenError::NoCases { names });
    }
    if let Some((name, _)) = used.into_iter().find(|(_, used)| !used) {
        return Err(GoldenError::Unused { name: name.to_owned(), names: names_of(&cases) });
    }
    let mut taken: BTreeMap<(String, bool, &str), &str> = BTreeMap::new();
    for (case, side, from, to, tensor) in mapped {
        if let Some(first) = taken.insert((case.clone(), side == Side::In, to), from) {
            return Err(GoldenError::Collision {
                case,
                name: to.clone(),
                first: first.to_owned(),
                second: from.clone(),
            });
        }
        cases.entry(case).or_default().side(side).insert(to.clone(), tensor);
    }
    let mut cases: Vec<Case> = cases.into_values().collect();
    cases.sort_by(|a, b| natural(&a.name, &b.name));
    Ok(cases)
}

impl Case {
    fn side(&mut self, side: Side) -> &mut BTreeMap<String, Tensor> {
        match side {
            Side::In => &mut self.inputs,
            Side::Out => &mut self.outputs,
        }
    }
}

fn names_of(cases: &BTreeMap<String, Case>) -> Vec<String> {
    let mut names: Vec<String> =
        cases.values().flat_map(|case| case.inputs.keys().chain(case.outputs.keys())).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// Case, side and name of a golden tensor; `None` where the name has another form.
fn split(full: &str) -> Option<(&str, Side, &str)> {
    let mut at = 0;
    for part in full.split('.') {
        let side = match part {
            "in" => Some(Side::In),
            "out" => Some(Side::Out),
            _ => None,
        };
        if let Some(side) = side {
            let name = full[at + part.len()..].strip_prefix('.')?;
            let case = full[..at].strip_suffix('.').unwrap_or_default();
            return (!name.is_empty()).then_some((case, side, name));
        }
        at += part.len() + 1;
    }
    None
}

/// Order of names in which runs of digits count as numbers.
pub(super) fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (Some(x), Some(y)) = (left.chars().next(), right.chars().next()) else {
            // Equal but for leading zeros: the text decides, so that the order is total.
            return left.len().cmp(&right.len()).then_with(|| a.cmp(b));
        };
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (m, n) = (take_digits(&mut left), take_digits(&mut right));
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
            x.cmp(&y)
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// Takes the digits at the start, without leading zeros.
fn take_digits<'a>(text: &mut &'a str) -> &'a str {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    digits.trim_start_matches('0')
}
