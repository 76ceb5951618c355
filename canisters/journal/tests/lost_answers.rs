//! The journal against a ledger that loses answers, delays messages, answers errors, and traps its caller: every entry
//! ends, the tokens move once or not at all, and the verdict is what the ledger's log says.

mod simulated_ledger;

use candid::Principal;
use emc_journal::verdict::{CLOCK_MARGIN, DRIFT, WINDOW};
use emc_journal::{Account, Action, Answer, Journal, Memories, Operation, Outcome, Progress};
use ic_stable_structures::VectorMemory;
use proptest::prelude::*;
use simulated_ledger::{Fate, Ledger, SECOND};
use std::collections::BTreeMap;

const START: u64 = 1_700_000_000 * SECOND;

fn me() -> Principal {
    Principal::from_slice(&[1, 1])
}

fn account(n: u8) -> Account {
    Account {
        owner: Principal::from_slice(&[n]),
        subaccount: None,
    }
}

/// What happens next to the world.
#[derive(Clone, Debug)]
enum Event {
    /// The canister opens an entry and performs it.
    Open { pull: bool, amount: u8 },
    /// The timer runs.
    Tick,
    /// Time passes, seconds.
    Pass(u64),
    /// The canister is upgraded: what lies in stable memory stays.
    Upgrade,
    /// The ledger's fee changes: calls with the old one are answered `BadFee` before deduplication.
    FeeChanges(u8),
    /// The account is emptied or filled.
    Funds(bool),
    /// Others make transfers, one of them with the memo of our newest entry.
    Others(u8),
}

struct World {
    now: u64,
    memories: [VectorMemory; 3],
    journal: Journal<VectorMemory>,
    ledger: Ledger,
    fates: Vec<Fate>,
    opened: Vec<u64>,
    verdicts: BTreeMap<u64, Outcome>,
    newest: Option<emc_journal::Entry>,
}

impl World {
    fn new(fates: Vec<Fate>, skew: i64) -> Self {
        let memories: [VectorMemory; 3] = Default::default();
        Self {
            now: START,
            journal: journal_in(&memories),
            memories,
            ledger: Ledger::new(me(), skew),
            fates,
            opened: vec![],
            verdicts: BTreeMap::new(),
            newest: None,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Open { pull, amount } => {
                let amount = u128::from(amount) + 1;
                let operation = if pull {
                    Operation::TransferFrom {
                        spender_subaccount: None,
                        from: account(7),
                        to: Account {
                            owner: me(),
                            subaccount: None,
                        },
                        amount,
                        fee: 0,
                    }
                } else {
                    Operation::Transfer {
                        from_subaccount: Some([3; 32]),
                        to: account(8),
                        amount,
                        fee: 0,
                    }
                };
                let id = self.journal.open(operation, vec![9], self.now);
                self.opened.push(id);
                self.newest = self.journal.get(id);
                self.perform(id);
            }
            Event::Tick => {
                for id in self.journal.due(self.now, 8) {
                    self.perform(id);
                }
            }
            Event::Pass(seconds) => {
                self.now += seconds * SECOND;
                self.ledger.time_is(self.now);
            }
            Event::Upgrade => self.journal = journal_in(&self.memories),
            Event::FeeChanges(fee) => self.ledger.fee = u128::from(fee % 2),
            Event::Funds(there) => self.ledger.funded = there,
            Event::Others(count) => {
                for _ in 0..count {
                    self.ledger.somebody_else_transfers(self.newest.as_ref());
                }
            }
        }
    }

    /// What the driver does, with the next fate for each call. A trap is an answer that is never applied.
    fn perform(&mut self, id: u64) {
        for _ in 0..12 {
            let Some((action, entry)) = self.journal.prepare(id, self.now) else {
                return;
            };
            let fate = self.fates.pop().unwrap_or(Fate::Answered);
            let lost = || Answer::Lost {
                text: "lost".into(),
            };
            let answer = match action {
                Action::Wait { until } => {
                    assert!(until > self.now);
                    return;
                }
                Action::LookAtTip => fate.of_reading().map(|arrives| match arrives {
                    true => Answer::Tip {
                        log_length: self.ledger.length(),
                    },
                    false => lost(),
                }),
                Action::Scan { from, .. } => fate.of_reading().map(|arrives| match arrives {
                    true => {
                        let page = self.ledger.page(from, 3);
                        emc_journal::ledger::looked(&entry, me(), from, &page)
                    }
                    false => lost(),
                }),
                Action::Send => self.ledger.receive(&entry, fate),
            };
            let Some(answer) = answer else { return };
            match self.journal.apply(id, action, answer, self.now) {
                Progress::Going => {}
                Progress::Resting => return,
                Progress::Gone => panic!("an entry ended twice"),
                Progress::Ended(entry, outcome) => {
                    assert_eq!((entry.id, entry.purpose.as_slice()), (id, [9].as_slice()));
                    assert!(self.verdicts.insert(id, outcome).is_none());
                    return;
                }
            }
        }
    }

    fn check(&self) {
        for id in &self.opened {
            let blocks = self.ledger.blocks_of(*id);
            assert!(blocks.len() <= 1, "moved twice: {blocks:?}");
            match self.verdicts.get(id) {
                Some(Outcome::Done { block_index }) => assert_eq!(blocks, [*block_index]),
                Some(Outcome::NotDone { refusal }) => assert_eq!(blocks, [0; 0], "{refusal}"),
                None => assert!(self.journal.get(*id).is_some(), "lost without a verdict"),
            }
        }
        let due = self.journal.due(u64::MAX, usize::MAX);
        assert_eq!(due.len() as u64, self.journal.figures().open);
    }
}

fn journal_in(memories: &[VectorMemory; 3]) -> Journal<VectorMemory> {
    let [header, entries, due] = memories.clone();
    Journal::init(
        Memories {
            header,
            entries,
            due,
        },
        *b"emc-test",
        [4; 8],
    )
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        3 => (any::<bool>(), any::<u8>()).prop_map(|(pull, amount)| Event::Open { pull, amount }),
        6 => Just(Event::Tick),
        3 => (1u64..120).prop_map(Event::Pass),
        2 => (3600u64..40_000).prop_map(Event::Pass),
        1 => Just(Event::Upgrade),
        1 => any::<u8>().prop_map(Event::FeeChanges),
        1 => any::<bool>().prop_map(Event::Funds),
        2 => (0u8..9).prop_map(Event::Others),
    ];
    prop::collection::vec(event, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn every_entry_ends_and_its_verdict_is_what_the_log_says(
        events in events(),
        fates in prop::collection::vec(simulated_ledger::fate(), 0..40),
        skew in -500i64..100,
    ) {
        let mut world = World::new(fates, skew);
        for event in events {
            world.happen(event);
            world.check();
        }
        // However it went: half a day of a ledger that answers settles what can be settled by sending again, and one
        // more the rest.
        for _ in 0..400 {
            if world.journal.next_due().is_none() {
                break;
            }
            world.happen(Event::Tick);
            world.happen(Event::Pass(300));
            world.check();
        }
        prop_assert_eq!(world.journal.figures().open, 0, "{:?}", world.journal.open_entries(0, 5));
        // Messages that were still under way arrive, and change nothing.
        world.happen(Event::Pass((WINDOW + DRIFT + CLOCK_MARGIN) / SECOND));
        world.ledger.deliver_everything();
        world.check();
    }
}

/// Opens one entry whose calls meet these fates, first to last.
fn one_entry(fates: &[Fate]) -> World {
    let mut world = World::new(fates.iter().rev().copied().collect(), 0);
    world.happen(Event::Open {
        pull: true,
        amount: 9,
    });
    world
}

#[test]
fn a_call_that_is_answered_ends_at_once() {
    let world = one_entry(&[]);
    assert_eq!(world.verdicts[&1], Outcome::Done { block_index: 0 });
}

#[test]
fn a_first_and_only_refusal_ends_the_entry_as_not_done() {
    let mut world = World::new(vec![], 0);
    world.happen(Event::Funds(false));
    world.happen(Event::Open {
        pull: true,
        amount: 9,
    });
    assert!(matches!(world.verdicts[&1], Outcome::NotDone { .. }));
}

#[test]
fn a_call_whose_answer_is_lost_is_found_in_the_log() {
    let mut world = one_entry(&[Fate::Answered, Fate::AnswerLost]);
    assert!(world.verdicts.is_empty());
    world.happen(Event::Pass(10));
    world.happen(Event::Tick);
    assert_eq!(world.verdicts[&1], Outcome::Done { block_index: 0 });
    assert_eq!(world.journal.figures().sends, 1);
}

#[test]
fn a_bad_fee_after_a_lost_answer_proves_nothing() {
    // Sent, on its way; sent again: BadFee; then the first one arrives.
    let late = Fate::Late { seconds: 20 };
    let mut world = one_entry(&[Fate::Answered, late]);
    world.ledger.fee = 1;
    world.happen(Event::Pass(10));
    world.happen(Event::Tick);
    assert!(world.verdicts.is_empty());
    world.ledger.fee = 0;
    world.happen(Event::Pass(60));
    world.happen(Event::Tick);
    assert_eq!(world.verdicts[&1], Outcome::Done { block_index: 0 });
}

#[test]
fn a_message_that_was_never_delivered_ends_as_not_done_only_if_no_other_is_unknown() {
    let world = one_entry(&[Fate::Answered, Fate::NotDelivered]);
    assert!(matches!(world.verdicts[&1], Outcome::NotDone { .. }));

    let late = Fate::Late { seconds: 3_000 };
    let mut world = one_entry(&[Fate::Answered, late, Fate::Answered, Fate::NotDelivered]);
    world.happen(Event::Pass(10));
    world.happen(Event::Tick);
    assert!(world.verdicts.is_empty());
    world.happen(Event::Pass(4_000));
    world.happen(Event::Tick);
    assert_eq!(world.verdicts[&1], Outcome::Done { block_index: 0 });
}

#[test]
fn somebody_elses_block_with_our_memo_is_not_ours() {
    let mut world = one_entry(&[Fate::Answered, Fate::NeverArrives]);
    world.ledger.funded = false;
    world.happen(Event::Others(5));
    for _ in 0..400 {
        world.happen(Event::Pass(300));
        world.happen(Event::Tick);
    }
    assert!(matches!(world.verdicts[&1], Outcome::NotDone { .. }));
}

#[test]
fn a_log_that_grew_by_many_blocks_is_read_over_several_runs() {
    let mut world = one_entry(&[Fate::Answered, Fate::Late { seconds: 5 }]);
    for _ in 0..40 {
        world.happen(Event::Others(5));
    }
    world.happen(Event::Pass(10));
    for _ in 0..10 {
        world.happen(Event::Tick);
    }
    assert_eq!(world.verdicts[&1], Outcome::Done { block_index: 200 });
}

#[test]
fn numbers_and_memos_differ_over_upgrades_and_installations() {
    let memories: [VectorMemory; 3] = Default::default();
    let pay = || Operation::Transfer {
        from_subaccount: None,
        to: account(8),
        amount: 1,
        fee: 0,
    };
    let open = |salt: u8, memories: &[VectorMemory; 3]| {
        let [header, entries, due] = memories.clone();
        let memories = Memories {
            header,
            entries,
            due,
        };
        let mut journal = Journal::init(memories, *b"emc-test", [salt; 8]);
        let id = journal.open(pay(), vec![], START);
        journal.get(id).expect("it was opened").memo
    };
    let memos = [
        open(1, &memories),
        open(2, &memories),
        open(3, &Default::default()),
    ];
    assert_ne!(memos[0], memos[1]);
    assert_eq!(memos[0][..16], memos[1][..16]);
    assert_ne!(memos[0], memos[2]);
}
