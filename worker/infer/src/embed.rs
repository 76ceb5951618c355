//! `emc-infer embed`: texts into embeddings.

use std::io::BufRead;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use emc_inference::Encoder;
use serde_json::json;

use crate::options::ComputeOptions;

#[derive(Args)]
pub struct Arguments {
    /// A folder with an encoder of the BERT family, as sentence-transformers publishes them.
    model: PathBuf,
    /// The texts; without any, one a line from standard input.
    texts: Vec<String>,
    #[command(flatten)]
    compute: ComputeOptions,
    /// Prints one JSON object a text, instead of how alike the texts are.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let shown = arguments.model.display();
    let encoder = Encoder::load(&arguments.model, arguments.compute.load())
        .with_context(|| format!("cannot load {shown}"))?;
    let texts = match arguments.texts.is_empty() {
        false => arguments.texts.clone(),
        true => std::io::stdin().lock().lines().collect::<Result<_, _>>()?,
    };
    let all: Vec<&str> = texts.iter().map(String::as_str).collect();
    let embeddings = encoder.embed(&all)?;
    if arguments.json {
        for (text, embedding) in texts.iter().zip(&embeddings) {
            let object = json!({
                "text": text,
                "tokens": embedding.tokens,
                "embedding": embedding.values,
            });
            println!("{object}");
        }
        return Ok(());
    }
    println!(
        "{} numbers each; how alike the texts are (cosine):",
        encoder.info().width
    );
    for (index, text) in texts.iter().enumerate() {
        let row: Vec<String> = embeddings
            .iter()
            .map(|other| format!("{:6.3}", cosine(&embeddings[index].values, &other.values)))
            .collect();
        let short: String = text.chars().take(50).collect();
        println!("{}  {short}", row.join(" "));
    }
    Ok(())
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let lengths = (product(a, a) * product(b, b)).sqrt();
    if lengths > 0.0 {
        product(a, b) / lengths
    } else {
        0.0
    }
}
