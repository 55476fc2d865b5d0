//! Encodes and decodes constants as `MILSpec.Value`: as literals, or as references to records of weight files.
//!
//! | dtype | field of a literal | weight file |
//! |---|---|---|
//! | fp32 | `floats` | yes |
//! | fp16 | `bytes`, little-endian | yes |
//! | int8, uint8 | `bytes` | yes |
//! | int16, uint16, int32 | `ints` | iOS18 |
//! | uint32 | `bytes`, little-endian | iOS18 |
//! | int4, uint1 ... uint6 | `bytes`, one bit stream, low bits first | iOS18 |
//! | bool / string / fp64 / int64, uint64 | `bools` / `strings` / `doubles` / `longInts` | no |

use std::collections::BTreeMap;

use half::f16;

use super::types::{decode_type, encode_type};
use crate::{
    base::Target,
    emit::coreml::{
        BlobError, BlobRecord, Problem,
        blob::{is_storable, record_at},
    },
    mil::{Constant, DataType, Dimension, Literal, Recipe, TensorType, Value, ValueType},
    proto::mil::{self as proto, tensor_value, value},
};

/// Minimum number of elements of a constant in a weight file, as in coremltools; shorter ones are literals of the
/// program.
const LEAST_ELEMENTS_OF_A_FILE: u64 = 10;

/// A record in a weight file, as programs refer to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightLocation {
    /// The file as programs name it, e.g. `@model_path/weights/weight.bin`.
    pub file: String,
    /// Offset of the record.
    pub offset: u64,
}

/// Maps constants to records of weight files.
pub trait WeightLookup {
    /// The record of the constant; `None` for a constant that the program holds as a literal.
    fn location(&self, recipe: &Recipe) -> Option<WeightLocation>;

    /// The values of a constant in no weight file whose recipe is no literal.
    fn values(&self, _recipe: &Recipe) -> Option<Literal> {
        None
    }
}

/// Reads the records of weight files.
pub trait WeightRecords {
    /// The record to which a program refers; `None` to trust the program's declaration.
    ///
    /// # Errors
    /// When the file is missing or has no such record.
    fn record(&self, file: &str, offset: u64) -> Result<Option<BlobRecord>, BlobError>;
}

/// Trusts the program's references without reading weight files: decoded constants keep their records when they are
/// encoded again.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unchecked;

impl WeightLookup for Unchecked {
    fn location(&self, recipe: &Recipe) -> Option<WeightLocation> {
        let (file, offset) = recipe.as_blob()?;
        Some(WeightLocation { file: file.to_owned(), offset })
    }
}

impl WeightRecords for Unchecked {
    fn record(&self, _: &str, _: u64) -> Result<Option<BlobRecord>, BlobError> {
        Ok(None)
    }
}

/// Weight files in memory, by the reference in programs.
impl<B: AsRef<[u8]>> WeightRecords for BTreeMap<String, B> {
    fn record(&self, file: &str, offset: u64) -> Result<Option<BlobRecord>, BlobError> {
        let bytes = self.get(file).ok_or_else(|| BlobError::NoFile { file: file.to_owned() })?;
        record_at(std::io::Cursor::new(bytes.as_ref()), offset).map(Some)
    }
}

/// Whether a constant belongs in a weight file: by its length and element type.
///
/// Integers of 16 and 32 bits are literals although iOS18 can read them from a file, so that all targets refer to the
/// same file.
pub fn belongs_in_weight_file(recipe: &Recipe) -> bool {
    let narrow = !matches!(recipe.dtype(), DataType::Int16 | DataType::UInt16 | DataType::Int32 | DataType::UInt32);
    recipe.elements().is_none_or(|n| n >= LEAST_ELEMENTS_OF_A_FILE) && narrow && is_storable(recipe.dtype())
}

fn first_target_in_file(dtype: DataType) -> Option<Target> {
    match dtype {
        DataType::Float16 | DataType::Float32 | DataType::Int8 | DataType::UInt8 => Some(Target::Ios15),
        _ => is_storable(dtype).then_some(Target::Ios18),
    }
}

/// Encodes the constants of one function.
#[derive(Clone, Copy)]
pub(super) struct ValueEncoder<'a> {
    pub(super) opset: Target,
    pub(super) weights: &'a dyn WeightLookup,
}

impl ValueEncoder<'_> {
    pub(super) fn encode(&self, value: &Value) -> Result<proto::Value, Problem> {
        let immediate = |value| value::Value::ImmediateValue(value::ImmediateValue { value: Some(value) });
        let all = |values: &[Value]| values.iter().map(|value| self.encode(value)).collect::<Result<Vec<_>, _>>();
        let content = match value {
            Value::Tensor(recipe) => self.encode_tensor(recipe)?,
            Value::Tuple(values) => {
                immediate(value::immediate_value::Value::Tuple(proto::TupleValue { values: all(values)? }))
            }
            Value::List { values, .. } => {
                immediate(value::immediate_value::Value::List(proto::ListValue { values: all(values)? }))
            }
            Value::Dictionary { entries, .. } => {
                let pair = |(key, value): &(Value, Value)| -> Result<_, Problem> {
                    Ok(proto::dictionary_value::KeyValuePair {
                        key: Some(self.encode(key)?),
                        value: Some(self.encode(value)?),
                    })
                };
                let values = entries.iter().map(pair).collect::<Result<_, _>>()?;
                immediate(value::immediate_value::Value::Dictionary(proto::DictionaryValue { values }))
            }
        };
        Ok(proto::Value {
            doc_string: String::new(),
            r#type: Some(encode_type(&value.value_type())?),
            value: Some(content),
        })
    }

    fn encode_tensor(&self, recipe: &Constant) -> Result<value::Value, Problem> {
        let dtype = recipe.dtype();
        let since = first_target_in_file(dtype);
        let allowed = since.is_some_and(|since| since <= self.opset);
        if dtype.bits().is_some_and(|bits| bits < 8) && !allowed {
            return Err(Problem::Since {
                what: format!("a constant of {dtype}"),
                since: Target::Ios18,
                target: self.opset,
            });
        }
        let literal = recipe.as_literal();
        if (allowed || literal.is_none())
            && let Some(WeightLocation { file, offset }) = self.weights.location(recipe)
        {
            let since = since.ok_or(Problem::NotInFile(dtype))?;
            if !allowed {
                return Err(Problem::Since { what: format!("{dtype} in a weight file"), since, target: self.opset });
            }
            return Ok(value::Value::BlobFileValue(value::BlobFileValue { file_name: file, offset }));
        }
        let values = if literal.is_none() { self.weights.values(recipe) } else { None };
        let literal = literal
            .or(values.as_ref())
            .ok_or_else(|| Problem::Unplaced { ty: TensorType::new(dtype, recipe.shape()).to_string() })?;
        let tensor = proto::TensorValue { value: Some(encode_literal(dtype, literal)) };
        Ok(value::Value::ImmediateValue(value::ImmediateValue {
            value: Some(value::immediate_value::Value::Tensor(tensor)),
        }))
    }
}

fn encode_literal(dtype: DataType, literal: &Literal) -> tensor_value::Value {
    use tensor_value::{
        RepeatedBools, RepeatedBytes, RepeatedDoubles, RepeatedFloats, RepeatedInts, RepeatedLongInts, RepeatedStrings,
    };
    let bytes = |values: Vec<u8>| tensor_value::Value::Bytes(RepeatedBytes { values: values.into() });
    match literal {
        Literal::Bools(values) => tensor_value::Value::Bools(RepeatedBools { values: values.clone() }),
        Literal::Floats(values) => tensor_value::Value::Floats(RepeatedFloats { values: values.clone() }),
        Literal::Halves(values) => bytes(values.iter().flat_map(|half| half.to_le_bytes()).collect()),
        Literal::Doubles(values) => tensor_value::Value::Doubles(RepeatedDoubles { values: values.clone() }),
        Literal::Strings(values) => tensor_value::Value::Strings(RepeatedStrings { values: values.clone() }),
        // The recipe checked that every integer fits its type, so the casts below are exact.
        Literal::Ints(values) => match dtype {
            DataType::Int8 | DataType::UInt8 => bytes(values.iter().map(|&v| v as u8).collect()),
            DataType::UInt32 => bytes(values.iter().flat_map(|&v| (v as u32).to_le_bytes()).collect()),
            DataType::Int64 | DataType::UInt64 => {
                tensor_value::Value::LongInts(RepeatedLongInts { values: values.clone() })
            }
            _ => tensor_value::Value::Ints(RepeatedInts { values: values.iter().map(|&v| v as i32).collect() }),
        },
        Literal::Packed(packed) => match unpack(dtype, packed) {
            Literal::Packed(values) => bytes(values),
            typed => encode_literal(dtype, &typed),
        },
    }
}

/// The values of bytes in a weight file's form; sub-byte types and rare floats stay packed.
fn unpack(dtype: DataType, bytes: &[u8]) -> Literal {
    fn each<const N: usize, T>(bytes: &[u8], make: impl Fn([u8; N]) -> T) -> Vec<T> {
        bytes.as_chunks::<N>().0.iter().map(|chunk| make(*chunk)).collect()
    }
    match dtype {
        DataType::Bool => Literal::Bools(bytes.iter().map(|&b| b != 0).collect()),
        DataType::Float16 => Literal::Halves(each(bytes, f16::from_le_bytes)),
        DataType::Float32 => Literal::Floats(each(bytes, f32::from_le_bytes)),
        DataType::Float64 => Literal::Doubles(each(bytes, f64::from_le_bytes)),
        DataType::Int8 => Literal::Ints(each(bytes, |b| i64::from(i8::from_le_bytes(b)))),
        DataType::UInt8 => Literal::Ints(each(bytes, |b| i64::from(u8::from_le_bytes(b)))),
        DataType::Int16 => Literal::Ints(each(bytes, |b| i64::from(i16::from_le_bytes(b)))),
        DataType::UInt16 => Literal::Ints(each(bytes, |b| i64::from(u16::from_le_bytes(b)))),
        DataType::Int32 => Literal::Ints(each(bytes, |b| i64::from(i32::from_le_bytes(b)))),
        DataType::UInt32 => Literal::Ints(each(bytes, |b| i64::from(u32::from_le_bytes(b)))),
        DataType::Int64 | DataType::UInt64 => Literal::Ints(each(bytes, i64::from_le_bytes)),
        _ => Literal::Packed(bytes.to_vec()),
    }
}

pub(super) fn decode_value(message: &proto::Value, weights: &dyn WeightRecords) -> Result<Value, Problem> {
    let declared = decode_type(message.r#type.as_ref())?;
    let content = match message.value.as_ref().ok_or(Problem::Missing("the value"))? {
        value::Value::BlobFileValue(place) => return decode_place(&declared, place, weights),
        value::Value::ImmediateValue(immediate) => immediate.value.as_ref().ok_or(Problem::Missing("the value"))?,
    };
    let mismatch =
        |found: &str| Problem::Kind { expected: format!("a value of type {declared}"), found: found.to_owned() };
    match (content, &declared) {
        (value::immediate_value::Value::Tensor(tensor), ValueType::Tensor(ty)) => {
            decode_literal(ty, tensor).map(Value::Tensor)
        }
        (value::immediate_value::Value::Tuple(tuple), ValueType::Tuple(types)) if tuple.values.len() == types.len() => {
            let elements = tuple.values.iter().zip(types).map(|(value, ty)| decode_element(value, ty, weights));
            Ok(Value::Tuple(elements.collect::<Result<_, _>>()?))
        }
        (value::immediate_value::Value::List(list), ValueType::List { element, length })
            if length.known().is_none_or(|n| n == list.values.len() as u64) =>
        {
            let values =
                list.values.iter().map(|value| decode_element(value, element, weights)).collect::<Result<_, _>>()?;
            Ok(Value::List { element: (**element).clone(), values })
        }
        (value::immediate_value::Value::Dictionary(dictionary), ValueType::Dictionary { key, value }) => {
            let side = |message: &Option<proto::Value>, ty| {
                decode_element(message.as_ref().ok_or(Problem::Missing("one side of a dictionary entry"))?, ty, weights)
            };
            let entries = dictionary.values.iter().map(|pair| Ok((side(&pair.key, key)?, side(&pair.value, value)?)));
            Ok(Value::Dictionary {
                key: (**key).clone(),
                value: (**value).clone(),
                entries: entries.collect::<Result<_, Problem>>()?,
            })
        }
        (value::immediate_value::Value::Tensor(_), _) => Err(mismatch("a tensor")),
        (value::immediate_value::Value::Tuple(tuple), _) => {
            Err(mismatch(&format!("a tuple of {}", tuple.values.len())))
        }
        (value::immediate_value::Value::List(list), _) => Err(mismatch(&format!("a list of {}", list.values.len()))),
        (value::immediate_value::Value::Dictionary(_), _) => Err(mismatch("a dictionary")),
    }
}

fn decode_element(message: &proto::Value, declared: &ValueType, weights: &dyn WeightRecords) -> Result<Value, Problem> {
    let value = decode_value(message, weights)?;
    let found = value.value_type();
    let free_length = matches!(declared, ValueType::List { length: Dimension::Unknown { .. }, .. });
    if found == *declared || free_length {
        return Ok(value);
    }
    Err(Problem::Kind { expected: format!("an element of type {declared}"), found: found.to_string() })
}

fn decode_place(
    declared: &ValueType,
    place: &value::BlobFileValue,
    weights: &dyn WeightRecords,
) -> Result<Value, Problem> {
    let (file, offset) = (place.file_name.as_str(), place.offset);
    let shape = declared.tensor().and_then(|ty| ty.fixed_shape().map(|shape| (ty.dtype, shape)));
    let (dtype, shape) = shape
        .ok_or_else(|| Problem::Kind { expected: "a tensor of fixed shape".to_owned(), found: declared.to_string() })?;
    let recipe = Recipe::blob(file, offset, dtype, &shape);
    let record = weights.record(file, offset).map_err(|source| Problem::Weights { file: file.to_owned(), source })?;
    if let Some(record) = record {
        let same = record.dtype == dtype
            && recipe.byte_length() == Some(record.data.length())
            && recipe.elements() == Some(record.elements());
        if !same {
            let found = format!("{} elements of {} in {} bytes", record.elements(), record.dtype, record.data.length());
            return Err(Problem::Record { file: file.to_owned(), offset, declared: declared.to_string(), found });
        }
    }
    Ok(Value::Tensor(recipe))
}

/// Takes the field that the element type has by rule, `bytes` for any type with a width, and `ints` for any integer
/// type.
fn decode_literal(ty: &TensorType, message: &proto::TensorValue) -> Result<Constant, Problem> {
    let unknown = || Problem::Kind { expected: "a constant of fixed shape".to_owned(), found: ty.to_string() };
    let shape = ty.fixed_shape().ok_or_else(unknown)?;
    let (literal, found) = match message.value.as_ref().ok_or(Problem::Missing("the values of a tensor"))? {
        tensor_value::Value::Floats(v) => (Literal::Floats(v.values.clone()), format!("{} floats", v.values.len())),
        tensor_value::Value::Doubles(v) => (Literal::Doubles(v.values.clone()), format!("{} doubles", v.values.len())),
        tensor_value::Value::Bools(v) => (Literal::Bools(v.values.clone()), format!("{} bools", v.values.len())),
        tensor_value::Value::Strings(v) => (Literal::Strings(v.values.clone()), format!("{} strings", v.values.len())),
        tensor_value::Value::LongInts(v) => (Literal::Ints(v.values.clone()), format!("{} long ints", v.values.len())),
        tensor_value::Value::Ints(v) => {
            (Literal::Ints(v.values.iter().map(|&i| i64::from(i)).collect()), format!("{} ints", v.values.len()))
        }
        tensor_value::Value::Bytes(v) => {
            let width = ty.dtype.bits().filter(|bits| bits % 8 == 0).map_or(1, |bits| bits as usize / 8);
            let whole = v.values.len().is_multiple_of(width);
            let literal = if whole { unpack(ty.dtype, &v.values) } else { Literal::Packed(v.values.to_vec()) };
            (literal, format!("{} bytes", v.values.len()))
        }
    };
    Recipe::literal(ty.dtype, &shape, literal).ok_or_else(|| Problem::Values { declared: ty.to_string(), found })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::emit::coreml::blob::tests::file;

    const IOS18: ValueEncoder<'static> = ValueEncoder { opset: Target::Ios18, weights: &Unchecked };

    fn literal(dtype: DataType, shape: &[u64], literal: Literal) -> Value {
        Value::Tensor(Recipe::literal(dtype, shape, literal).expect("a legal literal"))
    }

    fn immediate(value: &Value) -> tensor_value::Value {
        match IOS18.encode(value).unwrap().value.unwrap() {
            value::Value::ImmediateValue(value::ImmediateValue {
                value: Some(value::immediate_value::Value::Tensor(tensor)),
            }) => tensor.value.unwrap(),
            other => panic!("expected a tensor in place, found {other:?}"),
        }
    }

    #[test]
    fn a_zero_is_written() {
        let message = IOS18.encode(&Value::int(0)).unwrap();
        let value::Value::ImmediateValue(value) = message.value.unwrap() else { panic!("expected a value in place") };
        let value::immediate_value::Value::Tensor(tensor) = value.value.unwrap() else { panic!("expected a tensor") };
        assert_eq!(tensor.encode_to_vec(), [0x12, 3, 0x0a, 1, 0]);
    }

    #[test]
    fn every_type_has_the_field_that_core_ml_reads() {
        let bytes =
            |values: &[u8]| tensor_value::Value::Bytes(tensor_value::RepeatedBytes { values: values.to_vec().into() });
        let ints = |values: &[i32]| tensor_value::Value::Ints(tensor_value::RepeatedInts { values: values.to_vec() });
        let halves = literal(DataType::Float16, &[2], Literal::Halves(vec![f16::ONE, f16::NEG_ONE]));
        assert_eq!(immediate(&halves), bytes(&[0, 0x3c, 0, 0xbc]));
        assert_eq!(immediate(&literal(DataType::Int8, &[2], Literal::Ints(vec![-1, 2]))), bytes(&[255, 2]));
        assert_eq!(immediate(&literal(DataType::UInt16, &[1], Literal::Ints(vec![65535]))), ints(&[65535]));
        assert_eq!(immediate(&literal(DataType::Int16, &[1], Literal::Ints(vec![-3]))), ints(&[-3]));
        assert_eq!(
            immediate(&literal(DataType::UInt32, &[1], Literal::Ints(vec![0xffff_fffe]))),
            bytes(&[0xfe, 255, 255, 255])
        );
        assert_eq!(immediate(&literal(DataType::UInt4, &[3], Literal::Packed(vec![0x21, 3]))), bytes(&[0x21, 3]));
        assert_eq!(immediate(&literal(DataType::Int32, &[1], Literal::Packed(vec![254, 255, 255, 255]))), ints(&[-2]));
        let long = tensor_value::Value::LongInts(tensor_value::RepeatedLongInts { values: vec![-1] });
        assert_eq!(immediate(&literal(DataType::UInt64, &[], Literal::Ints(vec![-1]))), long);
    }

    fn samples() -> Vec<Value> {
        let string = TensorType::scalar(DataType::String);
        vec![
            Value::string("a"),
            Value::bools(&[true, false]),
            Value::ints(&[i32::MIN, 0, 7]),
            Value::float(DataType::Float16, 1e-12),
            Value::float(DataType::Float32, -2.5),
            literal(DataType::Float64, &[1], Literal::Doubles(vec![0.1])),
            literal(DataType::Int64, &[2, 0], Literal::Ints(vec![])),
            literal(DataType::UInt8, &[1, 2], Literal::Ints(vec![0, 255])),
            literal(DataType::UInt6, &[3], Literal::Packed(vec![1, 2, 0])),
            literal(DataType::BFloat16, &[1], Literal::Packed(vec![1, 2])),
            Value::Tuple(vec![Value::int(3), Value::string("b")]),
            Value::List { element: string.clone().into(), values: vec![Value::string("x"), Value::string("y")] },
            Value::Dictionary {
                key: string.clone().into(),
                value: string.into(),
                entries: vec![(Value::string("k"), Value::string("v"))],
            },
            Value::Tensor(Recipe::blob("@model_path/weights/w.bin", 64, DataType::Float16, &[4, 5])),
        ]
    }

    #[test]
    fn constants_are_read_back() {
        for value in samples() {
            let message = IOS18.encode(&value).unwrap_or_else(|error| panic!("{value:?}: {error}"));
            assert_eq!(decode_value(&message, &Unchecked).unwrap_or_else(|error| panic!("{value:?}: {error}")), value);
        }
    }

    #[test]
    fn constants_that_do_not_fit_are_refused() {
        let broken = |dtype: i32, rank: i64, value: tensor_value::Value| {
            let constant = proto::dimension::Dimension::Constant(proto::dimension::ConstantDimension { size: 3 });
            let dimensions = vec![proto::Dimension { dimension: Some(constant) }; rank as usize];
            let tensor = proto::TensorType { data_type: dtype, rank, dimensions, ..Default::default() };
            let value = value::immediate_value::Value::Tensor(proto::TensorValue { value: Some(value) });
            proto::Value {
                r#type: Some(proto::ValueType { r#type: Some(proto::value_type::Type::TensorType(tensor)) }),
                value: Some(value::Value::ImmediateValue(value::ImmediateValue { value: Some(value) })),
                ..Default::default()
            }
        };
        let bytes = |n: usize| tensor_value::Value::Bytes(tensor_value::RepeatedBytes { values: vec![0; n].into() });
        let ints = |v: &[i32]| tensor_value::Value::Ints(tensor_value::RepeatedInts { values: v.to_vec() });
        let refused = |message| matches!(decode_value(&message, &Unchecked), Err(Problem::Values { .. }));
        assert!(refused(broken(10, 1, bytes(5))), "half a float16");
        assert!(refused(broken(10, 1, bytes(8))), "four for three");
        assert!(refused(broken(23, 1, ints(&[1, 2]))), "two for three");
        assert!(refused(broken(21, 0, ints(&[300]))), "beyond int8");
        assert!(refused(broken(11, 0, ints(&[1]))), "ints for floats");
        assert!(decode_value(&broken(23, 1, ints(&[1, 2, 3])), &Unchecked).is_ok());
        assert!(matches!(decode_value(&proto::Value::default(), &Unchecked), Err(Problem::Missing(_))));
    }

    #[test]
    fn the_type_says_whether_a_file_may_hold_it() {
        let at = |opset, dtype| {
            let value = Value::Tensor(Recipe::blob("f", 64, dtype, &[16]));
            ValueEncoder { opset, weights: &Unchecked }.encode(&value)
        };
        assert!(at(Target::Ios15, DataType::Float16).is_ok());
        assert!(matches!(at(Target::Ios17, DataType::Int32), Err(Problem::Since { since: Target::Ios18, .. })));
        assert!(matches!(at(Target::Ios17, DataType::UInt4), Err(Problem::Since { since: Target::Ios18, .. })));
        assert!(at(Target::Ios18, DataType::UInt4).is_ok());
        assert!(matches!(at(Target::Ios18, DataType::Int64), Err(Problem::NotInFile(DataType::Int64))));
        let source = Value::Tensor(Recipe::source("w", DataType::Float32, &[2]));
        assert!(matches!(IOS18.encode(&source), Err(Problem::Unplaced { .. })));
    }

    #[test]
    fn records_are_compared_with_what_the_program_declares() {
        let weights = BTreeMap::from([("w".to_owned(), file(&[(DataType::Int4, 5, &[0x78, 0x1f, 0x03])]))]);
        let read = |file: &str, offset, dtype, shape: &[u64]| {
            let message = IOS18.encode(&Value::Tensor(Recipe::blob(file, offset, dtype, shape))).unwrap();
            decode_value(&message, &weights)
        };
        assert!(read("w", 64, DataType::Int4, &[5, 1]).is_ok());
        assert!(matches!(read("w", 64, DataType::Int4, &[6]), Err(Problem::Record { .. })));
        assert!(matches!(read("w", 64, DataType::UInt4, &[5]), Err(Problem::Record { .. })));
        assert!(matches!(read("w", 128, DataType::Int4, &[5]), Err(Problem::Weights { .. })));
        assert!(matches!(
            read("v", 64, DataType::Int4, &[5]),
            Err(Problem::Weights { source: BlobError::NoFile { .. }, .. })
        ));
    }

    #[test]
    fn which_constants_are_planned_into_files() {
        let floats = |n: usize| Recipe::literal(DataType::Float32, &[n as u64], Literal::Floats(vec![0.0; n])).unwrap();
        let ints = Recipe::literal(DataType::Int32, &[100], Literal::Ints(vec![0; 100])).unwrap();
        assert!(belongs_in_weight_file(&floats(10)) && !belongs_in_weight_file(&floats(9)));
        assert!(!belongs_in_weight_file(&ints));
        let source = |n| Recipe::source("b", DataType::Float16, &[n]);
        assert!(belongs_in_weight_file(&source(10)) && !belongs_in_weight_file(&source(2)));
    }
}
