//! Types of values: element types, dimensions, and the types of MIL's values as `MILSpec.ValueType` declares them.

mod symbol;

use std::fmt;

pub use symbol::Symbol;

/// Element types, as `MILSpec.DataType` names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum DataType {
    Bool,
    String,
    Float16,
    Float32,
    Float64,
    BFloat16,
    Int4,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt1,
    UInt2,
    UInt3,
    UInt4,
    UInt6,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float8E4M3FN,
    Float8E5M2,
}

impl DataType {
    /// Every element type.
    pub const ALL: [DataType; 22] = [
        Self::Bool,
        Self::String,
        Self::Float16,
        Self::Float32,
        Self::Float64,
        Self::BFloat16,
        Self::Int4,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::UInt1,
        Self::UInt2,
        Self::UInt3,
        Self::UInt4,
        Self::UInt6,
        Self::UInt8,
        Self::UInt16,
        Self::UInt32,
        Self::UInt64,
        Self::Float8E4M3FN,
        Self::Float8E5M2,
    ];

    /// The name in MIL text: `fp16`, `int32`, `uint4`, ...
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::String => "string",
            Self::Float16 => "fp16",
            Self::Float32 => "fp32",
            Self::Float64 => "fp64",
            Self::BFloat16 => "bf16",
            Self::Int4 => "int4",
            Self::Int8 => "int8",
            Self::Int16 => "int16",
            Self::Int32 => "int32",
            Self::Int64 => "int64",
            Self::UInt1 => "uint1",
            Self::UInt2 => "uint2",
            Self::UInt3 => "uint3",
            Self::UInt4 => "uint4",
            Self::UInt6 => "uint6",
            Self::UInt8 => "uint8",
            Self::UInt16 => "uint16",
            Self::UInt32 => "uint32",
            Self::UInt64 => "uint64",
            Self::Float8E4M3FN => "fp8e4m3fn",
            Self::Float8E5M2 => "fp8e5m2",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// The long name of interfaces and releases: `float16`, `float32`, `int32`, ...
    pub fn long_name(self) -> String {
        let name = self.name();
        name.strip_prefix("fp").map_or_else(|| name.to_owned(), |width| format!("float{width}"))
    }

    /// Bits of one element in a weight file; `None` for strings.
    pub fn bits(self) -> Option<u64> {
        Some(match self {
            Self::String => return None,
            Self::UInt1 => 1,
            Self::UInt2 => 2,
            Self::UInt3 => 3,
            Self::Int4 | Self::UInt4 => 4,
            Self::UInt6 => 6,
            Self::Bool | Self::Int8 | Self::UInt8 | Self::Float8E4M3FN | Self::Float8E5M2 => 8,
            Self::Float16 | Self::BFloat16 | Self::Int16 | Self::UInt16 => 16,
            Self::Float32 | Self::Int32 | Self::UInt32 => 32,
            Self::Float64 | Self::Int64 | Self::UInt64 => 64,
        })
    }

    /// Whether elements are floating point numbers.
    pub fn is_float(self) -> bool {
        matches!(
            self,
            Self::Float16 | Self::Float32 | Self::Float64 | Self::BFloat16 | Self::Float8E4M3FN | Self::Float8E5M2
        )
    }

    /// Whether elements are integers (not booleans).
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, Self::Bool | Self::String)
    }
}

impl fmt::Display for DataType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The length of one dimension.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    /// Fixed.
    Known(u64),
    /// Chosen at each call; dimensions with equal symbols have equal lengths.
    Symbol(Symbol),
    /// Known at run time; `variadic` stands for any number of dimensions.
    Unknown {
        /// Any number of dimensions.
        variadic: bool,
    },
}

impl Dimension {
    /// The fixed length.
    pub fn known(self) -> Option<u64> {
        match self {
            Self::Known(length) => Some(length),
            Self::Symbol(_) | Self::Unknown { .. } => None,
        }
    }

    /// Whether both can be one length: an unknown length agrees with any, a symbol with itself alone, since a fixed
    /// length or another symbol is the same in some calls only.
    pub fn agrees(self, other: Self) -> bool {
        self == other || matches!(self, Self::Unknown { .. }) || matches!(other, Self::Unknown { .. })
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(length) => write!(f, "{length}"),
            Self::Symbol(symbol) => symbol.fmt(f),
            Self::Unknown { variadic: false } => f.write_str("?"),
            Self::Unknown { variadic: true } => f.write_str("..."),
        }
    }
}

/// Element type and dimensions, outermost first. No dimensions: a scalar.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Element type.
    pub dtype: DataType,
    /// Dimensions.
    pub shape: Vec<Dimension>,
}

impl TensorType {
    /// A type with fixed dimensions.
    pub fn new(dtype: DataType, shape: &[u64]) -> Self {
        Self { dtype, shape: shape.iter().map(|&n| Dimension::Known(n)).collect() }
    }

    /// A scalar.
    pub fn scalar(dtype: DataType) -> Self {
        Self { dtype, shape: Vec::new() }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The dimensions, where all are fixed.
    pub fn fixed_shape(&self) -> Option<Vec<u64>> {
        self.shape.iter().map(|d| d.known()).collect()
    }

    /// Number of elements, where all dimensions are fixed and the product fits.
    pub fn elements(&self) -> Option<u64> {
        self.shape.iter().try_fold(1u64, |product, d| product.checked_mul(d.known()?))
    }

    /// Whether a tensor may be of both types: their lengths [agree](Dimension::agrees).
    pub fn agrees(&self, other: &Self) -> bool {
        let variadic = |ty: &Self| ty.shape.iter().any(|d| matches!(d, Dimension::Unknown { variadic: true }));
        let fits = |(a, b): (&Dimension, &Dimension)| a.agrees(*b);
        self.dtype == other.dtype
            && (variadic(self)
                || variadic(other)
                || self.rank() == other.rank() && self.shape.iter().zip(&other.shape).all(fits))
    }

    /// The first symbol among the dimensions.
    pub fn symbol(&self) -> Option<Symbol> {
        self.shape.iter().find_map(|dimension| match dimension {
            Dimension::Symbol(symbol) => Some(*symbol),
            _ => None,
        })
    }

    /// The same dimensions with another element type.
    pub fn with_dtype(&self, dtype: DataType) -> Self {
        Self { dtype, shape: self.shape.clone() }
    }
}

/// MIL text: `tensor<fp16, [1, 4]>`.
impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tensor<{}, [", self.dtype)?;
        for (i, dimension) in self.shape.iter().enumerate() {
            write!(f, "{}{dimension}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str("]>")
    }
}

/// The type of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// A tensor; rank 0 is a scalar.
    Tensor(TensorType),
    /// A list of values of one type.
    List {
        /// Type of the elements.
        element: Box<ValueType>,
        /// Number of elements.
        length: Dimension,
    },
    /// A fixed row of values.
    Tuple(Vec<ValueType>),
    /// A dictionary.
    Dictionary {
        /// Type of the keys.
        key: Box<ValueType>,
        /// Type of the values.
        value: Box<ValueType>,
    },
    /// A state: storage that outlives a prediction.
    State(TensorType),
}

impl ValueType {
    /// Whether a value may be of both types: they are equal, but a length that one side does not know may be anything,
    /// as may the lengths of lists, which grow.
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tensor(a), Self::Tensor(b)) => a.agrees(b),
            (Self::List { element: a, .. }, Self::List { element: b, .. }) => a.agrees(b),
            _ => self == other,
        }
    }

    /// The tensor type, where it is one.
    pub fn tensor(&self) -> Option<&TensorType> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl From<TensorType> for ValueType {
    fn from(tensor: TensorType) -> Self {
        Self::Tensor(tensor)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(tensor) if tensor.shape.is_empty() => write!(f, "{}", tensor.dtype),
            Self::Tensor(tensor) => write!(f, "{tensor}"),
            Self::List { element, length } => write!(f, "list<{element}, {length}>"),
            Self::Tuple(types) => {
                f.write_str("tuple<")?;
                for (i, ty) in types.iter().enumerate() {
                    write!(f, "{}{ty}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(">")
            }
            Self::Dictionary { key, value } => write!(f, "dict<{key}, {value}>"),
            Self::State(tensor) => write!(f, "state<{tensor}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found_again() {
        for dtype in DataType::ALL {
            assert_eq!(DataType::from_name(dtype.name()), Some(dtype));
        }
        assert_eq!(DataType::Float16.long_name(), "float16");
        assert_eq!(TensorType::new(DataType::Float16, &[1, 4]).to_string(), "tensor<fp16, [1, 4]>");
    }

    #[test]
    fn unknown_lengths_agree_with_any() {
        let known = TensorType::new(DataType::Int8, &[2, 3]);
        let unknown = |variadic| TensorType { dtype: DataType::Int8, shape: vec![Dimension::Unknown { variadic }] };
        assert!(known.agrees(&known) && unknown(true).agrees(&known) && known.agrees(&unknown(true)));
        assert!(!known.agrees(&unknown(false)), "the rank differs");
        assert!(!known.agrees(&TensorType::new(DataType::Int8, &[2, 4])));
        assert!(!known.agrees(&known.with_dtype(DataType::UInt8)));
    }

    #[test]
    fn the_number_of_elements_cannot_overflow() {
        assert_eq!(TensorType::new(DataType::Int8, &[u64::MAX, 2]).elements(), None);
        assert_eq!(TensorType::scalar(DataType::Int8).elements(), Some(1));
    }
}
