//! A model's terms as a file: TOML, or JSON of the same shape. A field that nobody knows is refused, so that a
//! misspelt royalty is not taken for none.

use anyhow::{Context, Result, bail};
use emc_client::protocol::AuditTerms;
use emc_client::protocol::audit::GapLevel;
use emc_client::protocol::model::ModelTerms;
use serde::Deserialize;
use std::path::Path;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TermsFile {
    audit: Option<Audit>,
    #[serde(default)]
    royalty: u16,
    #[serde(default)]
    compute_units: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Audit {
    levels: Vec<Level>,
    tolerance_milli: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    above_milli: u32,
    share: u16,
    besides: u16,
}

/// Reads a model's terms: `.json` is JSON, everything else TOML.
///
/// # Errors
/// The file cannot be read, or is not valid terms.
pub fn read(path: &Path) -> Result<ModelTerms> {
    let named = || format!("{} holds no terms of a model", path.display());
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let json = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let file: TermsFile = if json {
        serde_json::from_str(&text).with_context(named)?
    } else {
        toml::from_str(&text).with_context(named)?
    };
    let terms = ModelTerms {
        audit: file.audit.map(|audit| AuditTerms {
            levels: audit.levels.iter().map(level).collect(),
            tolerance_milli: audit.tolerance_milli,
        }),
        royalty: file.royalty,
        compute_units: file.compute_units,
    };
    if let Err((field, expected)) = terms.check() {
        bail!("{}: {field} must be {expected}", path.display());
    }
    Ok(terms)
}

fn level(level: &Level) -> GapLevel {
    GapLevel {
        above_milli: level.above_milli,
        share: level.share,
        besides: level.besides,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(name: &str, text: &str) -> Result<ModelTerms> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn toml_and_json_say_the_same() {
        let toml = "royalty = 250\ncompute_units = 135\n[audit]\ntolerance_milli = 300\n\
            [[audit.levels]]\nabove_milli = 200\nshare = 500\nbesides = 1\n";
        let json = r#"{ "royalty": 250, "compute_units": 135, "audit": { "tolerance_milli": 300,
            "levels": [{ "above_milli": 200, "share": 500, "besides": 1 }] } }"#;
        let terms = written("terms.toml", toml).unwrap();
        assert_eq!(terms, written("terms.json", json).unwrap());
        assert_eq!((terms.royalty, terms.compute_units), (250, 135));
        assert_eq!(terms.audit.unwrap().levels[0].above_milli, 200);
    }

    #[test]
    fn a_misspelt_or_impossible_field_is_refused() {
        let refusal = |text| format!("{:#}", written("t.toml", text).unwrap_err());
        assert!(refusal("royality = 5").contains("royality"));
        assert!(refusal("royalty = 10001").contains("terms.royalty"));
        assert!(refusal("[audit]\nlevels = []\ntolerance_milli = 1").contains("terms.audit"));
        assert_eq!(written("t.toml", "").unwrap(), ModelTerms::default());
    }
}
