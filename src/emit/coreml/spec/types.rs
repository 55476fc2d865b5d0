//! Encodes and decodes types of values as `MILSpec.ValueType`.

use crate::{
    emit::coreml::Problem,
    mil::{DataType, Dimension, TensorType, ValueType},
    proto::mil::{self as proto, dimension, value_type},
};

const DATA_TYPES: [(DataType, proto::DataType); 22] = [
    (DataType::Bool, proto::DataType::Bool),
    (DataType::String, proto::DataType::String),
    (DataType::Float16, proto::DataType::Float16),
    (DataType::Float32, proto::DataType::Float32),
    (DataType::Float64, proto::DataType::Float64),
    (DataType::BFloat16, proto::DataType::Bfloat16),
    (DataType::Int4, proto::DataType::Int4),
    (DataType::Int8, proto::DataType::Int8),
    (DataType::Int16, proto::DataType::Int16),
    (DataType::Int32, proto::DataType::Int32),
    (DataType::Int64, proto::DataType::Int64),
    (DataType::UInt1, proto::DataType::Uint1),
    (DataType::UInt2, proto::DataType::Uint2),
    (DataType::UInt3, proto::DataType::Uint3),
    (DataType::UInt4, proto::DataType::Uint4),
    (DataType::UInt6, proto::DataType::Uint6),
    (DataType::UInt8, proto::DataType::Uint8),
    (DataType::UInt16, proto::DataType::Uint16),
    (DataType::UInt32, proto::DataType::Uint32),
    (DataType::UInt64, proto::DataType::Uint64),
    (DataType::Float8E4M3FN, proto::DataType::Float8e4m3fn),
    (DataType::Float8E5M2, proto::DataType::Float8e5m2),
];

fn encode_data_type(dtype: DataType) -> i32 {
    let row = DATA_TYPES.iter().find(|(d, _)| *d == dtype);
    row.map_or(proto::DataType::UnusedType, |(_, number)| *number) as i32
}

fn decode_data_type(number: i32) -> Result<DataType, Problem> {
    let row = DATA_TYPES.iter().find(|(_, n)| *n as i32 == number);
    row.map(|(dtype, _)| *dtype).ok_or(Problem::DataType(number))
}

fn encode_dimension(dimension: Dimension) -> Result<proto::Dimension, Problem> {
    let dimension = match dimension {
        Dimension::Known(size) => dimension::Dimension::Constant(dimension::ConstantDimension { size }),
        Dimension::Symbol(symbol) => return Err(Problem::Symbol(symbol)),
        Dimension::Unknown { variadic } => dimension::Dimension::Unknown(dimension::UnknownDimension { variadic }),
    };
    Ok(proto::Dimension { dimension: Some(dimension) })
}

fn decode_dimension(message: &proto::Dimension) -> Result<Dimension, Problem> {
    match &message.dimension {
        Some(dimension::Dimension::Constant(constant)) => Ok(Dimension::Known(constant.size)),
        Some(dimension::Dimension::Unknown(unknown)) => Ok(Dimension::Unknown { variadic: unknown.variadic }),
        None => Err(Problem::Missing("a dimension's length")),
    }
}

fn encode_tensor(ty: &TensorType) -> Result<proto::TensorType, Problem> {
    Ok(proto::TensorType {
        data_type: encode_data_type(ty.dtype),
        rank: ty.rank() as i64,
        dimensions: ty.shape.iter().map(|&dimension| encode_dimension(dimension)).collect::<Result<_, _>>()?,
        attributes: Default::default(),
    })
}

fn decode_tensor(message: &proto::TensorType) -> Result<TensorType, Problem> {
    let dimensions = message.dimensions.len();
    if message.rank != dimensions as i64 {
        return Err(Problem::Rank { rank: message.rank, dimensions });
    }
    let shape = message.dimensions.iter().map(decode_dimension).collect::<Result<_, _>>()?;
    Ok(TensorType { dtype: decode_data_type(message.data_type)?, shape })
}

/// Encodes a type.
///
/// # Errors
/// For symbolic dimensions.
pub(super) fn encode_type(ty: &ValueType) -> Result<proto::ValueType, Problem> {
    let boxed = |ty: &ValueType| Ok(Some(Box::new(encode_type(ty)?)));
    let ty = match ty {
        ValueType::Tensor(tensor) => value_type::Type::TensorType(encode_tensor(tensor)?),
        ValueType::List { element, length } => value_type::Type::ListType(Box::new(proto::ListType {
            r#type: boxed(element)?,
            length: Some(encode_dimension(*length)?),
        })),
        ValueType::Tuple(types) => value_type::Type::TupleType(proto::TupleType {
            types: types.iter().map(encode_type).collect::<Result<_, _>>()?,
        }),
        ValueType::Dictionary { key, value } => value_type::Type::DictionaryType(Box::new(proto::DictionaryType {
            key_type: boxed(key)?,
            value_type: boxed(value)?,
        })),
        ValueType::State(tensor) => {
            let wrapped = proto::ValueType { r#type: Some(value_type::Type::TensorType(encode_tensor(tensor)?)) };
            value_type::Type::StateType(Box::new(proto::StateType { wrapped_type: Some(Box::new(wrapped)) }))
        }
    };
    Ok(proto::ValueType { r#type: Some(ty) })
}

/// Decodes a type; the protobuf decoder limits the nesting.
pub(super) fn decode_type(message: Option<&proto::ValueType>) -> Result<ValueType, Problem> {
    let ty = message.and_then(|message| message.r#type.as_ref()).ok_or(Problem::Missing("the type"))?;
    Ok(match ty {
        value_type::Type::TensorType(tensor) => ValueType::Tensor(decode_tensor(tensor)?),
        value_type::Type::ListType(list) => ValueType::List {
            element: Box::new(decode_type(list.r#type.as_deref())?),
            length: decode_dimension(list.length.as_ref().ok_or(Problem::Missing("the length of a list type"))?)?,
        },
        value_type::Type::TupleType(tuple) => {
            ValueType::Tuple(tuple.types.iter().map(|ty| decode_type(Some(ty))).collect::<Result<_, _>>()?)
        }
        value_type::Type::DictionaryType(dictionary) => ValueType::Dictionary {
            key: Box::new(decode_type(dictionary.key_type.as_deref())?),
            value: Box::new(decode_type(dictionary.value_type.as_deref())?),
        },
        value_type::Type::StateType(state) => match decode_type(state.wrapped_type.as_deref())? {
            ValueType::Tensor(tensor) => ValueType::State(tensor),
            other => {
                return Err(Problem::Kind { expected: "a tensor in a state".to_owned(), found: other.to_string() });
            }
        },
    })
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn element_types_agree_with_the_table() {
        for (number, dtype) in DataType::ALL.iter().map(|&dtype| (encode_data_type(dtype), dtype)) {
            assert_ne!(number, 0, "{dtype}");
            assert_eq!(decode_data_type(number).unwrap(), dtype);
        }
        assert!(matches!(decode_data_type(0), Err(Problem::DataType(0))));
    }

    #[test]
    fn wire_form_of_types() {
        let scalar = encode_type(&TensorType::scalar(DataType::Int32).into()).unwrap();
        assert_eq!(scalar.encode_to_vec(), [0x0a, 2, 8, 23], "a scalar has neither rank nor dimensions");
        let unknown = TensorType { dtype: DataType::Float16, shape: vec![Dimension::Unknown { variadic: false }] };
        assert_eq!(encode_type(&unknown.into()).unwrap().encode_to_vec(), [0x0a, 8, 8, 10, 0x10, 1, 0x1a, 2, 0x12, 0]);
    }

    #[test]
    fn types_are_read_back() {
        let tensor = TensorType {
            dtype: DataType::UInt3,
            shape: vec![Dimension::Known(0), Dimension::Unknown { variadic: true }],
        };
        let string = ValueType::Tensor(TensorType::scalar(DataType::String));
        let list = ValueType::List {
            element: Box::new(tensor.clone().into()),
            length: Dimension::Unknown { variadic: false },
        };
        let dictionary = ValueType::Dictionary { key: Box::new(string.clone()), value: Box::new(list.clone()) };
        for ty in [string, list, dictionary.clone(), ValueType::Tuple(vec![dictionary]), ValueType::State(tensor)] {
            assert_eq!(decode_type(Some(&encode_type(&ty).unwrap())).unwrap(), ty);
        }
    }

    #[test]
    fn incomplete_types_are_refused() {
        let tensor = |rank, dimensions| proto::ValueType {
            r#type: Some(value_type::Type::TensorType(proto::TensorType {
                data_type: 10,
                rank,
                dimensions,
                ..Default::default()
            })),
        };
        assert!(matches!(decode_type(None), Err(Problem::Missing(_))));
        assert!(matches!(decode_type(Some(&tensor(2, vec![]))), Err(Problem::Rank { rank: 2, dimensions: 0 })));
        assert!(matches!(decode_type(Some(&tensor(1, vec![proto::Dimension::default()]))), Err(Problem::Missing(_))));
    }

    #[test]
    fn symbols_are_refused_by_name() {
        let batch = Dimension::Symbol(crate::mil::Symbol::new("batch_size"));
        let error = encode_type(&TensorType { dtype: DataType::Int32, shape: vec![batch] }.into()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the dimension `batch_size` is symbolic: Core ML has fixed and unknown dimensions alone"
        );
    }
}
