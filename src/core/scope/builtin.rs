//! The junk that no mirror takes unless `builtin_excludes = false`: what editors, browsers, office programs and
//! file systems leave beside real files, half-written downloads, and hidden names.
//!
//! Hand-written on bytes, because every name of every pass goes through it.

/// Endings of files that are not finished or not meant, after the last dot, in any letter case.
const ENDINGS: [(&[u8], &str); 9] = [
    (b"swp", "vim swap file (*.swp)"),
    (b"swo", "vim swap file (*.swo)"),
    (b"swx", "vim swap file (*.swx)"),
    (b"part", "unfinished file (*.part)"),
    (b"partial", "unfinished file (*.partial)"),
    (b"crdownload", "unfinished download (*.crdownload)"),
    (b"filepart", "unfinished transfer (*.filepart)"),
    (b"tmp", "temporary file (*.tmp)"),
    (b"download", "unfinished download (*.download)"),
];

/// Whole names, in any letter case.
const NAMES: [(&[u8], &str); 8] = [
    (b"thumbs.db", "Windows folder data (Thumbs.db)"),
    (b"ehthumbs.db", "Windows folder data (ehthumbs.db)"),
    (b"desktop.ini", "Windows folder data (desktop.ini)"),
    (b".ds_store", "macOS folder data (.DS_Store)"),
    (b"@eadir", "Synology folder data (@eaDir)"),
    (b"#recycle", "Synology waste bin (#recycle)"),
    (b".stfolder", "Syncthing's marker (.stfolder)"),
    (b"lost+found", "file system repair folder (lost+found)"),
];

/// Beginnings; the first that fits is named, so that hidden names in general come last.
const BEGINNINGS: [(&[u8], &str); 5] = [
    (b"~$", "Microsoft Office lock file (~$*)"),
    (b"._", "macOS file data (._*)"),
    (b".#", "Emacs lock file (.#*)"),
    (b".Trash", "waste bin (.Trash*)"),
    (b".", "hidden name (.*)"),
];

/// The rule that fits the name of a file or folder.
pub(super) fn rule(name: &[u8], is_dir: bool) -> Option<&'static str> {
    if name.starts_with(b".~lock.") && name.ends_with(b"#") {
        return Some("LibreOffice lock file (.~lock.*#)");
    }
    if let Some((_, words)) = NAMES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)) {
        return Some(words);
    }
    if let Some(dot) = name.iter().rposition(|b| *b == b'.') {
        let ending = name.get(dot + 1..).unwrap_or_default();
        if let Some((_, words)) = ENDINGS.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)) {
            return Some(words);
        }
    }
    if let Some((_, words)) = BEGINNINGS.iter().find(|(known, _)| name.starts_with(known)) {
        return Some(words);
    }
    match name {
        [b'#', .., b'#'] => Some("Emacs auto-save file (#*#)"),
        [.., b'~'] => Some("editor's backup (*~)"),
        // vim tries with a file of this name whether it may write; a folder of this name is a person's.
        b"4913" if !is_dir => Some("vim test file (4913)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn junk_is_known_by_name() {
        for (name, words) in [
            (".a.pdf.swp", "*.swp"),
            ("a.SWO", "*.swo"),
            ("a.swx", "*.swx"),
            ("4913", "4913"),
            ("#a.txt#", "#*#"),
            (".#a.txt", ".#*"),
            ("a.txt~", "*~"),
            (".~lock.a.odt#", ".~lock.*#"),
            ("~$letter.docx", "~$*"),
            ("a.pdf.part", "*.part"),
            ("a.partial", "*.partial"),
            ("a.pdf.crdownload", "*.crdownload"),
            ("a.pdf.filepart", "*.filepart"),
            ("a.TMP", "*.tmp"),
            ("a.download", "*.download"),
            ("Thumbs.db", "Thumbs.db"),
            ("thumbs.db", "Thumbs.db"),
            ("ehthumbs.db", "ehthumbs.db"),
            ("Desktop.ini", "desktop.ini"),
            (".DS_Store", ".DS_Store"),
            ("._a.pdf", "._*"),
            ("@eaDir", "@eaDir"),
            ("#recycle", "#recycle"),
            (".stfolder", ".stfolder"),
            (".Trash-1000", ".Trash*"),
            ("lost+found", "lost+found"),
            (".hidden", ".*"),
        ] {
            let found = rule(name.as_bytes(), false);
            assert!(found.is_some_and(|f| f.ends_with(&format!("({words})"))), "{name}: {found:?}");
        }
    }

    #[test]
    fn real_files_are_none() {
        for name in ["a.pdf", "tmp", "part", "a.tmp.pdf", "#1.pdf", "a#", "~a", "a.swpx", "49130", "trash", "$a"] {
            assert_eq!(rule(name.as_bytes(), false), None, "{name}");
        }
        assert_eq!(rule(b"4913", true), None, "a folder may be a number");
        assert_eq!(rule(b"\xff\xfe", false), None);
    }
}
