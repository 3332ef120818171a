//! Secrets at rest: every stored secret is sealed under a key of its own.
//!
//! The key ring file (mode 0600) holds root keys; a secret's key is HKDF-SHA-256 of a root key and
//! the secret's name, so a sealed value can't be moved to another name; the cipher is
//! AES-256-GCM-SIV. A sealed value says which root key it needs: older ones stay readable.

use std::fmt::Debug;
use std::path::Path;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hkdf;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use longshore_seams::{Disk, Random, Seams};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

const FORMAT: u8 = 1;
const NONCE_LEN: usize = 12;
const ID_LEN: usize = 4;

/// A key ring can't be read, or a value can't be unsealed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file can't be read or written.
    #[error("the key ring {path} can't be used: {source}; it is needed to read this data directory's secrets")]
    File {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The file is not a key ring.
    #[error(
        "the key ring {path} is damaged; restore it from a backup: without it this data directory's secrets are lost"
    )]
    Damaged {
        /// The file.
        path: String,
    },
    /// The value was sealed by another key ring, under another name, or was changed.
    #[error("a sealed secret can't be opened with this key ring: is it the one that belongs to the data directory?")]
    Unsealable,
}

#[derive(Serialize, Deserialize)]
struct File {
    format: u8,
    keys: Vec<FileKey>,
}

#[derive(Serialize, Deserialize)]
struct FileKey {
    id: String,
    key: String,
}

struct RootKey {
    id: [u8; ID_LEN],
    key: Zeroizing<Vec<u8>>,
}

/// The root keys of a data directory; the last one seals.
pub struct Keyring {
    keys: Vec<RootKey>,
}

impl Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring").field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

impl Keyring {
    /// Reads the key ring at `path`, or makes one there.
    ///
    /// # Errors
    /// The file can't be read, written or understood.
    pub fn open(path: &Path, seams: &Seams) -> Result<Self, KeyringError> {
        let at = || path.display().to_string();
        let file_error = |source| KeyringError::File { path: at(), source };
        match seams.disk.read(path).map_err(file_error)? {
            Some(bytes) => Self::parse(&bytes).ok_or_else(|| KeyringError::Damaged { path: at() }),
            None => {
                let ring = Self::generate(&*seams.random);
                ring.save(path, &*seams.disk).map_err(file_error)?;
                Ok(ring)
            }
        }
    }

    /// A key ring with one new key, kept nowhere.
    #[must_use]
    pub fn generate(random: &dyn Random) -> Self {
        let mut id = [0; ID_LEN];
        let mut key = Zeroizing::new(vec![0; 32]);
        random.fill(&mut id);
        random.fill(&mut key);
        Self { keys: vec![RootKey { id, key }] }
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let file: File = serde_json::from_slice(bytes).ok()?;
        if file.format != FORMAT || file.keys.is_empty() {
            return None;
        }
        let parse_key = |key: FileKey| {
            let id = STANDARD.decode(&key.id).ok()?.try_into().ok()?;
            let key = Zeroizing::new(STANDARD.decode(&key.key).ok()?);
            (key.len() == 32).then_some(RootKey { id, key })
        };
        Some(Self { keys: file.keys.into_iter().map(parse_key).collect::<Option<_>>()? })
    }

    fn save(&self, path: &Path, disk: &dyn Disk) -> std::io::Result<()> {
        let keys = self.keys.iter().map(|key| FileKey { id: STANDARD.encode(key.id), key: STANDARD.encode(&*key.key) });
        let file = File { format: FORMAT, keys: keys.collect() };
        let bytes = Zeroizing::new(serde_json::to_vec_pretty(&file)?);
        disk.write_atomically(path, &bytes)
    }

    fn key_for(root: &RootKey, name: &str) -> LessSafeKey {
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, b"longshore keyring 1");
        let info = [name.as_bytes()];
        let secret = salt.extract(&root.key);
        let derived = secret.expand(&info, &AES_256_GCM_SIV).expect("an HKDF of 32 bytes is within its limit");
        LessSafeKey::new(UnboundKey::from(derived))
    }

    /// 16 bytes that belong to `name`, always the same: of the first root key, which stays when others come.
    #[must_use]
    pub(crate) fn derive(&self, name: &str) -> [u8; 16] {
        let root = self.keys.first().expect("a key ring has at least one key");
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &root.key);
        let tag = aws_lc_rs::hmac::sign(&key, format!("longshore derived id 1\n{name}").as_bytes());
        tag.as_ref()[..16].try_into().expect("the tag has 32 bytes")
    }

    /// Seals `secret` under `name`, e.g. `access-key/AKIA…/secret`.
    #[must_use]
    pub fn seal(&self, name: &str, secret: &[u8], random: &dyn Random) -> Vec<u8> {
        let root = self.keys.last().expect("a key ring has at least one key");
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce);
        let mut sealed = secret.to_vec();
        Self::key_for(root, name)
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(name.as_bytes()), &mut sealed)
            .expect("secrets are far below the cipher's limit");
        [&[FORMAT], &root.id[..], &nonce[..], &sealed[..]].concat()
    }

    /// Opens what [`Keyring::seal`] made under the same name.
    ///
    /// # Errors
    /// [`KeyringError::Unsealable`].
    pub fn unseal(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let (format, rest) = sealed.split_first().ok_or(KeyringError::Unsealable)?;
        let (id, rest) = rest.split_at_checked(ID_LEN).ok_or(KeyringError::Unsealable)?;
        let (nonce, ciphertext) = rest.split_at_checked(NONCE_LEN).ok_or(KeyringError::Unsealable)?;
        let root = self.keys.iter().find(|key| key.id == id).filter(|_| *format == FORMAT);
        let root = root.ok_or(KeyringError::Unsealable)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| KeyringError::Unsealable)?;
        let mut opened = Zeroizing::new(ciphertext.to_vec());
        let length = Self::key_for(root, name)
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut opened)
            .map_err(|_| KeyringError::Unsealable)?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use longshore_seams::{MemoryDisk, SeededRandom};
    use std::sync::Arc;

    #[test]
    fn a_sealed_secret_opens_only_under_its_own_name() {
        let random = SeededRandom::new(1);
        let ring = Keyring::generate(&random);
        let sealed = ring.seal("a", b"secret", &random);
        assert_eq!(&**ring.unseal("a", &sealed).unwrap(), b"secret");
        assert!(ring.unseal("b", &sealed).is_err());
        assert!(!sealed.windows(6).any(|window| window == b"secret"));
        let mut damaged = sealed;
        *damaged.last_mut().unwrap() ^= 1;
        assert!(ring.unseal("a", &damaged).is_err());
        assert!(ring.unseal("a", &[]).is_err());
    }

    #[test]
    fn the_file_opens_what_it_sealed_before() {
        let seams =
            Seams { disk: Arc::new(MemoryDisk::default()), random: Arc::new(SeededRandom::new(2)), ..Seams::system() };
        let path = Path::new("/keyring");
        let sealed = Keyring::open(path, &seams).unwrap().seal("a", b"secret", &*seams.random);
        assert_eq!(&**Keyring::open(path, &seams).unwrap().unseal("a", &sealed).unwrap(), b"secret");
    }

    #[test]
    fn a_damaged_file_is_refused_not_replaced() {
        let seams = Seams { disk: Arc::new(MemoryDisk::default()), ..Seams::system() };
        seams.disk.write_atomically(Path::new("/keyring"), b"{}").unwrap();
        assert!(matches!(Keyring::open(Path::new("/keyring"), &seams), Err(KeyringError::Damaged { .. })));
    }
}
