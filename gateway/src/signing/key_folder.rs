//! Private keys in a folder: one PEM file each, named by when it was made, its algorithm and its key id.
//!
//! A key is published as soon as it is there, signs once everybody has had the time to see it published, and stays
//! published until the last JWT it may have signed is dead. All of that follows from the file names and the clock: nothing
//! else is kept, so gateways that share a folder agree.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair};
use jsonwebtoken::jwk::{Jwk, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use phantomgate_introspection::NumericDate;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::config::SigningAlgorithm;

/// How long a new key is published before it signs: twice the time others may keep our key set.
const PUBLISHED_AHEAD: Duration = Duration::from_secs(10 * 60);

/// What clocks may differ by.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

/// One private key.
pub struct SigningKey {
    made_at: NumericDate,
    algorithm: SigningAlgorithm,
    key: EncodingKey,
    public: Jwk,
    header: Header,
    path: PathBuf,
}

/// What a key is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It is published and will sign from then on.
    SignsFrom(NumericDate),
    /// It signs.
    Signs,
    /// It is published until then, for JWTs it has signed.
    PublishedUntil(NumericDate),
    /// Nobody needs it any more.
    Dead,
}

/// A folder of keys.
pub struct KeyFolder {
    path: PathBuf,
    /// The longest life of a JWT.
    lifetime: Duration,
}

/// Why a key folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file system says no.
    #[error("{path}: {error}")]
    Io {
        /// The folder or file.
        path: String,
        /// What it says.
        error: io::Error,
    },
    /// A file is not one of ours.
    #[error("{0}: its name is not <seconds>-<algorithm>-<key id>.pem; move it elsewhere")]
    Name(String),
    /// A file holds no key, or another one than its name says.
    #[error("{0}: it does not hold the private key that its name says")]
    Content(String),
    /// No key could be made.
    #[error("cannot make a key")]
    Generation,
}

impl SigningKey {
    /// The key id: its thumbprint (RFC 7638).
    pub fn kid(&self) -> &str {
        self.public.common.key_id.as_deref().unwrap_or_default()
    }

    /// When it was made.
    pub fn made_at(&self) -> NumericDate {
        self.made_at
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Its public half.
    pub(super) fn public(&self) -> &Jwk {
        &self.public
    }

    /// A JWT with these `claims`, of the type `at+jwt` (RFC 9068 §2.1).
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.header, claims, &self.key)
    }

    fn from_pem(pem: &[u8], algorithm: SigningAlgorithm, made_at: NumericDate, path: PathBuf) -> Option<Self> {
        let (key, registered) = match algorithm {
            SigningAlgorithm::ES256 => (EncodingKey::from_ec_pem(pem).ok()?, Algorithm::ES256),
            SigningAlgorithm::EdDSA => (EncodingKey::from_ed_pem(pem).ok()?, Algorithm::EdDSA),
            SigningAlgorithm::RS256 => (EncodingKey::from_rsa_pem(pem).ok()?, Algorithm::RS256),
            SigningAlgorithm::PS256 => (EncodingKey::from_rsa_pem(pem).ok()?, Algorithm::PS256),
        };
        let mut public = Jwk::from_encoding_key(&key, registered).ok()?;
        let kid = public.thumbprint(ThumbprintHash::SHA256).ok()?;
        public.common.key_id = Some(kid.clone());
        public.common.public_key_use = Some(PublicKeyUse::Signature);
        let header = Header { typ: Some("at+jwt".to_owned()), kid: Some(kid), ..Header::new(registered) };
        Some(Self { made_at, algorithm, key, public, header, path })
    }
}

impl KeyFolder {
    /// The folder at `path`, for JWTs that live as long as `lifetime`.
    pub fn new(path: &Path, lifetime: Duration) -> Self {
        Self { path: path.to_owned(), lifetime }
    }

    /// All keys, oldest first. A folder that is not there has none.
    ///
    /// # Errors
    /// [`KeyError`] when it holds anything but keys.
    pub fn load(&self) -> Result<Vec<SigningKey>, KeyError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(&self.path, error)),
        };
        let mut keys = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| io_error(&self.path, error))?.path();
            if path.extension().is_some_and(|extension| extension == "pem") {
                keys.push(load_key(path)?);
            }
        }
        keys.sort_by(|one, other| (one.made_at, one.kid()).cmp(&(other.made_at, other.kid())));
        Ok(keys)
    }

    /// All keys, oldest first; when there is none, the first is made. Of several gateways that begin with one empty folder
    /// one makes it, and the others find it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_begin(&self, algorithm: SigningAlgorithm, now: NumericDate) -> Result<Vec<SigningKey>, KeyError> {
        let keys = self.load()?;
        if !keys.is_empty() {
            return Ok(keys);
        }
        let _alone = self.lock()?;
        let mut keys = self.load()?;
        if keys.is_empty() {
            let key = self.create(algorithm, now)?;
            tracing::info!(folder = %self.path.display(), kid = key.kid(), "made the first signing key");
            keys.push(key);
        }
        Ok(keys)
    }

    /// Keeps other gateways from making the first key, until the file is closed. The system undoes that when a process
    /// ends; a file system that knows no locks is as good as one that nobody shares.
    fn lock(&self) -> Result<fs::File, KeyError> {
        self.make()?;
        let path = self.path.join("lock");
        let open = || fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        let file = open().map_err(|error| io_error(&path, error))?;
        if let Err(error) = file.lock() {
            tracing::warn!(folder = %self.path.display(), %error, "cannot lock the key folder");
        }
        Ok(file)
    }

    fn make(&self) -> Result<(), KeyError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.path);
        made.map_err(|error| io_error(&self.path, error))
    }

    /// Makes a key and stores it, readable by its owner only.
    ///
    /// # Errors
    /// [`KeyError`] when it cannot be made or stored.
    pub fn create(&self, algorithm: SigningAlgorithm, now: NumericDate) -> Result<SigningKey, KeyError> {
        let pem = generate(algorithm)?;
        let key = SigningKey::from_pem(pem.as_bytes(), algorithm, now, PathBuf::new()).ok_or(KeyError::Generation)?;
        self.make()?;
        let path = self.path.join(format!("{now}-{algorithm}-{}.pem", key.kid()));
        // Written under another name first: a gateway that looks at the folder meanwhile never sees half a key.
        let draft = path.with_extension("draft");
        let write = || -> io::Result<()> {
            let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft)?;
            file.write_all(pem.as_bytes())?;
            file.sync_all()?;
            fs::rename(&draft, &path)
        };
        write().map_err(|error| io_error(&path, error))?;
        Ok(SigningKey { path, ..key })
    }

    /// Removes the keys in `keys` that nobody needs any more, and tells which.
    ///
    /// # Errors
    /// [`KeyError`] when a file cannot be removed.
    pub fn remove_dead(&self, keys: Vec<SigningKey>, now: NumericDate) -> Result<Vec<SigningKey>, KeyError> {
        let states = self.states(&keys, now);
        let dead = keys.into_iter().zip(states).filter(|(_, state)| *state == KeyState::Dead).map(|(key, _)| key);
        dead.map(|key| match fs::remove_file(&key.path) {
            Ok(()) => Ok(key),
            Err(error) => Err(io_error(&key.path, error)),
        })
        .collect()
    }

    /// What each of `keys` (oldest first) is for at the time `now`.
    pub fn states(&self, keys: &[SigningKey], now: NumericDate) -> Vec<KeyState> {
        let made_at: Vec<_> = keys.iter().map(SigningKey::made_at).collect();
        states(&made_at, self.lifetime, now)
    }
}

/// The key of `keys` (oldest first) that signs at the time `now`.
pub(super) fn signing_key(keys: &[SigningKey], now: NumericDate) -> Option<&SigningKey> {
    let made_at: Vec<_> = keys.iter().map(SigningKey::made_at).collect();
    keys.get(signing_position(&made_at, now)?)
}

/// The newest that has been published for long enough; when none has, the oldest: nobody can know another.
fn signing_position(made_at: &[NumericDate], now: NumericDate) -> Option<usize> {
    let is_known = |made_at: &NumericDate| made_at.after(PUBLISHED_AHEAD) <= now;
    made_at.iter().rposition(is_known).or(if made_at.is_empty() { None } else { Some(0) })
}

fn states(made_at: &[NumericDate], lifetime: Duration, now: NumericDate) -> Vec<KeyState> {
    let signing = signing_position(made_at, now);
    let state = |(position, made): (usize, &NumericDate)| match Some(position).cmp(&signing) {
        std::cmp::Ordering::Equal => KeyState::Signs,
        std::cmp::Ordering::Greater => KeyState::SignsFrom(made.after(PUBLISHED_AHEAD)),
        std::cmp::Ordering::Less => {
            let successor = made_at.get(position + 1).unwrap_or(made);
            match successor.after(PUBLISHED_AHEAD + lifetime + CLOCK_TOLERANCE) {
                end if end <= now => KeyState::Dead,
                end => KeyState::PublishedUntil(end),
            }
        }
    };
    made_at.iter().enumerate().map(state).collect()
}

fn load_key(path: PathBuf) -> Result<SigningKey, KeyError> {
    let shown = || path.display().to_string();
    let parts = || -> Option<(NumericDate, SigningAlgorithm, String)> {
        let mut parts = path.file_stem()?.to_str()?.splitn(3, '-');
        let made_at = NumericDate::from_seconds(parts.next()?.parse().ok()?);
        Some((made_at, parts.next()?.parse().ok()?, parts.next()?.to_owned()))
    };
    let (made_at, algorithm, kid) = parts().ok_or_else(|| KeyError::Name(shown()))?;
    let pem = Zeroizing::new(fs::read(&path).map_err(|error| io_error(&path, error))?);
    let key = SigningKey::from_pem(&pem, algorithm, made_at, path.clone()).filter(|key| key.kid() == kid);
    key.ok_or_else(|| KeyError::Content(shown()))
}

fn generate(algorithm: SigningAlgorithm) -> Result<Zeroizing<String>, KeyError> {
    let pkcs8 = match algorithm {
        SigningAlgorithm::ES256 => {
            let pair = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new());
            pair.map(|pkcs8| Zeroizing::new(pkcs8.as_ref().to_vec()))
        }
        SigningAlgorithm::EdDSA => {
            Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).map(|pkcs8| Zeroizing::new(pkcs8.as_ref().to_vec()))
        }
        SigningAlgorithm::RS256 | SigningAlgorithm::PS256 => RsaKeyPair::generate(KeySize::Rsa2048)
            .and_then(|pair| AsDer::<Pkcs8V1Der<'_>>::as_der(&pair))
            .map(|pkcs8| Zeroizing::new(pkcs8.as_ref().to_vec())),
    };
    let pkcs8 = pkcs8.map_err(|_| KeyError::Generation)?;
    Ok(Zeroizing::new(pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8.to_vec()))))
}

fn io_error(path: &Path, error: io::Error) -> KeyError {
    KeyError::Io { path: path.display().to_string(), error }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const fn at(seconds: u64) -> NumericDate {
        NumericDate::from_seconds(seconds)
    }

    #[test]
    fn the_first_key_signs_at_once_and_its_successor_once_it_is_known() {
        assert_eq!(signing_position(&[], at(0)), None);
        assert_eq!(signing_position(&[at(1_000)], at(1_000)), Some(0));
        assert_eq!(signing_position(&[at(1_000), at(5_000)], at(5_599)), Some(0));
        assert_eq!(signing_position(&[at(1_000), at(5_000)], at(5_600)), Some(1));
    }

    #[test]
    fn a_key_stays_published_until_its_last_jwt_is_dead() {
        let states = |now| states(&[at(1_000), at(5_000), at(9_000)], Duration::from_secs(300), at(now));
        use KeyState::{Dead, PublishedUntil, Signs, SignsFrom};
        assert_eq!(states(5_000), [Signs, SignsFrom(at(5_600)), SignsFrom(at(9_600))]);
        assert_eq!(states(5_959), [PublishedUntil(at(5_960)), Signs, SignsFrom(at(9_600))]);
        assert_eq!(states(5_960), [Dead, Signs, SignsFrom(at(9_600))]);
        assert_eq!(states(9_600), [Dead, PublishedUntil(at(9_960)), Signs]);
    }

    #[test]
    fn keys_come_back_from_the_folder_as_they_were_made() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::new(&folder.path().join("deep/keys"), Duration::from_secs(300));
        assert!(keys.load().unwrap().is_empty());
        let first = keys.create(SigningAlgorithm::EdDSA, at(2_000)).unwrap();
        let second = keys.create(SigningAlgorithm::ES256, at(1_000)).unwrap();
        let loaded = keys.load().unwrap();
        let kids: Vec<_> = loaded.iter().map(SigningKey::kid).collect();
        assert_eq!(kids, [second.kid(), first.kid()], "oldest first");
        for key in &loaded {
            assert_eq!(fs::metadata(&key.path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn gateways_that_begin_with_one_empty_folder_make_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let kids: Vec<Vec<String>> = std::thread::scope(|scope| {
            let begin = || {
                let keys = KeyFolder::new(&folder.path().join("keys"), Duration::from_secs(300));
                let keys = keys.load_or_begin(SigningAlgorithm::ES256, at(1_000)).unwrap();
                keys.iter().map(|key| key.kid().to_owned()).collect()
            };
            let gateways: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            gateways.into_iter().map(|gateway| gateway.join().unwrap()).collect()
        });
        assert_eq!(kids[0].len(), 1);
        assert!(kids.iter().all(|own| *own == kids[0]), "{kids:?}");
    }

    #[test]
    fn keys_of_every_algorithm_come_back_with_it_and_a_published_half() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::new(folder.path(), Duration::from_secs(300));
        let algorithms =
            [SigningAlgorithm::ES256, SigningAlgorithm::EdDSA, SigningAlgorithm::RS256, SigningAlgorithm::PS256];
        for (algorithm, made_at) in algorithms.into_iter().zip(1_000..) {
            keys.create(algorithm, at(made_at)).unwrap();
        }
        let loaded = keys.load().unwrap();
        assert_eq!(loaded.iter().map(SigningKey::algorithm).collect::<Vec<_>>(), algorithms);
        for key in &loaded {
            let public = serde_json::to_value(key.public()).unwrap();
            assert_eq!(public["alg"], key.algorithm().to_string());
            assert_eq!((&public["use"], &public["kid"]), (&"sig".into(), &key.kid().into()));
            for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
                assert!(public.get(private).is_none(), "{private} of {}", key.algorithm());
            }
        }
    }

    #[test]
    fn dead_keys_are_removed_and_no_others() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::new(folder.path(), Duration::from_secs(300));
        let old = keys.create(SigningAlgorithm::ES256, at(1_000)).unwrap();
        let new = keys.create(SigningAlgorithm::ES256, at(5_000)).unwrap();
        assert!(keys.remove_dead(keys.load().unwrap(), at(5_900)).unwrap().is_empty());
        let removed = keys.remove_dead(keys.load().unwrap(), at(5_960)).unwrap();
        assert_eq!(removed.iter().map(SigningKey::kid).collect::<Vec<_>>(), [old.kid()]);
        assert_eq!(keys.load().unwrap().iter().map(SigningKey::kid).collect::<Vec<_>>(), [new.kid()]);
    }

    #[test]
    fn a_file_that_is_no_key_of_ours_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let keys = KeyFolder::new(folder.path(), Duration::from_secs(300));
        let key = keys.create(SigningAlgorithm::ES256, at(1_000)).unwrap();
        let renamed = folder.path().join("1000-ES256-another.pem");
        fs::rename(&key.path, &renamed).unwrap();
        let error = |keys: &KeyFolder| keys.load().map(|_| ()).unwrap_err().to_string();
        assert!(error(&keys).contains("1000-ES256-another.pem: it does not hold"), "{}", error(&keys));
        fs::rename(&renamed, folder.path().join("mine.pem")).unwrap();
        assert!(error(&keys).contains("mine.pem: its name is not"), "{}", error(&keys));
    }
}
