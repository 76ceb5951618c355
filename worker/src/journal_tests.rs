//! The journal survives a crash between any two of its operations: the file is copied while it is open, as a killed
//! process would leave it, and opened again.

use super::*;
use crate::fake_escrow::{ESCROW, key as signing_key, lease, node};
use crate::preview::Shown;
use emc_protocol::{FinishReason, TextOutput};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use tempfile::TempDir;

fn owed(job_id: u64) -> Owed {
    let output = TextOutput {
        ids: vec![1, 2],
        finish_reason: FinishReason::Stop,
        text: format!("answer {job_id}"),
    };
    let finished = crate::delivery::Finished::Text {
        prompt_tokens: 10,
        output,
    };
    crate::delivery::sign(ESCROW, &signing_key(), &lease(job_id), finished).expect("signs")
}

struct Disk {
    folder: TempDir,
    copies: u32,
    journal: Journal,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let journal =
            Journal::open(&folder.path().join("journal-0"), node(), ESCROW).expect("opens");
        Self {
            folder,
            copies: 0,
            journal,
        }
    }

    /// What a new process finds after this one was killed now.
    fn crash(&mut self) {
        let from = self.folder.path().join(format!("journal-{}", self.copies));
        self.copies += 1;
        let to = self.folder.path().join(format!("journal-{}", self.copies));
        std::fs::copy(&from, &to).expect("copies");
        self.journal = Journal::open(&to, node(), ESCROW).expect("opens again");
        std::fs::remove_file(from).expect("removes");
    }

    fn leased(&self) -> Vec<u64> {
        let leases = self.journal.leases().expect("reads");
        leases.into_iter().map(|(lease, _)| lease.job_id).collect()
    }

    fn owed(&self) -> Vec<u64> {
        let owed = self.journal.owed().expect("reads");
        owed.into_iter().map(|owed| owed.args.job_id).collect()
    }
}

#[test]
fn a_claimed_lease_is_there_after_a_crash() {
    let mut disk = Disk::new();
    disk.journal.claimed(&[lease(1), lease(2)]).expect("stores");
    disk.crash();
    let leases = disk.journal.leases().expect("reads");
    assert_eq!(
        leases,
        [
            (lease(1), Preview::default()),
            (lease(2), Preview::default())
        ]
    );
}

#[test]
fn a_preview_is_there_after_a_crash() {
    let mut disk = Disk::new();
    disk.journal.claimed(&[lease(1)]).expect("stores");
    let preview = Preview {
        certain: Shown { ids: 1, bytes: 3 },
        ids: vec![4, 5],
        text: "one two".into(),
    };
    disk.journal
        .previewed(JobKey::of(&lease(1)), &preview)
        .expect("stores");
    disk.crash();
    assert_eq!(
        disk.journal.leases().expect("reads"),
        [(lease(1), preview.clone())]
    );
    disk.journal
        .previewed(JobKey::of(&lease(9)), &preview)
        .expect("no lease, nothing stored");
    disk.journal.finished(&owed(1)).expect("stores");
    disk.crash();
    disk.journal.claimed(&[lease(1)]).expect("stores");
    assert_eq!(
        disk.journal.leases().expect("reads"),
        [(lease(1), Preview::default())]
    );
}

#[test]
fn a_finished_result_replaces_its_lease_and_is_there_after_a_crash() {
    let mut disk = Disk::new();
    disk.journal.claimed(&[lease(1), lease(2)]).expect("stores");
    disk.journal.finished(&owed(1)).expect("stores");
    disk.crash();
    assert_eq!(disk.leased(), [2]);
    assert_eq!(disk.journal.owed().expect("reads"), [owed(1)]);
}

#[test]
fn a_delivered_result_is_counted_once_and_gone_after_a_crash() {
    let mut disk = Disk::new();
    disk.journal.claimed(&[lease(1)]).expect("stores");
    disk.journal.finished(&owed(1)).expect("stores");
    disk.journal
        .delivered(&owed(1), Some(Tokens(7)))
        .expect("stores");
    disk.journal
        .delivered(&owed(1), Some(Tokens(7)))
        .expect("stores");
    disk.crash();
    assert_eq!(disk.owed(), [] as [u64; 0]);
    let totals = disk.journal.totals().expect("reads");
    assert_eq!(
        (
            totals.claimed,
            totals.delivered,
            totals.earned,
            totals.output_tokens
        ),
        (1, 1, Tokens(7), 2)
    );
}

#[test]
fn a_journal_of_another_node_or_escrow_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("journal");
    drop(Journal::open(&path, node(), ESCROW).expect("opens"));
    let other = Principal::from_slice(&[9; 29]);
    let error = Journal::open(&path, other, ESCROW)
        .err()
        .expect("refused")
        .to_string();
    assert!(
        error.contains("node") && error.contains("data_dir"),
        "{error}"
    );
    assert!(Journal::open(&path, node(), other).is_err());
    let open = Journal::open(&path, node(), ESCROW).expect("opens");
    assert!(matches!(Journal::open_any(&path), Err(JournalError::InUse)));
    drop(open);
}

#[test]
fn a_damaged_record_does_not_hide_the_others() {
    let disk = Disk::new();
    disk.journal.claimed(&[lease(1), lease(2)]).expect("stores");
    let write = disk.journal.database.begin_write().expect("begins");
    write
        .open_table(LEASES)
        .expect("opens")
        .insert((1, 1), [1, 2, 3].as_slice())
        .expect("writes");
    write.commit().expect("commits");
    assert_eq!(disk.leased(), [2]);
}

#[derive(Debug, Clone)]
enum Operation {
    Claim(u64),
    Preview(u64, u8),
    Finish(u64),
    End(u64, bool),
    Delivered(u64),
    Refused(u64),
    Crash,
}

fn operation() -> impl Strategy<Value = Operation> {
    let job = 0u64..4;
    prop_oneof![
        job.clone().prop_map(Operation::Claim),
        (job.clone(), 0u8..5).prop_map(|(job, ids)| Operation::Preview(job, ids)),
        job.clone().prop_map(Operation::Finish),
        (job.clone(), any::<bool>()).prop_map(|(job, declined)| Operation::End(job, declined)),
        job.clone().prop_map(Operation::Delivered),
        job.prop_map(Operation::Refused),
        Just(Operation::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn after_any_operations_and_crashes_nothing_is_lost_or_doubled(operations in prop::collection::vec(operation(), 1..25)) {
        let mut disk = Disk::new();
        let mut leases: BTreeMap<u64, u8> = BTreeMap::new();
        let mut owing: BTreeSet<u64> = BTreeSet::new();
        let mut totals = Totals::default();
        for operation in operations {
            let key = |job_id| JobKey::of(&lease(job_id));
            match operation {
                Operation::Claim(job) => {
                    disk.journal.claimed(&[lease(job)]).unwrap();
                    leases.insert(job, 0);
                    owing.remove(&job);
                    totals.claimed += 1;
                }
                Operation::Preview(job, ids) => {
                    let preview = Preview { ids: vec![1; ids.into()], ..Preview::default() };
                    disk.journal.previewed(key(job), &preview).unwrap();
                    leases.entry(job).and_modify(|shown| *shown = ids);
                }
                Operation::Finish(job) => {
                    disk.journal.finished(&owed(job)).unwrap();
                    leases.remove(&job);
                    owing.insert(job);
                }
                Operation::End(job, declined) => {
                    let end = if declined { LeaseEnd::Declined } else { LeaseEnd::Lost };
                    disk.journal.ended(key(job), end).unwrap();
                    let was_there = u64::from(leases.remove(&job).is_some());
                    if declined { totals.declined += was_there } else { totals.lost += was_there }
                }
                Operation::Delivered(job) => {
                    disk.journal.delivered(&owed(job), Some(Tokens(5))).unwrap();
                    if owing.remove(&job) {
                        totals.delivered += 1;
                        totals.prompt_tokens += 10;
                        totals.output_tokens += 2;
                        totals.earned.0 += 5;
                    }
                }
                Operation::Refused(job) => {
                    disk.journal.refused(key(job)).unwrap();
                    totals.lost += u64::from(owing.remove(&job));
                }
                Operation::Crash => disk.crash(),
            }
            let stored = disk.journal.leases().unwrap();
            let stored: BTreeMap<u64, u8> =
                stored.iter().map(|(lease, preview)| (lease.job_id, preview.ids.len() as u8)).collect();
            prop_assert_eq!(&stored, &leases);
            prop_assert_eq!(disk.owed(), owing.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(disk.journal.totals().unwrap(), totals);
        }
    }
}

#[test]
fn what_is_paid_later_is_earned_once_and_not_before() {
    let mut disk = Disk::new();
    disk.journal.claimed(&[lease(1)]).expect("stores");
    disk.journal.finished(&owed(1)).expect("stores");
    disk.journal.delivered(&owed(1), None).expect("stores");
    disk.crash();
    let totals = disk.journal.totals().expect("reads");
    assert_eq!((totals.delivered, totals.earned), (1, Tokens::ZERO));
    let awaited = disk.journal.awaited().expect("reads");
    assert_eq!(awaited.len(), 1);
    for _ in 0..2 {
        let key = awaited[0].key();
        disk.journal.settled(key, Tokens(9)).expect("stores");
        disk.crash();
    }
    let totals = disk.journal.totals().expect("reads");
    assert_eq!((totals.delivered, totals.earned), (1, Tokens(9)));
    assert!(disk.journal.awaited().expect("reads").is_empty());
}
