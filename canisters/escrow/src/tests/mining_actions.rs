//! Actions of the random sequences around mining, and what must hold of it.

use super::sequences::Run;
use super::world::*;
use crate::mining_round;
use crate::records::*;
use emc_protocol::*;
use std::collections::BTreeMap;

impl World {
    /// A round begins now, whatever the time of the day.
    pub fn begin_round(&mut self, seed: u8) {
        let window = self.state.config().settings.mining().window;
        let number = self.state.round.get().number + 1;
        self.state.round.set(RoundOfMining {
            number,
            seed: [seed; 32],
            begun: self.now,
            until: self.now.after(window),
            drawn: self.now,
        });
    }

    /// Sets how many of the probes have a twin.
    pub fn canaries(&mut self, share: u16) {
        let settings = mining::MiningSettings {
            canary_share: share,
            probe_tokens: 64,
            ..mining::MiningSettings::default()
        };
        self.state
            .configure(|config| config.settings.mining = Some((&settings).into()));
    }
}

impl Run {
    pub(super) fn mining_round(&mut self) -> (&'static str, String) {
        if self.world.units.is_none() {
            return ("mining round", "no units".into());
        }
        if mining_round::open(&self.world.state, self.world.now).is_some() {
            return ("mining round", "open already".into());
        }
        self.world.canaries(3_000);
        let seed = self.chance.below(256) as u8;
        self.world.begin_round(seed);
        // The nodes ask at once; some of them.
        let mut got = 0;
        for node in 0..4 {
            if self.chance.one_in(3) {
                continue;
            }
            if let Ok(leases) = self.world.claim(node, 3) {
                for lease in leases {
                    let job = self.world.job(lease.job_id);
                    got += usize::from(job.mining.is_some());
                    self.leases.push((node, lease));
                }
            }
        }
        self.count(format!(
            "mining jobs: {}",
            if got > 0 { "some" } else { "none" }
        ));
        ("mining round", "begun".into())
    }
}

/// Every epoch's jobs that are not final are counted, and nothing of what mining does has moved money.
pub fn check(world: &World) {
    let mut unfinished: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in world.state.jobs.iter() {
        let job = entry.value();
        let Some(mining) = job.mining else { continue };
        assert!(job.movements.is_empty() && job.receipt.is_none());
        if !job.stage.is_final() {
            *unfinished.entry(mining.epoch).or_default() += 1;
        }
        if job.is_canary() {
            let burned = job.attempts.iter().any(|attempt| attempt.bond.is_some());
            assert!(!burned, "nobody's stake stands behind a twin");
        }
    }
    let counted: BTreeMap<_, _> = world.state.epochs.iter().map(|e| e.into_pair()).collect();
    assert_eq!(
        counted, unfinished,
        "jobs of each epoch's rounds are counted"
    );
}
