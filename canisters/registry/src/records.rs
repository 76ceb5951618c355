//! What lies in stable memory, with numbered fields so that later versions can add some; and how it reads on the wire.
//! Models are in [`crate::model_records`], settings in [`crate::config`], mining in [`crate::mining::records`].

use crate::keys::ModelKey;
use candid::Principal;
use emc_journal::cbor;
use emc_protocol::node::{Hardware, Outcomes};
use emc_protocol::report::NodeOutcome;
use emc_protocol::{NodeStatus, Offer, Price, Role, Tokens};
use minicbor::{Decode, Encode};

/// Sums and counters.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Newest number of the feed.
    #[n(0)]
    pub sequence: u64,
    /// Newest number of an unbonding.
    #[n(1)]
    pub unbondings: u64,
    /// All that ever came in, e8s.
    #[cbor(n(2), with = "cbor::amount")]
    pub deposited: u128,
    /// All that ever went out, e8s.
    #[cbor(n(3), with = "cbor::amount")]
    pub paid_out: u128,
    /// The sum of allotments, e8s.
    #[cbor(n(4), with = "cbor::amount")]
    pub allotted: u128,
    /// The sum of what unbonds, e8s.
    #[cbor(n(5), with = "cbor::amount")]
    pub unbonding: u128,
    /// The sum of what is on its way out through the ledger, e8s.
    #[cbor(n(6), with = "cbor::amount")]
    pub leaving: u128,
    /// Nodes up to this one have been announced anew after the least stake changed; `None` when there is nothing to do.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub announce_after: Option<Vec<u8>>,
    /// Slashed stake whose burning is not confirmed, e8s.
    #[cbor(n(8), with = "cbor::amount", default)]
    pub burning: u128,
    /// Slashed stake that was burned, e8s.
    #[cbor(n(9), with = "cbor::amount", default)]
    pub burned: u128,
    /// The journal's entry that burns; one at a time.
    #[n(10)]
    pub burn: Option<u64>,
    /// Nothing is burned before this, nanoseconds: the ledger would not.
    #[n(11)]
    #[cbor(default)]
    pub burn_after: u64,
    /// All that mining ever gave to nodes' owners, e8s.
    #[cbor(n(12), with = "cbor::amount", default)]
    pub mined: u128,
    /// Of that, what can be withdrawn, e8s.
    #[cbor(n(13), with = "cbor::amount", default)]
    pub earned: u128,
    /// Of that, what is on its way out through the ledger, e8s.
    #[cbor(n(14), with = "cbor::amount", default)]
    pub drawing: u128,
    /// Of that, what was paid out, e8s.
    #[cbor(n(15), with = "cbor::amount", default)]
    pub drawn: u128,
}

/// A node, without what changes often or is money.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its Ed25519 key.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub public_key: [u8; 32],
    /// Who is paid and stakes.
    #[cbor(n(1), with = "cbor::principal")]
    pub owner: Principal,
    /// Codes of its roles.
    #[n(2)]
    pub roles: Vec<u8>,
    /// Where it stands.
    #[n(3)]
    pub standing: Standing,
    /// Name of its device.
    #[n(4)]
    pub device: String,
    /// How many of them.
    #[n(5)]
    pub count: u32,
    /// Memory of one, bytes.
    #[n(6)]
    pub memory: u64,
    /// Driver.
    #[n(7)]
    pub driver: String,
    /// What it serves.
    #[n(8)]
    pub offers: Vec<OfferRecord>,
    /// When it registered, nanoseconds.
    #[n(9)]
    pub registered: u64,
    /// While it is jailed: until when at least, nanoseconds.
    #[n(10)]
    pub jailed_until: Option<u64>,
}

/// Where a node stands.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
#[cbor(index_only)]
pub enum Standing {
    /// Takes work.
    #[n(0)]
    Active,
    /// Takes no more.
    #[n(1)]
    Draining,
    /// Barred.
    #[n(2)]
    Jailed,
    /// All its stake was taken out.
    #[n(3)]
    Exited,
}

impl From<Standing> for NodeStatus {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Active => Self::Active,
            Standing::Draining => Self::Draining,
            Standing::Jailed => Self::Jailed,
            Standing::Exited => Self::Exited,
        }
    }
}

impl NodeRecord {
    /// Its roles, null for a code that this version does not know.
    pub fn roles(&self) -> Vec<Option<Role>> {
        let role = |code: &u8| match code {
            0 => Some(Role::Compute),
            1 => Some(Role::Validator),
            _ => None,
        };
        self.roles.iter().map(role).collect()
    }

    /// Takes other roles.
    pub fn set_roles(&mut self, roles: &[Role]) {
        let code = |role: &Role| match role {
            Role::Compute => 0,
            Role::Validator => 1,
        };
        self.roles = roles.iter().map(code).collect();
        self.roles.sort_unstable();
        self.roles.dedup();
    }

    /// The machine.
    pub fn hardware(&self) -> Hardware {
        Hardware {
            device: self.device.clone(),
            count: self.count,
            memory: self.memory,
            driver: self.driver.clone(),
        }
    }

    /// Takes another machine.
    pub fn set_hardware(&mut self, hardware: Hardware) {
        self.device = hardware.device;
        self.count = hardware.count;
        self.memory = hardware.memory;
        self.driver = hardware.driver;
    }

    /// What it serves.
    pub fn offers(&self) -> Vec<Offer> {
        self.offers.iter().map(OfferRecord::to_offer).collect()
    }

    /// About how many bytes it takes on the wire.
    pub fn weight(&self) -> usize {
        400 + self.offers.len() * 160
    }
}

/// An offer.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct OfferRecord {
    /// The model.
    #[n(0)]
    pub id: String,
    /// Its version.
    #[n(1)]
    pub version: u32,
    /// e8s per million prompt tokens.
    #[cbor(n(2), with = "cbor::amount")]
    pub prompt: u128,
    /// e8s per million output tokens.
    #[cbor(n(3), with = "cbor::amount")]
    pub output: u128,
    /// e8s per million pixel-steps.
    #[cbor(n(4), with = "cbor::amount")]
    pub pixel_steps: u128,
    /// Jobs at a time.
    #[n(5)]
    pub concurrency: u32,
    /// Longest prompt and output together, tokens.
    #[n(6)]
    pub context: u32,
}

impl OfferRecord {
    /// As it is stored.
    pub fn new(offer: Offer, version: u32) -> Self {
        Self {
            id: offer.model.id,
            version,
            prompt: offer.price.prompt.0,
            output: offer.price.output.0,
            pixel_steps: offer.price.pixel_steps.0,
            concurrency: offer.concurrency,
            context: offer.context,
        }
    }

    /// The model it is for.
    pub fn model(&self) -> ModelKey {
        ModelKey {
            id: self.id.clone(),
            version: self.version,
        }
    }

    fn to_offer(&self) -> Offer {
        Offer {
            model: self.model().to_ref(),
            price: Price {
                prompt: Tokens(self.prompt),
                output: Tokens(self.output),
                pixel_steps: Tokens(self.pixel_steps),
            },
            concurrency: self.concurrency,
            context: self.context,
        }
    }
}

/// Stake on its way out.
#[derive(Encode, Decode, Clone, Debug, PartialEq, Eq)]
pub struct UnbondingRecord {
    /// The escrow it was allotted to.
    #[cbor(n(0), with = "cbor::principal")]
    pub escrow: Principal,
    /// How much waits here, e8s; nothing while the ledger is asked to pay it out.
    #[cbor(n(1), with = "cbor::amount")]
    pub amount: u128,
    /// When it can be withdrawn, nanoseconds; 0 while it waits for its escrow.
    #[n(2)]
    pub ready: u64,
    /// The journal's entry that pays it out.
    #[n(3)]
    pub entry: Option<u64>,
    /// Until its clock starts: what it waits for.
    #[n(4)]
    pub waiting: Option<WaitingRecord>,
}

/// What an unbonding waits for before its clock starts.
#[derive(Encode, Decode, Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingRecord {
    /// The number in the feed that told the escrow: it has to acknowledge this one or a later one.
    #[n(0)]
    pub announced: u64,
    /// When it was unstaked, nanoseconds.
    #[n(1)]
    pub since: u64,
    /// How long the clock will run, seconds: as it was then.
    #[n(2)]
    pub wait: u64,
}

/// What is known of an escrow.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct EscrowRecord {
    /// The newest of its reports that was applied; 0 before the first.
    #[n(0)]
    pub reports: u64,
    /// When that was, nanoseconds.
    #[n(1)]
    pub heard: u64,
    /// It has reported all computing power of this epoch and of those before it.
    #[n(2)]
    pub measured: Option<u64>,
}

/// How a node's jobs and votes ended, summed over the escrows.
#[derive(Encode, Decode, Clone, Debug, Default, PartialEq, Eq)]
pub struct OutcomeRecord {
    /// Jobs settled.
    #[n(0)]
    pub settled: u64,
    /// Leases lapsed.
    #[n(1)]
    pub lapsed: u64,
    /// Leases given back.
    #[n(2)]
    pub declined: u64,
    /// Results upheld.
    #[n(3)]
    pub upheld: u64,
    /// Results overturned.
    #[n(4)]
    pub overturned: u64,
    /// Votes accepted.
    #[n(5)]
    pub votes: u64,
    /// Votes missing or contradicted.
    #[n(6)]
    pub votes_lost: u64,
    /// Stake lost, e8s.
    #[cbor(n(7), with = "cbor::amount")]
    pub slashed: u128,
}

impl OutcomeRecord {
    /// Adds what an escrow reports; `slashed` is what the node has really lost.
    pub fn add(&mut self, outcome: &NodeOutcome, slashed: u128) {
        let add = |sum: &mut u64, more: u32| *sum = sum.saturating_add(more.into());
        add(&mut self.settled, outcome.settled);
        add(&mut self.lapsed, outcome.lapsed);
        add(&mut self.declined, outcome.declined);
        add(&mut self.upheld, outcome.upheld);
        add(&mut self.overturned, outcome.overturned);
        add(&mut self.votes, outcome.votes);
        add(&mut self.votes_lost, outcome.votes_lost);
        self.slashed = self.slashed.saturating_add(slashed);
    }
}

impl From<OutcomeRecord> for Outcomes {
    fn from(record: OutcomeRecord) -> Self {
        Self {
            settled: record.settled,
            lapsed: record.lapsed,
            declined: record.declined,
            upheld: record.upheld,
            overturned: record.overturned,
            votes: record.votes,
            votes_lost: record.votes_lost,
            slashed: Tokens(record.slashed),
        }
    }
}

emc_journal::storable_record!(
    Totals,
    NodeRecord,
    UnbondingRecord,
    EscrowRecord,
    OutcomeRecord
);
