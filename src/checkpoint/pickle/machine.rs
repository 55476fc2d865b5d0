//! A pickle as a tree of plain values. Nothing is ever called: what a pickle asks to call is written down as
//! [`Value::Call`].
//!
//! Values lie in one list and refer to each other by index, so that the time and memory a pickle costs grow with its
//! length alone, however deeply it nests or often it repeats itself. Protocols 2 to 4, as Python's `pickletools`
//! documents them; the text instructions of protocol 0, which torch never wrote, are refused.

use std::collections::BTreeMap;

use super::PickleProblem;

/// Longest pickle that is read. A hundred thousand tensors take about a third of it.
pub(super) const LONGEST: u64 = 32 << 20;

/// A value's place in [`Values`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Id(u32);

/// What a pickle builds, as far as tensors are concerned.
#[derive(Debug)]
pub(super) enum Value<'a> {
    /// Floats, bytes, sets: nothing that tensors are made of.
    Other,
    None,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by name.
    Global {
        module: &'a str,
        name: &'a str,
    },
    /// What would be the result of a call.
    Call {
        callable: Id,
        args: Id,
    },
    /// A reference to a storage.
    Persistent(Id),
}

/// Every value of a pickle.
#[derive(Debug)]
pub(super) struct Values<'a>(Vec<Value<'a>>);

impl<'a> Values<'a> {
    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.0[id.0 as usize]
    }

    pub(super) fn int(&self, id: Id) -> Option<i64> {
        if let Value::Int(value) = self.get(id) { Some(*value) } else { None }
    }

    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        if let Value::Text(value) = self.get(id) { Some(value) } else { None }
    }

    pub(super) fn tuple(&self, id: Id) -> Option<&[Id]> {
        if let Value::Tuple(values) = self.get(id) { Some(values) } else { None }
    }

    pub(super) fn list(&self, id: Id) -> Option<&[Id]> {
        if let Value::List(values) = self.get(id) { Some(values) } else { None }
    }

    pub(super) fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        if let Value::Dict(entries) = self.get(id) { Some(entries) } else { None }
    }

    pub(super) fn global(&self, id: Id) -> Option<(&'a str, &'a str)> {
        if let Value::Global { module, name } = self.get(id) { Some((module, name)) } else { None }
    }

    /// The ids of all references to storages, in the order of the pickle.
    pub(super) fn references(&self) -> impl Iterator<Item = Id> {
        self.0.iter().filter_map(|value| if let Value::Persistent(id) = value { Some(*id) } else { None })
    }
}

/// Reads a pickle; the [`Id`] is its result.
pub(super) fn run(pickle: &[u8]) -> Result<(Values<'_>, Id), PickleProblem> {
    let length = pickle.len() as u64;
    if length > LONGEST {
        return Err(PickleProblem::TooLong { length, limit: LONGEST });
    }
    let (values, result, _) = run_at(pickle, 0)?;
    Ok((values, result))
}

/// Reads the pickle that begins at `start` of a file; the number is where it ends.
pub(super) fn run_at(file: &[u8], start: usize) -> Result<(Values<'_>, Id, usize), PickleProblem> {
    let limit = start.saturating_add(LONGEST as usize);
    let pickle = &file[..file.len().min(limit)];
    let mut machine = Machine {
        pickle,
        at: start,
        begin: start,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: BTreeMap::new(),
    };
    match machine.finish() {
        Ok(result) => Ok((Values(machine.values), result, machine.at)),
        Err(PickleProblem::Truncated { .. }) if pickle.len() < file.len() => {
            Err(PickleProblem::Endless { start, limit: LONGEST })
        }
        Err(problem) => Err(problem),
    }
}

struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    /// Where the instruction at work begins.
    begin: usize,
    values: Vec<Value<'a>>,
    stack: Vec<Id>,
    /// Lengths of the stack at each mark.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

impl<'a> Machine<'a> {
    /// Follows the instructions up to STOP.
    fn finish(&mut self) -> Result<Id, PickleProblem> {
        loop {
            self.begin = self.at;
            let [code] = self.array()?;
            if code == b'.' {
                return self.pop();
            }
            self.step(code)?;
        }
    }

    fn step(&mut self, code: u8) -> Result<(), PickleProblem> {
        match code {
            // PROTO, FRAME: nothing to do but to go on behind them.
            0x80 => self.bytes(1).map(drop),
            0x95 => self.bytes(8).map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_to_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'h' | b'j' | b'q' | b'r' | 0x94 => self.remember(code),
            b')' | b't' | 0x85..=0x87 => self.tuple(code),
            b'N' | b'G' | b'C' | b'B' | 0x88 | 0x89 | 0x8e | 0x8f | 0x91 | 0x96 => self.other(code),
            b'J' | b'K' | b'M' | 0x8a | 0x8b => self.int(code),
            b'X' | 0x8c | 0x8d | b'T' | b'U' => self.text(code),
            b']' | b'l' | b'a' | b'e' | b'}' | b'd' | b's' | b'u' | 0x90 => self.collect(code),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'Q' => self.object(code),
            _ => Err(PickleProblem::Instruction { code, at: self.begin }),
        }
    }

    /// BINGET, LONG_BINGET, BINPUT, LONG_BINPUT, MEMOIZE.
    fn remember(&mut self, code: u8) -> Result<(), PickleProblem> {
        let key = match code {
            b'h' | b'q' => u32::from(self.array::<1>()?[0]),
            b'j' | b'r' => u32::from_le_bytes(self.array()?),
            _ => self.memo.len() as u32,
        };
        if matches!(code, b'h' | b'j') {
            let id = *self.memo.get(&key).ok_or_else(|| self.unexpected("a remembered value"))?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    /// EMPTY_TUPLE, TUPLE, TUPLE1 to TUPLE3.
    fn tuple(&mut self, code: u8) -> Result<(), PickleProblem> {
        let parts = match code {
            b')' => Vec::new(),
            b't' => self.pop_to_mark()?,
            _ => {
                let mut parts = (0x84..code).map(|_| self.pop()).collect::<Result<Vec<_>, _>>()?;
                parts.reverse();
                parts
            }
        };
        self.push(Value::Tuple(parts))
    }

    /// NONE, BINFLOAT, bytes, booleans, sets.
    fn other(&mut self, code: u8) -> Result<(), PickleProblem> {
        match code {
            b'N' => return self.push(Value::None),
            0x88 | 0x89 => return self.push(Value::Bool(code == 0x88)),
            _ => {}
        }
        let length = match code {
            b'G' => 8,
            b'C' => u64::from(self.array::<1>()?[0]),
            b'B' => u64::from(u32::from_le_bytes(self.array()?)),
            0x8e | 0x96 => u64::from_le_bytes(self.array()?),
            0x91 => {
                self.pop_to_mark()?;
                0
            }
            _ => 0,
        };
        self.bytes(length)?;
        self.push(Value::Other)
    }

    /// BININT, BININT1, BININT2, LONG1, LONG4. Numbers of more than 64 bits are no sizes of tensors.
    fn int(&mut self, code: u8) -> Result<(), PickleProblem> {
        let value = match code {
            b'J' => i64::from(i32::from_le_bytes(self.array()?)),
            b'K' => i64::from(self.array::<1>()?[0]),
            b'M' => i64::from(u16::from_le_bytes(self.array()?)),
            _ => {
                let length =
                    if code == 0x8a { u32::from(self.array::<1>()?[0]) } else { u32::from_le_bytes(self.array()?) };
                let digits = self.bytes(length.into())?;
                if digits.len() > 8 {
                    return self.push(Value::Other);
                }
                let fill = if digits.last().is_some_and(|&last| last >= 0x80) { 0xFF } else { 0 };
                let mut wide = [fill; 8];
                wide[..digits.len()].copy_from_slice(digits);
                i64::from_le_bytes(wide)
            }
        };
        self.push(Value::Int(value))
    }

    /// BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, BINSTRING, SHORT_BINSTRING.
    fn text(&mut self, code: u8) -> Result<(), PickleProblem> {
        let length = match code {
            0x8c | b'U' => u64::from(self.array::<1>()?[0]),
            0x8d => u64::from_le_bytes(self.array()?),
            _ => u64::from(u32::from_le_bytes(self.array()?)),
        };
        let bytes = self.bytes(length)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.unexpected("UTF-8 text"))?;
        self.push(Value::Text(text))
    }

    /// EMPTY_LIST, LIST, APPEND, APPENDS, EMPTY_DICT, DICT, SETITEM, SETITEMS, ADDITEMS.
    fn collect(&mut self, code: u8) -> Result<(), PickleProblem> {
        let items = match code {
            b'l' | b'd' | b'e' | b'u' | 0x90 => self.pop_to_mark()?,
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => Vec::new(),
        };
        match code {
            b']' | b'l' => self.push(Value::List(items)),
            b'}' | b'd' => {
                let entries = self.pairs(&items)?;
                self.push(Value::Dict(entries))
            }
            b's' | b'u' => {
                let entries = self.pairs(&items)?;
                match self.top_value()? {
                    Value::Dict(dict) => dict.extend(entries),
                    // Subclasses of dict that nobody here knows.
                    Value::Call { .. } => {}
                    _ => return Err(self.unexpected("a dictionary")),
                }
                Ok(())
            }
            0x90 => self.top().map(drop),
            _ => {
                match self.top_value()? {
                    Value::List(list) => list.extend(items),
                    // Subclasses of list that nobody here knows.
                    Value::Call { .. } => {}
                    _ => return Err(self.unexpected("a list")),
                }
                Ok(())
            }
        }
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>, PickleProblem> {
        let pairs = items.chunks_exact(2);
        if !pairs.remainder().is_empty() {
            return Err(self.unexpected("a value for every key"));
        }
        Ok(pairs.map(|pair| (pair[0], pair[1])).collect())
    }

    /// GLOBAL, STACK_GLOBAL, REDUCE, NEWOBJ, NEWOBJ_EX, BUILD, BINPERSID.
    fn object(&mut self, code: u8) -> Result<(), PickleProblem> {
        match code {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global { module, name })
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let text = |id: Id| if let Value::Text(text) = self.values[id.0 as usize] { Some(text) } else { None };
                let (Some(module), Some(name)) = (text(module), text(name)) else {
                    return Err(self.unexpected("two names"));
                };
                self.push(Value::Global { module, name })
            }
            b'Q' => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
            // The state of an object: `_metadata` of a state dict, whose modules are named by its keys anyway.
            b'b' => self.pop().and_then(|_| self.top()).map(drop),
            _ => {
                if code == 0x92 {
                    self.pop()?;
                }
                let args = self.pop()?;
                let callable = self.pop()?;
                let value = if self.makes_dict(callable, args) {
                    Value::Dict(Vec::new())
                } else {
                    Value::Call { callable, args }
                };
                self.push(value)
            }
        }
    }

    /// Whether a call makes an empty dictionary, which later instructions fill.
    fn makes_dict(&self, callable: Id, args: Id) -> bool {
        let arguments = if let Value::Tuple(args) = &self.values[args.0 as usize] { args.len() } else { usize::MAX };
        match self.values[callable.0 as usize] {
            Value::Global { module: "collections", name: "OrderedDict" } => arguments == 0,
            Value::Global { module: "collections", name: "defaultdict" } => arguments <= 1,
            _ => false,
        }
    }

    fn push(&mut self, value: Value<'a>) -> Result<(), PickleProblem> {
        // An instruction is a byte at least, so there are fewer values than `LONGEST`.
        self.stack.push(Id(self.values.len() as u32));
        self.values.push(value);
        Ok(())
    }

    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Id, PickleProblem> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Result<Id, PickleProblem> {
        self.stack[self.floor()..].last().copied().ok_or_else(|| self.unexpected("a value"))
    }

    fn top_value(&mut self) -> Result<&mut Value<'a>, PickleProblem> {
        let top = self.top()?;
        Ok(&mut self.values[top.0 as usize])
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, PickleProblem> {
        let mark = self.marks.pop().ok_or_else(|| self.unexpected("a mark"))?;
        Ok(self.stack.split_off(mark))
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], PickleProblem> {
        let rest = &self.pickle[self.at..];
        if length > rest.len() as u64 {
            return Err(PickleProblem::Truncated { at: self.begin });
        }
        self.at += length as usize;
        Ok(&rest[..length as usize])
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PickleProblem> {
        Ok(self.bytes(N as u64)?.try_into().expect("the slice is that long"))
    }

    fn line(&mut self) -> Result<&'a str, PickleProblem> {
        let length = self.pickle[self.at..]
            .iter()
            .position(|&b| b == b'\n')
            .ok_or(PickleProblem::Truncated { at: self.begin })?;
        let line = self.bytes(length as u64)?;
        self.bytes(1)?;
        std::str::from_utf8(line).map_err(|_| self.unexpected("UTF-8 text"))
    }

    fn unexpected(&self, expected: &'static str) -> PickleProblem {
        PickleProblem::Unexpected { expected, at: self.begin }
    }
}
