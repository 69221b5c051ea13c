//! Which files are converted before they are attached, and how the result is named. Pure.

use crate::types::RelPath;

/// One rule: files with one of these extensions become another type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Extensions without a dot, in lower case.
    pub from: Vec<String>,
    /// The extension of the result.
    pub to: String,
}

impl Rule {
    /// The extension of `from` that the file has, if it is one to convert; its letter case does not matter.
    pub fn extension(&self, path: &RelPath) -> Option<&str> {
        let extension = extension(path.file_name())?;
        self.from.iter().find(|from| from.as_bytes() == extension).map(String::as_str)
    }

    /// The attachment's name with the new extension in place of the old one.
    pub fn renamed(&self, name: &str) -> String {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        format!("{stem}.{}", self.to)
    }
}

/// The extension of a file's name in lower case; none for a name that only begins with a dot.
fn extension(name: &[u8]) -> Option<Vec<u8>> {
    let dot = name.iter().rposition(|b| *b == b'.').filter(|dot| *dot > 0)?;
    Some(name.get(dot + 1..)?.to_ascii_lowercase())
}

/// What is wrong with an extension of the configuration, if anything.
pub fn check_extension(text: &str) -> Result<String, String> {
    let ok = (1..=10).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
    ok.then(|| text.to_ascii_lowercase())
        .ok_or_else(|| "it must be an extension without a dot: 1 to 10 letters or digits, such as \"tif\"".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_go_by_the_extension_alone() {
        let rule = Rule { from: vec!["tif".into(), "tiff".into()], to: "pdf".into() };
        for (path, applies) in [
            ("a.tif", true),
            ("in/deep.d/A.B.TIFF", true),
            ("a.tif.pdf", false),
            ("tif", false),
            (".tif", false),
            ("a.tif/b", false),
            ("a.tif ", false),
        ] {
            assert_eq!(rule.extension(&RelPath::new(path.as_bytes()).unwrap()).is_some(), applies, "{path}");
        }
        let odd = RelPath::new(b"\xff\xfe.TiF".as_slice()).unwrap();
        assert_eq!(rule.extension(&odd), Some("tif"));
    }

    #[test]
    fn names_get_the_new_extension() {
        let rule = Rule { from: vec!["tif".into()], to: "pdf".into() };
        assert_eq!(rule.renamed("letters - a.b.TIF"), "letters - a.b.pdf");
        assert_eq!(rule.renamed("scan~1a2b3c4d.tif"), "scan~1a2b3c4d.pdf");
        assert_eq!(rule.renamed("none"), "none.pdf");
    }

    #[test]
    fn extensions_are_plain() {
        assert_eq!(check_extension("TIFF"), Ok("tiff".into()));
        for bad in ["", ".tif", "t f", "../x", "abcdefghijk", "é"] {
            assert!(check_extension(bad).is_err(), "{bad}");
        }
    }
}
