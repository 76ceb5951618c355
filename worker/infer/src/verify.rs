//! `emc-infer verify`: checks an answer by one prefill, as validators do.

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use emc_inference::{Claim, FinishReason};
use serde_json::json;

use crate::generate::Record;
use crate::options::{ModelOptions, text};

#[derive(Args)]
pub struct Arguments {
    #[command(flatten)]
    model: ModelOptions,
    /// A file with one line of `emc-infer generate --json`; `-` reads it from standard input.
    #[arg(default_value = "-")]
    answer: String,
    /// Gaps above which positions are counted, in logits.
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.5,1,2")]
    levels: Vec<f64>,
    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

pub fn run(arguments: &Arguments) -> Result<()> {
    let from = &arguments.answer;
    let read = match from.as_str() {
        "-" => text("-")?,
        path => std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?,
    };
    let line = read.lines().next().unwrap_or_default();
    let record: Record = serde_json::from_str(line)
        .with_context(|| format!("{from} is not what `emc-infer generate --json` prints"))?;
    let reason = match record.finish_reason.as_str() {
        "stop" => FinishReason::Stop,
        "length" => FinishReason::Length,
        "stop_string" => FinishReason::StopString,
        other => bail!("\"{other}\" is no reason to end an answer"),
    };
    let model = arguments.model.load()?;
    let root = hex::encode(model.info().root.root);
    ensure!(
        root == record.model,
        "the answer was made with the model {}, and this one is {root}",
        record.model
    );
    let prompt = model.encode(&record.prompt)?;
    let levels = arguments.levels.iter();
    let levels: Vec<u32> = levels
        .map(|level| (level * 1000.0).round() as u32)
        .collect();
    let claim = Claim {
        prompt: &prompt,
        ids: &record.ids,
        reason,
        text: &record.text,
        params: &record.params.sampling(),
        context: record.context,
    };
    let found = model.verify(&claim, &[], &levels)?;
    let is_prompt = prompt == record.prompt_ids;
    if arguments.json {
        let object = json!({
            "positions": found.positions,
            "matches": found.matches,
            "largest_gap": f64::from(found.largest_gap_milli) / 1000.0,
            "mean_gap": f64::from(found.mean_gap_milli) / 1000.0,
            "above": arguments.levels.iter().zip(&found.above).collect::<Vec<_>>(),
            "ends_right": found.ends_right,
            "text_right": found.text_right,
            "prompt_right": is_prompt,
        });
        println!("{object}");
        return Ok(());
    }
    let milli = |milli: u32| f64::from(milli) / 1000.0;
    println!("tokens               {}", found.positions);
    println!("chosen here too      {}", found.matches);
    println!(
        "largest gap          {:.3} logits",
        milli(found.largest_gap_milli)
    );
    println!(
        "mean gap             {:.3} logits",
        milli(found.mean_gap_milli)
    );
    for (level, count) in arguments.levels.iter().zip(&found.above) {
        println!("above {level:<14} {count}");
    }
    let said = |is_right: bool| {
        if is_right {
            "as the rules say"
        } else {
            "WRONG"
        }
    };
    println!("where it ends        {}", said(found.ends_right));
    println!("its text             {}", said(found.text_right));
    println!("its prompt's tokens  {}", said(is_prompt));
    Ok(())
}
