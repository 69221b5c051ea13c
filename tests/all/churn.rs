//! Real churn: people and programs change three folders at random, with the real watcher, the real binary and a
//! sandbox that throttles, loses answers, fails and cuts; the daemon is killed in between. When it is over, both sides
//! are equal by SHA-256, every file has its verdict, and nothing of ours is left over at Connect.
//!
//! The changes follow from a seed, which a failure prints; `CASEDROP_CHURN_SEED=N` runs another. The long run:
//! `CASEDROP_CHURN=20000 cargo test --test all churn -- --nocapture` makes so many changes and kills the daemon every
//! few seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use casedrop_sandbox::{DEMO_CASE_ID, Fault, FaultKind, FileStatus, LedgerFile, NewCase, Nth, Op, Scan};
use serde_json::Value;

use crate::common::{Stage, sha256, wait};

/// Changes in each root.
const CHANGES: usize = 500;
/// Files in one root at most, roughly: beyond it more is removed than made.
const CROWDED: usize = 120;
/// Longest wait for both sides to be equal once changes and faults have stopped.
const PATIENCE: Duration = Duration::from_secs(400);

/// SplitMix64: one seed, one story.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }

    fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.below(from.len()))
    }
}

/// One folder that is changed.
struct Churn {
    root: PathBuf,
    /// Where new things are made at the top: the root itself, or the folders that name cases.
    tops: Vec<PathBuf>,
    rng: Rng,
    count: u64,
}

impl Churn {
    /// Everything below the root: files, and folders that may be moved.
    fn look(&self) -> (Vec<PathBuf>, Vec<PathBuf>) {
        let (mut files, mut folders) = (Vec::new(), Vec::new());
        let mut stack = vec![self.root.clone()];
        while let Some(folder) = stack.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                let (path, kind) = (entry.path(), entry.file_type().unwrap());
                if kind.is_dir() {
                    if !self.tops.contains(&path) {
                        folders.push(path.clone());
                    }
                    stack.push(path);
                } else if kind.is_file() && entry.file_name() != "keep.txt" {
                    files.push(path);
                }
            }
        }
        files.sort();
        folders.sort();
        (files, folders)
    }

    fn content(&mut self) -> Vec<u8> {
        self.count += 1;
        let mut bytes = format!("{} {} ", self.root.display(), self.count).into_bytes();
        let size = [0, 10, 500, 5_000, 100_000][self.rng.below(5)];
        bytes.resize(bytes.len() + size, b'x');
        bytes
    }

    fn name(&mut self) -> OsString {
        self.count += 1;
        let n = self.count;
        let bytes: Vec<u8> = match self.rng.below(16) {
            0 => format!("with spaces {n}.txt").into_bytes(),
            1 => format!(" {n} at both ends.txt ").into_bytes(),
            2 => format!("emoji 👩‍👧 {n}.txt").into_bytes(),
            3 => format!("new\nline {n}.txt").into_bytes(),
            4 => [format!("inv{n}").as_bytes(), b"\xff\xfe.txt"].concat(),
            5 => [format!("{n}-").as_bytes(), &vec![b'l'; 251 - format!("{n}-").len()], b".txt"].concat(),
            6 => format!("tab\t\"quote\" \\ {n}.pdf").into_bytes(),
            7 => format!("Cafe\u{301} {n}.txt").into_bytes(),
            8 => format!("a - b {n}.txt").into_bytes(),
            9 => format!("\u{202e}right to left {n}.txt").into_bytes(),
            10 => format!("program {n}.exe").into_bytes(),
            11 => format!("UPPER {n}.TXT").into_bytes(),
            12 => format!("tagged~{:08x}.txt", n).into_bytes(),
            _ => format!("plain{n}.txt").into_bytes(),
        };
        OsString::from_vec(bytes)
    }

    /// A folder to put something in: one that is there, or a new one.
    fn folder(&mut self) -> PathBuf {
        let (_, folders) = self.look();
        let all: Vec<PathBuf> = self.tops.iter().chain(&folders).cloned().collect();
        let mut folder = self.rng.pick(&all).unwrap().clone();
        // Deep trees meet the limit of a path, which is not the subject.
        if folder.as_os_str().len() < 600 {
            while self.rng.below(4) == 0 {
                self.count += 1;
                folder.push(format!("folder {}", self.count));
            }
        }
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    fn new_path(&mut self) -> PathBuf {
        let folder = self.folder();
        folder.join(self.name())
    }

    fn write_new(&mut self) {
        let (path, content) = (self.new_path(), self.content());
        fs::write(path, content).unwrap();
    }

    /// One change. Its name, for the story that a failure tells.
    fn change(&mut self) -> &'static str {
        let (files, folders) = self.look();
        let crowded = files.len() > CROWDED;
        if folders.len() > CROWDED
            && let Some(empty) = folders.iter().rev().find(|folder| fs::remove_dir(folder).is_ok())
        {
            debug_assert!(!empty.exists());
            return "rmdir";
        }
        let Some(file) = self.rng.pick(&files).cloned() else {
            self.write_new();
            return "create";
        };
        let roll = if crowded { 40 + self.rng.below(12) } else { self.rng.below(60) };
        match roll {
            0..12 => {
                self.write_new();
                "create"
            }
            12..16 => {
                let mut open = OpenOptions::new().write(true).open(&file).unwrap();
                open.write_all(&self.content()).unwrap();
                "edit in place"
            }
            16..20 => {
                let mut open = OpenOptions::new().append(true).open(&file).unwrap();
                open.write_all(&self.content()).unwrap();
                "append"
            }
            20..24 => {
                self.save_like_vim(&file);
                "save like vim"
            }
            24..28 => {
                self.save_like_libreoffice(&file);
                "save like LibreOffice"
            }
            28..30 => {
                let size = fs::metadata(&file).unwrap().len();
                let open = OpenOptions::new().write(true).open(&file).unwrap();
                open.set_len(if self.rng.below(3) == 0 { 0 } else { size / 2 }).unwrap();
                "truncate"
            }
            30..34 => {
                let to = self.new_path();
                fs::rename(&file, to).unwrap();
                "rename"
            }
            34..36 => match self.rng.pick(&files).cloned() {
                Some(other) if other != file => {
                    let aside = file.with_file_name(".swap.tmp");
                    fs::rename(&file, &aside).unwrap();
                    fs::rename(&other, &file).unwrap();
                    fs::rename(&aside, &other).unwrap();
                    "swap"
                }
                _ => "nothing",
            },
            36..38 => match self.rng.pick(&folders).cloned() {
                Some(from) if from.as_os_str().len() < 600 => {
                    let to = self.folder();
                    if to.starts_with(&from) {
                        return "nothing";
                    }
                    self.count += 1;
                    fs::rename(&from, to.join(format!("moved {}", self.count))).unwrap();
                    "move folder"
                }
                _ => "nothing",
            },
            38..40 => match self.rng.pick(&folders).cloned() {
                Some(from) => {
                    let to = self.folder();
                    if to.starts_with(&from) || to.as_os_str().len() > 600 {
                        return "nothing";
                    }
                    self.count += 1;
                    copy_tree(&from, &to.join(format!("copy {}", self.count)));
                    "copy tree"
                }
                None => "nothing",
            },
            40..48 => {
                fs::remove_file(&file).unwrap();
                "delete"
            }
            48..50 => match self.rng.pick(&folders).cloned() {
                // Not half of everything at once, so that the folders stay full.
                Some(folder) if files.iter().filter(|file| file.starts_with(&folder)).count() <= 12 => {
                    fs::remove_dir_all(folder).unwrap();
                    "rm -r"
                }
                _ => "nothing",
            },
            50 => {
                let at = [-1_000_000_000_i64, 0, 1, 4_102_444_800][self.rng.below(4)];
                let since = Duration::from_secs(at.unsigned_abs());
                let at = if at < 0 { SystemTime::UNIX_EPOCH - since } else { SystemTime::UNIX_EPOCH + since };
                File::open(&file).unwrap().set_modified(at).unwrap();
                "touch"
            }
            51 => {
                let mode = [0o600, 0o644, 0o444][self.rng.below(3)];
                fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
                fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
                "chmod"
            }
            52 => {
                let to = self.new_path();
                fs::hard_link(&file, to).unwrap();
                "hard link"
            }
            53 => {
                let to = self.new_path();
                symlink(&file, to).unwrap();
                "symbolic link"
            }
            54 => {
                fs::remove_file(&file).unwrap();
                symlink("/etc/hostname", &file).unwrap();
                "replace by a symbolic link"
            }
            55 => {
                fs::remove_file(&file).unwrap();
                fs::create_dir(&file).unwrap();
                fs::write(file.join("inside.txt"), self.content()).unwrap();
                "replace by a folder"
            }
            56 => match folders.iter().rev().find(|f| f.extension() == Some(OsStr::new("txt"))) {
                Some(folder) => {
                    fs::remove_dir_all(folder).unwrap();
                    fs::write(folder, self.content()).unwrap();
                    "a file again"
                }
                None => "nothing",
            },
            57 => {
                // A scanner: it closes the file between its pages.
                let path = self.new_path();
                for _ in 0..3 {
                    let mut open = OpenOptions::new().create(true).append(true).open(&path).unwrap();
                    open.write_all(&self.content()).unwrap();
                    drop(open);
                    self.rest(150);
                }
                "pages"
            }
            58 => {
                let path = self.new_path();
                fs::write(&path, "here and gone").unwrap();
                fs::remove_file(&path).unwrap();
                "here and gone"
            }
            _ => {
                // The same bytes once more: nothing to send.
                let content = fs::read(&file).unwrap();
                fs::write(&file, content).unwrap();
                "rewrite the same"
            }
        }
    }

    /// Vim: the old file aside as a backup, a new one in its place, the backup away.
    fn save_like_vim(&mut self, file: &Path) {
        let folder = file.parent().unwrap();
        let probe = folder.join("4913");
        if !probe.exists() {
            fs::write(&probe, "").unwrap();
            fs::remove_file(&probe).unwrap();
        }
        let aside = folder.join("backup~");
        fs::rename(file, &aside).unwrap();
        self.rest(5);
        let mut content = Vec::new();
        File::open(&aside).unwrap().read_to_end(&mut content).unwrap();
        content.extend(self.content());
        fs::write(file, content).unwrap();
        fs::remove_file(&aside).unwrap();
    }

    /// LibreOffice: a lock file, a temporary file, a rename over the old one, the lock away.
    fn save_like_libreoffice(&mut self, file: &Path) {
        let folder = file.parent().unwrap();
        let (lock, draft) = (folder.join(".~lock.document#"), folder.join("lu1234.tmp"));
        fs::write(&lock, "who and where").unwrap();
        let mut open = File::create(&draft).unwrap();
        open.write_all(&self.content()).unwrap();
        open.rewind().unwrap();
        open.write_all(b"<").unwrap();
        open.sync_all().unwrap();
        self.rest(5);
        fs::rename(&draft, file).unwrap();
        fs::remove_file(&lock).unwrap();
    }

    /// Waits up to so many milliseconds: churn has a pace.
    fn rest(&mut self, most_ms: usize) {
        let until = Instant::now() + Duration::from_millis(self.rng.below(most_ms) as u64);
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_tree(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A path as `list` shows it.
fn shown(path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            let bidi = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
            if c.is_control() || c == '\\' || bidi {
                text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|b| format!("\\x{b:02x}")));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().map(|b| format!("\\x{b:02x}")));
    }
    text
}

/// One mirror of the scene.
struct Mirror {
    name: &'static str,
    root: PathBuf,
    /// Case of the file at this relative path; `None`: nowhere.
    case: fn(&Path) -> Option<String>,
}

const BASE_CASE: &str = "5a5d0000-0000-4000-8000-00000000c0b0";
const FOLDER_CASES: [&str; 3] = [
    "5a5d0000-0000-4000-8000-00000000c0c1",
    "5a5d0000-0000-4000-8000-00000000c0c2",
    "5a5d0000-0000-4000-8000-00000000c0c3",
];

impl Mirror {
    /// What the folder holds: the shown path of each regular file that no junk rule fits, with its content.
    fn files(&self) -> BTreeMap<String, (PathBuf, Vec<u8>)> {
        let mut files = BTreeMap::new();
        let mut stack = vec![self.root.clone()];
        while let Some(folder) = stack.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let entry = entry.unwrap();
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    stack.push(entry.path());
                } else if kind.is_file() {
                    let path = entry.path();
                    let below = path.strip_prefix(&self.root).unwrap().to_owned();
                    files.insert(shown(below.as_os_str().as_bytes()), (below, fs::read(path).unwrap()));
                }
            }
        }
        files
    }
}

/// The first difference between folders, journal and Connect; `None` when there is none. `whole`: and nothing is
/// left over at Connect that no row of the journal names.
fn difference(stage: &Stage, mirrors: &[Mirror], whole: bool) -> Option<String> {
    let list = stage.list();
    let ledger: BTreeMap<String, LedgerFile> =
        stage.sandbox.ledger().into_iter().filter(|f| !f.foreign).map(|f| (f.file_id.clone(), f)).collect();
    let mut rows: BTreeMap<(String, String), &Value> = BTreeMap::new();
    for line in &list {
        let key = (line["mirror"].as_str().unwrap().to_owned(), line["path"].as_str().unwrap().to_owned());
        assert!(rows.insert(key, line).is_none(), "listed twice: {line}");
    }
    let mut used = BTreeSet::new();
    for mirror in mirrors {
        for (path, (below, content)) in mirror.files() {
            let Some(row) = rows.remove(&(mirror.name.to_owned(), path.clone())) else {
                return Some(format!("{}: {path} is not in the journal", mirror.name));
            };
            let verdict = row["verdict"].as_str().unwrap();
            let lower = path.to_ascii_lowercase();
            let case = (mirror.case)(&below);
            let allowed = [".txt", ".pdf"].iter().any(|ending| lower.ends_with(ending));
            let wanted = match &case {
                None => "unrouted",
                Some(_) if content.is_empty() || !allowed => "parked",
                Some(_) => "attached",
            };
            if verdict != wanted {
                return Some(format!("{}: {path} is {verdict}, not {wanted}: {row}", mirror.name));
            }
            let Some(id) = row["file_id"].as_str() else {
                if wanted == "attached" {
                    return Some(format!("{}: {path} has no FileId: {row}", mirror.name));
                }
                continue;
            };
            let Some(remote) = ledger.get(id) else {
                return Some(format!("{}: {path} is not at Connect: {row}", mirror.name));
            };
            if !used.insert(id.to_owned()) {
                return Some(format!("{id} stands for two files: {row}"));
            }
            if remote.status != FileStatus::Approved {
                return Some(format!("{path} is {:?}", remote.status));
            }
            let same =
                remote.sha256.as_deref() == Some(&sha256(content.as_slice())) && Some(&remote.case_id) == case.as_ref();
            if wanted == "attached" && !same {
                return Some(format!("{}: {path} is not what is at Connect: {remote:?}", mirror.name));
            }
        }
    }
    // What is left of the journal has no file: what was attached is on its way out, unless it left scope (invariant 5).
    for ((mirror, path), row) in rows {
        if !matches!(row["verdict"].as_str().unwrap(), "ignored" | "unrouted") {
            return Some(format!("{mirror}: {path} has no file: {row}"));
        }
        if let Some(id) = row["file_id"].as_str() {
            used.insert(id.to_owned());
        }
    }
    let strange = ledger.values().find(|file| whole && !used.contains(&file.file_id));
    strange.map(|file| format!("left over at Connect: {file:?}"))
}

/// Trouble of every kind on a share of all calls.
fn trouble(seed: u64) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |op, share, kind| {
        let seed = seed.wrapping_add(faults.len() as u64);
        faults.push(Fault { op, nth: Nth::Fraction { share, seed }, kind, limit: None });
    };
    for op in [Op::StartAttachedFileUpload, Op::CompleteAttachedFileUpload, Op::DeleteAttachedFile] {
        add(op, 0.2, FaultKind::Throttle { retry_after: None });
        add(op, 0.06, FaultKind::LostReply);
        add(op, 0.04, FaultKind::ServerErrorBefore);
        add(op, 0.04, FaultKind::ServerErrorAfter);
        add(op, 0.02, FaultKind::Malformed);
    }
    add(Op::BatchGetAttachedFileMetadata, 0.2, FaultKind::Throttle { retry_after: None });
    add(Op::BatchGetAttachedFileMetadata, 0.05, FaultKind::ServerErrorBefore);
    add(Op::BatchGetAttachedFileMetadata, 0.05, FaultKind::UnknownStatus);
    add(Op::SearchRelatedItems, 0.2, FaultKind::Throttle { retry_after: None });
    add(Op::PutObject, 0.1, FaultKind::CutAfter(100));
    add(Op::PutObject, 0.1, FaultKind::SlowDown);
    add(Op::PutObject, 0.05, FaultKind::LostReply);
    add(Op::PutObject, 0.03, FaultKind::Expired);
    faults
}

/// A stage with three mirrors: one case for all, cases named by folders, and plain names.
fn scene(seed: u64) -> (Stage, Vec<Mirror>) {
    let mut stage = Stage::with(|settings| {
        settings.limits.files_per_case = 100_000;
        settings.limits.related_items_per_case = 100_000;
        settings.scan = Scan::after(Duration::from_millis(200));
    });
    for case in FOLDER_CASES.iter().chain(&[BASE_CASE]) {
        stage.sandbox.add_case(NewCase { case_id: Some((*case).to_owned()), ..NewCase::default() });
    }
    let (by_folder, base) = (stage.dir.path().join("by-folder"), stage.dir.path().join("base"));
    let policy = stage.mirror.clone();
    stage.mirror.push_str(&format!(
        "\n[[mirror]]\nname = \"by-folder\"\npath = {by_folder:?}\ncase_from = '^(?<case_id>[^/]+)/'\n{policy}\n\
         [[mirror]]\nname = \"base\"\npath = {base:?}\ncase = \"{BASE_CASE}\"\nfile_name = \"base\"\n{policy}"
    ));
    let mirrors = vec![
        Mirror { name: "drop", root: stage.drop.clone(), case: |_| Some(DEMO_CASE_ID.to_owned()) },
        Mirror {
            name: "by-folder",
            root: by_folder,
            case: |path| {
                let first = path.components().next().unwrap().as_os_str().to_str().unwrap_or_default();
                FOLDER_CASES.iter().find(|case| case.eq_ignore_ascii_case(first)).map(|case| (*case).to_owned())
            },
        },
        Mirror { name: "base", root: base, case: |_| Some(BASE_CASE.to_owned()) },
    ];
    for mirror in &mirrors {
        fs::create_dir_all(&mirror.root).unwrap();
    }
    stage.sandbox.set_faults(trouble(seed));
    (stage, mirrors)
}

fn tops(mirror: &Mirror) -> Vec<PathBuf> {
    if mirror.name != "by-folder" {
        return vec![mirror.root.clone()];
    }
    let upper = FOLDER_CASES[2].to_ascii_uppercase();
    [FOLDER_CASES[0], FOLDER_CASES[1], &upper, "no case"].map(|name| mirror.root.join(name)).into()
}

/// Changes for as long as it takes, kills meanwhile, then compares.
fn churn(seed: u64, changes: usize, kill_every: Duration) {
    println!("seed {seed}: {changes} changes in each of 3 roots");
    let began = Instant::now();
    let (stage, mirrors) = scene(seed);
    let mut figures = Figures::default();
    // Something is always there, and attached before anything changes: an emptied root is another scene's subject.
    let mut kept = 0;
    for top in mirrors.iter().flat_map(tops) {
        fs::create_dir_all(&top).unwrap();
        fs::write(top.join("keep.txt"), format!("kept in {}", top.display())).unwrap();
        kept += usize::from(!top.ends_with("no case"));
    }
    let mut daemon = Some(stage.daemon());
    let attached = || stage.list().iter().filter(|line| line["verdict"] == "attached").count();
    wait("what is always there is attached", || attached() == kept, || format!("{:#?}", stage.list()));
    let mut rng = Rng(seed);
    std::thread::scope(|scope| {
        let mut threads = Vec::new();
        for (n, mirror) in mirrors.iter().enumerate() {
            let (root, tops) = (mirror.root.clone(), tops(mirror));
            let rng = Rng(seed.wrapping_mul(31).wrapping_add(n as u64));
            threads.push(scope.spawn(move || {
                let mut churn = Churn { root, tops, rng, count: 0 };
                let change = |_| {
                    let kind = churn.change();
                    churn.rest(30);
                    kind
                };
                (0..changes).map(change).collect::<Vec<_>>()
            }));
        }
        let mut next_kill = Instant::now() + kill_every;
        while !threads.iter().all(|thread| thread.is_finished()) {
            std::thread::park_timeout(Duration::from_millis(20));
            if Instant::now() >= next_kill {
                daemon.take().unwrap().kill();
                daemon = Some(stage.daemon());
                figures.kills += 1;
                next_kill = Instant::now() + kill_every.mul_f64(0.3 + rng.below(1000) as f64 / 700.0);
            }
        }
        for thread in threads {
            for kind in thread.join().unwrap() {
                figures.changes += 1;
                *figures.by_kind.entry(kind).or_default() += 1;
            }
        }
    });
    figures.faults = stage.sandbox.faults_applied();
    figures.changed_in = began.elapsed();
    stage.sandbox.set_faults(Vec::new());
    // The watcher alone has told of the changes; what an unanswered start may have left is swept at the next start.
    come_to_rest(&stage, &mirrors, false);
    daemon.take().unwrap().kill();
    let daemon = stage.daemon();
    come_to_rest(&stage, &mirrors, true);
    assert!(daemon.stop().success());
    // 1: some are parked, such as empty ones.
    assert_eq!(stage.run(&["sync"]).status.code(), Some(1));
    assert_eq!(difference(&stage, &mirrors, true), None);
    let before = stage.changes().len();
    stage.run(&["sync"]);
    let more = stage.changes().split_off(before);
    assert!(more.is_empty(), "a settled state caused calls: {more:?}");
    for mirror in stage.status()["mirrors"].as_array().unwrap() {
        assert!(mirror["hold"].is_null(), "{mirror:#}");
    }
    stage.assert_no_errors();
    figures.files = mirrors.iter().map(|mirror| mirror.files().len()).sum();
    figures.calls = stage.sandbox.requests().len();
    figures.total = began.elapsed();
    println!("{figures:#?}");
}

/// What one run came to.
#[derive(Debug, Default)]
struct Figures {
    changes: usize,
    by_kind: BTreeMap<&'static str, usize>,
    kills: usize,
    faults: usize,
    calls: usize,
    files: usize,
    changed_in: Duration,
    total: Duration,
}

fn come_to_rest(stage: &Stage, mirrors: &[Mirror], whole: bool) {
    let began = Instant::now();
    while let Some(what) = difference(stage, mirrors, whole) {
        assert!(began.elapsed() < PATIENCE, "both sides do not become equal: {what}");
        std::thread::park_timeout(Duration::from_millis(300));
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("${name} is no number: {text}")))
}

#[test]
fn a_folder_under_churn_and_connect_end_equal() {
    let seed = number("CASEDROP_CHURN_SEED").unwrap_or(0x5eed);
    match number("CASEDROP_CHURN") {
        Some(all) => churn(seed, usize::try_from(all).unwrap().div_ceil(3), Duration::from_secs(8)),
        None => churn(seed, CHANGES, Duration::from_secs(4)),
    }
}
