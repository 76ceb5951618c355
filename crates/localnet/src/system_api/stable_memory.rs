//! System API: stable memory, with 64-bit and with 32-bit addresses.

use super::{Context, Host, Result, Trap, charge, memory, range};
use wasmtime::Linker;

/// The most pages that the 32-bit functions work on.
const PAGES_32: u64 = 65536;

fn put(c: &mut Context<'_>, offset: u64, from: u64, len: u64) -> Result<()> {
    charge(c, len)?;
    let (heap, host) = memory(c)?.data_and_store_mut(c);
    let bytes = &heap[range(heap.len(), from, len)?];
    host.stable
        .write(offset, bytes)
        .map_err(|_| Trap::StableOutOfBounds.into())
}

fn get(c: &mut Context<'_>, to: u64, offset: u64, len: u64) -> Result<()> {
    charge(c, len)?;
    let (heap, host) = memory(c)?.data_and_store_mut(c);
    let range = range(heap.len(), to, len)?;
    host.stable
        .read(offset, &mut heap[range])
        .map_err(|_| Trap::StableOutOfBounds.into())
}

fn fits_32(c: &Context<'_>) -> Result<()> {
    if c.data().stable.pages() > PAGES_32 {
        Err(Trap::StableTooBigFor32Bit.into())
    } else {
        Ok(())
    }
}

pub(super) fn link(l: &mut Linker<Host>) -> Result<()> {
    l.func_wrap("ic0", "stable64_size", |c: Context<'_>| {
        c.data().stable.pages()
    })?;
    l.func_wrap(
        "ic0",
        "stable64_grow",
        |mut c: Context<'_>, by: u64| -> u64 { c.data_mut().stable.grow(by).unwrap_or(u64::MAX) },
    )?;
    l.func_wrap(
        "ic0",
        "stable64_write",
        |mut c: Context<'_>, offset: u64, from: u64, len: u64| -> Result<()> {
            put(&mut c, offset, from, len)
        },
    )?;
    l.func_wrap(
        "ic0",
        "stable64_read",
        |mut c: Context<'_>, to: u64, offset: u64, len: u64| -> Result<()> {
            get(&mut c, to, offset, len)
        },
    )?;
    l.func_wrap("ic0", "stable_size", |c: Context<'_>| -> Result<u32> {
        fits_32(&c)?;
        Ok(c.data().stable.pages() as u32)
    })?;
    l.func_wrap(
        "ic0",
        "stable_grow",
        |mut c: Context<'_>, by: u32| -> Result<u32> {
            fits_32(&c)?;
            if c.data().stable.pages() + u64::from(by) > PAGES_32 {
                return Ok(u32::MAX);
            }
            Ok(c.data_mut()
                .stable
                .grow(u64::from(by))
                .map_or(u32::MAX, |old| old as u32))
        },
    )?;
    l.func_wrap(
        "ic0",
        "stable_write",
        |mut c: Context<'_>, offset: u32, from: u32, len: u32| -> Result<()> {
            fits_32(&c)?;
            put(&mut c, u64::from(offset), u64::from(from), u64::from(len))
        },
    )?;
    l.func_wrap(
        "ic0",
        "stable_read",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            fits_32(&c)?;
            get(&mut c, u64::from(to), u64::from(offset), u64::from(len))
        },
    )?;
    Ok(())
}
