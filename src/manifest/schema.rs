//! The JSON Schema of release manifests, for people who read them without mlreg. Checked in as `release.schema.json`.

use serde_json::{Value, json};

use super::release::{Release, SCHEMA};

/// The JSON Schema (2020-12) of `mlreg/release/1`. Rules between fields, such as "segments cover their blob", are
/// beyond it.
pub fn release_schema() -> Value {
    let mut schema = schemars::schema_for!(Release);
    if let Some(field) = schema.pointer_mut("/properties/schema") {
        *field = json!({ "const": SCHEMA });
    }
    schema.to_value()
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests ask whether to rewrite what they compare with")]
    #[test]
    fn the_checked_in_schema_is_fresh() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/manifest/release.schema.json");
        let fresh = format!("{}\n", serde_json::to_string_pretty(&release_schema()).unwrap());
        if env::var_os("BLESS").is_some() {
            fs::write(&path, &fresh).unwrap();
        }
        let checked_in = fs::read_to_string(&path).unwrap();
        assert!(checked_in == fresh, "src/manifest/release.schema.json is out of date: run this test with BLESS=1");
    }

    #[test]
    fn unknown_fields_are_allowed_and_the_version_is_not_free() {
        let schema = release_schema();
        assert_eq!(schema["properties"]["schema"], json!({ "const": "mlreg/release/1" }));
        assert_ne!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["$defs"]["Digest"]["pattern"], "^[0-9a-f]{64}$");
    }
}
