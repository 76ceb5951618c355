//! What is read of a PNG without decoding it: that it is one, and its size.

const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n'];
/// The last chunk: no bytes, its name, its check sum.
const END: [u8; 12] = [0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82];

/// Width and height of a PNG; `None` for other bytes, and for a PNG that was cut off.
pub fn size(bytes: &[u8]) -> Option<(u32, u32)> {
    let rest = bytes.strip_prefix(&SIGNATURE)?.strip_suffix(&END)?;
    // The first chunk: its length (13), its name, width and height, five more bytes, its check sum.
    let head = rest.strip_prefix(&[0, 0, 0, 13, b'I', b'H', b'D', b'R'])?;
    let number = |at: usize| Some(u32::from_be_bytes(head.get(at..at + 4)?.try_into().ok()?));
    let (width, height) = (number(0)?, number(4)?);
    (head.len() >= 17 && width > 0 && height > 0).then_some((width, height))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The smallest PNG of all, one black pixel, as any program writes it.
    const PIXEL: &str = concat!(
        "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b5500",
        "00000a49444154789c636000000002000148afa4710000000049454e44ae426082"
    );

    #[test]
    fn a_png_has_a_size_and_a_part_of_it_has_none() {
        let bytes = hex::decode(PIXEL).expect("hexadecimal");
        assert_eq!(size(&bytes), Some((1, 1)));
        for cut in 0..bytes.len() {
            assert_eq!(size(&bytes[..cut]), None, "{cut}");
        }
        let mut empty = bytes.clone();
        empty[19] = 0;
        assert_eq!(size(&empty), None, "no picture is zero pixels wide");
        assert_eq!(size(b"GIF89a"), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            size(&bytes);
            size(&[&SIGNATURE[..], &bytes, &END].concat());
        }
    }
}
