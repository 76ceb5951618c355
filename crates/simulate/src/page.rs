//! What was simulated as tables and charts: `docs/simulation/results.md` and the SVG files beside it. The words around
//! them are in `docs/simulation.md`.

use crate::base::{self, Base};
use crate::chart::{Axis, Chart, Line};
use crate::collusion::{VALIDATORS, Verdicts};
use crate::frontier::{Grid, Point, break_even, pace};
use crate::mining::Outcome;
use crate::mining_page;
use crate::tally::quantile;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::Path;

/// What the subnet charges for a GiB of storage, cycles a second (13 nodes; the Internet Computer's documentation).
const CYCLES_PER_GIB_SECOND: f64 = 127_000.0;
const YEAR: f64 = 365.25 * 86_400.0;
/// The rate and the factor that single tables and charts are about: the defaults.
const RATE: u16 = 1_000;

/// Everything that was simulated.
pub struct Results {
    /// The command that does it again.
    pub command: String,
    /// The base case.
    pub base: Base,
    /// The grid and its points.
    pub grid: Grid,
    /// In the grid's order.
    pub points: Vec<Point>,
    /// Verdicts with erring and colluding validators.
    pub verdicts: Vec<Verdicts>,
    /// What an attacker with one GPU earned by mining.
    pub mining: Vec<Outcome>,
}

impl Results {
    /// Writes tables and charts into a folder.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let mut files = vec![("results.md", self.tables())];
        for (name, chart) in self.charts() {
            files.push((name, chart.svg()));
        }
        for (name, content) in files {
            let path = folder.join(name);
            std::fs::write(&path, content)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// All tables, as Markdown.
    pub fn tables(&self) -> String {
        let mut out = String::new();
        self.write_tables(&mut out)
            .expect("writing to a string does not fail");
        out
    }

    fn write_tables(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "# Results of the simulation\n")?;
        writeln!(
            out,
            "Written by `{}`; the same command writes the same numbers. What they mean is in [the page on the \
             simulation](../simulation.md).\n",
            self.command
        )?;
        self.frontier(out)?;
        self.profit(out)?;
        self.verdict_table(out)?;
        self.detection(out)?;
        self.growth(out)?;
        self.cost(out)?;
        mining_page::write(out, &self.mining)
    }

    fn frontier(&self, out: &mut String) -> std::fmt::Result {
        let cheats: u64 = self.points.iter().map(|point| point.cheats).sum();
        let found: u64 = self.points.iter().map(|point| point.found).sum();
        writeln!(out, "## The gain above which cheating pays\n")?;
        writeln!(
            out,
            "Multiples of the price, with the standard error; {} points of {} jobs, {cheats} cheats, {found} found.\n",
            self.points.len(),
            self.grid.jobs
        )?;
        write!(out, "| audited |")?;
        for factor in &self.grid.factors {
            write!(out, " bond x {factor} |")?;
        }
        writeln!(out, "\n|---|{}", "---|".repeat(self.grid.factors.len()))?;
        for &rate in &self.grid.rates {
            write!(out, "| {} % |", f64::from(rate) / 100.0)?;
            for &factor in &self.grid.factors {
                let (gain, error) = break_even(&self.points, rate, factor);
                write!(out, " {gain:.2} ± {error:.2} |")?;
            }
            writeln!(out)?;
        }
        writeln!(out)
    }

    fn profit(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Profit of cheating against honest work\n")?;
        writeln!(
            out,
            "A job, as multiples of the price; bond: its mean, likewise; found: of the cheats.\n"
        )?;
        writeln!(
            out,
            "| audited | bond x | bond | gain | cheats | found | profit |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|")?;
        for point in &self.points {
            writeln!(
                out,
                "| {} % | {} | {:.1} | {} | {} | {} | {:+.2} ± {:.2} |",
                f64::from(point.rate) / 100.0,
                point.factor,
                point.bond,
                point.gain,
                point.cheats,
                point.found,
                point.profit,
                point.error
            )?;
        }
        writeln!(out)
    }

    fn verdict_table(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Verdicts with validators that collude or err\n")?;
        writeln!(
            out,
            "Every job audited; of all honest results, and of all cheats. Lost: bonds of one validator, EMC for a thousand \
             audited jobs.\n"
        )?;
        writeln!(
            out,
            "| collude | an answer looks wrong | a vote errs | a vote misses | honest: overturned | undecided | \
             second round | cheats: upheld | undecided | honest validator lost | colluding one |"
        )?;
        writeln!(out, "|---|---|---|---|---|---|---|---|---|---|---|")?;
        for verdicts in &self.verdicts {
            let (case, honest, cheats) = (verdicts.case, verdicts.honest, verdicts.cheats);
            let percent = |share: f64| format!("{:.2} %", share * 100.0);
            // e8s a job, to EMC a thousand jobs.
            let lost = |lost: f64| format!("{:.3}", lost / 1e5);
            writeln!(
                out,
                "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                percent(case.colluding as f64 / VALIDATORS as f64),
                percent(case.errors.answer),
                percent(case.errors.vote),
                percent(case.errors.miss),
                percent(honest.share(honest.overturned)),
                percent(honest.share(honest.undecided)),
                percent(honest.share(honest.twice)),
                percent(cheats.share(cheats.settled)),
                percent(cheats.share(cheats.undecided)),
                lost(verdicts.honest_validators_lost),
                lost(verdicts.colluding_validators_lost),
            )?;
        }
        writeln!(out)
    }

    /// Jobs until a worker is found, of those that always cheat and of those that sometimes do.
    fn until_found(&self) -> [(&'static str, Vec<u32>); 2] {
        let workers = &self.base.tally.until_found;
        let ordered = |from: usize| {
            let workers = workers.iter().skip(from).take(base::CHEATS);
            let mut all: Vec<u32> = workers.flat_map(|(_, found)| found.clone()).collect();
            all.sort_unstable();
            all
        };
        [
            ("every job", ordered(base::HONEST)),
            ("one job in ten", ordered(base::HONEST + base::CHEATS)),
        ]
    }

    fn detection(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "## Jobs until a cheat is found (base case)\n")?;
        writeln!(
            out,
            "| cheats on | times found | mean | median | 95 of 100 |"
        )?;
        writeln!(out, "|---|---|---|---|---|")?;
        for (name, found) in self.until_found() {
            let sum: u64 = found.iter().map(|&jobs| u64::from(jobs)).sum();
            writeln!(
                out,
                "| {name} | {} | {:.1} | {} | {} |",
                found.len(),
                sum as f64 / found.len().max(1) as f64,
                quantile(&found, 0.5),
                quantile(&found, 0.95)
            )?;
        }
        writeln!(out)
    }

    fn growth(&self, out: &mut String) -> std::fmt::Result {
        let (Some(last), Some(half)) = (self.base.sizes.last(), self.half()) else {
            return Ok(());
        };
        writeln!(out, "## Growth of the state (base case)\n")?;
        writeln!(
            out,
            "Bytes, whole pages of 64 KiB; a job every {} s, {:.0} days in all. The growth is that between the two columns, \
             when results older than a week have long been deleted: what a job leaves for ever.\n",
            pace().0,
            self.base.days
        )?;
        writeln!(
            out,
            "| structure | at {} jobs | at {} jobs | growth, bytes a job |",
            half.jobs, last.jobs
        )?;
        writeln!(out, "|---|---|---|---|")?;
        let jobs = (last.jobs - half.jobs).max(1) as f64;
        for ((name, before), (_, after)) in half.parts.iter().zip(&last.parts) {
            if *after > 65_536 {
                let growth = (*after as f64 - *before as f64) / jobs;
                writeln!(out, "| {name} | {before} | {after} | {growth:.0} |")?;
            }
        }
        let growth = (last.total() as f64 - half.total() as f64) / jobs;
        let (before, after) = (half.total(), last.total());
        writeln!(out, "| all | {before} | {after} | {growth:.0} |\n")
    }

    /// The size in the middle of the base case.
    fn half(&self) -> Option<&base::Size> {
        let sizes = &self.base.sizes;
        let last = sizes.last()?;
        sizes.iter().find(|size| size.jobs * 2 >= last.jobs)
    }

    fn cost(&self, out: &mut String) -> std::fmt::Result {
        let base = &self.base;
        let tally = &base.tally;
        let jobs = tally.jobs().max(1) as f64;
        let emc = |amount: u128| format!("{:.4}", amount as f64 / 1e8);
        let asked = (tally.honest.asked + tally.cheats.asked) as f64;
        writeln!(out, "## Money (base case)\n")?;
        writeln!(out, "| | |\n|---|---|")?;
        let rows = [
            ("jobs", format!("{}", tally.jobs())),
            ("of them cheats", format!("{}", tally.cheats.jobs)),
            (
                "audited",
                format!("{}", tally.honest.drawn + tally.cheats.drawn),
            ),
            (
                "in two rounds",
                format!("{}", tally.honest.twice + tally.cheats.twice),
            ),
            (
                "honest results overturned",
                format!("{}", tally.honest.overturned),
            ),
            ("cheats overturned", format!("{}", tally.cheats.overturned)),
            ("mean price", format!("{:.0} e8s", asked / jobs)),
            ("paid to workers, EMC", emc(base.workers)),
            ("paid to validators, EMC", emc(base.validators)),
            (
                "validators' pay, of the price of all jobs",
                format!("{:.2} %", base.validators as f64 / asked * 100.0),
            ),
            ("the treasury's share, EMC", emc(base.treasury)),
            (
                "paid in for audits, not used yet, EMC",
                emc(base.audit_pool),
            ),
            ("burned of the cheats' stake, EMC", emc(base.burned_cheats)),
            ("burned of everybody else's, EMC", emc(base.burned_others)),
        ];
        for (name, value) in rows {
            writeln!(out, "| {name} | {value} |")?;
        }
        if let (Some(last), Some(half)) = (base.sizes.last(), self.half()) {
            let grown = last.total().saturating_sub(half.total()) as f64;
            let gib = grown / (last.jobs - half.jobs).max(1) as f64 / (1u64 << 30) as f64;
            let cycles = gib * CYCLES_PER_GIB_SECOND * YEAR;
            writeln!(
                out,
                "| storage of what a job leaves, at {CYCLES_PER_GIB_SECOND} cycles a GiB and second | {:.1} M cycles a year |",
                cycles / 1e6
            )?;
        }
        writeln!(out)
    }

    /// The charts with the names of their files.
    pub fn charts(&self) -> [(&'static str, Chart); 6] {
        [
            ("frontier.svg", self.frontier_chart()),
            ("profit.svg", self.profit_chart()),
            ("collusion.svg", self.collusion_chart()),
            ("detection.svg", self.detection_chart()),
            ("growth.svg", self.growth_chart()),
            ("mining.svg", mining_page::chart(&self.mining)),
        ]
    }

    fn frontier_chart(&self) -> Chart {
        let rates: Vec<f64> = self
            .grid
            .rates
            .iter()
            .map(|&r| f64::from(r) / 100.0)
            .collect();
        let line = |&factor: &f64| Line {
            name: format!("bond x {factor}"),
            points: self
                .grid
                .rates
                .iter()
                .zip(&rates)
                .map(|(&rate, &x)| (x, break_even(&self.points, rate, factor).0))
                .collect(),
            dashed: false,
        };
        let ends = [rates.first(), rates.last()];
        let price = Line {
            name: "the whole price".into(),
            points: ends.into_iter().flatten().map(|&x| (x, 1.0)).collect(),
            dashed: true,
        };
        Chart {
            title: "Cheating pays above these lines",
            x: Axis::logarithmic("jobs audited, %", &rates),
            y: Axis::logarithmic(
                "gain of a cheat / price",
                &[0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0],
            ),
            lines: self.grid.factors.iter().map(line).chain([price]).collect(),
        }
    }

    fn profit_chart(&self) -> Chart {
        let line = |&factor: &f64| Line {
            name: format!("bond x {factor}"),
            points: self
                .points
                .iter()
                .filter(|point| point.rate == RATE && point.factor == factor)
                .map(|point| (point.gain, point.profit))
                .collect(),
            dashed: false,
        };
        let zero = Line {
            name: "honest work".into(),
            points: vec![(0.0, 0.0), (2.0, 0.0)],
            dashed: true,
        };
        Chart {
            title: "Profit of cheating against honest work, 10 % audited",
            x: Axis::linear("gain of a cheat / price", &[0.0, 0.5, 1.0, 1.5, 2.0]),
            y: Axis::linear(
                "profit a job / price",
                &[-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0],
            ),
            lines: self.grid.factors.iter().map(line).chain([zero]).collect(),
        }
    }

    fn collusion_chart(&self) -> Chart {
        let colluding = || {
            let none = crate::people::Errors::default();
            self.verdicts.iter().filter(move |v| v.case.errors == none)
        };
        let line = |name: &str, share: fn(&Verdicts) -> f64| Line {
            name: name.into(),
            points: colluding()
                .map(|v| {
                    let colluding = v.case.colluding as f64 / VALIDATORS as f64;
                    (colluding * 100.0, share(v) * 100.0)
                })
                .collect(),
            dashed: false,
        };
        Chart {
            title: "Wrong verdicts of audited jobs",
            x: Axis::linear(
                "validator stake that colludes, %",
                &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0],
            ),
            y: Axis::linear(
                "share, %",
                &[0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0],
            ),
            lines: vec![
                line("honest, overturned", |v| {
                    v.honest.share(v.honest.overturned)
                }),
                line("honest, undecided", |v| v.honest.share(v.honest.undecided)),
                line("cheat, upheld", |v| v.cheats.share(v.cheats.settled)),
                line("cheat, undecided", |v| v.cheats.share(v.cheats.undecided)),
            ],
        }
    }

    fn detection_chart(&self) -> Chart {
        let line = |(name, found): (&'static str, Vec<u32>)| Line {
            name: format!("cheats on {name}"),
            points: (0..=100)
                .map(|percent| {
                    let share = f64::from(percent) / 100.0;
                    (quantile(&found, share).max(1.0), f64::from(percent))
                })
                .collect(),
            dashed: false,
        };
        Chart {
            title: "How long a cheat goes on, 10 % audited",
            x: Axis::logarithmic("jobs of the worker", &[1.0, 10.0, 100.0, 1_000.0]),
            y: Axis::linear("found by then, %", &[0.0, 25.0, 50.0, 75.0, 100.0]),
            lines: self.until_found().map(line).to_vec(),
        }
    }

    fn growth_chart(&self) -> Chart {
        let last = self.base.sizes.last();
        let jobs = last.map_or(1.0, |size| size.jobs as f64);
        let most = last.map_or(1.0, |size| size.total() as f64) / (1 << 20) as f64;
        let ticks =
            |most: f64| -> Vec<f64> { (0..=5).map(|n| most * f64::from(n) / 5.0).collect() };
        let line = |name: &str, parts: &'static [&'static str]| Line {
            name: name.into(),
            points: self
                .base
                .sizes
                .iter()
                .map(|size| {
                    let mine = size
                        .parts
                        .iter()
                        .filter(|(part, _)| parts.is_empty() || parts.contains(part));
                    let bytes: u64 = mine.map(|(_, bytes)| bytes).sum();
                    (size.jobs as f64, bytes as f64 / (1 << 20) as f64)
                })
                .collect(),
            dashed: false,
        };
        Chart {
            title: "Growth of the state",
            x: Axis::linear("jobs", &ticks(jobs)),
            y: Axis::linear("MiB", &ticks((most / 100.0).ceil() * 100.0)),
            lines: vec![
                line("all", &[]),
                line("jobs", &["jobs"]),
                line("audits", &["audits"]),
                line(
                    "receipts",
                    &["receipt_index", "receipt_data", "receipt_nodes"],
                ),
                line("results", &["outputs"]),
            ],
        }
    }
}
