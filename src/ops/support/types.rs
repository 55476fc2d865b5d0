//! The element types that parameters take, as coremltools 9 lists them.

use crate::mil::{DataType, Domain, Parameter};

/// float16 and float32.
pub(in crate::ops) const FLOAT: &[DataType] = &[DataType::Float16, DataType::Float32];
/// Numbers that arithmetic takes.
pub(in crate::ops) const NUMBER: &[DataType] = &[DataType::Float16, DataType::Float32, DataType::Int32];
/// Everything that iOS15 can move.
pub(in crate::ops) const PLAIN: &[DataType] = &[DataType::Float16, DataType::Float32, DataType::Int32, DataType::Bool];
/// Numbers from iOS17 on.
pub(in crate::ops) const WIDE_NUMBER: &[DataType] = &[
    DataType::Float16,
    DataType::Float32,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::UInt8,
    DataType::UInt16,
];
/// Everything that iOS17 can move.
pub(in crate::ops) const WIDE: &[DataType] = &[
    DataType::Float16,
    DataType::Float32,
    DataType::Int8,
    DataType::Int16,
    DataType::Int32,
    DataType::UInt8,
    DataType::UInt16,
    DataType::Bool,
];
/// Sizes and positions from iOS17 on.
pub(in crate::ops) const SIZE: &[DataType] = &[DataType::Int8, DataType::Int16, DataType::Int32];
/// Indices at iOS16.
pub(in crate::ops) const INDEX_16: &[DataType] = &[DataType::Int16, DataType::Int32, DataType::UInt16];
/// Indices from iOS17 on.
pub(in crate::ops) const INDEX_17: &[DataType] =
    &[DataType::Int8, DataType::Int16, DataType::Int32, DataType::UInt8, DataType::UInt16];
/// int32.
pub(in crate::ops) const INT32: &[DataType] = &[DataType::Int32];
/// Booleans.
pub(in crate::ops) const BOOL: &[DataType] = &[DataType::Bool];
/// Strings.
pub(in crate::ops) const STRING: &[DataType] = &[DataType::String];

/// The parameter `x` of the type variable T.
pub(in crate::ops) const X: Parameter = Parameter::new("x", Domain::Var('T'));

/// A constant int32 parameter.
pub(in crate::ops) const fn int(name: &'static str) -> Parameter {
    Parameter::new(name, Domain::Of(INT32)).constant()
}

/// A constant boolean parameter.
pub(in crate::ops) const fn boolean(name: &'static str) -> Parameter {
    Parameter::new(name, Domain::Of(BOOL)).constant()
}

/// A constant string parameter.
pub(in crate::ops) const fn text(name: &'static str) -> Parameter {
    Parameter::new(name, Domain::Of(STRING)).constant()
}

/// A parameter of a type variable.
pub(in crate::ops) const fn var(name: &'static str, letter: char) -> Parameter {
    Parameter::new(name, Domain::Var(letter))
}
