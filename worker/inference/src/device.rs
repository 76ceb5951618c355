//! Where a model computes, in which number format, and how libtorch's CUDA half gets into the process.

use std::ffi::CStr;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::OnceLock;

use tch::Kind;

use crate::error::{Error, Result};

/// What computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU with this index.
    Cuda(usize),
}

/// The format in which weights and cache are held and multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DType {
    /// Single precision: exact against the reference, four bytes a number.
    #[default]
    F32,
    /// The upper half of a single: two bytes a number; tokens may differ from f32's where two are nearly equal.
    Bf16,
    /// Half precision: two bytes a number, finer than bf16 and with a far smaller range. On GPUs only.
    F16,
}

impl Device {
    /// libtorch's device, once it is known to be there.
    pub(crate) fn open(self) -> Result<tch::Device> {
        let cuda = cuda_libraries(matches!(self, Self::Cuda(_)));
        let Self::Cuda(index) = self else {
            return Ok(tch::Device::Cpu);
        };
        cuda.as_ref()
            .map_err(|reason| Error::Device(reason.clone()))?;
        let count = usize::try_from(tch::Cuda::device_count()).unwrap_or(0);
        if !tch::Cuda::is_available() || count == 0 {
            return Err(Error::Device(
                "libtorch finds no usable NVIDIA GPU: check the driver with nvidia-smi".into(),
            ));
        }
        if index >= count {
            return Err(Error::Device(format!(
                "there is no {self}: this machine has {count} NVIDIA GPU(s), from cuda:0"
            )));
        }
        Ok(tch::Device::Cuda(index))
    }

    /// How many NVIDIA GPUs libtorch can use; 0 where its CUDA half or the driver is missing.
    pub fn cuda_count() -> usize {
        match cuda_libraries(false) {
            Ok(()) => usize::try_from(tch::Cuda::device_count()).unwrap_or(0),
            Err(_) => 0,
        }
    }
}

/// Loads libtorch_cuda into the process, once; before libtorch is first used, since it looks for CUDA only once.
///
/// Linking it instead would make every program that knows this crate load gigabytes of CUDA at its start, and none
/// start where they are missing; and the linker drops it, since no symbol of it is named. Without a driver there is
/// nothing to gain, so it is not even tried unless `wanted`.
fn cuda_libraries(wanted: bool) -> &'static Result<(), String> {
    static ATTEMPT: OnceLock<Result<(), String>> = OnceLock::new();
    static NO_DRIVER: Result<(), String> = Err(String::new());
    if !wanted && ATTEMPT.get().is_none() && !Path::new("/proc/driver/nvidia/version").exists() {
        return &NO_DRIVER;
    }
    ATTEMPT.get_or_init(|| {
        // SAFETY: the name is a C string, and the library is libtorch's own, whose initialisers expect to be run so.
        let handle = unsafe {
            libc::dlopen(
                c"libtorch_cuda.so".as_ptr(),
                libc::RTLD_NOW | libc::RTLD_GLOBAL,
            )
        };
        if !handle.is_null() {
            return Ok(());
        }
        // SAFETY: dlerror returns null or a C string that lives until this thread's next call of it.
        let reason = unsafe {
            libc::dlerror()
                .as_ref()
                .map(|text| CStr::from_ptr(text).to_string_lossy().into_owned())
        };
        let reason = reason.unwrap_or_default();
        tracing::debug!(%reason, "libtorch_cuda is not loaded");
        Err(format!(
            "libtorch's CUDA libraries cannot be loaded ({reason}): run `cargo xtask setup --cuda`"
        ))
    })
}

impl DType {
    pub(crate) fn kind(self) -> Kind {
        match self {
            Self::F32 => Kind::Float,
            Self::Bf16 => Kind::BFloat16,
            Self::F16 => Kind::Half,
        }
    }

    /// The number format as libtorch has it, where that device computes in it.
    pub(crate) fn on(self, device: Device) -> Result<Kind> {
        match (self, device) {
            (Self::F16, Device::Cpu) => Err(Error::BadParameter(
                "f16 is for GPUs: use f32 or bf16 on the processor".into(),
            )),
            _ => Ok(self.kind()),
        }
    }

    /// Bytes of one number.
    pub fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "cpu" => Ok(Self::Cpu),
            "cuda" => Ok(Self::Cuda(0)),
            _ => text
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .map(Self::Cuda)
                .ok_or_else(|| {
                    Error::BadParameter(format!("\"{text}\" is no device: use cpu, cuda or cuda:N"))
                }),
        }
    }
}

impl FromStr for DType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            _ => Err(Error::BadParameter(format!(
                "\"{text}\" is no number format: use f32, bf16 or f16"
            ))),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F16 => "f16",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_and_formats_are_read_as_they_are_written() {
        for text in ["cpu", "cuda:0", "cuda:7"] {
            assert_eq!(text.parse::<Device>().expect("a device").to_string(), text);
        }
        assert_eq!("cuda".parse::<Device>().expect("a device"), Device::Cuda(0));
        for text in ["f32", "bf16"] {
            assert_eq!(text.parse::<DType>().expect("a format").to_string(), text);
        }
        assert!(
            "gpu".parse::<Device>().is_err()
                && "cuda:x".parse::<Device>().is_err()
                && "int8".parse::<DType>().is_err()
        );
    }

    #[test]
    fn a_gpu_that_is_not_there_is_a_clear_error() {
        if let Err(error) = Device::Cuda(4096).open() {
            assert!(matches!(error, Error::Device(_)), "{error}");
        } else {
            panic!("no machine has 4097 GPUs");
        }
    }
}
