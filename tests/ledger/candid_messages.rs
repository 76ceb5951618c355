//! Messages for every endpoint of an interface, made from its `.did` file: good ones at the edges of their types, huge
//! ones, and ones with more in them than was asked for. Which messages are good is asked of the `.did` file, too.

use candid::types::value::{IDLArgs, IDLField, IDLValue, VariantValue};
use candid::types::{Field, FuncMode, Label, Type, TypeEnv, TypeInner};
use candid::{DecoderConfig, Int, Nat, Principal};
use candid_parser::utils::CandidSource;
use rand::Rng;
use rand::rngs::StdRng;
use std::path::Path;

/// How much of a message may be read and thrown away before it is refused, in Candid's own measure. Canisters set this
/// by default; a decoder may be stricter or not, so between here and [`PATIENT_SKIPPING`] either answer is right.
const SKIPPING: usize = 10_000;
const PATIENT_SKIPPING: usize = 100_000_000;

/// The endpoints of an interface.
pub struct Interface {
    types: TypeEnv,
    /// Its methods.
    pub methods: Vec<Method>,
}

/// An endpoint.
#[derive(Clone, Debug)]
pub struct Method {
    /// Its name.
    pub name: String,
    /// Whether it only reads.
    pub is_query: bool,
    arguments: Vec<Type>,
    results: Vec<Type>,
}

impl Method {
    /// Whether it takes any argument.
    pub fn takes_arguments(&self) -> bool {
        !self.arguments.is_empty()
    }
}

/// What must become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is of the method's types: it must be answered.
    Answered,
    /// It is not: it must be rejected.
    Rejected,
    /// It is, with more beside that has to be skipped than a canister need put up with.
    Either,
}

/// Whom messages speak of, and when.
pub struct Setting {
    /// Principals that have something to do with the ledger.
    pub known: Vec<Principal>,
    /// The time in nanoseconds since 1970.
    pub now: u64,
}

impl Interface {
    /// Reads a `.did` file.
    pub fn read(path: &Path) -> Self {
        let (types, service) = CandidSource::File(path)
            .load()
            .expect("the interface is well-formed");
        let service = service.expect("the file has a service");
        let methods = types.as_service(&service).expect("it is a service");
        let methods = methods.iter().map(|(name, ty)| {
            let function = types.as_func(ty).expect("methods are functions");
            Method {
                name: name.clone(),
                is_query: function.modes.contains(&FuncMode::Query),
                arguments: function.args.clone(),
                results: function.rets.clone(),
            }
        });
        let methods = methods.collect();
        Self { types, methods }
    }

    /// What must become of an argument.
    pub fn fate(&self, method: &Method, argument: &[u8]) -> Fate {
        if !method.takes_arguments() {
            // There is nothing to decode, so nothing is looked at.
            return Fate::Answered;
        }
        if self.decodes(method, argument, SKIPPING) {
            Fate::Answered
        } else if self.decodes(method, argument, PATIENT_SKIPPING) {
            Fate::Either
        } else {
            Fate::Rejected
        }
    }

    fn decodes(&self, method: &Method, argument: &[u8], skipping: usize) -> bool {
        let mut config = DecoderConfig::new();
        config.set_skipping_quota(skipping);
        let types = &method.arguments;
        let read =
            IDLArgs::from_bytes_with_types_with_config(argument, &self.types, types, &config);
        read.is_ok_and(|read| read.args.iter().all(subaccounts_are_32_bytes))
    }

    /// Whether a reply is of the types that the method promises.
    pub fn is_reply(&self, method: &Method, reply: &[u8]) -> bool {
        IDLArgs::from_bytes_with_types(reply, &self.types, &method.results).is_ok()
    }

    /// A message of the method's types.
    pub fn good(&self, method: &Method, setting: &Setting, rng: &mut StdRng) -> Vec<u8> {
        self.sized(method, setting, rng, None)
    }

    /// A message of the method's types in which numbers, texts, blobs and vectors have about so many bytes.
    pub fn huge(
        &self,
        method: &Method,
        setting: &Setting,
        rng: &mut StdRng,
        size: usize,
    ) -> Vec<u8> {
        self.sized(method, setting, rng, Some(size))
    }

    fn sized(
        &self,
        method: &Method,
        setting: &Setting,
        rng: &mut StdRng,
        size: Option<usize>,
    ) -> Vec<u8> {
        let values = self.values(method, setting, rng, size);
        let encoded = IDLArgs::new(&values).to_bytes_with_types(&self.types, &method.arguments);
        encoded.expect("the values were made for these types")
    }

    fn values(
        &self,
        method: &Method,
        setting: &Setting,
        rng: &mut StdRng,
        size: Option<usize>,
    ) -> Vec<IDLValue> {
        let maker = &mut Maker {
            types: &self.types,
            setting,
            rng,
            left: size,
        };
        let arguments = method.arguments.iter();
        arguments.map(|ty| maker.value(ty, "")).collect()
    }

    /// A good message with one more field or argument, which has to be skipped.
    pub fn with_baggage(&self, method: &Method, setting: &Setting, rng: &mut StdRng) -> Vec<u8> {
        let mut values = self.values(method, setting, rng, None);
        let baggage = baggage(rng);
        match values.first_mut() {
            Some(IDLValue::Record(fields)) if rng.gen_bool(0.7) => {
                let id = Label::Id(rng.r#gen());
                fields.push(IDLField { id, val: baggage });
                fields.sort_by_key(|field| field.id.get_id());
            }
            _ => values.push(baggage),
        }
        IDLArgs::new(&values).to_bytes().expect("values encode")
    }
}

/// Subaccounts are blobs to Candid; that they have 32 bytes is ICRC-1's rule.
fn subaccounts_are_32_bytes(value: &IDLValue) -> bool {
    match value {
        IDLValue::Opt(value) => subaccounts_are_32_bytes(value),
        IDLValue::Vec(values) => values.iter().all(subaccounts_are_32_bytes),
        IDLValue::Record(fields) => fields.iter().all(|IDLField { id, val }| {
            let is_subaccount = ["subaccount", "from_subaccount", "spender_subaccount"]
                .iter()
                .any(|name| id.get_id() == candid::idl_hash(name));
            match val {
                IDLValue::Opt(blob) if is_subaccount => match blob.as_ref() {
                    IDLValue::Blob(bytes) => bytes.len() == 32,
                    IDLValue::Vec(bytes) => bytes.len() == 32,
                    _ => true,
                },
                _ => subaccounts_are_32_bytes(val),
            }
        }),
        _ => true,
    }
}

/// Makes values of a type.
struct Maker<'a> {
    types: &'a TypeEnv,
    setting: &'a Setting,
    rng: &'a mut StdRng,
    /// How many bytes the message is still to be filled with, where it is to be huge.
    left: Option<usize>,
}

impl Maker<'_> {
    /// Some of the bytes that a huge message is still to be filled with; none where it is an ordinary one.
    fn share(&mut self) -> Option<usize> {
        let left = self.left.as_mut().filter(|left| **left > 0)?;
        let share = if self.rng.gen_bool(0.5) {
            *left
        } else {
            *left / 2
        };
        *left -= share;
        Some(share)
    }

    /// A value; `field` is the name of the record's field that it is for.
    fn value(&mut self, ty: &Type, field: &str) -> IDLValue {
        let ty = self
            .types
            .trace_type(ty)
            .expect("the interface names its types");
        let swells = matches!(
            ty.as_ref(),
            TypeInner::Nat | TypeInner::Text | TypeInner::Vec(_)
        );
        // A subaccount of another length than 32 bytes would be refused for that.
        let share = if swells && !field.ends_with("subaccount") {
            self.share()
        } else {
            None
        };
        let fill = self.left.is_some();
        let rng = &mut *self.rng;
        match ty.as_ref() {
            TypeInner::Nat if share.is_some() => IDLValue::Nat(huge_nat(share.unwrap_or(0))),
            TypeInner::Text if share.is_some() => {
                IDLValue::Text("/metrics?".repeat(share.unwrap_or(0) / 9))
            }
            TypeInner::Null => IDLValue::Null,
            TypeInner::Reserved => IDLValue::Reserved,
            TypeInner::Bool => IDLValue::Bool(rng.r#gen()),
            TypeInner::Nat => IDLValue::Nat(nat(rng, field)),
            TypeInner::Int => IDLValue::Int(Int::from(nat(rng, field))),
            TypeInner::Nat8 => IDLValue::Nat8(rng.r#gen()),
            TypeInner::Nat16 => IDLValue::Nat16(rng.r#gen()),
            TypeInner::Nat32 => IDLValue::Nat32(rng.r#gen()),
            TypeInner::Nat64 => IDLValue::Nat64(self.time()),
            TypeInner::Int8 => IDLValue::Int8(rng.r#gen()),
            TypeInner::Int16 => IDLValue::Int16(rng.r#gen()),
            TypeInner::Int32 => IDLValue::Int32(rng.r#gen()),
            TypeInner::Int64 => IDLValue::Int64(rng.r#gen()),
            TypeInner::Float32 => IDLValue::Float32(rng.r#gen()),
            TypeInner::Float64 => IDLValue::Float64(rng.r#gen()),
            TypeInner::Text => IDLValue::Text(text(rng)),
            TypeInner::Principal => IDLValue::Principal(self.principal()),
            TypeInner::Func(_) => IDLValue::Func(self.principal(), text(self.rng)),
            TypeInner::Service(_) => IDLValue::Service(self.principal()),
            TypeInner::Opt(_) if rng.gen_bool(if fill { 0.2 } else { 0.6 }) => IDLValue::None,
            TypeInner::Opt(ty) => IDLValue::Opt(Box::new(self.value(ty, field))),
            TypeInner::Vec(ty) if matches!(ty.as_ref(), TypeInner::Nat8) => {
                IDLValue::Blob(match share {
                    Some(share) => vec![7; share],
                    None => self.blob(field),
                })
            }
            TypeInner::Vec(ty) => {
                let length = match share {
                    Some(share) => share / 10,
                    None if rng.gen_bool(0.01) => 300,
                    None => rng.gen_range(0..4),
                };
                IDLValue::Vec((0..length).map(|_| self.value(ty, "")).collect())
            }
            TypeInner::Record(fields) => {
                IDLValue::Record(fields.iter().map(|field| self.field(field)).collect())
            }
            TypeInner::Variant(fields) => {
                let index = rng.gen_range(0..fields.len());
                let chosen = self.field(&fields[index]);
                IDLValue::Variant(VariantValue(Box::new(chosen), index as u64))
            }
            other => unreachable!("no endpoint takes {other:?}"),
        }
    }

    fn field(&mut self, field: &Field) -> IDLField {
        let name = match field.id.as_ref() {
            Label::Named(name) => name.clone(),
            _ => String::new(),
        };
        IDLField {
            id: field.id.as_ref().clone(),
            val: self.value(&field.ty, &name),
        }
    }

    fn time(&mut self) -> u64 {
        const SECOND: u64 = 1_000_000_000;
        match self.rng.gen_range(0..10) {
            0 => 0,
            1 => u64::MAX,
            2 => self.rng.r#gen(),
            3 => self.setting.now - 86_520 * SECOND,
            4 => self.setting.now + 3_600 * SECOND,
            _ => self.setting.now - self.rng.gen_range(0..60) * SECOND,
        }
    }

    fn principal(&mut self) -> Principal {
        let known = &self.setting.known;
        match self.rng.gen_range(0..20) {
            0 => Principal::anonymous(),
            1 => Principal::management_canister(),
            2 => {
                let bytes: [u8; 29] = self.rng.r#gen();
                Principal::from_slice(&bytes[..self.rng.gen_range(0..30)])
            }
            _ => known[self.rng.gen_range(0..known.len())],
        }
    }

    fn blob(&mut self, field: &str) -> Vec<u8> {
        let rng = &mut *self.rng;
        let length = match field {
            name if name.ends_with("subaccount") => match rng.gen_range(0..20) {
                0 => rng.gen_range(0..70),
                _ => return vec![rng.gen_range(0..4); 32],
            },
            "memo" => match rng.gen_range(0..20) {
                0 => rng.gen_range(0..5_000),
                1 => rng.gen_range(60..70),
                _ => rng.gen_range(0..33),
            },
            _ => rng.gen_range(0..300),
        };
        (0..length).map(|_| rng.r#gen()).collect()
    }
}

fn nat(rng: &mut StdRng, field: &str) -> Nat {
    let small: u64 = match field {
        "fee" | "expected_allowance" => rng.gen_range(0..3),
        "length" => rng.gen_range(0..20),
        _ => rng.gen_range(0..2_000),
    };
    match rng.gen_range(0..40) {
        0 => Nat::from(u64::MAX),
        1 => Nat::from(u128::MAX),
        2 => Nat::from(u128::MAX) + 1u8,
        3 => huge_nat(rng.gen_range(20..400)),
        4 => Nat::from(rng.r#gen::<u64>()),
        _ => Nat::from(small),
    }
}

/// A number of about so many bytes.
fn huge_nat(bytes: usize) -> Nat {
    Nat(Nat::from(255u8).0.pow(bytes as u32))
}

fn text(rng: &mut StdRng) -> String {
    match rng.gen_range(0..12) {
        0 => "/metrics".into(),
        1 => "/logs".into(),
        2 => "icrc1_transfer".into(),
        3 => "\u{202e}\u{0}\u{ffff}".repeat(rng.gen_range(0..50)),
        4 => "?/%00%".repeat(rng.gen_range(0..500)),
        _ => (0..rng.gen_range(0..30))
            .map(|_| rng.gen_range(' '..'~'))
            .collect(),
    }
}

/// Something that nobody asked for.
fn baggage(rng: &mut StdRng) -> IDLValue {
    let size = 10usize.pow(rng.gen_range(0..6));
    match rng.gen_range(0..6) {
        0 => IDLValue::Vec(vec![IDLValue::Null; size]),
        1 => IDLValue::Vec(vec![IDLValue::Reserved; size]),
        2 => IDLValue::Vec(vec![IDLValue::Record(vec![]); size]),
        3 => IDLValue::Blob(vec![7; size]),
        4 => IDLValue::Text("x".repeat(size)),
        _ => {
            let mut nested = IDLValue::Null;
            for _ in 0..size.min(200) {
                nested = IDLValue::Opt(Box::new(nested));
            }
            nested
        }
    }
}
