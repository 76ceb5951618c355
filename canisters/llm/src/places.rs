//! The places of requests that wait: bounded in all, for one caller, and for callers who have not been served before, so
//! that strangers who will be refused cannot keep the others out. In the heap: an upgrade ends every wait.

use crate::refusal::Refusal;
use candid::Principal;
use emc_protocol::llm::LlmSettings;
use std::collections::{BTreeMap, BTreeSet};

/// Callers that are remembered as served.
const REMEMBERED: usize = 20_000;

/// Who waits.
#[derive(Debug, Default)]
pub struct Places {
    waiting: BTreeMap<Principal, u32>,
    open: u32,
    strangers: u32,
    served: BTreeSet<Principal>,
}

/// A place that was taken; to be given back once.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub caller: Principal,
    stranger: bool,
}

impl Places {
    /// Takes a place.
    ///
    /// # Errors
    /// There is none.
    pub fn take(&mut self, settings: &LlmSettings, caller: Principal) -> Result<Place, Refusal> {
        if self.open >= settings.max_open {
            return Err(Refusal::Full { open: self.open });
        }
        let open = self.waiting.get(&caller).copied().unwrap_or_default();
        if open >= settings.max_open_per_caller {
            return Err(Refusal::FullForCaller { open });
        }
        let stranger = !self.served.contains(&caller);
        let for_strangers = settings.max_open.div_ceil(4);
        if stranger && self.strangers >= for_strangers {
            let open = self.strangers;
            return Err(Refusal::FullForStrangers { open });
        }
        self.open += 1;
        self.strangers += u32::from(stranger);
        self.waiting.insert(caller, open + 1);
        Ok(Place { caller, stranger })
    }

    /// The escrow has taken a job on the caller's balance: it is no stranger from now on.
    pub fn served(&mut self, place: &mut Place) {
        if std::mem::take(&mut place.stranger) {
            self.strangers -= 1;
        }
        if self.served.len() >= REMEMBERED {
            self.served.pop_first();
        }
        self.served.insert(place.caller);
    }

    /// Gives a place back.
    pub fn give_back(&mut self, place: &Place) {
        self.open -= 1;
        self.strangers -= u32::from(place.stranger);
        match self.waiting.get_mut(&place.caller) {
            Some(open) if *open > 1 => *open -= 1,
            _ => drop(self.waiting.remove(&place.caller)),
        }
    }

    /// How many wait.
    pub fn open(&self) -> u32 {
        self.open
    }
}
