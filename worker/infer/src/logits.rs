//! `emc-infer logits`: the logits after every token, for comparison with other programs.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::json;

use crate::npy;
use crate::options::ModelOptions;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// The token ids.
    #[arg(long, value_delimiter = ',', required_unless_present = "text")]
    tokens: Vec<u32>,
    /// A text whose tokens to take instead.
    #[arg(long, conflicts_with = "tokens")]
    text: Option<String>,
    /// Where to write them: a NumPy file of f32, [tokens, vocabulary].
    #[arg(long)]
    out: PathBuf,
    /// Prints what was written as one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let model = arguments.model.load()?;
    let ids = match &arguments.text {
        Some(text) => model.encode(text)?,
        None => arguments.tokens.clone(),
    };
    let mut values = Vec::new();
    model.each_logits(&ids, |_, row| {
        values.extend_from_slice(row);
        Ok(())
    })?;
    let (out, width) = (&arguments.out, model.info().vocabulary);
    npy::write(out, &values, width).with_context(|| format!("cannot write {}", out.display()))?;
    if arguments.json {
        println!(
            "{}",
            json!({ "ids": ids, "shape": [ids.len(), width], "out": out })
        );
    } else {
        println!("{} x {width} logits in {}", ids.len(), out.display());
    }
    Ok(())
}
