//! Messages that are not good: good ones that were damaged, noise, and ones that are small to send and large to read.

use rand::Rng;
use rand::rngs::StdRng;

/// A copy with a few bytes changed, cut out, put in, or taken from another message.
pub fn damaged(message: &[u8], other: &[u8], rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = message.to_vec();
    for _ in 0..rng.gen_range(1..6) {
        let at = rng.gen_range(0..=bytes.len());
        match rng.gen_range(0..8) {
            0..=2 if at < bytes.len() => bytes[at] ^= 1 << rng.gen_range(0..8),
            3 if at < bytes.len() => {
                bytes[at] = [0, 1, 0x7f, 0x80, 0xff][rng.gen_range(0..5)];
            }
            4 => bytes.insert(at, rng.r#gen()),
            5 => bytes.truncate(at),
            6 => {
                let end = rng.gen_range(at..=bytes.len());
                bytes.drain(at..end);
            }
            _ => {
                let from = rng.gen_range(0..=other.len());
                let to = rng.gen_range(from..=other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}

/// Bytes that mean nothing, some of which begin like a message.
pub fn noise(rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = if rng.gen_bool(0.5) {
        b"DIDL".to_vec()
    } else {
        vec![]
    };
    // Low numbers make more of types and lengths than evenly spread ones do.
    let highest = if rng.gen_bool(0.5) { 8 } else { 255 };
    let length = rng.gen_range(0..200);
    bytes.extend((0..length).map(|_| rng.gen_range(0..=highest)));
    bytes
}

fn leb128(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![];
    loop {
        let low = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

/// The opcodes of Candid's binary format that are used here.
mod opcode {
    pub const NULL: u8 = 0x7f;
    pub const RESERVED: u8 = 0x70;
    pub const NAT: u8 = 0x7d;
    pub const NAT8: u8 = 0x7b;
    pub const TEXT: u8 = 0x71;
    pub const PRINCIPAL: u8 = 0x68;
    pub const OPT: u8 = 0x6e;
    pub const VEC: u8 = 0x6d;
    pub const RECORD: u8 = 0x6c;
    pub const FUNC: u8 = 0x6a;
    pub const SERVICE: u8 = 0x69;
}

/// A message of these types and values, put together byte by byte; `value` is of the type number 0.
fn raw(table: &[Vec<u8>], value: &[u8]) -> Vec<u8> {
    let mut bytes = b"DIDL".to_vec();
    bytes.extend(leb128(table.len() as u64));
    bytes.extend(table.concat());
    bytes.extend([1, 0]);
    bytes.extend(value);
    bytes
}

/// A message that costs its sender little and a careless reader much. `large` ones may have up to 2 MB.
pub fn bomb(rng: &mut StdRng, large: bool) -> Vec<u8> {
    use opcode::*;
    let most = if large { 2_000_000 } else { 3_000 };
    let size: usize = rng.gen_range(1..most);
    let count = leb128(match rng.gen_range(0..3) {
        0 => size as u64,
        1 => u64::from(u32::MAX),
        _ => u64::MAX >> rng.gen_range(0..30),
    });
    let number = |index: usize| leb128(index as u64);
    match rng.gen_range(0..16) {
        // A vector of so many elements that take no room.
        0 => raw(&[vec![VEC, NULL]], &count),
        1 => raw(&[vec![VEC, RESERVED]], &count),
        2 => raw(&[vec![VEC, 1], vec![RECORD, 0]], &count),
        // A vector of vectors of ... of nothing: each level multiplies.
        3 => {
            let depth = rng.gen_range(2..30);
            let mut table: Vec<_> = (1..depth).map(|next| vec![VEC, next]).collect();
            table.push(vec![VEC, NULL]);
            raw(
                &table,
                &vec![0xfe; size]
                    .iter()
                    .map(|byte| byte & 0x7f)
                    .collect::<Vec<_>>(),
            )
        }
        // A long chain of types.
        4 => {
            let depth = size.min(if large { 20_000 } else { 1_000 });
            let mut table: Vec<_> = (1..depth)
                .map(|next| [vec![OPT], number(next)].concat())
                .collect();
            table.push(vec![OPT, NULL]);
            raw(&table, &vec![1; depth])
        }
        // A type that contains itself, and a value as deep as the message is long.
        5 => raw(&[vec![OPT, 0]], &vec![1; size]),
        6 => raw(&[vec![VEC, 0]], &vec![1; size]),
        // A record that contains itself has no value.
        7 => raw(&[vec![RECORD, 1, 0, 0]], &[]),
        8 => raw(&[vec![RECORD, 2, 0, 1, 1, 1], vec![RECORD, 1, 0, 0]], &[0]),
        // More types, fields or arguments than there are bytes.
        9 => [b"DIDL".to_vec(), count].concat(),
        10 => raw(&[[vec![RECORD], count].concat()], &[]),
        11 => [b"DIDL".to_vec(), vec![0], count, vec![NULL; size]].concat(),
        // Numbers, texts, blobs and principals that are long, or longer than the message.
        12 => {
            let mut digits = vec![0xff; size];
            digits.push(1);
            [b"DIDL".to_vec(), vec![0, 1, NAT], digits].concat()
        }
        13 => {
            let kind = [TEXT, PRINCIPAL][rng.gen_range(0..2)];
            let flag: &[u8] = if kind == PRINCIPAL { &[1] } else { &[] };
            [
                b"DIDL".to_vec(),
                vec![0, 1, kind],
                flag.to_vec(),
                count,
                vec![b'x'; size],
            ]
            .concat()
        }
        14 => raw(&[vec![VEC, NAT8]], &[count, vec![7; size]].concat()),
        // References to functions and services, with long lists of modes and methods.
        _ => {
            let kind = [FUNC, SERVICE][rng.gen_range(0..2)];
            raw(&[[vec![kind], count, vec![0; size]].concat()], &[1, 1, 0])
        }
    }
}
