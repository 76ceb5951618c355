//! Mining: rounds at unknown moments, what a node shows in them, twins with wrong answers, and what is reported.

use super::auditors::{Habit, ReportFate};
use super::invariants::check;
use super::world::*;
use crate::records::*;
use crate::{audit, mining_job, mining_round, retention, view};
use emc_protocol::error::code;
use emc_protocol::job::MiningRole;
use emc_protocol::mining::{MiningSettings, begins, epoch};
use emc_protocol::*;

/// Eight validators, who look at everything, and models that can be mined with.
fn minable() -> World {
    let mut world = World::with_validators(8);
    world.change_audit_settings(|audit| {
        (audit.sample_rate, audit.second_look) = (10_000, 0);
    });
    world.units = Some(1_000);
    world.canaries(0);
    world.pull();
    world
}

fn leases(world: &mut World, node: usize, max: u32) -> Vec<Lease> {
    world.claim(node, max).expect("it may claim")
}

fn deliver(world: &mut World, node: usize, lease: &Lease, tokens: u32) {
    let args = world.delivery(node, lease, &answer(tokens));
    world.deliver(node, &args).expect("accepted");
}

/// Draws for all that waits and has the drawn ones voted on, honestly and side by side, until every verdict is there.
fn audit_all(world: &mut World) {
    for seed in 0..10 {
        world.draw([seed; 32]);
        let jobs = world.state.jobs.iter();
        let drawn: Vec<JobId> = jobs
            .filter(|entry| entry.value().stage == Stage::Auditing)
            .map(|entry| *entry.key())
            .collect();
        let open = |world: &World, id| {
            let audit = world.state.audits.get(&id).unwrap();
            audit
                .rounds
                .last()
                .is_some_and(|round| round.verdict.is_none())
        };
        let seats: Vec<(JobId, usize)> = drawn
            .iter()
            .filter(|&&id| open(world, id))
            .flat_map(|&id| world.committee(id).into_iter().map(move |node| (id, node)))
            .collect();
        for &(id, node) in &seats {
            world.commit(node, id, Habit::Honest).expect("a seat");
        }
        for &(id, node) in &seats {
            world.reveal(node, id, Habit::Honest).expect("committed");
        }
    }
    let waits = |job: &JobRecord| matches!(job.stage, Stage::Delivered | Stage::Auditing);
    assert!(!world.state.jobs.iter().any(|entry| waits(&entry.value())));
}

fn shown(world: &World, node: usize) -> PowerRecord {
    let key = (epoch(world.now), world.nodes[node].id);
    world.state.power.get(&key).unwrap_or_default()
}

#[test]
fn while_a_round_is_open_every_miner_gets_jobs_of_its_own_and_afterwards_none() {
    let mut world = minable();
    assert!(leases(&mut world, 0, 3).is_empty());
    world.begin_round(1);
    let work = view::work_available(&world.state, world.now, &[model(2)]).unwrap();
    assert_eq!(work[0].open, 1, "nodes are told that there is something");
    let mut inputs = vec![];
    for node in 0..4 {
        let leases = leases(&mut world, node, 2);
        assert_eq!(leases.len(), 2);
        for lease in leases {
            assert_eq!(
                lease.price,
                Price::default(),
                "it asks nothing and owes nothing"
            );
            assert_eq!(
                (lease.max_charge, lease.until),
                (Tokens(0), world.state.round.get().until)
            );
            inputs.push(format!("{:?}", lease.input));
        }
    }
    inputs.sort();
    inputs.dedup();
    assert_eq!(inputs.len(), 8, "everybody has prompts of its own");
    check(&world);
    world.pass(60);
    world.tick();
    assert!(leases(&mut world, 0, 3).is_empty());
    check(&world);
}

#[test]
fn power_is_what_was_delivered_inside_the_window() {
    let mut world = minable();
    world.begin_round(1);
    let got = leases(&mut world, 0, 3);
    deliver(&mut world, 0, &got[0], 40);
    deliver(&mut world, 0, &got[1], 2);
    world.pass(60);
    let args = world.delivery(0, &got[2], &answer(40));
    assert_eq!(
        code_of(world.deliver(0, &args)),
        code::WRONG_STATE,
        "too late"
    );
    audit_all(&mut world);
    assert_eq!(shown(&world, 0).power, 42 * 1_000);
    let outcome = world
        .state
        .outcomes
        .get(&world.nodes[0].id)
        .unwrap_or_default();
    assert_eq!((outcome.settled, outcome.lapsed), (0, 0), "it is no trade");
    check(&world);
}

#[test]
fn a_node_that_is_done_gets_more_until_its_places_its_bond_or_the_round_end() {
    let mut world = minable();
    world.begin_round(1);
    let mut delivered = 0;
    for _ in 0..5 {
        let got = leases(&mut world, 0, 10);
        assert_eq!(got.len(), 6, "as many as it has places for both models");
        for lease in got {
            deliver(&mut world, 0, &lease, 20);
            delivered += 20;
        }
    }
    audit_all(&mut world);
    assert_eq!(shown(&world, 0).power, delivered * 1_000);
    world.nodes[0].stake = 0;
    world.pull();
    assert!(
        leases(&mut world, 0, 3).is_empty(),
        "without a bond there is none"
    );
    check(&world);
}

#[test]
fn one_gpu_behind_ten_nodes_shows_what_it_shows_behind_one() {
    // A GPU makes 1,200 tokens in a window, by turns for the nodes in front of it.
    let power = |nodes: u8| {
        let mut world = minable();
        world.nodes.truncate(4);
        let first = world.nodes.len();
        for n in 0..nodes {
            let mut node = World::node(60 + n, 30 + n);
            node.concurrency = 1;
            world.nodes.push(node);
        }
        for n in 0..8 {
            let mut node = World::node(20 + n, 4 + n);
            (node.compute, node.validator) = (false, true);
            world.nodes.push(node);
        }
        world.pull();
        world.begin_round(1);
        let mut left = 1_200;
        let mut turn = 0;
        while left > 0 {
            let node = first + turn % usize::from(nodes);
            let lease = leases(&mut world, node, 1)
                .pop()
                .expect("there is always one more");
            deliver(&mut world, node, &lease, 40);
            (left, turn) = (left - 40, turn + 1);
        }
        audit_all(&mut world);
        check(&world);
        (first..first + usize::from(nodes))
            .map(|node| shown(&world, node).power)
            .sum::<u128>()
    };
    assert_eq!(power(1), 1_200_000);
    assert_eq!(power(10), power(1));
}

#[test]
fn probes_that_are_drawn_stand_for_those_that_are_not() {
    let mut world = minable();
    world.change_audit_settings(|audit| audit.sample_rate = 2_500);
    world.begin_round(1);
    let mut delivered = vec![];
    while delivered.len() < 40 {
        for lease in leases(&mut world, 0, 6) {
            deliver(&mut world, 0, &lease, 20);
            delivered.push(lease.job_id);
        }
    }
    // What holds is the chance with which they were given, not that of a later day.
    world.change_audit_settings(|audit| audit.sample_rate = 10_000);
    audit_all(&mut world);
    let drawn = delivered.iter().filter(|&&id| {
        let audit = world.state.audits.get(&id).unwrap();
        assert_eq!(world.job(id).stage, Stage::Settled);
        audit.drawn
    });
    let drawn = drawn.count() as u128;
    assert!((1..40).contains(&drawn), "{drawn} of 40");
    assert_eq!(shown(&world, 0).power, drawn * 4 * 20 * 1_000);
    check(&world);
}

#[test]
fn a_probe_on_which_validators_do_not_decide_shows_nothing() {
    let mut world = minable();
    world.begin_round(1);
    let lease = leases(&mut world, 0, 1).pop().unwrap();
    deliver(&mut world, 0, &lease, 40);
    for seed in 0..4 {
        world.draw([seed; 32]);
        if world.job(lease.job_id).stage == Stage::Auditing {
            world.play_round(lease.job_id, |_| Habit::Silent);
        }
    }
    assert_eq!(world.job(lease.job_id).stage, Stage::Undecided);
    let shown = shown(&world, 0);
    assert_eq!((shown.power, shown.forfeited), (0, false));
    check(&world);
}

#[test]
fn buying_from_oneself_shows_nothing() {
    let mut world = minable();
    world.nodes[3].owner = requester(0);
    world.pull();
    world.fund(requester(0), Tokens::emc(10).0);
    for _ in 0..5 {
        world.submit(requester(0), ask("Pay me.", 64)).unwrap();
        let lease = leases(&mut world, 3, 1).pop().expect("its own job");
        deliver(&mut world, 3, &lease, 60);
    }
    assert_eq!(world.state.counts.get().settled, 5);
    assert!(world.state.power.is_empty());
    check(&world);
}

#[test]
fn an_overturned_job_forfeits_the_day_and_burns_the_bond() {
    let mut world = minable();
    world.begin_round(1);
    let got = leases(&mut world, 0, 2);
    deliver(&mut world, 0, &got[0], 40);
    audit_all(&mut world);
    assert!(shown(&world, 0).power > 0);
    let lease = leases(&mut world, 0, 1).pop().unwrap();
    deliver(&mut world, 0, &lease, 40);
    world.wrong.insert(lease.job_id);
    world.draw([3; 32]);
    world.play_round(lease.job_id, |_| Habit::Honest);
    world.draw([4; 32]);
    world.play_round(lease.job_id, |_| Habit::Honest);
    assert_eq!(
        world.job(lease.job_id).stage,
        Stage::Refunded(Refund::Overturned)
    );
    assert!(shown(&world, 0).forfeited);
    let outcome = world.state.outcomes.get(&world.nodes[0].id).unwrap();
    assert!(outcome.overturned == 1 && !outcome.slashed.is_zero());
    let votes: u32 = (0..world.nodes.len())
        .map(|node| shown(&world, node).votes)
        .sum();
    assert!(votes >= 5, "who found it is credited: {votes}");
    check(&world);
}

/// A delivered job whose twin was drawn.
fn with_canary() -> (World, JobId, JobId) {
    let mut world = minable();
    world.canaries(10_000);
    world.begin_round(1);
    let lease = leases(&mut world, 0, 1).pop().unwrap();
    let (id, twin) = (lease.job_id, lease.job_id + 1);
    let unknown = |world: &World, id| view::get_job(&world.state, requester(0), id, None).is_err();
    assert!(unknown(&world, id) && unknown(&world, twin));
    deliver(&mut world, 0, &lease, 40);
    check(&world);
    assert!(unknown(&world, id) && unknown(&world, twin));
    assert!(audit::show(&world.state, twin).is_err());
    let mine = world.nodes[0].id;
    assert!(view::get_job(&world.state, mine, id, None).is_ok());
    assert!(view::get_job(&world.state, mine, twin, None).is_err());
    world.draw([9; 32]);
    world.play_round(id, |_| Habit::Honest);
    world.draw([8; 32]);
    (world, id, twin)
}

#[test]
fn who_finds_a_wrong_answer_right_loses_its_bond_and_who_finds_it_wrong_is_credited() {
    let (mut world, id, twin) = with_canary();
    let committee = world.committee(twin);
    let lazy = committee[1];
    let habit = |node| match node == lazy {
        true => Habit::AlwaysYes,
        false => Habit::Honest,
    };
    let before: Vec<u32> = (0..world.nodes.len())
        .map(|node| shown(&world, node).votes)
        .collect();
    world.play_round(twin, habit);
    let job = world.job(twin);
    assert_eq!(job.stage, Stage::Refunded(Refund::Overturned));
    for &node in &committee {
        let audit = world.state.audits.get(&twin).unwrap();
        let seat = audit.rounds[0]
            .seats
            .iter()
            .find(|seat| seat.node == world.nodes[node].id);
        let seat = seat.unwrap();
        assert_eq!(!seat.lost.is_zero(), node == lazy);
        let accepted = shown(&world, node).votes - before[node];
        assert_eq!(accepted, u32::from(node != lazy));
    }
    // The node whose answer was taken for it has lost nothing, and its own job counts.
    let worker = world
        .state
        .outcomes
        .get(&world.nodes[0].id)
        .unwrap_or_default();
    assert!(worker.overturned == 0 && worker.slashed.is_zero());
    assert_eq!(shown(&world, 0).power, 40 * 1_000);
    let seen = view::get_job(&world.state, requester(0), twin, None).unwrap();
    assert_eq!(seen.mining, Some(MiningRole::Canary));
    let seen = view::get_job(&world.state, requester(0), id, None).unwrap();
    assert_eq!(seen.mining, Some(MiningRole::Probe));
    check(&world);
}

#[test]
fn a_committee_that_makes_its_numbers_up_costs_an_honest_member_nothing() {
    let (mut world, _, twin) = with_canary();
    let honest = world.committee(twin)[0];
    world.play_round(twin, |node| match node == honest {
        true => Habit::Honest,
        false => Habit::AlwaysYes,
    });
    let audit = world.state.audits.get(&twin).unwrap();
    for seat in &audit.rounds[0].seats {
        assert_eq!(seat.lost.is_zero(), seat.node == world.nodes[honest].id);
    }
    check(&world);
}

#[test]
fn a_twin_has_the_prompts_words_in_another_order_another_seed_and_the_same_answer() {
    let (world, id, twin) = with_canary();
    let input = |id| canonical::read_input(&world.state.inputs.get(&id).unwrap()).unwrap();
    let words = |id| {
        let JobInput::Chat { messages } = input(id) else {
            panic!("a chat")
        };
        let text = messages[0].content.trim_end_matches('.').to_owned();
        let (_, list) = text.split_once(": ").unwrap();
        let mut words: Vec<String> = list.split(", ").map(str::to_owned).collect();
        words.sort();
        words
    };
    // The original is final, its input gone.
    assert!(world.state.inputs.get(&id).is_none());
    assert_eq!(words(twin).len(), 12);
    assert_eq!(world.state.outputs.get(&id), world.state.outputs.get(&twin));
    let (original, copy) = (world.job(id), world.job(twin));
    assert!(original.seed != copy.seed && original.input_hash != copy.input_hash);
    assert_eq!(
        (original.created, original.usage),
        (copy.created, copy.usage)
    );
}

#[test]
fn without_units_terms_or_enough_validators_a_model_is_not_mined_with() {
    let mut world = minable();
    let minable = |world: &World| mining_round::units(&world.state, 1, 300).is_some();
    assert!(minable(&world));
    world.change_audit_settings(|audit| audit.least_owners = 9);
    assert!(!minable(&world));
    world.change_audit_settings(|audit| audit.least_owners = 8);
    world.units = None;
    world.pull();
    assert!(!minable(&world));
    world.units = Some(5);
    let terms = world.terms.take();
    world.pull();
    assert!(!minable(&world));
    world.terms = terms;
    world.pull();
    assert!(minable(&world));
}

#[test]
fn each_part_of_the_day_has_one_round_at_a_moment_that_differs() {
    let mut world = minable();
    world.now = begins(epoch(world.now) + 1);
    let day = epoch(world.now);
    world.pull();
    let mut began = vec![];
    let mut chance = super::sequences::Chance::new(5);
    for _ in 0..1_440 {
        let before = world.state.round.get().number;
        if mining_round::is_to_be_drawn(&world.state, world.now) {
            let mut random = [0; 32];
            random[..8].copy_from_slice(&chance.next().to_le_bytes());
            mining_round::draw(&mut world.state, world.now, &random);
        }
        if world.state.round.get().number > before {
            began.push((world.now.0 - begins(day).0) / (60 * SECOND));
        }
        world.pass(60);
    }
    assert_eq!(began.len(), 24);
    for (hour, minute) in began.iter().enumerate() {
        assert_eq!(minute / 60, hour as u64, "one in each hour");
    }
    let mut minutes: Vec<_> = began.iter().map(|minute| minute % 60).collect();
    minutes.sort();
    minutes.dedup();
    assert!(minutes.len() > 12, "at different minutes: {minutes:?}");
}

#[test]
fn an_escrow_that_was_just_installed_does_not_make_up_for_the_time_before() {
    let mut chance = super::sequences::Chance::new(9);
    for _ in 0..50 {
        let mut world = minable();
        world.now = begins(epoch(world.now) + 1).after(Seconds(50 * 60));
        world.pull();
        let mut random = [0; 32];
        random[..8].copy_from_slice(&chance.next().to_le_bytes());
        mining_round::draw(&mut world.state, world.now, &random);
        assert_eq!(world.state.round.get().number, 0);
    }
}

#[test]
fn the_moments_are_spread_evenly() {
    let mut quarters = [0u32; 4];
    let mut chance = super::sequences::Chance::new(7);
    for _ in 0..400 {
        let mut world = minable();
        world.now = begins(epoch(world.now) + 1);
        world.pull();
        while world.state.round.get().number == 0 {
            let mut random = [0; 32];
            random[..8].copy_from_slice(&chance.next().to_le_bytes());
            mining_round::draw(&mut world.state, world.now, &random);
            world.pass(60);
        }
        let minute = (world.now.0 - begins(epoch(world.now)).0) / (60 * SECOND) - 1;
        quarters[(minute / 15).min(3) as usize] += 1;
    }
    // Five standard errors of a quarter of 400.
    assert!(
        quarters.iter().all(|count| count.abs_diff(100) < 44),
        "{quarters:?}"
    );
}

#[test]
fn a_day_is_reported_once_it_is_over_and_all_its_jobs_are_final() {
    let mut world = minable();
    world.begin_round(1);
    let today = epoch(world.now);
    let got = leases(&mut world, 0, 2);
    for lease in &got {
        deliver(&mut world, 0, lease, 40);
    }
    world.report(ReportFate::Arrives);
    assert!(world.powers.is_empty(), "the day is not over");
    world.pass(24 * 3_600);
    world.pull();
    world.report(ReportFate::Arrives);
    assert_eq!(
        world.complete,
        Some(today - 1),
        "its jobs wait for the draw"
    );
    audit_all(&mut world);
    world.upgrade();
    world.report(ReportFate::AnswerLost);
    world.report(ReportFate::Arrives);
    world.report(ReportFate::Arrives);
    let key = (today, world.nodes[0].id);
    assert_eq!(
        world.powers.get(&key).map(|shown| shown.power),
        Some(80_000)
    );
    assert_eq!(world.complete, Some(today));
    assert!(world.state.power.is_empty());
    check(&world);
}

#[test]
fn many_nodes_are_reported_in_several_reports_and_the_day_is_complete_with_the_last() {
    let mut world = minable();
    let today = epoch(world.now);
    for n in 0..250u16 {
        let node = candid::Principal::self_authenticating(n.to_be_bytes());
        let shown = PowerRecord {
            power: 5,
            ..PowerRecord::default()
        };
        world.state.power.insert((today, node), shown);
    }
    world.pass(24 * 3_600);
    world.pull();
    world.report(ReportFate::Arrives);
    assert_eq!((world.powers.len(), world.complete), (200, Some(today - 1)));
    world.report(ReportFate::Arrives);
    assert_eq!((world.powers.len(), world.complete), (250, Some(today)));
}

#[test]
fn nothing_is_kept_of_a_rounds_jobs_after_a_week() {
    let mut world = minable();
    world.begin_round(1);
    let got = leases(&mut world, 0, 3);
    deliver(&mut world, 0, &got[0], 40);
    audit_all(&mut world);
    world.pass(60);
    world.tick();
    world.pass(7 * 24 * 3_600);
    retention::prune(&mut world.state, world.now, 100);
    mining_job::forget_rounds(&mut world.state, world.now, 100);
    assert!(world.state.jobs.is_empty() && world.state.outputs.is_empty());
    assert!(world.state.audits.is_empty() && world.state.probes.is_empty());
    check(&world);
}

#[test]
fn settings_of_rounds_have_bounds() {
    let fits = |change: fn(&mut MiningSettings)| {
        let mut mining = MiningSettings::default();
        change(&mut mining);
        let settings = escrow::Settings {
            mining: Some(mining),
            ..escrow::Settings::default()
        };
        let parameters = parameters::EscrowParameters {
            settings: Some(settings),
            delay: None,
        };
        crate::install::check_parameters(&parameters).is_ok()
    };
    assert!(fits(|_| {}) && fits(|m| m.rounds_per_day = 0));
    assert!(!fits(|m| m.rounds_per_day = 145) && !fits(|m| m.window = Seconds(901)));
    assert!(!fits(|m| m.window = Seconds(9)) && !fits(|m| m.probe_tokens = 8));
    assert!(!fits(|m| m.probes_per_round = 0) && !fits(|m| m.canary_share = 10_001));
}
