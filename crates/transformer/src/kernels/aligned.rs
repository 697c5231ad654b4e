//! Numbers that begin at a cache line.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

/// The length of a cache line, in bytes. Rows and tiles that begin at one are read in whole lines:
/// with AMX that makes three times the speed.
const LINE: usize = 64;

/// Numbers that are all bits of any kind: zero bytes are a value of theirs.
pub(crate) trait Number: Copy + Send + Sync + 'static {}

impl Number for u8 {}
impl Number for i8 {}
impl Number for i32 {}
impl Number for f32 {}

/// Like a boxed slice of numbers, but begins at a cache line.
pub(crate) struct Aligned<T: Number> {
    start: NonNull<T>,
    length: usize,
}

// SAFETY: it owns its numbers alone, as a boxed slice does, and they can be sent.
unsafe impl<T: Number> Send for Aligned<T> {}
// SAFETY: shared, it gives out shared slices alone, of numbers that can be shared.
unsafe impl<T: Number> Sync for Aligned<T> {}

impl<T: Number> Aligned<T> {
    /// So many zeros.
    pub(crate) fn zeros(length: usize) -> Self {
        let Some(layout) = Self::layout(length) else {
            return Self { start: NonNull::dangling(), length: 0 };
        };
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) }.cast::<T>();
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, length }
    }

    /// At least so many numbers, whichever: what is there already stays only where that is enough.
    pub(crate) fn grow(&mut self, length: usize) {
        if self.length < length {
            *self = Self::zeros(length);
        }
    }

    /// `None` where there is nothing to keep.
    fn layout(length: usize) -> Option<Layout> {
        let layout = Layout::array::<T>(length).and_then(|layout| layout.align_to(LINE));
        // The capacity of a `Vec` is bounded in the same way, and fails in the same way.
        let Ok(layout) = layout else { handle_alloc_error(Layout::new::<T>()) };
        (layout.size() > 0).then_some(layout)
    }
}

impl<T: Number> Drop for Aligned<T> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.length) {
            // SAFETY: it was allocated with this layout, and nobody has it any more.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) }
        }
    }
}

impl<T: Number> Deref for Aligned<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many numbers are there, all set, and lent as long as this is.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> DerefMut for Aligned<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: so many numbers are there, all set, and lent alone as long as this is.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

impl<T: Number> Default for Aligned<T> {
    fn default() -> Self {
        Self::zeros(0)
    }
}

impl<T: Number> FromIterator<T> for Aligned<T> {
    fn from_iter<I: IntoIterator<Item = T>>(numbers: I) -> Self {
        let numbers: Vec<T> = numbers.into_iter().collect();
        let mut aligned = Self::zeros(numbers.len());
        aligned.copy_from_slice(&numbers);
        aligned
    }
}
