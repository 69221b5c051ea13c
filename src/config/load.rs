//! Finding the file.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::problem::{Sink, one_line};
use super::{Config, ConfigError, Env};

/// Where the file is looked for when nothing names one.
const DEFAULT_PATH: &str = "/etc/casedrop/casedrop.toml";

/// More than any sensible file holds; keeps `--config /dev/zero` from filling the memory.
const MAX_BYTES: u64 = 4 << 20;

impl Config {
    /// Reads the file named by the flag, else by `$CASEDROP_CONFIG`, else `/etc/casedrop/casedrop.toml`.
    ///
    /// # Errors
    /// Which file is missing or cannot be read, or every problem in it.
    pub fn load(flag: Option<&Path>, env: Env<'_>) -> Result<Self, ConfigError> {
        let named = env("CASEDROP_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
        let (path, looked) = match (flag, named) {
            (Some(path), _) => (path.to_owned(), "named by --config"),
            (None, Some(path)) => (path, "named by $CASEDROP_CONFIG"),
            (None, None) => {
                (PathBuf::from(DEFAULT_PATH), "the default; neither --config nor $CASEDROP_CONFIG is given")
            }
        };
        let bytes = match read(&path) {
            Ok(bytes) => bytes,
            Err(source) if source.kind() == ErrorKind::NotFound => return Err(ConfigError::Missing { path, looked }),
            Err(source) => return Err(ConfigError::Unreadable { path, looked, source }),
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Self::parse(text, &path, env).map_err(ConfigError::Invalid),
            Err(e) => {
                let valid = bytes.get(..e.valid_up_to()).and_then(|b| std::str::from_utf8(b).ok()).unwrap_or_default();
                let mut sink = Sink::new(valid, origin(&path));
                sink.syntax(valid.len(), "the file is not UTF-8 here");
                Err(ConfigError::Invalid(sink.into_problems()))
            }
        }
    }
}

/// The file's name as problems show it.
pub(super) fn origin(path: &Path) -> String {
    one_line(&path.to_string_lossy())
}

fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::new(ErrorKind::FileTooLarge, "it is larger than 4 MiB"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;

    #[test]
    fn the_flag_goes_before_the_environment() {
        let env = |name: &str| (name == "CASEDROP_CONFIG").then(|| OsString::from("/nowhere/env.toml"));
        let shown = |flag, env: Env<'_>| Config::load(flag, env).unwrap_err().to_string();
        let flag = shown(Some(Path::new("/nowhere/flag.toml")), &env);
        assert!(
            flag.contains("/nowhere/flag.toml (named by --config)") && flag.contains("config.example.toml"),
            "{flag}"
        );
        let env = shown(None, &env);
        assert!(env.contains("/nowhere/env.toml (named by $CASEDROP_CONFIG)"), "{env}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Config::load(Some(dir.path()), &|_| None).unwrap_err();
        assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
        assert!(error.to_string().contains(&dir.path().display().to_string()));

        let file = dir.path().join("c.toml");
        std::fs::write(&file, b"[log]\nlevel = \"\xff\"\n").unwrap();
        let error = Config::load(Some(&file), &|_| None).unwrap_err().to_string();
        assert!(error.ends_with("c.toml:2:10: this is no TOML: the file is not UTF-8 here"), "{error}");

        std::fs::write(&file, vec![b'#'; 5 << 20]).unwrap();
        let error = Config::load(Some(&file), &|_| None).unwrap_err().to_string();
        assert!(error.contains("larger than 4 MiB"), "{error}");
    }
}
