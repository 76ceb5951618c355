//! System API: identity, time and timers, instruction counters, certified data, environment variables, logs, traps.

use super::{
    Context, Host, Mode, Result, Trap, allow, copy, execution, execution_mut, memory, range, read,
    read_text,
};
use Mode::{
    Cleanup, CompositeQuery, Init, PreUpgrade, Query, ReplicatedQuery, Reply, Task, Update,
};
use candid::Principal;
use wasmtime::Linker;

const TIMER: &[Mode] = &[Init, PreUpgrade, Update, Reply, Mode::Reject, Cleanup, Task];
const CERTIFY: &[Mode] = &[Init, PreUpgrade, Update, Reply, Mode::Reject, Task];
const CERTIFICATE: &[Mode] = &[Query, CompositeQuery];
const ROOT_KEY: &[Mode] = &[
    Init,
    PreUpgrade,
    Update,
    ReplicatedQuery,
    Reply,
    Mode::Reject,
    Cleanup,
    Task,
];

/// The variable's value, if there is one of that name.
fn variable(c: &mut Context<'_>, name: u32, len: u32) -> Result<Option<String>> {
    let name = read_text(
        c,
        u64::from(name),
        u64::from(len),
        "the environment variable's name",
    )?;
    Ok(execution(c)?
        .environment
        .iter()
        .find(|v| v.0 == name)
        .map(|v| v.1.clone()))
}

fn present<T>(found: Option<T>) -> Result<T> {
    found.ok_or_else(|| Trap::contract("there is no such environment variable").into())
}

pub(super) fn link(l: &mut Linker<Host>) -> Result<()> {
    link_identity(l)?;
    link_variables(l)?;
    link_certified_data(l)?;
    l.func_wrap("ic0", "time", |c: Context<'_>| -> Result<u64> {
        if execution(&c)?.mode == Mode::Start {
            return Err(Trap::contract("\"ic0_time\" cannot be executed in start mode").into());
        }
        Ok(execution(&c)?.time)
    })?;
    l.func_wrap(
        "ic0",
        "global_timer_set",
        |mut c: Context<'_>, at: u64| -> Result<u64> {
            allow(&c, "global_timer_set", TIMER)?;
            Ok(std::mem::replace(&mut execution_mut(&mut c)?.timer, at))
        },
    )?;
    l.func_wrap(
        "ic0",
        "performance_counter",
        |c: Context<'_>, kind: u32| -> Result<u64> {
            let e = execution(&c)?;
            let used = e.limit - c.get_fuel()?;
            match kind {
                0 => Ok(used),
                1 => Ok(e.earlier_instructions + used),
                _ => Err(
                    Trap::contract(format!("Error getting performance counter type {kind}")).into(),
                ),
            }
        },
    )?;
    l.func_wrap(
        "ic0",
        "debug_print",
        |mut c: Context<'_>, from: u32, len: u32| -> Result<()> {
            // Never fails, whatever the range.
            let heap = memory(&c)?.data(&c);
            let text = range(heap.len(), u64::from(from), u64::from(len))
                .map(|r| heap[r].to_vec())
                .unwrap_or_default();
            execution_mut(&mut c)?.logs.push(text);
            Ok(())
        },
    )?;
    l.func_wrap(
        "ic0",
        "trap",
        |mut c: Context<'_>, from: u32, len: u32| -> Result<()> {
            let text = read(&mut c, u64::from(from), u64::from(len)).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).into_owned();
            if let Ok(e) = execution_mut(&mut c) {
                e.logs.push(format!("[TRAP]: {text}").into_bytes());
            }
            Err(Trap::Called(text).into())
        },
    )?;
    Ok(())
}

fn link_identity(l: &mut Linker<Host>) -> Result<()> {
    l.func_wrap(
        "ic0",
        "canister_self_size",
        |c: Context<'_>| -> Result<u32> { Ok(execution(&c)?.canister.as_slice().len() as u32) },
    )?;
    l.func_wrap(
        "ic0",
        "canister_self_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            let id = execution(&c)?.canister;
            copy(&mut c, "canister_self_copy", id.as_slice(), to, offset, len)
        },
    )?;
    l.func_wrap("ic0", "subnet_self_size", |c: Context<'_>| -> Result<u32> {
        Ok(execution(&c)?.network.subnet.as_slice().len() as u32)
    })?;
    l.func_wrap(
        "ic0",
        "subnet_self_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            let id = execution(&c)?.network.subnet;
            copy(&mut c, "subnet_self_copy", id.as_slice(), to, offset, len)
        },
    )?;
    l.func_wrap("ic0", "subnet_self_node_count", || 1u32)?;
    l.func_wrap("ic0", "root_key_size", |c: Context<'_>| -> Result<u32> {
        allow(&c, "root_key_size", ROOT_KEY)?;
        Ok(execution(&c)?.network.root_key.len() as u32)
    })?;
    l.func_wrap(
        "ic0",
        "root_key_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            allow(&c, "root_key_copy", ROOT_KEY)?;
            let network = execution(&c)?.network.clone();
            copy(&mut c, "root_key_copy", &network.root_key, to, offset, len)
        },
    )?;
    l.func_wrap("ic0", "canister_status", |c: Context<'_>| -> Result<u32> {
        Ok(execution(&c)?.status)
    })?;
    l.func_wrap("ic0", "canister_version", |c: Context<'_>| -> Result<u64> {
        Ok(execution(&c)?.version)
    })?;
    l.func_wrap(
        "ic0",
        "in_replicated_execution",
        |c: Context<'_>| -> Result<u32> { Ok(u32::from(execution(&c)?.mode.is_replicated())) },
    )?;
    l.func_wrap(
        "ic0",
        "is_controller",
        |mut c: Context<'_>, from: u32, len: u32| -> Result<u32> {
            let id = read(&mut c, u64::from(from), u64::from(len.min(30)))?;
            let id = Principal::try_from_slice(&id).map_err(|e| {
                Trap::contract(format!("ic0.is_controller: invalid principal id: {e}"))
            })?;
            Ok(u32::from(execution(&c)?.controllers.contains(&id)))
        },
    )?;
    Ok(())
}

fn link_certified_data(l: &mut Linker<Host>) -> Result<()> {
    l.func_wrap("ic0", "certified_data_set", |mut c: Context<'_>, from: u32, len: u32| -> Result<()> {
        allow(&c, "certified_data_set", CERTIFY)?;
        if len > 32 {
            return Err(Trap::contract(format!(
                "ic0_certified_data_set failed because the passed data must be no larger than 32 bytes. Found {len} \
                 bytes"
            ))
            .into());
        }
        let data = read(&mut c, u64::from(from), u64::from(len))?;
        execution_mut(&mut c)?.certified_data = Some(data);
        Ok(())
    })?;
    l.func_wrap(
        "ic0",
        "data_certificate_present",
        |c: Context<'_>| -> Result<u32> { Ok(u32::from(execution(&c)?.certificate.is_some())) },
    )?;
    fn certificate(c: &Context<'_>, function: &str) -> Result<std::sync::Arc<[u8]>> {
        allow(c, function, CERTIFICATE)?;
        match &execution(c)?.certificate {
            Some(certificate) => Ok(certificate.bytes()),
            None => Err(
                Trap::contract(format!("ic0.{function}: no data certificate is present")).into(),
            ),
        }
    }
    l.func_wrap(
        "ic0",
        "data_certificate_size",
        |c: Context<'_>| -> Result<u32> {
            Ok(certificate(&c, "data_certificate_size")?.len() as u32)
        },
    )?;
    l.func_wrap(
        "ic0",
        "data_certificate_copy",
        |mut c: Context<'_>, to: u32, offset: u32, len: u32| -> Result<()> {
            let bytes = certificate(&c, "data_certificate_copy")?;
            copy(&mut c, "data_certificate_copy", &bytes, to, offset, len)
        },
    )?;
    Ok(())
}

fn link_variables(l: &mut Linker<Host>) -> Result<()> {
    l.func_wrap("ic0", "env_var_count", |c: Context<'_>| -> Result<u32> {
        Ok(execution(&c)?.environment.len() as u32)
    })?;
    l.func_wrap(
        "ic0",
        "env_var_name_size",
        |c: Context<'_>, index: u32| -> Result<u32> {
            Ok(present(execution(&c)?.environment.get(index as usize))?
                .0
                .len() as u32)
        },
    )?;
    l.func_wrap(
        "ic0",
        "env_var_name_copy",
        |mut c: Context<'_>, index: u32, to: u32, offset: u32, len: u32| -> Result<()> {
            let name = present(execution(&c)?.environment.get(index as usize))?
                .0
                .clone();
            copy(
                &mut c,
                "env_var_name_copy",
                name.as_bytes(),
                to,
                offset,
                len,
            )
        },
    )?;
    l.func_wrap(
        "ic0",
        "env_var_name_exists",
        |mut c: Context<'_>, name: u32, name_len: u32| -> Result<u32> {
            Ok(u32::from(variable(&mut c, name, name_len)?.is_some()))
        },
    )?;
    l.func_wrap(
        "ic0",
        "env_var_value_size",
        |mut c: Context<'_>, name: u32, name_len: u32| -> Result<u32> {
            Ok(present(variable(&mut c, name, name_len)?)?.len() as u32)
        },
    )?;
    l.func_wrap(
        "ic0",
        "env_var_value_copy",
        |mut c: Context<'_>,
         name: u32,
         name_len: u32,
         to: u32,
         offset: u32,
         len: u32|
         -> Result<()> {
            let value = present(variable(&mut c, name, name_len)?)?;
            copy(
                &mut c,
                "env_var_value_copy",
                value.as_bytes(),
                to,
                offset,
                len,
            )
        },
    )?;
    Ok(())
}
