//! `emc parameters`: what the governor of the registry, and that of the escrow, sets, with a public delay.

mod cancel;
mod escrow;
mod log;
mod set;
mod show;

use crate::cli::Globals;
use crate::{output, words};
use anyhow::Result;
use candid::Principal;
use clap::Subcommand;
use emc_client::protocol::node::RegistryInfo;
use emc_client::protocol::parameters::RegistryParameters;
use serde_json::{Value, json};

/// The registry's parameters, and the escrow's.
#[derive(Debug, Subcommand)]
pub enum Parameters {
    /// What holds, and what is announced
    Show(show::Show),
    /// Announce a change (the governor's)
    Set(set::Set),
    /// Withdraw the announced change (the governor's)
    Cancel(cancel::Cancel),
    /// Everything that was ever announced and put into effect
    Log(log::Log),
    /// The escrow's
    #[command(subcommand)]
    Escrow(escrow::Escrow),
}

impl Parameters {
    pub async fn run(self, globals: &Globals) -> Result<()> {
        match self {
            Self::Show(command) => command.run(globals).await,
            Self::Set(command) => command.run(globals).await,
            Self::Cancel(command) => command.run(globals).await,
            Self::Log(command) => command.run(globals).await,
            Self::Escrow(command) => command.run(globals).await,
        }
    }
}

/// The parameters that are given, by their names.
fn given(parameters: &RegistryParameters) -> Vec<(&'static str, String)> {
    let seconds = [
        ("unbonding", parameters.unbonding),
        ("jail", parameters.jail),
        ("silence", parameters.silence),
        ("delay", parameters.delay),
    ];
    let least = parameters.minimum_stake;
    let least = least.map(|least| ("minimum stake", format!("{least} EMC")));
    let times = seconds
        .into_iter()
        .filter_map(|(name, time)| Some((name, words::duration(time?))));
    let escrows = parameters.mining_escrows.as_deref();
    let escrows = escrows.map(|escrows| {
        let named: Vec<_> = escrows.iter().map(Principal::to_text).collect();
        let text = match named.is_empty() {
            true => "none".into(),
            false => named.join(" "),
        };
        ("mining escrows", text)
    });
    least.into_iter().chain(times).chain(escrows).collect()
}

fn parameters_json(parameters: &RegistryParameters) -> Value {
    json!({
        "minimum_stake": parameters.minimum_stake.map(words::emc),
        "unbonding_seconds": parameters.unbonding.map(|time| time.0),
        "jail_seconds": parameters.jail.map(|time| time.0),
        "silence_seconds": parameters.silence.map(|time| time.0),
        "delay_seconds": parameters.delay.map(|time| time.0),
        "mining_escrows": parameters.mining_escrows.as_deref().map(|escrows| {
            escrows.iter().map(Principal::to_text).collect::<Vec<_>>()
        }),
    })
}

/// Prints what holds and what is announced.
fn print(globals: &Globals, info: &RegistryInfo) -> Result<()> {
    let holds = info.parameters.clone().unwrap_or_default();
    if globals.json {
        return output::json(&json!({
            "governor": info.governor.to_text(),
            "parameters": parameters_json(&holds),
            "pending": info.pending.as_ref().map(|pending| json!({
                "change": parameters_json(&pending.change),
                "announced": words::time(pending.announced),
                "effective": words::time(pending.effective),
            })),
        }));
    }
    let mut fields = given(&holds);
    fields.insert(0, ("governor", info.governor.to_text()));
    output::fields(&fields)?;
    let Some(pending) = &info.pending else {
        return Ok(());
    };
    output::line(format_args!("\nfrom {} on", words::time(pending.effective)))?;
    output::fields(&given(&pending.change))
}
