//! Which of the processor's instructions are used.

use std::sync::OnceLock;

use super::Kernels;
use crate::Error;

/// The environment variable that asks for another level than the best.
const VARIABLE: &str = "WINGBEAT_CPU";

/// A set of instructions that there are kernels for, from the slowest to the fastest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Plain Rust, on any machine.
    Portable,
    /// Armv8.2's NEON, with its product of bytes.
    Neon,
    /// NEON with Armv8.6's product of matrices of bytes.
    I8mm,
    /// AVX2 and FMA. Its product of bytes has room for codes of 7 bits; see `kernels/avx2.rs`.
    Avx2,
    /// AVX2, and AVX-VNNI's product of bytes in 256 bits.
    AvxVnni,
    /// AVX-512 with VNNI's product of bytes in 512 bits.
    Avx512,
    /// AVX-512, and AMX's products of whole tiles of bytes.
    Amx,
}

impl Level {
    /// All levels.
    pub const ALL: [Self; 7] = [
        Self::Portable,
        Self::Neon,
        Self::I8mm,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Amx,
    ];

    /// The level to use: what `WINGBEAT_CPU` says, or else the best.
    ///
    /// # Errors
    ///
    /// When the variable names no level, or one that the machine does not have.
    pub fn chosen() -> Result<Self, Error> {
        match std::env::var(VARIABLE) {
            Ok(name) => Self::named(&name),
            Err(std::env::VarError::NotPresent) => Ok(Self::best()),
            Err(std::env::VarError::NotUnicode(_)) => Self::named("?"),
        }
    }

    /// The levels that the machine has.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|level| level.is_available())
    }

    /// The level of this name, if the machine has it.
    pub(crate) fn named(name: &str) -> Result<Self, Error> {
        let has = Self::available().map(Self::name).collect::<Vec<_>>().join(", ");
        let level = Self::ALL.into_iter().find(|level| level.name() == name);
        let level = level.ok_or_else(|| {
            Error::Cpu(format!("{VARIABLE}={name} is no level; this machine has {has}"))
        })?;
        if level.is_available() {
            return Ok(level);
        }
        Err(Error::Cpu(format!(
            "{VARIABLE}={name}: this machine does not have it, but {has}; unset the variable for \
             the best"
        )))
    }

    /// The best level that the machine has, and that multiplies rightly on it ([`Self::is_right`]).
    pub fn best() -> Self {
        static BEST: OnceLock<Level> = OnceLock::new();
        let found = || Self::ALL.into_iter().rfind(|level| level.is_right());
        *BEST.get_or_init(|| found().unwrap_or(Self::Portable))
    }

    /// Whether the machine has it, and its products of some bytes are what plain arithmetic says.
    ///
    /// Not every level could be run on every processor that has it, some were run under emulators
    /// alone, and there are virtual machines that promise more than they keep: none of them is to
    /// give wrong answers in silence.
    pub fn is_right(self) -> bool {
        Kernels::of(self).is_some_and(Kernels::is_right)
    }

    /// Its name, as in `WINGBEAT_CPU`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Neon => "neon",
            Self::I8mm => "i8mm",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// Whether the machine has it, and the system lets it be used.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        match self {
            Self::Portable => true,
            Self::Neon | Self::I8mm => false,
            Self::Avx2 => avx2,
            Self::AvxVnni => avx2 && is_x86_feature_detected!("avxvnni"),
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vnni")
            }
            Self::Amx => Self::Avx512.is_available() && super::amx::is_available(),
        }
    }

    /// Whether the machine has it.
    #[cfg(target_arch = "aarch64")]
    pub fn is_available(self) -> bool {
        let products = std::arch::is_aarch64_feature_detected!("dotprod");
        match self {
            Self::Portable => true,
            Self::Neon => products,
            Self::I8mm => products && std::arch::is_aarch64_feature_detected!("i8mm"),
            Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Amx => false,
        }
    }

    /// Whether the machine has it.
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }
}
