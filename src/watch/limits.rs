//! The host's limits on watching, named with their setting (LESSONS L14).

use std::path::Path;

use rustix::io::Errno;

/// The setting that has to be raised when a watcher fails in this way; `None` when no limit is the cause.
///
/// inotify(7): `ENOSPC` = `max_user_watches` is used up; `EMFILE` = `max_user_instances` is, or the process has
/// no descriptor left.
pub(super) fn reason(error: &notify::Error) -> Option<String> {
    let errno = match &error.kind {
        notify::ErrorKind::MaxFilesWatch => Errno::NOSPC,
        notify::ErrorKind::Io(e) => Errno::from_io_error(e)?,
        _ => return None,
    };
    match errno {
        Errno::NOSPC => Some(advice("max_user_watches", "watches", 524_288)),
        Errno::MFILE => Some(format!(
            "{}; or raise LimitNOFILE if this process has too many open files",
            advice("max_user_instances", "inotify instances", 1024)
        )),
        _ => None,
    }
}

fn advice(setting: &str, things: &str, enough: u64) -> String {
    let now = std::fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(setting))
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok());
    advice_for(setting, things, enough, now)
}

/// Suggests `enough`, or twice the present value where that is more.
fn advice_for(setting: &str, things: &str, enough: u64, now: Option<u64>) -> String {
    let (shown, wanted) = match now {
        Some(now) => (now.to_string(), enough.max(now.saturating_mul(2))),
        None => ("unknown".to_owned(), enough),
    };
    format!("no more {things} left on this host: set fs.inotify.{setting} (now {shown}) to {wanted} by sysctl")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_name_their_setting_and_others_do_not() {
        let text = reason(&notify::Error::new(notify::ErrorKind::MaxFilesWatch)).unwrap();
        assert!(text.contains("fs.inotify.max_user_watches (now "), "{text}");
        let io = |errno: Errno| reason(&notify::Error::io(errno.into()));
        assert!(io(Errno::NOSPC).unwrap().contains("max_user_watches"));
        assert!(io(Errno::MFILE).unwrap().contains("max_user_instances"));
        assert_eq!(io(Errno::ACCESS), None);
        assert_eq!(reason(&notify::Error::path_not_found()), None);
    }

    #[test]
    fn the_advice_is_more_than_there_is() {
        assert_eq!(
            advice_for("max_user_watches", "watches", 524_288, Some(8_192)),
            "no more watches left on this host: set fs.inotify.max_user_watches (now 8192) to 524288 by sysctl"
        );
        assert!(advice_for("s", "t", 524_288, Some(1_000_000)).ends_with("to 2000000 by sysctl"));
        assert!(advice_for("s", "t", 1_024, None).contains("(now unknown) to 1024"));
    }
}
