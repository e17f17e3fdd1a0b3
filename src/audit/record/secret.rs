//! Key material in memory.

use zeroize::Zeroize;

/// Key material that is overwritten when dropped.
pub(crate) struct Secret<T: AsMut<[u8]>>(pub(crate) T);

impl<T: AsMut<[u8]>> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.as_mut().zeroize();
    }
}

impl<T: AsMut<[u8]>> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}
