//! The token that acts must carry, in a file beside the journal.
//!
//! In: the journal's folder. Out: 64 hexadecimal digits.
//! Invariant: the file is readable by its owner alone, from its first byte on.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Name of the file in the journal's folder.
pub const FILE: &str = "token";

/// A shorter token can be guessed; a longer file is no token.
const LENGTHS: std::ops::RangeInclusive<usize> = 16..=1024;

/// Reads the token in `folder`, or makes one (32 random bytes in hexadecimal, file mode 0600). A file that others may read is closed to
/// them; one that holds no token (a power cut can leave an empty file) is replaced.
///
/// # Errors
/// The folder cannot be read or written.
pub fn open(folder: &Path) -> io::Result<String> {
    let path = folder.join(FILE);
    match File::open(&path) {
        Ok(file) => {
            if file.metadata()?.permissions().mode() & 0o077 != 0 {
                file.set_permissions(Permissions::from_mode(0o600))?;
            }
            match parse(file) {
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!(file = %path.display(), "the token file held no token; a new one is made");
                    create(&path)
                }
                found => found,
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => create(&path),
        Err(error) => Err(error),
    }
}

/// Reads the token of the file `path`.
///
/// # Errors
/// The file cannot be read, or holds no token.
pub fn read(path: &Path) -> io::Result<String> {
    parse(File::open(path)?)
}

fn parse(file: File) -> io::Result<String> {
    let mut text = String::new();
    file.take(4096).read_to_string(&mut text)?;
    let token = text.trim();
    if LENGTHS.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(token.to_owned());
    }
    Err(io::Error::new(io::ErrorKind::InvalidData, "the file holds no token"))
}

/// A token that stands in no file: nobody can act with it.
///
/// # Errors
/// The system has no random source.
pub fn random() -> io::Result<String> {
    let mut random = [0_u8; 32];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Written whole under another name first: a power cut leaves no half token.
fn create(path: &Path) -> io::Result<String> {
    let token = random()?;
    let draft = path.with_extension("new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.set_permissions(Permissions::from_mode(0o600))?;
    file.write_all(token.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::rename(&draft, path)?;
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_made_once_and_for_the_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let first = open(folder.path()).unwrap();
        assert_eq!(first.len(), 64);
        assert_eq!(open(folder.path()).unwrap(), first);
        let path = folder.path().join(FILE);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        std::fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(open(folder.path()).unwrap(), first);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn an_empty_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "\n").unwrap();
        assert_eq!(read(&folder.path().join(FILE)).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let token = open(folder.path()).unwrap();
        assert_eq!(read(&folder.path().join(FILE)).unwrap(), token);
    }
}
