//! `emc-worker echo-model`: the echo engine's place in a catalogue.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;

use crate::engine::echo;

/// Shows what to publish.
#[derive(Debug, Args)]
pub struct EchoModel {
    /// Also writes the model's only file into this folder, for `emc model publish` to hash.
    #[arg(long, value_name = "FOLDER")]
    write: Option<PathBuf>,
}

impl EchoModel {
    /// Prints it as JSON.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        let model = echo::publish_model();
        let file = &model.files[0];
        let shown = serde_json::json!({
            "id": model.id,
            "task": "chat",
            "name": model.name,
            "description": model.description,
            "licence": model.licence,
            "context": model.context,
            "root": hex::encode(echo::root()),
            "files": [{ "path": file.path, "length": file.length, "sha256": hex::encode(&file.sha256) }],
        });
        println!("{shown:#}");
        if let Some(folder) = self.write {
            let path = folder.join(echo::FILE);
            std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
            std::fs::write(&path, echo::DESCRIPTION).with_context(|| path.display().to_string())?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_file_is_the_model() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = Some(folder.path().to_owned());
        EchoModel { write }.execute().expect("writes");
        let root = emc_inference::model_root(folder.path()).expect("hashes");
        assert_eq!(crate::engine::llm::root_of(&root), echo::root());
    }
}
