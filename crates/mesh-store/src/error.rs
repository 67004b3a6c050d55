use std::{error::Error, fmt, io, path::PathBuf};

/// Why a store could not be opened, read or written.
///
/// From [`Store::commit`](crate::Store::commit), an error means that the outcome of the batch is unknown and that the
/// handle is of no further use; from anything else, that nothing was changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The store is open elsewhere: in another process, or by another handle in this one.
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file is something else than a store, or its very beginning is lost.
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        detail: String,
    },
    /// The file is a store whose contents cannot be trusted.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        detail: String,
    },
    /// The store was written by a later version of this crate.
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The format that the file says it has.
        found: u64,
        /// The latest format that is understood here.
        known: u64,
    },
    /// The medium, a quota on it, or the size that the file may have is exhausted.
    Full {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The medium failed otherwise.
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// An earlier commit failed, so this handle cannot say what is stored.
    Poisoned,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::InUse { path } => write!(
                f,
                "the store {} is open in another process or by another handle; stop that one, or use another file",
                path.display()
            ),
            StoreError::NotAStore { path, detail } => write!(
                f,
                "{} is not a store ({detail}); nothing was written to it: check the path, restore the file from a backup, \
                 or move it away to begin with an empty store",
                path.display()
            ),
            StoreError::Damaged { path, detail } => write!(
                f,
                "the store {} is damaged ({detail}); restore it from a backup, or move it away to begin with an empty \
                 store",
                path.display()
            ),
            StoreError::NewerFormat { path, found, known } => write!(
                f,
                "the store {} has format {found}, and formats up to {known} are known here; use the version of the \
                 program that wrote it, or a later one",
                path.display()
            ),
            StoreError::Full { path, source } => write!(
                f,
                "there is no room to write the store {} ({source}); make room and open it again",
                path.display()
            ),
            StoreError::Io { path, source } => write!(
                f,
                "the store {} cannot be read or written ({source}); see to that and open it again",
                path.display()
            ),
            StoreError::Poisoned => {
                f.write_str("a commit failed before, so what is stored is not known; open the store again")
            }
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            StoreError::Full { source, .. } | StoreError::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
