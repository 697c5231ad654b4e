//! What the kernels need of vectors of floats, and the functions made of it.
//!
//! Code that is generic over [`Floats`] is compiled once for each instruction set: every function of
//! it is inlined into an entry point (`entry_points!`) that has the instructions. So it holds no
//! closures that compute: those would be functions of their own, without the instructions.

/// Vectors of floats of one instruction set. A value of the type is the proof that the machine has
/// it, so that everything but reading and writing by pointer is safe.
pub(super) trait Floats: Copy {
    /// A vector.
    type Vector: Copy;

    /// The floats in a vector.
    const LANES: usize;

    /// A vector of one value.
    fn splat(self, value: f32) -> Self::Vector;

    /// Reads a vector.
    ///
    /// # Safety
    ///
    /// [`Self::LANES`] floats can be read there.
    unsafe fn read(self, from: *const f32) -> Self::Vector;

    /// Writes a vector.
    ///
    /// # Safety
    ///
    /// [`Self::LANES`] floats can be written there.
    unsafe fn write(self, vector: Self::Vector, to: *mut f32);

    /// Reads integers as floats.
    ///
    /// # Safety
    ///
    /// [`Self::LANES`] integers can be read there.
    unsafe fn read_integers(self, from: *const i32) -> Self::Vector;

    /// Writes the nearest integers, which must be from -128 to 127, each as a byte that `added` was
    /// added to.
    ///
    /// # Safety
    ///
    /// [`Self::LANES`] bytes can be written there.
    unsafe fn write_codes(self, vector: Self::Vector, added: u8, to: *mut u8);

    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a * b + c`; whether it is rounded once or twice is the instruction set's.
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The larger of each pair.
    fn max(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The smaller of each pair.
    fn min(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The nearest integers, the even one of two. For values under 2²² alone.
    fn round(self, a: Self::Vector) -> Self::Vector;
    /// `a` times two to the power of `n`, integers from -126 to 127.
    fn scale(self, a: Self::Vector, n: Self::Vector) -> Self::Vector;
    /// The sum of the lanes.
    fn sum(self, a: Self::Vector) -> f32;
    /// The largest of the lanes.
    fn largest(self, a: Self::Vector) -> f32;

    /// Writes a square of as many rows as lanes, turned: the strides are those of the rows.
    ///
    /// # Safety
    ///
    /// [`Self::LANES`] rows can be read and written there.
    #[inline(always)]
    unsafe fn turn(self, from: *const f32, stride: usize, to: *mut f32, to_stride: usize) {
        for row in 0..Self::LANES {
            for column in 0..Self::LANES {
                // SAFETY: both are in squares that the caller vouches for.
                unsafe { *to.add(column * to_stride + row) = *from.add(row * stride + column) }
            }
        }
    }

    /// The first floats of a slice, which must have so many.
    #[inline(always)]
    fn load(self, from: &[f32]) -> Self::Vector {
        assert!(from.len() >= Self::LANES);
        // SAFETY: they are there.
        unsafe { self.read(from.as_ptr()) }
    }

    /// Writes over the first floats of a slice, which must have so many.
    #[inline(always)]
    fn store(self, vector: Self::Vector, to: &mut [f32]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: there is room.
        unsafe { self.write(vector, to.as_mut_ptr()) }
    }

    /// The first integers of a slice, which must have so many, as floats.
    #[inline(always)]
    fn load_integers(self, from: &[i32]) -> Self::Vector {
        assert!(from.len() >= Self::LANES);
        // SAFETY: they are there.
        unsafe { self.read_integers(from.as_ptr()) }
    }

    /// See [`Self::write_codes`]; the slice must have room.
    #[inline(always)]
    fn store_codes(self, vector: Self::Vector, added: u8, to: &mut [u8]) {
        assert!(to.len() >= Self::LANES);
        // SAFETY: there is room.
        unsafe { self.write_codes(vector, added, to.as_mut_ptr()) }
    }
}

/// A function of a [`Floats`] that takes vectors and is an instruction, or a few.
#[cfg(target_arch = "x86_64")]
macro_rules! instruction {
    ($name:ident($($argument:ident),*) = $($value:tt)*) => {
        #[inline(always)]
        fn $name(self, $($argument: Self::Vector),*) -> Self::Vector {
            // SAFETY: the machine has the instructions, since there is a `self`.
            unsafe { $($value)* }
        }
    };
}
#[cfg(target_arch = "x86_64")]
pub(super) use instruction;

/// `factors[0] + x * (factors[1] + x * ...)`
#[inline(always)]
fn polynomial<F: Floats>(f: F, x: F::Vector, factors: &[f32]) -> F::Vector {
    let mut sum = f.splat(0.0);
    for (index, factor) in factors.iter().rev().enumerate() {
        let factor = f.splat(*factor);
        sum = if index == 0 { factor } else { f.mul_add(sum, x, factor) };
    }
    sum
}

/// `x ≥` this: its exponential is still a normal number.
const EXP_MIN: f32 = -87.0;

/// 2ˣ from -½ to ½, to 3e-6 of itself.
const EXP2: [f32; 5] = [0.999_999_3, 0.693_121_8, 0.240_247_46, 0.055_918_064, 0.009_570_167];

/// The exponential of values of 0 or less, to 1e-5 of itself; under [`EXP_MIN`], next to nothing.
#[inline(always)]
pub(super) fn exp<F: Floats>(f: F, x: F::Vector) -> F::Vector {
    let x = f.mul(f.max(x, f.splat(EXP_MIN)), f.splat(std::f32::consts::LOG2_E));
    let whole = f.round(x);
    f.scale(polynomial(f, f.sub(x, whole), &EXP2), whole)
}

/// `(Φ(x) - ½) / x` by x², where Φ is the normal distribution: the polynomial of its degree for which
/// the largest error of `x Φ(x)` is least, when Φ is kept within 0 and 1.
const NORMAL: [f32; 7] = [
    0.397_883_12,
    -0.064_572_8,
    0.008_772_248,
    -8.139_863e-4,
    4.795_247e-5,
    -1.598_446_7e-6,
    2.277_836e-8,
];

/// How far [`gelu`] is off at most.
#[cfg(test)]
pub(super) const GELU_ERROR: f64 = 2e-4;

/// GELU: `x Φ(x)`. Its error is far below that of a byte, which it becomes; and beyond the reach of
/// the polynomial, which goes up on the right and down on the left, it is exact.
#[inline(always)]
pub(super) fn gelu<F: Floats>(f: F, x: F::Vector) -> F::Vector {
    let odd = polynomial(f, f.mul(x, x), &NORMAL);
    let share = f.mul_add(odd, x, f.splat(0.5));
    f.mul(x, f.min(f.max(share, f.splat(0.0)), f.splat(1.0)))
}
