//! Key material in memory.

/// Key material that is overwritten when dropped.
pub(crate) struct Secret<T: AsMut<[u8]>>(pub(crate) T);

impl<T: AsMut<[u8]>> Drop for Secret<T> {
    fn drop(&mut self) {
        let bytes = self.0.as_mut();
        bytes.fill(0);
        // Keeps the compiler from dropping the stores as dead.
        std::hint::black_box(bytes);
    }
}

impl<T: AsMut<[u8]>> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
