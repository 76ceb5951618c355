//! The protocol's values as people read them, and as `--json` shows them: amounts as texts in EMC, bytes in
//! hexadecimal, times in UTC.

use emc_client::protocol::account::{Posting, PostingAccount};
use emc_client::protocol::audit::{Assurance, Verdict};
use emc_client::protocol::job::{Attempt, AttemptEnd, Job, JobState, RefundReason};
use emc_client::protocol::model::{ModelEntry, ModelTerms, Task};
use emc_client::protocol::node::{Node, NodeStatus, Offer, Outcomes, Role, Unbonding};
use emc_client::protocol::{FinishReason, ModelRef, Price, Seconds, TextOutput, Timestamp, Tokens};
use serde_json::{Value, json};

/// A time in UTC, to the second: `2026-11-22 17:15:52 UTC`.
pub fn time(time: Timestamp) -> String {
    let seconds = time.0 / 1_000_000_000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 1970 to a date, after Howard Hinnant's civil_from_days; no day here is before 1970.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

/// A duration in one or two units.
pub fn duration(Seconds(seconds): Seconds) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// A model with its version: `smollm2-135m-instruct@1`.
pub fn model(model: &ModelRef) -> String {
    match model.version {
        Some(version) => format!("{}@{version}", model.id),
        None => model.id.clone(),
    }
}

/// Reads `id` or `id@version`.
pub fn model_ref(text: &str) -> Result<ModelRef, String> {
    let (id, version) = match text.rsplit_once('@') {
        Some((id, version)) => {
            let version = version.parse().map_err(|_| {
                format!("{version:?} is no version; write {id}@1, or {id} for the newest")
            })?;
            (id, Some(version))
        }
        None => (text, None),
    };
    if !emc_client::protocol::model::is_model_id(id) {
        return Err("a model's id has lower-case letters, digits, '.', '-', '_' and '/'".into());
    }
    Ok(ModelRef {
        id: id.to_owned(),
        version,
    })
}

/// A state's name.
pub fn state(state: Option<JobState>) -> &'static str {
    match state {
        Some(JobState::Open) => "open",
        Some(JobState::Leased) => "leased",
        Some(JobState::Delivered) => "delivered",
        Some(JobState::Settled) => "settled",
        Some(JobState::Refunded) => "refunded",
        Some(JobState::Auditing) => "auditing",
        Some(JobState::Undecided) => "undecided",
        None => "unknown",
    }
}

/// Why a job was refunded, as the end of a sentence.
pub fn refund(reason: Option<RefundReason>) -> &'static str {
    match reason {
        Some(RefundReason::Deadline) => "its time was up",
        Some(RefundReason::Cancelled) => "it was cancelled",
        Some(RefundReason::Attempts) => "too many nodes failed at it",
        Some(RefundReason::Overturned) => "an audit found that the answer is not the model's",
        None => "the reason is unknown to this version",
    }
}

/// How strongly a result is checked.
pub fn assurance(assurance: Option<Assurance>) -> &'static str {
    match assurance {
        Some(Assurance::None) => "none",
        Some(Assurance::Sampled) => "sampled",
        Some(Assurance::Always) => "always",
        None => "unknown to this version",
    }
}

/// How an audit, or a round of one, ended.
pub fn verdict(verdict: Option<Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Upheld) => "upheld",
        Some(Verdict::Overturned) => "overturned",
        Some(Verdict::Undecided) => "undecided",
        None => "none",
    }
}

/// Why an output ended.
pub fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length => "length",
        FinishReason::StopString => "stop_string",
    }
}

/// How an attempt ended.
pub fn attempt_end(end: Option<&AttemptEnd>) -> String {
    match end {
        None => "running".into(),
        Some(AttemptEnd::Delivered) => "delivered".into(),
        Some(AttemptEnd::Lapsed) => "lapsed".into(),
        Some(AttemptEnd::Declined(why)) => {
            format!("declined: {}", crate::output::harmless(why))
        }
        Some(AttemptEnd::Cancelled) => "cancelled".into(),
    }
}

/// A node's status.
pub fn status(status: Option<NodeStatus>) -> &'static str {
    match status {
        Some(NodeStatus::Active) => "active",
        Some(NodeStatus::Draining) => "draining",
        Some(NodeStatus::Jailed) => "jailed",
        Some(NodeStatus::Exited) => "exited",
        None => "unknown",
    }
}

/// A task's name.
pub fn task(task: Option<Task>) -> &'static str {
    match task {
        Some(Task::Chat) => "chat",
        Some(Task::Image) => "image",
        Some(Task::Embedding) => "embedding",
        None => "unknown",
    }
}

/// A price, per million units.
pub fn price(price: &Price) -> String {
    let mut text = format!("{} / {}", price.prompt, price.output);
    if !price.pixel_steps.is_zero() {
        text.push_str(&format!(" / {} pixel-steps", price.pixel_steps));
    }
    text
}

/// Basis points as a percentage.
pub fn percent(basis_points: u16) -> String {
    let text = format!("{}.{:02}", basis_points / 100, basis_points % 100);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A model's terms in a line.
pub fn terms(terms: &ModelTerms) -> String {
    let audit = match &terms.audit {
        Some(audit) => format!(
            "audited by {} levels, tolerance {}",
            audit.levels.len(),
            crate::decimals::thousandths(audit.tolerance_milli)
        ),
        None => "cannot be audited".into(),
    };
    format!(
        "{audit}, royalty {}, {} compute units",
        percent(terms.royalty),
        terms.compute_units
    )
}

/// How far an unbonding is.
pub fn unbonding(unbonding: &Unbonding) -> String {
    match unbonding
        .starts_by
        .filter(|_| unbonding.waiting == Some(true))
    {
        Some(by) => format!("waits for the escrow, until {} at the latest", time(by)),
        None => format!("until {}", time(unbonding.ready)),
    }
}

/// A number of bytes.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 4] = [
        ("TB", 1_000_000_000_000),
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("kB", 1_000),
    ];
    for (name, unit) in UNITS {
        if bytes >= unit {
            return format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
        }
    }
    format!("{bytes} B")
}

/// An amount that may be negative, with its sign.
pub fn signed(e8s: i128) -> String {
    let sign = if e8s < 0 { '-' } else { '+' };
    format!("{sign}{}", Tokens(e8s.unsigned_abs()))
}

/// What a posting books to.
pub fn account(account: Option<&PostingAccount>) -> String {
    match account {
        Some(PostingAccount::Outside) => "outside".into(),
        Some(PostingAccount::Available(owner)) => format!("available {owner}"),
        Some(PostingAccount::Locked(job)) => format!("locked by job {job}"),
        Some(PostingAccount::Leaving(entry)) => format!("leaving (entry {entry})"),
        Some(PostingAccount::Treasury) => "treasury".into(),
        Some(PostingAccount::Audits) => "paid in for audits".into(),
        None => "unknown".into(),
    }
}

/// An amount for `--json`.
pub fn emc(amount: Tokens) -> Value {
    Value::String(amount.to_string())
}

/// A price for `--json`, in EMC per million units.
pub fn price_json(price: &Price) -> Value {
    json!({ "prompt": emc(price.prompt), "output": emc(price.output), "pixel_steps": emc(price.pixel_steps) })
}

/// An output for `--json`.
pub fn output_json(output: &TextOutput) -> Value {
    json!({ "text": output.text, "ids": output.ids, "finish_reason": finish(output.finish_reason) })
}

fn attempt_json(attempt: &Attempt) -> Value {
    json!({
        "number": attempt.number,
        "node": attempt.node.to_text(),
        "owner": attempt.owner.to_text(),
        "price": price_json(&attempt.price),
        "claimed": time(attempt.claimed),
        "end": attempt_end(attempt.end.as_ref()),
    })
}

fn posting_json(posting: &Posting) -> Value {
    json!({
        "account": account(posting.account.as_ref()),
        "amount": signed(posting.amount),
        "reason": posting.reason,
        "time": time(posting.time),
    })
}

/// A job for `--json`.
pub fn job_json(job: &Job) -> Value {
    let private = job.private.as_ref();
    json!({
        "id": job.id,
        "requester": job.requester.to_text(),
        "model": model(&job.model),
        "state": state(job.state),
        "refund_reason": job.refund_reason.map(|reason| refund(Some(reason))),
        "created": time(job.created),
        "deadline": time(job.deadline),
        "lease_until": job.lease_until.map(time),
        "finished": job.finished.map(time),
        "seed": job.seed.to_string(),
        "input_hash": hex::encode(&job.input_hash),
        "parameters_hash": hex::encode(&job.parameters_hash),
        "locked": emc(job.locked),
        "charged": job.charged.map(emc),
        "usage": job.usage.map(|u| json!({ "prompt_tokens": u.prompt_tokens, "output_tokens": u.output_tokens, "pixel_steps": u.pixel_steps })),
        "attempts": job.attempts.iter().map(attempt_json).collect::<Vec<_>>(),
        "postings": job.postings.iter().map(posting_json).collect::<Vec<_>>(),
        "salt": private.map(|p| hex::encode(&p.salt)),
        "input": private.and_then(|p| p.input.clone()),
        "parameters": private.map(|p| p.parameters.clone()),
        "preview": private.and_then(|p| p.preview.as_ref()).map(|p| json!({ "tokens": p.tokens, "text": p.text })),
        "output": private.and_then(|p| p.output.as_ref()).map(output_json),
    })
}

fn offer_json(offer: &Offer) -> Value {
    json!({
        "model": model(&offer.model),
        "price": price_json(&offer.price),
        "concurrency": offer.concurrency,
        "context": offer.context,
    })
}

fn outcomes_json(outcomes: &Outcomes) -> Value {
    json!({
        "settled": outcomes.settled,
        "lapsed": outcomes.lapsed,
        "declined": outcomes.declined,
        "upheld": outcomes.upheld,
        "overturned": outcomes.overturned,
        "votes": outcomes.votes,
        "votes_lost": outcomes.votes_lost,
        "slashed": emc(outcomes.slashed),
    })
}

/// A node for `--json`.
pub fn node_json(node: &Node) -> Value {
    let role = |role: &Option<Role>| match role {
        Some(Role::Compute) => "compute",
        Some(Role::Validator) => "validator",
        None => "unknown",
    };
    json!({
        "id": node.id.to_text(),
        "public_key": hex::encode(&node.public_key),
        "owner": node.owner.to_text(),
        "roles": node.roles.iter().map(role).collect::<Vec<_>>(),
        "status": status(node.status),
        "hardware": node.hardware,
        "offers": node.offers.iter().map(offer_json).collect::<Vec<_>>(),
        "stake": node.allotments.iter().map(|a| json!({ "escrow": a.escrow.to_text(), "amount": emc(a.amount) })).collect::<Vec<_>>(),
        "unbonding": node.unbonding.iter().map(|u| json!({ "id": u.id, "escrow": u.escrow.to_text(), "amount": emc(u.amount), "ready": time(u.ready), "waiting": u.waiting, "starts_by": u.starts_by.map(time) })).collect::<Vec<_>>(),
        "registered": time(node.registered),
        "last_seen": time(node.last_seen),
        "outcomes": node.outcomes.as_ref().map(outcomes_json),
        "jailed_until": node.jailed_until.map(time),
    })
}

/// A model for `--json`.
pub fn model_json(entry: &ModelEntry) -> Value {
    json!({
        "id": entry.id,
        "version": entry.version,
        "task": task(entry.task),
        "name": entry.name,
        "description": entry.description,
        "root": hex::encode(&entry.root),
        "files": entry.files.iter().map(|f| json!({ "path": f.path, "length": f.length, "sha256": hex::encode(&f.sha256) })).collect::<Vec<_>>(),
        "licence": entry.licence,
        "sources": entry.sources,
        "context": entry.context,
        "memory": entry.memory,
        "author": entry.author.to_text(),
        "published": time(entry.published),
        "listed": entry.listed,
        "retired": entry.retired,
        "terms": entry.terms,
        "pending_terms": entry.pending_terms.as_ref().map(|pending| json!({ "terms": pending.terms, "effective": time(pending.effective) })),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_utc() {
        let shown = |seconds: u64| time(Timestamp(seconds * 1_000_000_000));
        assert_eq!(shown(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(shown(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(shown(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(shown(1_795_367_752), "2026-11-22 17:15:52 UTC");
        assert_eq!(time(Timestamp(u64::MAX)), "2554-07-21 23:34:33 UTC");
    }

    #[test]
    fn a_model_is_read_with_or_without_its_version() {
        assert_eq!(
            model_ref("m/a-1@3").map(|m| model(&m)),
            Ok("m/a-1@3".into())
        );
        assert_eq!(model_ref("m").map(|m| m.version), Ok(None));
        for wrong in ["", "M", "m@", "m@x", "@1", "a b"] {
            assert!(model_ref(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn amounts_and_sizes_are_readable() {
        assert_eq!(signed(-150_000_000), "-1.5");
        assert_eq!(signed(1), "+0.00000001");
        assert_eq!(
            [999, 1_500, 98_362_432].map(bytes),
            ["999 B", "1.5 kB", "98.3 MB"]
        );
        assert_eq!(duration(Seconds(3_700)), "1 h 1 min");
        assert_eq!(
            [0, 250, 5, 10_000].map(percent),
            ["0 %", "2.5 %", "0.05 %", "100 %"]
        );
    }
}
