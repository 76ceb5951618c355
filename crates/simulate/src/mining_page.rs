//! What a GPU earns by mining, as tables and a chart: the part of the page that is about [`crate::mining`].

use crate::chart::{Axis, Chart, Line};
use crate::mining::{CHEAP, HONEST_SPEEDS, Outcome, STAKE, TOKENS_A_SECOND, worth};
use std::fmt::{Result, Write};

fn emc(amount: u128) -> f64 {
    amount as f64 / 1e8
}

fn percent(basis_points: u16) -> f64 {
    f64::from(basis_points) / 100.0
}

/// The tables, as Markdown.
pub(crate) fn write(out: &mut String, outcomes: &[Outcome]) -> Result {
    let Some(first) = outcomes.first() else {
        return Ok(());
    };
    writeln!(out, "## Mining: one GPU behind many nodes\n")?;
    writeln!(
        out,
        "{} days, 24 rounds each; {} honest miners with a GPU each, of {} times the attacker's speed in all; at speed 1 a \
         GPU makes {TOKENS_A_SECOND} tokens a second. One GPU's worth is its speed's part of all: {:.2} %. Each node of the \
         attacker stakes {} EMC. Bonds: the most that was reserved at the end of a round.\n",
        first.days,
        HONEST_SPEEDS.len(),
        HONEST_SPEEDS.iter().sum::<f64>(),
        worth() * 100.0,
        STAKE,
    )?;
    honest(out, outcomes)?;
    cheap(out, outcomes)?;
    bought(out, outcomes)
}

fn honest(out: &mut String, outcomes: &[Outcome]) -> Result {
    writeln!(
        out,
        "| nodes | probes | share of the reward | of one GPU's worth | EMC a day | stake bound, EMC | bonds, EMC |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|")?;
    for outcome in of(outcomes, |case| !case.cheap && case.bought == 0) {
        writeln!(
            out,
            "| {} | {} | {:.2} % | {:.3} | {:.0} | {:.0} | {:.2} |",
            outcome.case.nodes,
            outcome.probes,
            outcome.share() * 100.0,
            outcome.against_one_gpu(),
            emc(outcome.paid) / outcome.days as f64,
            emc(outcome.stake),
            emc(outcome.reserved),
        )?;
    }
    writeln!(out)
}

fn cheap(out: &mut String, outcomes: &[Outcome]) -> Result {
    writeln!(out, "## Mining with a cheap model\n")?;
    writeln!(
        out,
        "The attacker answers every probe with a model that is {CHEAP} times as fast. Colluding: of the validators, those that \
         uphold it always and call honest work wrong. Forfeited: of the days on which one of its nodes was audited. A node \
         that is found is in jail for three days.\n"
    )?;
    writeln!(
        out,
        "| audited | colluding | nodes | probes | forfeited | share of the reward | of one GPU's worth | burned, EMC | paid, \
         EMC | stake bound, EMC |"
    )?;
    writeln!(out, "|---|---|---|---|---|---|---|---|---|---|")?;
    for outcome in of(outcomes, |case| case.cheap) {
        let worked = outcome.worked.max(1) as f64;
        writeln!(
            out,
            "| {} % | {} | {} | {} | {:.0} % | {:.2} % | {:.2} | {:.2} | {:.0} | {:.0} |",
            percent(outcome.case.rate),
            outcome.case.colluding,
            outcome.case.nodes,
            outcome.probes,
            outcome.forfeited as f64 / worked * 100.0,
            outcome.share() * 100.0,
            outcome.against_one_gpu(),
            emc(outcome.burned),
            emc(outcome.paid),
            emc(outcome.stake),
        )?;
    }
    writeln!(out)
}

fn bought(out: &mut String, outcomes: &[Outcome]) -> Result {
    writeln!(out, "## Mining and jobs bought from oneself\n")?;
    writeln!(
        out,
        "| takes probes | jobs bought | power shown | share of the reward | buying cost, EMC |"
    )?;
    writeln!(out, "|---|---|---|---|---|")?;
    for outcome in of(outcomes, |case| !case.cheap && case.nodes == 1) {
        writeln!(
            out,
            "| {} | {} | {} | {:.2} % | {:.4} |",
            if outcome.case.mines { "yes" } else { "no" },
            outcome.bought,
            outcome.shown,
            outcome.share() * 100.0,
            emc(outcome.spent),
        )?;
    }
    writeln!(out)
}

fn of(
    outcomes: &[Outcome],
    wanted: impl Fn(&crate::mining::Case) -> bool,
) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().filter(move |outcome| wanted(&outcome.case))
}

/// What the attacker's GPU earned, by its nodes.
pub(crate) fn chart(outcomes: &[Outcome]) -> Chart {
    let line = |name: String, wanted: &dyn Fn(&Outcome) -> bool| Line {
        name,
        points: outcomes
            .iter()
            .filter(|outcome| wanted(outcome))
            .map(|outcome| (outcome.case.nodes as f64, outcome.against_one_gpu()))
            .collect(),
        dashed: false,
    };
    let honest = |outcome: &Outcome| !outcome.case.cheap && outcome.case.bought == 0;
    let mut lines = vec![line("honest".into(), &honest)];
    let mut kinds: Vec<(u16, usize)> = of(outcomes, |case| case.cheap)
        .map(|outcome| (outcome.case.rate, outcome.case.colluding))
        .collect();
    kinds.dedup();
    for kind in kinds {
        let colluding = match kind.1 {
            0 => String::new(),
            some => format!(", {some} collude"),
        };
        let name = format!("cheap, {} % drawn{colluding}", percent(kind.0));
        let mine = move |outcome: &Outcome| {
            let case = &outcome.case;
            case.cheap && (case.rate, case.colluding) == kind
        };
        lines.push(line(name, &mine));
    }
    lines.push(Line {
        name: "one GPU's worth".into(),
        points: vec![(1.0, 1.0), (500.0, 1.0)],
        dashed: true,
    });
    Chart {
        title: "What a GPU earns by mining, behind so many nodes",
        x: Axis::logarithmic(
            "nodes in front of it",
            &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0],
        ),
        y: Axis::linear(
            "reward / one GPU's worth",
            &[0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5],
        ),
        lines,
    }
}
