//! The JSON Schema of the answers, generated from their types.

#[cfg(test)]
mod tests {
    use std::path::Path;

    use schemars::generate::SchemaSettings;

    use crate::control::protocol::Envelope;

    /// What `dunlin schema` prints is what the types say: `UPDATE_GOLDEN=1` writes it.
    #[test]
    fn the_schema_is_that_of_the_types() {
        let settings = SchemaSettings::draft2020_12().for_serialize();
        let mut schema = settings.into_generator().into_root_schema_for::<Envelope>();
        schema.insert(
            "title".to_owned(),
            "what dunlin prints with --output json".into(),
        );
        let mut text = serde_json::to_string_pretty(&schema).unwrap();
        text.push('\n');
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = root.join("proto-fixtures/control/answers.schema.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let published = std::fs::read_to_string(&path).unwrap();
        assert!(
            published == text,
            "{} is not what the types say; write it with UPDATE_GOLDEN=1",
            path.display()
        );
    }
}
