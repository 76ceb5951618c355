//! Public metadata of a canister: custom sections at the end of its Wasm module, which the Internet Computer serves to
//! whoever asks (`candid:service` is where wallets and `icp` find an interface).
//!
//! A custom section is the byte 0, the length of the rest, the length of its name, its name, its content; lengths are
//! LEB128.

use anyhow::{Result, bail, ensure};

const HEADER: &[u8] = b"\0asm\x01\0\0\0";

/// Appends the section `icp:public <name>`.
///
/// # Errors
/// Where the module is not Wasm, or has that section already: which of the two would be served is nobody's guess.
pub fn append(module: &mut Vec<u8>, name: &str, content: &[u8]) -> Result<()> {
    let name = format!("icp:public {name}");
    ensure!(
        !custom_sections(module)?
            .iter()
            .any(|(other, _)| *other == name),
        "the module already has {name:?}"
    );
    let mut body = Vec::with_capacity(name.len() + content.len() + 5);
    write_length(&mut body, name.len());
    body.extend_from_slice(name.as_bytes());
    body.extend_from_slice(content);
    module.push(0);
    write_length(module, body.len());
    module.extend_from_slice(&body);
    Ok(())
}

/// The custom sections of a module: name and content, in their order.
pub fn custom_sections(module: &[u8]) -> Result<Vec<(String, &[u8])>> {
    let Some(mut rest) = module.strip_prefix(HEADER) else {
        bail!("not a Wasm module")
    };
    let mut found = Vec::new();
    while let Some((&id, after)) = rest.split_first() {
        rest = after;
        let mut body = take(&mut rest)?;
        if id == 0 {
            let name = take(&mut body)?;
            found.push((std::str::from_utf8(name)?.to_owned(), body));
        }
    }
    Ok(found)
}

/// Takes what the length at the front announces.
fn take<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8]> {
    let mut length = 0usize;
    for shift in (0..35).step_by(7) {
        let Some((&byte, rest)) = bytes.split_first() else {
            break;
        };
        *bytes = rest;
        length |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            ensure!(length <= bytes.len(), "the Wasm module is cut off");
            let (taken, rest) = bytes.split_at(length);
            *bytes = rest;
            return Ok(taken);
        }
    }
    bail!("the Wasm module has a malformed length")
}

fn write_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            return out.push(low);
        }
        out.push(low | 0x80);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_appended_section_is_read_back_whatever_its_length() {
        for length in [0, 1, 110, 127, 128, 16_383, 16_384, 3_000_000] {
            let content: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let mut module = HEADER.to_vec();
            append(&mut module, "candid:service", &content).unwrap();
            append(&mut module, "emc:version", b"1").unwrap();
            let sections = custom_sections(&module).unwrap();
            assert_eq!(
                sections[0],
                ("icp:public candid:service".to_owned(), content.as_slice())
            );
            assert_eq!(
                sections[1],
                ("icp:public emc:version".to_owned(), b"1".as_slice())
            );
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_wasm_specification() {
        let mut module = HEADER.to_vec();
        append(&mut module, "x", b"ab").unwrap();
        assert_eq!(&module[8..], b"\x00\x0f\x0cicp:public xab");
    }

    #[test]
    fn what_stands_before_is_kept() {
        let type_section = [1, 4, 1, 0x60, 0, 0];
        let mut module = [HEADER, &type_section].concat();
        append(&mut module, "x", b"y").unwrap();
        assert!(module.starts_with(&[HEADER, &type_section].concat()));
        assert_eq!(custom_sections(&module).unwrap().len(), 1);
    }

    #[test]
    fn a_section_is_never_appended_twice_nor_to_something_else() {
        let mut module = HEADER.to_vec();
        append(&mut module, "x", b"1").unwrap();
        assert!(append(&mut module, "x", b"2").is_err());
        assert!(append(&mut b"text".to_vec(), "x", b"1").is_err());
        module.pop();
        assert!(append(&mut module, "y", b"1").is_err());
    }
}
