//! NumPy's file format for one matrix of f32 (NEP 1, version 1.0).

use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// Writes rows of `width` numbers.
pub fn write(path: &Path, values: &[f32], width: usize) -> Result<()> {
    let rows = values.len() / width.max(1);
    let mut header =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {width}), }}");
    // Data begin at a multiple of 64 bytes, and the header ends with a line break.
    let used = 10 + header.len() + 1;
    header += &" ".repeat(used.next_multiple_of(64) - used);
    header.push('\n');
    let mut file = BufWriter::new(File::create(path)?);
    file.write_all(b"\x93NUMPY\x01\x00")?;
    file.write_all(&(header.len() as u16).to_le_bytes())?;
    file.write_all(header.as_bytes())?;
    for value in values {
        file.write_all(&value.to_le_bytes())?;
    }
    file.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_laid_out_as_numpy_reads_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.npy");
        write(&path, &[1.0, 2.0, 3.0, 4.0, 5.0, -6.5], 3).expect("writes");
        let bytes = std::fs::read(&path).expect("reads");
        let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        assert_eq!(
            (&bytes[..6], (10 + header) % 64),
            (b"\x93NUMPY".as_slice(), 0)
        );
        let text = String::from_utf8_lossy(&bytes[10..10 + header]).into_owned();
        assert!(
            text.contains("'shape': (2, 3)") && text.ends_with('\n'),
            "{text}"
        );
        assert_eq!(bytes.len(), 10 + header + 24);
        assert_eq!(bytes[bytes.len() - 4..], (-6.5f32).to_le_bytes());
    }
}
