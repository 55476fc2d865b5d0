//! Describes compiled models (`.mlmodelc`) from `coremldata.bin` and `metadata.json`; `model.mil` is not read.
//!
//! Both files are private formats of Apple; this layout is that of published models. `coremldata.bin`, little-endian:
//!
//! ```text
//! 0     u32 field number of the model's type (502: ML Program), u32, 20 zero bytes
//! 0x1c  u64 7, `generic`, 32 bytes
//! 0x4b  u64 length
//! 0x53  a `ModelDescription` message of that length
//! ```
//!
//! The specification version comes from `metadata.json` alone: the numbers in `coremldata.bin` do not agree with it.

use std::collections::BTreeMap;

use prost::Message;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::{
    ColorSpace, CoreMlError, ModelMetadata,
    describe::{ModelDescription, interface, metadata},
    is_lfs_pointer,
};
use crate::{
    base::Target,
    contract::{Feature, Interface},
    emit::interface::promote_default,
    proto::coreml as proto,
};

/// Field numbers of the `Model` message.
const MODEL_TYPES: [(u32, &str); 3] = [(202, "pipeline"), (500, "neuralNetwork"), (502, "mlProgram")];
const MARK_AT: usize = 0x1c;
const MARK: &[u8] = b"\x07\0\0\0\0\0\0\0generic";
const LENGTH_AT: usize = 0x4b;
const DESCRIPTION_AT: usize = 0x53;

/// Describes a compiled model from the bytes of `metadata.json` and `coremldata.bin`; one of them may be missing.
///
/// Interface and texts come from `coremldata.bin` where it has the known layout, else from `metadata.json`.
///
/// # Errors
/// When a file is a Git LFS pointer, `metadata.json` is damaged, or both files are missing.
pub fn describe_compiled(
    metadata_json: Option<&[u8]>,
    coremldata: Option<&[u8]>,
) -> Result<ModelDescription, CoreMlError> {
    for (what, bytes) in [("`metadata.json`", metadata_json), ("`coremldata.bin`", coremldata)] {
        if bytes.is_some_and(is_lfs_pointer) {
            return Err(CoreMlError::LfsPointer { what });
        }
    }
    let data = coremldata.and_then(read_coremldata);
    let mut result = match (metadata_json, &data) {
        (Some(bytes), _) => read_metadata_json(bytes)?,
        (None, Some((model_type, _))) => {
            ModelDescription { model_type: (*model_type).to_owned(), ..Default::default() }
        }
        (None, None) => return Err(CoreMlError::CompiledSilent),
    };
    if let Some((_, description)) = data {
        result.interface = interface(&description);
        result.metadata = metadata(description.metadata.unwrap_or_default());
    }
    Ok(result)
}

/// The model's type and description.
fn read_coremldata(bytes: &[u8]) -> Option<(&'static str, proto::ModelDescription)> {
    let kind = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = u64::from_le_bytes(bytes.get(LENGTH_AT..DESCRIPTION_AT)?.try_into().ok()?);
    let end = DESCRIPTION_AT.checked_add(usize::try_from(length).ok()?)?;
    let payload = bytes.get(DESCRIPTION_AT..end)?;
    if !bytes[MARK_AT..].starts_with(MARK) {
        return None;
    }
    let model_type = MODEL_TYPES.iter().find(|(number, _)| *number == kind).map_or("unknown", |(_, name)| name);
    Some((model_type, proto::ModelDescription::decode(payload).ok()?))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct MetadataJson {
    #[serde(default, deserialize_with = "number")]
    specification_version: Option<i32>,
    #[serde(default)]
    model_type: Option<NamedJson>,
    #[serde(default)]
    author: Option<String>,
    #[serde(default)]
    license: Option<String>,
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    short_description: Option<String>,
    #[serde(default)]
    user_defined_metadata: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    default_function_name: Option<String>,
    #[serde(default)]
    functions: Vec<FunctionJson>,
    #[serde(flatten)]
    schemas: SchemasJson,
}

#[derive(Deserialize)]
struct NamedJson {
    name: String,
}

#[derive(Deserialize)]
struct FunctionJson {
    name: String,
    #[serde(flatten)]
    schemas: SchemasJson,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SchemasJson {
    #[serde(default)]
    input_schema: Option<Vec<FeatureJson>>,
    #[serde(default)]
    output_schema: Option<Vec<FeatureJson>>,
    #[serde(default)]
    state_schema: Option<Vec<FeatureJson>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct FeatureJson {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    data_type: Option<String>,
    shape: Option<String>,
    shape_range: Option<String>,
    enumerated_shapes: Option<String>,
    is_optional: Option<String>,
    width: Option<String>,
    height: Option<String>,
    #[serde(alias = "colorspace")]
    color_space: Option<String>,
}

/// A number, or a number in a string: published models have both.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i32>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i32),
        Text(String),
    }
    match Option::<Either>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Either::Number(n)) => Ok(Some(n)),
        Some(Either::Text(text)) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

fn read_metadata_json(bytes: &[u8]) -> Result<ModelDescription, CoreMlError> {
    let [json] = serde_json::from_slice::<[MetadataJson; 1]>(bytes).map_err(CoreMlError::CompiledMetadata)?;
    let text = |value: serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut interface = schema(json.schemas);
    interface.functions =
        json.functions.into_iter().map(|function| (function.name, schema(function.schemas))).collect();
    promote_default(&mut interface, &json.default_function_name.unwrap_or_default());
    let model_type = json
        .model_type
        .map_or_else(|| "unknown".to_owned(), |ty| ty.name.trim_start_matches("MLModelType_").to_owned());
    Ok(ModelDescription {
        specification_version: json.specification_version,
        target: json.specification_version.and_then(Target::of_specification),
        model_type,
        interface,
        metadata: ModelMetadata {
            author: json.author.unwrap_or_default(),
            license: json.license.unwrap_or_default(),
            version: json.version.unwrap_or_default(),
            description: json.short_description.unwrap_or_default(),
            user_defined: json.user_defined_metadata.into_iter().map(|(key, value)| (key, text(value))).collect(),
            ..Default::default()
        },
    })
}

fn schema(schemas: SchemasJson) -> Interface {
    let features = |schema: Option<Vec<FeatureJson>>| schema.unwrap_or_default().into_iter().map(feature).collect();
    Interface {
        inputs: features(schemas.input_schema),
        outputs: features(schemas.output_schema),
        states: features(schemas.state_schema),
        ..Default::default()
    }
}

/// Parses a list in a string: `"[1, 3, 64, 64]"`.
fn list<T: DeserializeOwned>(text: Option<&String>) -> Option<T> {
    serde_json::from_str(text?).ok()
}

fn feature(json: FeatureJson) -> Feature {
    let side = |text: &Option<String>| text.as_ref().and_then(|text| text.parse::<u64>().ok());
    let image = side(&json.height).zip(side(&json.width)).map(|(height, width)| vec![height, width]);
    let dtype = match (json.kind.as_str(), json.data_type.as_deref()) {
        ("MultiArray" | "State", Some("Double")) => "float64".to_owned(),
        ("MultiArray" | "State", Some(dtype)) => dtype.to_ascii_lowercase(),
        (kind, _) => kind.to_ascii_lowercase(),
    };
    // A negative upper bound means unbounded.
    let ranges = list::<Vec<(u64, i64)>>(json.shape_range.as_ref());
    let ranges =
        ranges.map(|ranges| ranges.into_iter().map(|(least, most)| (least, u64::try_from(most).ok())).collect());
    Feature {
        name: json.name,
        dtype,
        shape: list(json.shape.as_ref()).or(image).unwrap_or_default(),
        ranges,
        enumerated: list(json.enumerated_shapes.as_ref()),
        optional: json.is_optional.as_deref() == Some("1"),
        default: None,
        color: json.color_space.and_then(|name| Some(ColorSpace::from_name(&name)?.name().to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"[{
        "metadataOutputVersion": "3.0", "specificationVersion": 9, "storagePrecision": "Float16",
        "modelType": {"name": "MLModelType_mlProgram"}, "author": "someone", "userDefinedMetadata": {"k": "v", "n": 3},
        "availability": {"iOS": "18.0"}, "generatedClassName": "decoder",
        "inputSchema": [
            {"hasShapeFlexibility": "1", "isOptional": "1", "dataType": "Float16", "formattedType": "MultiArray (Float16)", "shortDescription": "",
             "shape": "[1, 4]", "shapeRange": "[[1, 1], [1, -1]]", "name": "x", "type": "MultiArray"},
            {"name": "picture", "type": "Image", "width": "8", "height": "6", "colorspace": "RGB"}
        ],
        "outputSchema": [{"name": "y", "type": "MultiArray", "dataType": "Double", "shape": "[]", "isOptional": "0"}],
        "stateSchema": [{"name": "cache", "type": "State", "dataType": "Float16", "shape": "[1, 2]"}]
    }]"#;

    fn coremldata(kind: u32, description: &proto::ModelDescription) -> Vec<u8> {
        let payload = description.encode_to_vec();
        let mut bytes = vec![0; LENGTH_AT];
        bytes[..4].copy_from_slice(&kind.to_le_bytes());
        bytes[MARK_AT..MARK_AT + MARK.len()].copy_from_slice(MARK);
        bytes.extend((payload.len() as u64).to_le_bytes());
        bytes.extend(payload);
        bytes.extend([0; 16]);
        bytes
    }

    #[test]
    fn metadata_json_alone_describes() {
        let description = describe_compiled(Some(METADATA.as_bytes()), None).unwrap();
        assert_eq!((description.target, description.model_type.as_str()), (Some(Target::Ios18), "mlProgram"));
        let [x, picture] = description.interface.inputs.as_slice() else {
            panic!("{:?}", description.interface.inputs)
        };
        assert_eq!((x.dtype.as_str(), x.shape.as_slice(), x.optional), ("float16", [1, 4].as_slice(), true));
        assert_eq!(x.ranges, Some(vec![(1, Some(1)), (1, None)]));
        assert_eq!((picture.dtype.as_str(), picture.shape.as_slice()), ("image", [6, 8].as_slice()));
        assert_eq!(picture.color.as_deref(), Some("RGB"));
        assert_eq!(
            (description.interface.outputs[0].dtype.as_str(), description.interface.outputs[0].shape.len()),
            ("float64", 0)
        );
        assert_eq!(description.interface.states[0].name, "cache");
        assert_eq!(
            description.metadata.user_defined,
            BTreeMap::from([("k".into(), "v".into()), ("n".into(), "3".into())])
        );
    }

    #[test]
    fn functions_of_metadata_json() {
        let json = r#"[{"specificationVersion": "9", "defaultFunctionName": "b",
            "functions": [{"name": "a", "inputSchema": []}, {"name": "b", "inputSchema": [{"name": "x", "type": "MultiArray", "dataType": "Int32"}]}]}]"#;
        let description = describe_compiled(Some(json.as_bytes()), None).unwrap();
        assert_eq!(description.specification_version, Some(9));
        assert_eq!(description.interface.inputs[0].dtype, "int32");
        assert_eq!(description.interface.functions.keys().collect::<Vec<_>>(), ["a", "b"]);
    }

    #[test]
    fn the_description_in_coremldata_wins() {
        let description = proto::ModelDescription {
            input: vec![proto::FeatureDescription { name: "inner".to_owned(), ..Default::default() }],
            ..Default::default()
        };
        let data = coremldata(502, &description);
        let both = describe_compiled(Some(METADATA.as_bytes()), Some(&data)).unwrap();
        assert_eq!((both.interface.inputs[0].name.as_str(), both.target), ("inner", Some(Target::Ios18)));
        let alone = describe_compiled(None, Some(&data)).unwrap();
        assert_eq!((alone.interface, alone.target, alone.model_type.as_str()), (both.interface, None, "mlProgram"));
        let old = describe_compiled(None, Some(&coremldata(500, &description))).unwrap();
        assert_eq!((old.interface.inputs[0].name.as_str(), old.model_type.as_str()), ("inner", "neuralNetwork"));
        let mut other = data;
        other[MARK_AT + 8] = b'G';
        let fallback = describe_compiled(Some(METADATA.as_bytes()), Some(&other)).unwrap();
        assert_eq!(fallback.interface.inputs[0].name, "x", "an unknown layout leaves metadata.json");
    }

    #[test]
    fn damage_is_an_error_or_no_answer() {
        let data = coremldata(502, &proto::ModelDescription::default());
        for end in 0..DESCRIPTION_AT {
            assert!(read_coremldata(&data[..end]).is_none());
        }
        let mut long = data;
        long[LENGTH_AT..DESCRIPTION_AT].fill(0xff);
        assert!(matches!(describe_compiled(None, Some(&long)), Err(CoreMlError::CompiledSilent)));
        assert!(matches!(describe_compiled(Some(b"{}"), None), Err(CoreMlError::CompiledMetadata(_))));
        assert!(matches!(describe_compiled(Some(b"[]"), None), Err(CoreMlError::CompiledMetadata(_))));
        let pointer = b"version https://git-lfs.github.com/spec/v1\n";
        assert!(matches!(
            describe_compiled(Some(pointer), None),
            Err(CoreMlError::LfsPointer { what: "`metadata.json`" })
        ));
    }
}
