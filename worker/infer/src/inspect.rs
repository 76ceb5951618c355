//! `emc-infer inspect`: what a model is and what it needs.

use anyhow::Result;
use clap::Args;
use emc_inference::benchmark::peak_memory;
use serde_json::json;

use crate::options::ModelOptions;

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let model = arguments.model.load()?;
    let (info, text) = (model.info(), model.text());
    let whole_context = info.cache_bytes_per_token * info.context as u64;
    if arguments.json {
        let files = info.root.files.iter();
        let files = files.map(|file| json!({ "path": file.path, "bytes": file.length, "sha256": hex::encode(file.sha256) }));
        let object = json!({
            "name": info.name,
            "family": info.family,
            "parameters": info.parameters,
            "quantisation": info.quantisation,
            "context": info.context,
            "vocabulary": info.vocabulary,
            "tokens": text.vocabulary(),
            "stop_tokens": text.stop_tokens(),
            "chats": text.has_template(),
            "weight_bytes": info.memory_bytes,
            "cache_bytes_per_token": info.cache_bytes_per_token,
            "cache_bytes_of_a_whole_context": whole_context,
            "root": hex::encode(info.root.root),
            "files": files.collect::<Vec<_>>(),
        });
        println!("{object}");
        return Ok(());
    }
    println!("name           {}", info.name);
    println!("family         {}", info.family);
    println!("parameters     {:.1} million", info.parameters as f64 / 1e6);
    println!("quantisation   {}", info.quantisation);
    println!("context        {} tokens", info.context);
    println!(
        "vocabulary     {} tokens, {} rows",
        text.vocabulary(),
        info.vocabulary
    );
    println!("stop tokens    {:?}", text.stop_tokens());
    println!(
        "chat template  {}",
        if text.has_template() {
            "yes"
        } else {
            "none: it completes texts"
        }
    );
    println!("weights        {} as loaded", megabytes(info.memory_bytes));
    println!(
        "cache          {} bytes a token, {} for a whole context",
        info.cache_bytes_per_token,
        megabytes(whole_context)
    );
    if let Some(peak) = peak_memory() {
        println!("to load        {} at most", megabytes(peak));
    }
    println!("root           {}", hex::encode(info.root.root));
    for file in &info.root.files {
        println!(
            "  {} {} bytes {}",
            hex::encode(file.sha256),
            file.length,
            file.path
        );
    }
    Ok(())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
