//! AMX: products of tiles of 16 rows of 64 bytes. The rest is AVX-512. Its tests have been run under
//! Bochs alone (docs/performance.md), so nothing is known of its speed.
//!
//! Rust has no AMX intrinsics yet, so these are instructions in assembly.
//! Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18.

use std::{
    arch::{
        asm,
        x86_64::{__cpuid, __cpuid_count, _xgetbv},
    },
    sync::OnceLock,
};

use super::{
    Form, Kernels,
    avx512::Avx512,
    entry_points,
    product::{Panel, Tile, Tiles},
};

pub(super) static KERNELS: Kernels = entry_points!(
    Amx,
    Avx512::assume(),
    Amx,
    Amx(Avx512::assume()),
    "avx512f,avx512bw,avx512vnni,avx2,fma"
);

/// The bytes of a tile's row, and the rows of a tile.
const ROW_BYTES: usize = 64;
const ROWS: usize = 16;

/// Whether the processor has AMX with bytes, and the system lets this process use it.
pub(super) fn is_available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| has_instructions() && is_permitted())
}

/// The processor has AMX-TILE and AMX-INT8, and the system saves the tiles' registers.
fn has_instructions() -> bool {
    /// In EDX of leaf 7: AMX-TILE and AMX-INT8.
    const AMX: u32 = 1 << 24 | 1 << 25;
    /// In ECX of leaf 1: the system has set up XGETBV.
    const OSXSAVE: u32 = 1 << 27;
    /// In XCR0: the configuration of tiles, and their data.
    const TILES: u64 = 1 << 17 | 1 << 18;
    if __cpuid(0).eax < 7 || __cpuid(1).ecx & OSXSAVE == 0 || __cpuid_count(7, 0).edx & AMX != AMX {
        return false;
    }
    // SAFETY: OSXSAVE says that the instruction is there.
    unsafe { _xgetbv(0) & TILES == TILES }
}

/// Asks Linux for the tiles' registers, which it gives to who asks alone: for all threads of the
/// process from now on. Source: Documentation/arch/x86/xstate.rst of the kernel.
#[cfg(target_os = "linux")]
fn is_permitted() -> bool {
    const ARCH_PRCTL: i64 = 158;
    const ARCH_REQ_XCOMP_PERM: u64 = 0x1023;
    const XFEATURE_XTILEDATA: u64 = 18;
    let mut result = ARCH_PRCTL;
    // SAFETY: a system call that touches no memory of ours; it changes these registers alone.
    unsafe {
        asm!(
            "syscall",
            inout("rax") result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            out("rcx") _,
            out("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// How other systems give them is not known here.
#[cfg(not(target_os = "linux"))]
fn is_permitted() -> bool {
    false
}

/// What `ldtilecfg` reads: all eight tiles have 16 rows ([`ROWS`]) of 64 bytes ([`ROW_BYTES`]).
#[repr(C, align(64))]
struct Configuration([u8; 64]);

static CONFIGURATION: Configuration = {
    const PALETTE: usize = 0;
    const BYTES: usize = 16;
    const HEIGHTS: usize = 48;
    let mut bytes = [0; 64];
    bytes[PALETTE] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[BYTES + 2 * tile] = 64;
        bytes[HEIGHTS + tile] = 16;
        tile += 1;
    }
    Configuration(bytes)
};

/// The machine has AMX and AVX-512.
#[derive(Clone, Copy)]
struct Amx(Avx512);

impl Tiles for Amx {
    // Two tiles of rows, two of columns: four of sums.
    const ROWS: usize = 2 * ROWS;
    const COLUMNS: usize = 2 * ROWS;
    const FORM: Form = Form::SIGNED;

    #[inline(always)]
    fn begin(self) {
        // SAFETY: the machine has AMX, and the configuration is a sound one.
        unsafe { asm!("ldtilecfg [{}]", in(reg) CONFIGURATION.0.as_ptr(), options(nostack)) }
    }

    #[inline(always)]
    fn end(self) {
        // SAFETY: the machine has AMX.
        unsafe { asm!("tilerelease", options(nostack)) }
    }

    #[inline(always)]
    fn multiply(self, codes: &[u8], rows: usize, panel: Panel<'_>, to: &mut Tile) {
        panel.check::<Self>(codes, rows);
        assert!(panel.inputs.is_multiple_of(ROW_BYTES));
        assert!(codes.len() >= rows.next_multiple_of(ROWS) * panel.inputs);
        // SAFETY: the machine has the instructions (kernels of this level are given out nowhere
        // else), and the operands were checked: whole tiles can be read.
        unsafe {
            if rows > ROWS { tile_of_32(codes, panel, to) } else { tile_of_16(codes, panel, to) }
        }
    }
}

/// Multiplies 32 rows.
///
/// # Safety
///
/// The machine has AMX; the operands have what [`Panel::check`] asks for, with 32 rows, and inputs
/// in multiples of 64.
unsafe fn tile_of_32(codes: &[u8], panel: Panel<'_>, to: &mut Tile) {
    // SAFETY: reads rows and weights to their ends, and writes 32 rows of 32 sums.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{upper} + {stride} * 1]",
            "tileloadd tmm6, [{weights} + {line} * 1]",
            "tileloadd tmm7, [{weights} + {line} * 1 + 64]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{lower} + {stride} * 1]",
            "tdpbssd tmm1, tmm4, tmm7",
            "tdpbssd tmm2, tmm5, tmm6",
            "tdpbssd tmm3, tmm5, tmm7",
            "add {upper}, 64",
            "add {lower}, 64",
            "add {weights}, 2048",
            "dec {count}",
            "jnz 2b",
            "tilestored [{to} + {line} * 1], tmm0",
            "tilestored [{to} + {line} * 1 + 64], tmm1",
            "tilestored [{to} + {line} * 1 + 2048], tmm2",
            "tilestored [{to} + {line} * 1 + 2112], tmm3",
            upper = inout(reg) codes.as_ptr() => _,
            lower = inout(reg) codes.as_ptr().add(ROWS * panel.inputs) => _,
            weights = inout(reg) panel.weights.as_ptr() => _,
            to = in(reg) to.0.as_mut_ptr(),
            stride = in(reg) panel.inputs,
            line = in(reg) 4 * Amx::COLUMNS,
            count = inout(reg) panel.inputs / ROW_BYTES => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// Multiplies 16 rows.
///
/// # Safety
///
/// As for [`tile_of_32`], with 16 rows.
unsafe fn tile_of_16(codes: &[u8], panel: Panel<'_>, to: &mut Tile) {
    // SAFETY: as in `tile_of_32`, with 16 rows.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1",
            "2:",
            "tileloadd tmm4, [{upper} + {stride} * 1]",
            "tileloadd tmm6, [{weights} + {line} * 1]",
            "tileloadd tmm7, [{weights} + {line} * 1 + 64]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tdpbssd tmm1, tmm4, tmm7",
            "add {upper}, 64",
            "add {weights}, 2048",
            "dec {count}",
            "jnz 2b",
            "tilestored [{to} + {line} * 1], tmm0",
            "tilestored [{to} + {line} * 1 + 64], tmm1",
            upper = inout(reg) codes.as_ptr() => _,
            weights = inout(reg) panel.weights.as_ptr() => _,
            to = in(reg) to.0.as_mut_ptr(),
            stride = in(reg) panel.inputs,
            line = in(reg) 4 * Amx::COLUMNS,
            count = inout(reg) panel.inputs / ROW_BYTES => _,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
