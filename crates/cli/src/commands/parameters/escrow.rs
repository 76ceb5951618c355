//! `emc parameters escrow`: what the escrow's governor sets, with a public delay.

use crate::{cli::Globals, decimals, output, session::Session, words};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use emc_client::protocol::Seconds;
use emc_client::protocol::escrow::{EscrowInfo, Settings};
use emc_client::protocol::parameters::{EscrowParameterChange, EscrowParameters};
use serde_json::{Value, json};
use std::path::PathBuf;

/// The escrow's parameters.
#[derive(Debug, Subcommand)]
pub enum Escrow {
    /// What holds, and what is announced
    Show,
    /// Announce a change (the governor's)
    Set(Set),
    /// Withdraw the announced change (the governor's)
    Cancel,
    /// Everything that was ever announced and put into effect
    Log,
}

/// Announce a change. Only the governor can; it takes effect after the delay that holds now, and replaces a change that
/// is announced already.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
#[command(
    after_help = "Example:\n  emc parameters escrow show --json > parameters.json   # then edit \"settings\"\n  emc parameters escrow set --settings parameters.json"
)]
pub struct Set {
    /// A JSON file with all settings, or with a field `settings` that holds them, as `show --json` prints
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// How long a change is public before it takes effect, like 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = decimals::seconds)]
    delay: Option<Seconds>,
}

impl Escrow {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Show => {
                let session = Session::open(globals).await?;
                print(globals, &session.escrow().info().await?)
            }
            Self::Set(set) => {
                let settings = set.settings.as_deref().map(read).transpose()?;
                let session = Session::open_signed(globals).await?;
                let info = session.escrow().set_parameters(settings, set.delay).await?;
                print(globals, &info)
            }
            Self::Cancel => {
                let session = Session::open_signed(globals).await?;
                print(globals, &session.escrow().cancel_parameters().await?)
            }
            Self::Log => log(globals).await,
        }
    }
}

/// The settings in a file.
fn read(path: &std::path::Path) -> Result<Settings> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let named = || format!("{} holds no settings of an escrow", path.display());
    let mut value: Value = serde_json::from_str(&text).with_context(named)?;
    if let Some(settings) = value.get_mut("settings") {
        value = settings.take();
    }
    let settings: Settings = serde_json::from_value(value.clone()).with_context(named)?;
    // What nobody knows is a misspelt name, and must not be taken for a default.
    let known = serde_json::to_value(&settings).with_context(named)?;
    if let (Some(given), Some(known)) = (value.as_object(), known.as_object())
        && let Some(name) = given.keys().find(|name| !known.contains_key(*name))
    {
        anyhow::bail!("{} has a setting that nobody knows: {name}", path.display());
    }
    Ok(settings)
}

fn change_json(change: &EscrowParameters) -> Value {
    json!({
        "settings": change.settings,
        "delay_seconds": change.delay.map(|delay| delay.0),
    })
}

/// Settings by their names; what is left to its default is not there.
fn fields(settings: &Settings, delay: Option<Seconds>) -> Result<Vec<(String, String)>> {
    let mut fields = vec![];
    flatten("", &serde_json::to_value(settings)?, &mut fields);
    if let Some(delay) = delay {
        fields.push(("delay".into(), words::duration(delay)));
    }
    Ok(fields)
}

fn flatten(name: &str, value: &Value, fields: &mut Vec<(String, String)>) {
    match value {
        Value::Null => {}
        Value::Object(inner) => {
            for (key, value) in inner {
                let name = match name {
                    "" => key.clone(),
                    name => format!("{name}.{key}"),
                };
                flatten(&name, value, fields);
            }
        }
        value => fields.push((name.to_owned(), value.to_string())),
    }
}

fn print(globals: &Globals, info: &EscrowInfo) -> Result<()> {
    if globals.json {
        return output::json(&json!({
            "governor": info.governor.to_text(),
            "settings": info.settings,
            "delay_seconds": info.delay.map(|delay| delay.0),
            "pending": info.pending.as_ref().map(|pending| json!({
                "change": change_json(&pending.change),
                "announced": words::time(pending.announced),
                "effective": words::time(pending.effective),
            })),
        }));
    }
    let governor = ("governor".to_owned(), info.governor.to_text());
    show(std::iter::once(governor).chain(fields(&info.settings, info.delay)?))?;
    let Some(pending) = &info.pending else {
        return Ok(());
    };
    output::line(format_args!("\nfrom {} on", words::time(pending.effective)))?;
    show(changed(&info.settings, &pending.change)?)
}

fn show(fields: impl IntoIterator<Item = (String, String)>) -> Result<()> {
    let fields: Vec<_> = fields.into_iter().collect();
    let fields: Vec<_> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    output::fields(&fields)
}

/// What of a change differs from the settings before it.
fn changed(before: &Settings, change: &EscrowParameters) -> Result<Vec<(String, String)>> {
    let old = fields(before, None)?;
    let new = match &change.settings {
        Some(settings) => fields(settings, change.delay)?,
        None => fields(before, change.delay)?,
    };
    Ok(new
        .into_iter()
        .filter(|field| !old.contains(field))
        .collect())
}

async fn log(globals: &Globals) -> Result<()> {
    let session = Session::open(globals).await?;
    let escrow = session.escrow();
    let mut events = vec![];
    loop {
        let page = escrow.parameter_log(events.len() as u64, 100).await?;
        if page.events.is_empty() {
            break;
        }
        events.extend(page.events);
    }
    let parts = |what: &EscrowParameterChange| match what {
        EscrowParameterChange::Announced { change, effective } => (
            format!("announced for {}", words::time(*effective)),
            change.clone(),
        ),
        EscrowParameterChange::Cancelled { change } => ("cancelled".into(), change.clone()),
        EscrowParameterChange::Applied { change } => ("in effect".into(), change.clone()),
        EscrowParameterChange::Upgraded { change } => {
            ("changed by an upgrade".into(), change.clone())
        }
    };
    if globals.json {
        let events = events.iter().map(|event| {
            let what = event.what.as_ref().map(parts);
            json!({
                "number": event.number,
                "time": words::time(event.time),
                "by": event.by.to_text(),
                "what": what.as_ref().map(|(what, _)| what),
                "change": what.as_ref().map(|(_, change)| change_json(change)),
            })
        });
        return output::json(&events.collect());
    }
    let mut rows = vec![];
    let mut before = Settings::default();
    for event in &events {
        let Some((what, change)) = event.what.as_ref().map(parts) else {
            rows.push(vec![
                words::time(event.time),
                "unknown to this version".into(),
            ]);
            continue;
        };
        let values: Vec<_> = changed(&before, &change)?
            .into_iter()
            .map(|(name, value)| format!("{name} {value}"))
            .collect();
        rows.push(vec![
            words::time(event.time),
            what,
            values.join(", "),
            event.by.to_text(),
        ]);
        let holds = matches!(
            event.what,
            Some(EscrowParameterChange::Applied { .. } | EscrowParameterChange::Upgraded { .. })
        );
        if let (Some(settings), true) = (change.settings, holds) {
            before = settings;
        }
    }
    output::table(&["time", "what", "values", "by"], &rows)
}
