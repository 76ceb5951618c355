//! What a calibration found: figures for people (Markdown) and for programs (JSON).

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::answers::{Answered, Vote};
use super::terms::{Outcome, Terms, apart, count_above};
use super::{Kind, Options, is_held_out};

/// Gaps that the table shows, in thousandths of a logit.
const SHOWN: [u32; 5] = [100, 300, 1000, 3000, 6000];
/// Gaps of one author's answers, seen by one verifier or by all.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Who made the answers.
    pub author: String,
    /// What that is.
    pub kind: Kind,
    /// Who checked them; `all` for everybody.
    pub verifier: String,
    /// `greedy` or `sampled`.
    pub mode: &'static str,
    /// Answers.
    pub answers: usize,
    /// Positions, counted once for each verifier.
    pub positions: usize,
    /// Share of positions at which the token is the verifier's own choice.
    pub matches: f64,
    /// In thousandths of a logit.
    pub mean_milli: f64,
    /// Share of positions above each of [`Report::shown_milli`].
    pub above: Vec<f64>,
    /// In thousandths of a logit.
    pub largest_milli: u32,
}

/// How one author's answers are judged by the proposed terms.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// Who made the answers.
    pub author: String,
    /// What that is.
    pub kind: Kind,
    /// Votes on the prompts that the terms were found with.
    pub known: Outcome,
    /// Votes on the prompts that were held out.
    pub held_out: Outcome,
    /// Held-out answers.
    pub answers: u32,
    /// Those that every verifier finds wrong.
    pub overturned: u32,
}

/// How far validators' differences at the probes are from those of honest ones, on held-out answers.
#[derive(Debug, Clone, Serialize)]
pub struct Probed {
    /// What the validator computes.
    pub validator: String,
    /// Pairs of it and an honest validator, for each answer.
    pub pairs: u32,
    /// Pairs that are within the tolerance at every probe.
    pub within: u32,
    /// The largest distance of a pair, in thousandths: the median over the pairs.
    pub median_milli: u32,
    /// The largest of all.
    pub largest_milli: u32,
}

/// Everything that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Prompts that were asked, each greedily and sampled; every second one was held out.
    pub prompts: usize,
    /// Tokens of an answer, at most.
    pub tokens: u32,
    /// The gaps of the columns in [`Row::above`].
    pub shown_milli: [u32; 5],
    /// For each author and mode, by each verifier and by all.
    pub rows: Vec<Row>,
    /// What is proposed.
    pub terms: Terms,
    /// How it judges.
    pub judged: Vec<Judged>,
    /// How the tolerance tells validators apart.
    pub probed: Vec<Probed>,
}

pub(crate) fn make(
    options: &Options,
    answers: &[Answered],
    votes: &[Vote],
    lazy: &[Vote],
) -> Report {
    let author = |vote: &Vote| &answers[vote.answer];
    let held_out = |vote: &Vote| is_held_out(author(vote).prompt);
    let mut authors: Vec<(Kind, &str)> = Vec::new();
    for answer in answers {
        if !authors.contains(&(answer.kind, answer.author.as_str())) {
            authors.push((answer.kind, answer.author.as_str()));
        }
    }
    let verifiers: BTreeSet<&str> = votes.iter().map(|vote| vote.verifier).collect();

    // 1. The gaps.
    let mut rows = Vec::new();
    for &(kind, name) in &authors {
        for (mode, is_sampled) in [("greedy", false), ("sampled", true)] {
            let of = |verifier: Option<&str>| -> Vec<&Vote> {
                let chosen = votes.iter().filter(|vote| {
                    author(vote).author == name
                        && author(vote).is_sampled == is_sampled
                        && verifier.is_none_or(|verifier| vote.verifier == verifier)
                });
                chosen.collect()
            };
            for verifier in verifiers.iter().copied().map(Some).chain([None]) {
                rows.extend(row(
                    name,
                    kind,
                    verifier.unwrap_or("all"),
                    mode,
                    &of(verifier),
                ));
            }
        }
    }

    // 2. Terms from the known half.
    let mut groups = Vec::new();
    for &(kind, name) in authors.iter().filter(|(kind, _)| *kind == Kind::Honest) {
        for verifier in &verifiers {
            let group = votes.iter().filter(|vote| {
                let answer = author(vote);
                answer.kind == kind
                    && answer.author == name
                    && vote.verifier == *verifier
                    && !held_out(vote)
            });
            groups.push(group.collect());
        }
    }
    let honest_votes: Vec<&Vote> = votes
        .iter()
        .filter(|vote| author(vote).kind == Kind::Honest)
        .collect();
    let (known, unknown): (Vec<&Vote>, Vec<&Vote>) = honest_votes
        .iter()
        .copied()
        .partition(|vote| !held_out(vote));
    let known_pairs: Vec<u32> = pairs(&known, &known)
        .into_iter()
        .map(|(_, apart)| apart)
        .collect();
    let terms = Terms::fit(&groups, &known_pairs);

    // 3. What they say of both halves.
    let judged = authors
        .iter()
        .map(|&(kind, name)| {
            let of = |out: bool| {
                votes
                    .iter()
                    .filter(move |vote| author(vote).author == name && held_out(vote) == out)
            };
            let about: BTreeSet<usize> = of(true).map(|vote| vote.answer).collect();
            let against = |answer: usize| {
                let wrong = of(true).filter(|vote| vote.answer == answer && !terms.within(vote));
                wrong.count() as u32
            };
            Judged {
                author: name.to_owned(),
                kind,
                known: Outcome::of(&terms, of(false)),
                held_out: Outcome::of(&terms, of(true)),
                answers: about.len() as u32,
                overturned: about
                    .iter()
                    .filter(|&&answer| against(answer) == verifiers.len() as u32)
                    .count() as u32,
            }
        })
        .collect();

    // 4. What the tolerance says of validators.
    let mut probed = vec![of_pairs("an honest one", pairs(&unknown, &unknown), &terms)];
    let names: BTreeSet<&str> = lazy.iter().map(|vote| vote.verifier).collect();
    for name in names {
        let votes: Vec<&Vote> = lazy
            .iter()
            .filter(|vote| vote.verifier == name && held_out(vote))
            .collect();
        probed.push(of_pairs(name, pairs(&votes, &unknown), &terms));
    }
    Report {
        prompts: options.prompts.len(),
        tokens: options.tokens,
        shown_milli: SHOWN,
        rows,
        terms,
        judged,
        probed,
    }
}

fn row(
    author: &str,
    kind: Kind,
    verifier: &str,
    mode: &'static str,
    votes: &[&Vote],
) -> Option<Row> {
    let gaps = || votes.iter().flat_map(|vote| vote.gaps.iter().copied());
    let positions = gaps().count();
    if positions == 0 {
        return None;
    }
    let share = |count: usize| count as f64 / positions as f64;
    let above = |&above: &u32| {
        share(
            votes
                .iter()
                .map(|vote| count_above(&vote.gaps, above))
                .sum(),
        )
    };
    let answers: BTreeSet<usize> = votes.iter().map(|vote| vote.answer).collect();
    Some(Row {
        author: author.to_owned(),
        kind,
        verifier: verifier.to_owned(),
        mode,
        answers: answers.len(),
        positions,
        matches: share(votes.iter().map(|vote| vote.matches as usize).sum()),
        mean_milli: gaps().map(f64::from).sum::<f64>() / positions as f64,
        above: SHOWN.iter().map(above).collect(),
        largest_milli: gaps().max().unwrap_or(0),
    })
}

/// For each two votes on one answer by different validators: their names' order decides which pair is counted.
fn pairs<'a>(some: &[&'a Vote], others: &[&'a Vote]) -> Vec<(&'a str, u32)> {
    let mut pairs = Vec::new();
    let same = std::ptr::eq(some, others);
    for a in some {
        for b in others.iter().filter(|b| b.answer == a.answer) {
            if a.verifier < b.verifier || (!same && a.verifier != b.verifier) {
                pairs.push((a.verifier, apart(&a.differences, &b.differences)));
            }
        }
    }
    pairs
}

fn of_pairs(validator: &str, pairs: Vec<(&str, u32)>, terms: &Terms) -> Probed {
    let mut apart: Vec<u32> = pairs.into_iter().map(|(_, apart)| apart).collect();
    apart.sort_unstable();
    let within = apart
        .iter()
        .filter(|&&apart| apart <= terms.tolerance_milli)
        .count();
    Probed {
        validator: validator.to_owned(),
        pairs: apart.len() as u32,
        within: within as u32,
        median_milli: apart.get(apart.len() / 2).copied().unwrap_or(0),
        largest_milli: apart.last().copied().unwrap_or(0),
    }
}

/// Thousandths as a number of logits.
fn logits(milli: u32) -> String {
    if milli == u32::MAX {
        return "none".into();
    }
    format!("{:.2}", f64::from(milli) / 1000.0)
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let shown = self
            .shown_milli
            .map(|milli| format!("above {}", f64::from(milli) / 1000.0));
        writeln!(
            f,
            "| answers of | | answers | same choice | mean | {} | largest |",
            shown.join(" | ")
        )?;
        writeln!(f, "|---|---|---|---|---|{}---|", "---|".repeat(shown.len()))?;
        for row in self.rows.iter().filter(|row| row.verifier == "all") {
            let above: Vec<String> = row.above.iter().copied().map(percent).collect();
            let Row {
                author,
                mode,
                answers,
                ..
            } = row;
            writeln!(
                f,
                "| {author} | {mode} | {answers} | {} | {:.3} | {} | {} |",
                percent(row.matches),
                row.mean_milli / 1000.0,
                above.join(" | "),
                logits(row.largest_milli)
            )?;
        }

        let verifiers: BTreeSet<&str> = self.rows.iter().map(|row| row.verifier.as_str()).collect();
        let verifiers: Vec<&str> = verifiers
            .into_iter()
            .filter(|name| *name != "all")
            .collect();
        writeln!(
            f,
            "\n| answers of, checked by | {} |",
            verifiers.join(" | ")
        )?;
        writeln!(f, "|---|{}", "---|".repeat(verifiers.len()))?;
        let authors = self
            .rows
            .iter()
            .filter(|row| row.verifier == "all" && row.mode == "greedy");
        for row in authors {
            write!(f, "| {} |", row.author)?;
            for verifier in &verifiers {
                let seen = self
                    .rows
                    .iter()
                    .filter(|other| other.author == row.author && other.verifier == *verifier);
                let (positions, above, largest) = seen.fold((0.0, 0.0, 0), |(p, a, l), row| {
                    let positions = row.positions as f64;
                    (
                        p + positions,
                        a + row.above[1] * positions,
                        l.max(row.largest_milli),
                    )
                });
                write!(f, " {}, {} |", percent(above / positions), logits(largest))?;
            }
            writeln!(f)?;
        }

        writeln!(
            f,
            "\n| level | gap above | of all positions | and besides |\n|---|---|---|---|"
        )?;
        for (index, level) in self.terms.levels.iter().enumerate() {
            let share = percent(f64::from(level.share) / 10_000.0);
            let (above, besides) = (logits(level.above_milli), level.besides);
            writeln!(f, "| {} | {above} | {share} | {besides} |", index + 1)?;
        }
        writeln!(
            f,
            "\nTolerance of the differences at the probes: {}",
            logits(self.terms.tolerance_milli)
        )?;

        writeln!(
            f,
            "\n| answers of | found right, known prompts | found right, held-out prompts | wrong for every verifier |\n|---|---|---|---|"
        )?;
        for judged in &self.judged {
            let votes = |outcome: &Outcome| match outcome.votes {
                0 => "not asked".to_owned(),
                votes => format!("{} of {votes}", outcome.within),
            };
            let Judged {
                author,
                answers,
                overturned,
                ..
            } = judged;
            let (known, held_out) = (votes(&judged.known), votes(&judged.held_out));
            writeln!(
                f,
                "| {author} | {known} | {held_out} | {overturned} of {answers} |"
            )?;
        }

        writeln!(
            f,
            "\n| a validator that computes | within the tolerance of an honest one | median distance | largest |\n|---|---|---|---|"
        )?;
        for probed in &self.probed {
            let Probed {
                validator,
                pairs,
                within,
                ..
            } = probed;
            let (median, largest) = (logits(probed.median_milli), logits(probed.largest_milli));
            writeln!(
                f,
                "| {validator} | {within} of {pairs} | {median} | {largest} |"
            )?;
        }
        Ok(())
    }
}
