//! Encrypted archives: [age](https://age-encryption.org), to public keys only. The
//! host that makes backups cannot read them again: who has no private key has no
//! backup.
//!
//! Neither making nor reading one puts anything of it on a disk: what is packed goes
//! straight into the encryption, and what is read is decrypted in memory.
//!
//! So that an encrypted file is proven like any other, it is also encrypted to a
//! key that is made for it and thrown away once the file has been read back.

mod key_file;
#[cfg(feature = "encryption")]
mod with_age;
#[cfg(not(feature = "encryption"))]
mod without;

pub use key_file::KeyFile;
#[cfg(feature = "encryption")]
pub(super) use with_age::{Identities, Recipients, Sealing, identities, open_sealed, seal, unseal};
#[cfg(not(feature = "encryption"))]
pub(super) use without::{Identities, Recipients, Sealing, identities, open_sealed, seal, unseal};
