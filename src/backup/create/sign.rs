//! Signing the metadata.

use std::time::Duration;

use super::{Creator, Request, SIGNING_LOOKS};
use crate::audit::LogPaths;
use crate::audit::keys::load_keyring;
use crate::audit::keys::signer::SigningKey;
use crate::backup::metadata::{Metadata, MetadataError};

impl Creator {
    /// Signs the metadata; why not, if it cannot be. A key that is being changed may be
    /// seen between its files: then they are looked at again.
    pub(super) fn sign(&self, request: &Request, metadata: &mut Metadata) -> Option<String> {
        for _ in 0..SIGNING_LOOKS {
            self.sign_once(request, metadata)?;
            std::thread::sleep(Duration::from_millis(50));
        }
        self.sign_once(request, metadata)
    }

    fn sign_once(&self, request: &Request, metadata: &mut Metadata) -> Option<String> {
        let paths = LogPaths::new(&request.log_dir);
        let path = request.key_path.clone().unwrap_or_else(|| paths.key());
        let signed =
            SigningKey::load(&*self.fs, &path).map_err(|error| error.to_string()).and_then(|key| {
                if key.verifier().to_string() != metadata.log.public_key {
                    // The key may have been changed since the snapshot was taken.
                    let keys =
                        load_keyring(&*self.fs, &paths, None).map_err(|error| error.to_string())?;
                    let own = metadata.own_keys().map_err(|error| error.to_string())?;
                    let now = own.extended(keys.rotations());
                    if key.verifier() != now.newest() {
                        let path = path.display();
                        return Err(format!("{path} is another log's key, or was retired"));
                    }
                    metadata.log.key_chain = now.rotations().to_vec();
                }
                metadata.sign(&key).map_err(|error: MetadataError| error.to_string())
            });
        signed.err()
    }
}
