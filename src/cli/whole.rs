//! Documents that are written whole or not at all.
//!
//! In: a path and its new text. Out: the file. Invariant: a full disk or a power cut leaves the old text or the new one, never a part;
//! a link stays a link, and the file keeps its mode.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Writes a document under `NAME.part`, and gives it its name when it is on the disk.
///
/// # Errors
/// The folder or the disk refuses; the old text is still there then.
pub(crate) fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let done = replace(&path, &part, text);
    if done.is_err() {
        let _ = fs::remove_file(&part);
    }
    done.with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, part: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create(part)?;
    file.write_all(text.as_bytes())?;
    if let Ok(known) = fs::metadata(path) {
        file.set_permissions(known.permissions())?;
    }
    file.sync_all()?;
    fs::rename(part, path)?;
    // The new name is on the disk only when its folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_document_is_the_old_or_the_new_one() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("site.toml"), folder.path().join("link.toml"));
        write(&file, "old").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink(&file, &link).unwrap();
        write(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
        fs::create_dir(folder.path().join("site.toml.part")).unwrap();
        assert!(write(&file, "newer").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
    }
}
