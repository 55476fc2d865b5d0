//! Encodes and decodes inputs, outputs and states as `FeatureDescription`.
//!
//! Most of a description follows from the program; a [`FeatureNote`] holds the rest: texts, flexible shapes, images,
//! defaults.

use std::{collections::BTreeMap, fmt};

use crate::{
    base::Target,
    contract,
    emit::coreml::Problem,
    mil::{DataType, Dimension, TensorType, ValueType},
    proto::coreml::{
        self as proto, array_feature_type as array, dictionary_feature_type as dictionary, feature_type,
        image_feature_type as image, sequence_feature_type as sequence, state_feature_type as state,
    },
};

/// Metadata of a model beside its program.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ModelMetadata {
    /// Author.
    pub author: String,
    /// Licence.
    pub license: String,
    /// Version.
    pub version: String,
    /// One sentence about the model.
    pub description: String,
    /// Other metadata by key.
    pub user_defined: BTreeMap<String, String>,
    /// Notes by function.
    pub functions: BTreeMap<String, FunctionNotes>,
}

/// Notes on a function.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FunctionNotes {
    /// Notes on inputs, outputs and states, by name.
    pub features: BTreeMap<String, FeatureNote>,
    /// Name of a classifier's class output; empty otherwise.
    pub predicted_feature: String,
    /// Name of a classifier's probabilities output; empty otherwise.
    pub predicted_probabilities: String,
}

/// Note on an input, output or state.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FeatureNote {
    /// One sentence about the feature.
    pub description: String,
    /// Whether an input may be omitted.
    pub optional: bool,
    /// The described type, where it differs from the program's.
    pub ty: Option<FeatureType>,
}

/// Type of an input, output or state.
#[derive(Debug, Clone, PartialEq)]
pub enum FeatureType {
    /// A tensor.
    Array(ArrayFeature),
    /// An image; the program sees a tensor.
    Image {
        /// Default width.
        width: u64,
        /// Default height.
        height: u64,
        /// Color space.
        color: ColorSpace,
        /// Other sizes: (width, height).
        flexibility: Option<Flexibility>,
    },
    /// An integer.
    Int64,
    /// A number.
    Double,
    /// A text.
    String,
    /// Numbers by string or integer key.
    Dictionary {
        /// Whether keys are strings; else they are integers.
        string_keys: bool,
    },
    /// A list of strings or integers.
    Sequence {
        /// Whether they are strings; else they are integers.
        strings: bool,
        /// Least and greatest length; no greatest means unbounded.
        length: Option<(u64, Option<u64>)>,
    },
    /// A state.
    State(ArrayFeature),
}

/// Shape and elements of an array.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayFeature {
    /// Element type.
    pub dtype: DataType,
    /// Default shape; empty where it is not known.
    pub shape: Vec<u64>,
    /// Other shapes.
    pub flexibility: Option<Flexibility>,
    /// Value of an omitted optional input.
    pub default: Option<DefaultValue>,
}

/// Value of every element of an omitted input.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// An integer.
    Int(i32),
    /// A float.
    Float(f32),
    /// A double.
    Double(f64),
}

/// Shapes that a feature may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flexibility {
    /// These shapes, which include the default.
    Enumerated(Vec<Vec<u64>>),
    /// Minimum and maximum length of every dimension; `None` means unbounded.
    Ranges(Vec<(u64, Option<u64>)>),
}

/// Color space of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColorSpace {
    /// 8 bits of grey.
    Grayscale,
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// float16 grey, from iOS16 on.
    GrayscaleFloat16,
}

impl ColorSpace {
    const NAMES: [(Self, &str); 4] = [
        (Self::Grayscale, "GRAYSCALE"),
        (Self::Rgb, "RGB"),
        (Self::Bgr, "BGR"),
        (Self::GrayscaleFloat16, "GRAYSCALE_FLOAT16"),
    ];

    /// The name in Core ML's format.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// The color space of a name, in any case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.into_iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(color, _)| color)
    }

    /// Number of channels.
    pub fn channels(self) -> u64 {
        match self {
            Self::Grayscale | Self::GrayscaleFloat16 => 1,
            Self::Rgb | Self::Bgr => 3,
        }
    }
}

impl DefaultValue {
    /// The number.
    pub fn number(self) -> f64 {
        match self {
            Self::Int(value) => f64::from(value),
            Self::Float(value) => f64::from(value),
            Self::Double(value) => value,
        }
    }
}

/// The shortest decimal text of the number in its own type.
impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(value) => value.fmt(f),
            Self::Float(value) => value.fmt(f),
            Self::Double(value) => value.fmt(f),
        }
    }
}

/// Which side of a function a feature is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Input,
    Output,
}

const ARRAY_TYPES: [(DataType, array::ArrayDataType, Target); 5] = [
    (DataType::Float32, array::ArrayDataType::Float32, Target::Ios15),
    (DataType::Float64, array::ArrayDataType::Double, Target::Ios15),
    (DataType::Int32, array::ArrayDataType::Int32, Target::Ios15),
    (DataType::Float16, array::ArrayDataType::Float16, Target::Ios16),
    (DataType::Int8, array::ArrayDataType::Int8, Target::Ios26),
];

const COLORS: [(ColorSpace, image::ColorSpace); 4] = [
    (ColorSpace::Grayscale, image::ColorSpace::Grayscale),
    (ColorSpace::Rgb, image::ColorSpace::Rgb),
    (ColorSpace::Bgr, image::ColorSpace::Bgr),
    (ColorSpace::GrayscaleFloat16, image::ColorSpace::GrayscaleFloat16),
];

/// The description of a value of the program. Scalar inputs become `[1]`; outputs without a fixed shape have none.
///
/// # Errors
/// For inputs without a fixed shape, symbolic dimensions, and types that features cannot have.
pub(super) fn derive(ty: &ValueType, side: Side) -> Result<FeatureType, Problem> {
    if let Some(symbol) = ty.tensor().and_then(TensorType::symbol) {
        return Err(Problem::Symbol(symbol));
    }
    let plain = |dtype, shape| ArrayFeature { dtype, shape, flexibility: None, default: None };
    match ty {
        ValueType::Tensor(tensor) if tensor.dtype == DataType::String && tensor.shape.is_empty() => {
            Ok(FeatureType::String)
        }
        ValueType::Tensor(tensor) => {
            let shape = match (tensor.fixed_shape(), side) {
                (Some(shape), Side::Input) if shape.is_empty() => vec![1],
                (Some(shape), _) => shape,
                (None, Side::Input) => return Err(Problem::Unbounded(tensor.to_string())),
                (None, Side::Output) => Vec::new(),
            };
            Ok(FeatureType::Array(plain(tensor.dtype, shape)))
        }
        ValueType::State(tensor) => {
            let shape = tensor.fixed_shape().ok_or_else(|| Problem::Feature(ty.to_string()))?;
            Ok(FeatureType::State(plain(tensor.dtype, shape)))
        }
        ValueType::Dictionary { key, .. } => {
            Ok(FeatureType::Dictionary { string_keys: key.tensor().is_some_and(|key| key.dtype == DataType::String) })
        }
        ValueType::List { .. } | ValueType::Tuple(_) => Err(Problem::Feature(ty.to_string())),
    }
}

/// Refuses a described type that contradicts the program's, and types that need a later target.
pub(super) fn check(feature: &FeatureType, ty: &ValueType, target: Target) -> Result<(), Problem> {
    let differs = |described: String| Problem::Description { described, ty: ty.to_string() };
    match (feature, ty) {
        (FeatureType::Array(array), ValueType::Tensor(tensor))
        | (FeatureType::State(array), ValueType::State(tensor)) => {
            let since =
                ARRAY_TYPES.iter().find(|row| row.0 == array.dtype).ok_or_else(|| Problem::Feature(ty.to_string()))?.2;
            if since > target {
                return Err(Problem::Since { what: format!("an input or output of {}", array.dtype), since, target });
            }
            if array.dtype != tensor.dtype || !shape_fits(array, tensor) {
                return Err(differs(format!("{} {:?}", array.dtype, array.shape)));
            }
            Ok(())
        }
        (FeatureType::Image { .. }, ValueType::Tensor(tensor)) if tensor.rank() == 4 => Ok(()),
        (FeatureType::Array(_) | FeatureType::State(_) | FeatureType::Image { .. }, _) => {
            Err(differs(kind_name(feature)))
        }
        _ => Ok(()),
    }
}

fn shape_fits(array: &ArrayFeature, tensor: &TensorType) -> bool {
    let fits = |shape: &[u64]| {
        let lengths =
            || shape.iter().zip(&tensor.shape).all(|(&n, dimension)| dimension.known().is_none_or(|known| known == n));
        let variadic = tensor.shape.iter().any(|dimension| matches!(dimension, Dimension::Unknown { variadic: true }));
        shape.is_empty()
            || variadic
            || (tensor.shape.is_empty() && shape == [1])
            || (shape.len() == tensor.rank() && lengths())
    };
    let others = match &array.flexibility {
        Some(Flexibility::Enumerated(shapes)) => shapes.iter().all(|shape| fits(shape)),
        _ => true,
    };
    fits(&array.shape) && others
}

fn kind_name(feature: &FeatureType) -> String {
    match feature {
        FeatureType::Array(array) => array.dtype.long_name(),
        FeatureType::State(array) => format!("a state of {}", array.dtype),
        FeatureType::Image { .. } => "image".to_owned(),
        FeatureType::Int64 => "int64".to_owned(),
        FeatureType::Double => "float64".to_owned(),
        FeatureType::String => "string".to_owned(),
        FeatureType::Dictionary { .. } => "dictionary".to_owned(),
        FeatureType::Sequence { .. } => "sequence".to_owned(),
    }
}

pub(super) fn encode_feature(name: &str, note: &FeatureNote, ty: &FeatureType) -> proto::FeatureDescription {
    let ty = proto::FeatureType { r#type: Some(encode_feature_type(ty)), is_optional: note.optional };
    proto::FeatureDescription { name: name.to_owned(), short_description: note.description.clone(), r#type: Some(ty) }
}

fn encode_feature_type(feature: &FeatureType) -> feature_type::Type {
    match feature {
        FeatureType::Array(array) => feature_type::Type::MultiArrayType(encode_array(array)),
        FeatureType::State(array) => {
            let ty = Some(state::Type::ArrayType(encode_array(array)));
            feature_type::Type::StateType(proto::StateFeatureType { r#type: ty })
        }
        FeatureType::Image { width, height, color, flexibility } => {
            feature_type::Type::ImageType(encode_image(*width, *height, *color, flexibility.as_ref()))
        }
        FeatureType::Int64 => feature_type::Type::Int64Type(proto::Int64FeatureType {}),
        FeatureType::Double => feature_type::Type::DoubleType(proto::DoubleFeatureType {}),
        FeatureType::String => feature_type::Type::StringType(proto::StringFeatureType {}),
        FeatureType::Dictionary { string_keys } => {
            let key = match string_keys {
                true => dictionary::KeyType::StringKeyType(proto::StringFeatureType {}),
                false => dictionary::KeyType::Int64KeyType(proto::Int64FeatureType {}),
            };
            feature_type::Type::DictionaryType(proto::DictionaryFeatureType { key_type: Some(key) })
        }
        FeatureType::Sequence { strings, length } => {
            let ty = match strings {
                true => sequence::Type::StringType(proto::StringFeatureType {}),
                false => sequence::Type::Int64Type(proto::Int64FeatureType {}),
            };
            feature_type::Type::SequenceType(proto::SequenceFeatureType {
                r#type: Some(ty),
                size_range: length.map(encode_range),
            })
        }
    }
}

fn encode_range((least, greatest): (u64, Option<u64>)) -> proto::SizeRange {
    proto::SizeRange { lower_bound: least, upper_bound: greatest.map_or(-1, |n| i64::try_from(n).unwrap_or(-1)) }
}

fn encode_array(feature: &ArrayFeature) -> proto::ArrayFeatureType {
    let signed = |shape: &[u64]| shape.iter().map(|&n| i64::try_from(n).unwrap_or(i64::MAX)).collect::<Vec<_>>();
    let data_type = ARRAY_TYPES.iter().find(|row| row.0 == feature.dtype).map_or(0, |row| row.1 as i32);
    let shape_flexibility = feature.flexibility.as_ref().map(|flexibility| match flexibility {
        Flexibility::Enumerated(shapes) => array::ShapeFlexibility::EnumeratedShapes(array::EnumeratedShapes {
            shapes: shapes.iter().map(|shape| array::Shape { shape: signed(shape) }).collect(),
        }),
        Flexibility::Ranges(ranges) => array::ShapeFlexibility::ShapeRange(array::ShapeRange {
            size_ranges: ranges.iter().map(|&range| encode_range(range)).collect(),
        }),
    });
    let default_optional_value = feature.default.map(|default| match default {
        DefaultValue::Int(value) => array::DefaultOptionalValue::IntDefaultValue(value),
        DefaultValue::Float(value) => array::DefaultOptionalValue::FloatDefaultValue(value),
        DefaultValue::Double(value) => array::DefaultOptionalValue::DoubleDefaultValue(value),
    });
    proto::ArrayFeatureType { shape: signed(&feature.shape), data_type, shape_flexibility, default_optional_value }
}

fn encode_image(
    width: u64,
    height: u64,
    color: ColorSpace,
    flexibility: Option<&Flexibility>,
) -> proto::ImageFeatureType {
    let size_flexibility = flexibility.map(|flexibility| match flexibility {
        Flexibility::Enumerated(sizes) => {
            let sizes = sizes.iter().filter_map(|size| <[u64; 2]>::try_from(size.as_slice()).ok());
            let sizes = sizes.map(|[width, height]| image::ImageSize { width, height }).collect();
            image::SizeFlexibility::EnumeratedSizes(image::EnumeratedImageSizes { sizes })
        }
        Flexibility::Ranges(ranges) => {
            let range = |i: usize| ranges.get(i).map(|&range| encode_range(range));
            image::SizeFlexibility::ImageSizeRange(image::ImageSizeRange {
                width_range: range(0),
                height_range: range(1),
            })
        }
    });
    let color_space = COLORS.iter().find(|row| row.0 == color).map_or(0, |row| row.1 as i32);
    let signed = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    proto::ImageFeatureType { width: signed(width), height: signed(height), color_space, size_flexibility }
}

/// The type of a described feature.
///
/// # Errors
/// When it is missing, incomplete, or of a kind that this table does not know.
pub(crate) fn decode_feature(message: &proto::FeatureDescription) -> Result<FeatureType, Problem> {
    match message.r#type.as_ref().and_then(|ty| ty.r#type.as_ref()).ok_or(Problem::Missing("the type"))? {
        feature_type::Type::Int64Type(_) => Ok(FeatureType::Int64),
        feature_type::Type::DoubleType(_) => Ok(FeatureType::Double),
        feature_type::Type::StringType(_) => Ok(FeatureType::String),
        feature_type::Type::ImageType(image) => decode_image(image),
        feature_type::Type::MultiArrayType(array) => decode_array(array).map(FeatureType::Array),
        feature_type::Type::DictionaryType(dictionary) => {
            match dictionary.key_type.as_ref().ok_or(Problem::Missing("the type of keys"))? {
                dictionary::KeyType::StringKeyType(_) => Ok(FeatureType::Dictionary { string_keys: true }),
                dictionary::KeyType::Int64KeyType(_) => Ok(FeatureType::Dictionary { string_keys: false }),
            }
        }
        feature_type::Type::SequenceType(message) => {
            let strings = match message.r#type.as_ref().ok_or(Problem::Missing("the type of elements"))? {
                sequence::Type::StringType(_) => true,
                sequence::Type::Int64Type(_) => false,
            };
            Ok(FeatureType::Sequence { strings, length: message.size_range.as_ref().map(decode_range) })
        }
        feature_type::Type::StateType(message) => {
            let state::Type::ArrayType(array) =
                message.r#type.as_ref().ok_or(Problem::Missing("the type of a state"))?;
            decode_array(array).map(FeatureType::State)
        }
    }
}

fn decode_range(range: &proto::SizeRange) -> (u64, Option<u64>) {
    (range.lower_bound, u64::try_from(range.upper_bound).ok())
}

fn decode_shape(shape: &[i64]) -> Result<Vec<u64>, Problem> {
    let negative = |n: i64| Problem::Kind { expected: "a length".to_owned(), found: n.to_string() };
    shape.iter().map(|&n| u64::try_from(n).map_err(|_| negative(n))).collect()
}

fn decode_array(message: &proto::ArrayFeatureType) -> Result<ArrayFeature, Problem> {
    let row = ARRAY_TYPES.iter().find(|row| row.1 as i32 == message.data_type);
    let flexibility = message.shape_flexibility.as_ref().map(|flexibility| match flexibility {
        array::ShapeFlexibility::EnumeratedShapes(enumerated) => {
            let shapes = enumerated.shapes.iter().map(|shape| decode_shape(&shape.shape));
            shapes.collect::<Result<_, _>>().map(Flexibility::Enumerated)
        }
        array::ShapeFlexibility::ShapeRange(range) => {
            Ok(Flexibility::Ranges(range.size_ranges.iter().map(decode_range).collect()))
        }
    });
    let default = message.default_optional_value.as_ref().map(|default| match default {
        array::DefaultOptionalValue::IntDefaultValue(value) => DefaultValue::Int(*value),
        array::DefaultOptionalValue::FloatDefaultValue(value) => DefaultValue::Float(*value),
        array::DefaultOptionalValue::DoubleDefaultValue(value) => DefaultValue::Double(*value),
    });
    Ok(ArrayFeature {
        dtype: row.ok_or(Problem::DataType(message.data_type))?.0,
        shape: decode_shape(&message.shape)?,
        flexibility: flexibility.transpose()?,
        default,
    })
}

fn decode_image(message: &proto::ImageFeatureType) -> Result<FeatureType, Problem> {
    let row = COLORS.iter().find(|row| row.1 as i32 == message.color_space);
    let unknown = || Problem::Kind { expected: "a colour space".to_owned(), found: message.color_space.to_string() };
    let flexibility = message.size_flexibility.as_ref().map(|flexibility| match flexibility {
        image::SizeFlexibility::EnumeratedSizes(enumerated) => {
            Flexibility::Enumerated(enumerated.sizes.iter().map(|size| vec![size.width, size.height]).collect())
        }
        image::SizeFlexibility::ImageSizeRange(range) => {
            let side = |range: &Option<proto::SizeRange>| range.as_ref().map_or((0, None), decode_range);
            Flexibility::Ranges(vec![side(&range.width_range), side(&range.height_range)])
        }
    });
    let sides = decode_shape(&[message.width, message.height])?;
    Ok(FeatureType::Image { width: sides[0], height: sides[1], color: row.ok_or_else(unknown)?.0, flexibility })
}

/// The feature as a release records it. The shape of an image is [height, width]; the dtype of an unknown kind is
/// `unknown`.
pub(crate) fn interface_feature(message: &proto::FeatureDescription) -> contract::Feature {
    let ty = decode_feature(message);
    let dtype = ty.as_ref().map_or_else(
        |_| "unknown".to_owned(),
        |ty| match ty {
            FeatureType::State(array) => array.dtype.long_name(),
            other => kind_name(other),
        },
    );
    let optional = message.r#type.as_ref().is_some_and(|ty| ty.is_optional);
    let mut feature = contract::Feature { name: message.name.clone(), dtype, optional, ..Default::default() };
    let flexibility = match ty {
        Ok(FeatureType::Array(array) | FeatureType::State(array)) => {
            feature.shape = array.shape;
            feature.default = array.default.map(|default| default.to_string());
            array.flexibility
        }
        Ok(FeatureType::Image { width, height, color, flexibility }) => {
            feature.shape = vec![height, width];
            feature.color = Some(color.name().to_owned());
            flexibility.map(height_first)
        }
        _ => None,
    };
    match flexibility {
        Some(Flexibility::Enumerated(shapes)) => feature.enumerated = Some(shapes),
        Some(Flexibility::Ranges(ranges)) => feature.ranges = Some(ranges),
        None => {}
    }
    feature
}

fn height_first(sizes: Flexibility) -> Flexibility {
    match sizes {
        Flexibility::Enumerated(mut sizes) => {
            sizes.iter_mut().for_each(|size| size.reverse());
            Flexibility::Enumerated(sizes)
        }
        Flexibility::Ranges(mut ranges) => {
            ranges.reverse();
            Flexibility::Ranges(ranges)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<FeatureType> {
        let array =
            |flexibility, default| ArrayFeature { dtype: DataType::Float16, shape: vec![1, 8], flexibility, default };
        vec![
            FeatureType::Array(array(None, None)),
            FeatureType::Array(array(
                Some(Flexibility::Ranges(vec![(1, Some(1)), (1, None)])),
                Some(DefaultValue::Float(0.5)),
            )),
            FeatureType::Array(array(
                Some(Flexibility::Enumerated(vec![vec![1, 8], vec![1, 4]])),
                Some(DefaultValue::Int(-1)),
            )),
            FeatureType::State(array(None, None)),
            FeatureType::Image { width: 4, height: 2, color: ColorSpace::Bgr, flexibility: None },
            FeatureType::Image {
                width: 4,
                height: 2,
                color: ColorSpace::GrayscaleFloat16,
                flexibility: Some(Flexibility::Enumerated(vec![vec![4, 2], vec![8, 6]])),
            },
            FeatureType::Int64,
            FeatureType::Double,
            FeatureType::String,
            FeatureType::Dictionary { string_keys: false },
            FeatureType::Sequence { strings: true, length: Some((1, None)) },
        ]
    }

    #[test]
    fn color_spaces_are_found_by_their_names() {
        for (color, name) in ColorSpace::NAMES {
            assert_eq!((color.name(), ColorSpace::from_name(&name.to_lowercase())), (name, Some(color)));
        }
        assert_eq!(ColorSpace::from_name("CMYK"), None);
    }

    #[test]
    fn features_are_read_back() {
        for ty in samples() {
            let message = encode_feature("x", &FeatureNote::default(), &ty);
            assert_eq!(decode_feature(&message).unwrap(), ty);
        }
    }

    #[test]
    fn releases_name_what_they_see() {
        let shown: Vec<_> =
            samples().iter().map(|ty| interface_feature(&encode_feature("x", &FeatureNote::default(), ty))).collect();
        assert_eq!(
            (shown[1].dtype.as_str(), shown[1].ranges.clone()),
            ("float16", Some(vec![(1, Some(1)), (1, None)]))
        );
        assert_eq!(shown[3].dtype, "float16");
        assert_eq!(
            (shown[5].shape.clone(), shown[5].enumerated.clone()),
            (vec![2, 4], Some(vec![vec![2, 4], vec![6, 8]]))
        );
        assert_eq!(shown[8].dtype, "string");
        let said = [1, 2, 3, 4, 5].map(|i| (shown[i].color.as_deref(), shown[i].default.as_deref()));
        assert_eq!(
            said,
            [
                (None, Some("0.5")),
                (None, Some("-1")),
                (None, None),
                (Some("BGR"), None),
                (Some("GRAYSCALE_FLOAT16"), None)
            ]
        );
        assert_eq!(DefaultValue::Float(0.1).to_string(), "0.1");
        assert_eq!(DefaultValue::Float(f32::NEG_INFINITY).to_string(), "-inf");
        assert_eq!(interface_feature(&proto::FeatureDescription::default()).dtype, "unknown");
    }

    #[test]
    fn descriptions_follow_from_the_program() {
        let array = |ty: &ValueType, side| match derive(ty, side) {
            Ok(FeatureType::Array(array)) => Ok(array.shape),
            other => Err(format!("{other:?}")),
        };
        let scalar = ValueType::Tensor(TensorType::scalar(DataType::Float32));
        let open = ValueType::Tensor(TensorType {
            dtype: DataType::Float32,
            shape: vec![Dimension::Unknown { variadic: false }],
        });
        assert_eq!(array(&scalar, Side::Input).unwrap(), [1]);
        assert!(array(&scalar, Side::Output).unwrap().is_empty());
        assert!(array(&open, Side::Output).unwrap().is_empty());
        assert!(matches!(derive(&open, Side::Input), Err(Problem::Unbounded(_))));
    }

    #[test]
    fn descriptions_that_contradict_the_program_are_refused() {
        let tensor = |dtype, shape: &[u64]| ValueType::Tensor(TensorType::new(dtype, shape));
        let array = &samples()[0];
        assert!(check(array, &tensor(DataType::Float16, &[1, 8]), Target::Ios16).is_ok());
        let since = check(array, &tensor(DataType::Float16, &[1, 8]), Target::Ios15);
        assert!(matches!(since, Err(Problem::Since { since: Target::Ios16, .. })));
        for other in
            [tensor(DataType::Float16, &[1, 9]), tensor(DataType::Float32, &[1, 8]), tensor(DataType::Float16, &[8])]
        {
            assert!(matches!(check(array, &other, Target::Ios16), Err(Problem::Description { .. })), "{other}");
        }
        let int16 = FeatureType::Array(ArrayFeature {
            dtype: DataType::Int16,
            shape: vec![],
            flexibility: None,
            default: None,
        });
        assert!(matches!(check(&int16, &tensor(DataType::Int16, &[]), Target::Ios18), Err(Problem::Feature(_))));
    }
}
