//! Canonical JSON: keys sorted by their UTF-8 bytes, no whitespace, UTF-8, integers only. Equal documents have equal
//! bytes.
//!
//! This is RFC 8785 for the documents of mlreg. Numbers with a fraction, whose text is not unique, are refused; no
//! document has keys outside of Unicode's basic plane, which RFC 8785 sorts differently.

use serde::Serialize;
use serde_json::Value;

/// A value that has no canonical form.
#[allow(missing_docs, reason = "the messages name the fields")]
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// The value has no JSON form, e.g. a map whose keys are no strings.
    #[error("the document has no JSON form")]
    Form(#[from] serde_json::Error),
    /// A number with a fraction or exponent.
    #[error("the number {number} at `{place}` is not an integer")]
    Float {
        /// Where it stands, as a JSON pointer.
        place: String,
        number: String,
    },
}

/// The canonical bytes of a document.
///
/// # Errors
/// When the document contains a number that is no integer, or has no JSON form.
pub fn to_canonical<T: Serialize>(document: &T) -> Result<Vec<u8>, CanonicalError> {
    let mut bytes = Vec::new();
    let mut place = String::new();
    write(&serde_json::to_value(document)?, &mut place, &mut bytes)?;
    Ok(bytes)
}

fn write(value: &Value, place: &mut String, bytes: &mut Vec<u8>) -> Result<(), CanonicalError> {
    match value {
        Value::Number(number) if number.is_f64() => {
            return Err(CanonicalError::Float { place: place.clone(), number: number.to_string() });
        }
        Value::Array(items) => {
            write_all(items.iter().enumerate(), b"[]", place, bytes, |index, place, _| {
                place.push_str(&index.to_string());
                Ok(())
            })?;
        }
        Value::Object(fields) => {
            // serde_json's maps are sorted, unless another crate of the build asks for insertion order.
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            fields.sort_unstable_by_key(|(key, _)| *key);
            write_all(fields.into_iter(), b"{}", place, bytes, |key, place, bytes| {
                place.push_str(&key.replace('~', "~0").replace('/', "~1"));
                serde_json::to_writer(&mut *bytes, key)?;
                bytes.push(b':');
                Ok(())
            })?;
        }
        scalar => serde_json::to_writer(bytes, scalar)?,
    }
    Ok(())
}

fn write_all<'v, K>(
    items: impl Iterator<Item = (K, &'v Value)>,
    brackets: &[u8; 2],
    place: &mut String,
    bytes: &mut Vec<u8>,
    name: impl Fn(K, &mut String, &mut Vec<u8>) -> Result<(), CanonicalError>,
) -> Result<(), CanonicalError> {
    let depth = place.len();
    bytes.push(brackets[0]);
    for (index, (key, value)) in items.enumerate() {
        if index > 0 {
            bytes.push(b',');
        }
        place.push('/');
        name(key, place, bytes)?;
        write(value, place, bytes)?;
        place.truncate(depth);
    }
    bytes.push(brackets[1]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn text(value: &Value) -> String {
        String::from_utf8(to_canonical(value).unwrap()).unwrap()
    }

    #[test]
    fn sorted_compact_and_utf8() {
        let value = json!({ "z": [1, -2, null, true], "a/b": { "é": "\u{1}\"\\ü", "B": u64::MAX }, "": [] });
        assert_eq!(
            text(&value),
            "{\"\":[],\"a/b\":{\"B\":18446744073709551615,\"é\":\"\\u0001\\\"\\\\ü\"},\"z\":[1,-2,null,true]}"
        );
    }

    #[test]
    fn fractions_have_no_place() {
        let error = to_canonical(&json!({ "a": [0, { "b/c": 0.5 }] })).unwrap_err();
        assert_eq!(error.to_string(), "the number 0.5 at `/a/1/b~1c` is not an integer");
    }

    fn documents() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(".{0,6}", inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn reading_gives_the_document_back(value in documents()) {
            let bytes = to_canonical(&value).unwrap();
            let read: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&read, &value);
            prop_assert_eq!(to_canonical(&read).unwrap(), bytes);
        }
    }
}
