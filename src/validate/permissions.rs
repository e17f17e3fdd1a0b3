//! Who may do what with the log's files and those that the settings name.

use std::path::Path;

use super::catalogue::Id;
use super::check::Check;
use super::outcome::Status;
use super::places::{Place, Privacy, is_there, nearest, places};
use super::principal::{KERNEL, Principal, described, user_name};
use super::request::Surroundings;
use crate::fsio::inspect::{self, Entry, Kind, Wanted};
use crate::fsio::parent;
use crate::fsio::private::is_private;

pub(super) fn check(seen: &Surroundings) -> Vec<Check> {
    let principal = match &seen.principal {
        Ok(principal) => principal,
        Err(why) => {
            return vec![
                Check::failed(Id::PermissionsUser, why.clone())
                    .hint("make the service's user first (`useradd --system`), or name another"),
            ];
        }
    };
    let mut checks = vec![user(principal)];
    let mut links = Vec::new();
    let log_dir = &seen.request.settings.log_dir;
    let mut closed = false;
    for place in places(&seen.request.settings) {
        let within = parent(&place.path) == *log_dir;
        let judged = judge(&place, principal, &mut links);
        if place.path == *log_dir {
            closed = judged
                .iter()
                .any(|check| check.id == Id::PermissionsAccess && check.status == Status::Failed);
        }
        // What is in a directory that may not be entered has nothing new to say.
        let told = [Id::PermissionsAccess, Id::PermissionsOwner];
        checks.extend(judged.into_iter().filter(|c| !(closed && within && told.contains(&c.id))));
    }
    if links.is_empty() {
        let message = "no path is a symbolic link";
        checks.push(Check::passed(Id::PermissionsSymlink, message));
    }
    checks.append(&mut links);
    checks.extend(parents(&seen.request.settings.log_dir, principal));
    checks
}

fn user(principal: &Principal) -> Check {
    let message = match (principal.uid, principal.is_process) {
        (0, _) => format!(
            "checked for {}, who may do everything; --user NAME checks for the service's user",
            principal.name
        ),
        (_, true) => {
            format!("checked for {}, who runs this, also by asking the kernel", principal.name)
        }
        (_, false) => {
            format!(
                "checked for {}, by mode bits (access control lists are ignored)",
                principal.name
            )
        }
    };
    Check::passed(Id::PermissionsUser, message)
        .metric("user", principal.name.clone())
        .metric("uid", principal.uid)
        .metric("gids", principal.gids.clone())
}

fn judge(place: &Place, principal: &Principal, links: &mut Vec<Check>) -> Vec<Check> {
    let found = inspect::at(&place.path).and_then(|itself| match itself {
        Some(entry) if entry.kind == Kind::Symlink => {
            links.push(link(place));
            inspect::behind(&place.path)
        }
        other => Ok(other),
    });
    let judged = match found {
        Ok(Some(entry)) => [
            kind(place, &entry),
            owner(place, &entry, principal),
            mode(place, &entry),
            access(place, principal),
        ]
        .into_iter()
        .flatten()
        .collect(),
        Ok(None) => vec![missing(place, principal)],
        Err(error) => {
            let message = format!("{} cannot be examined: {error}", place.what);
            let hint = "run this as root or as the service's user";
            vec![Check::failed(Id::PermissionsAccess, message).hint(hint)]
        }
    };
    judged.into_iter().map(|check| check.path(&place.path)).collect()
}

fn link(place: &Place) -> Check {
    let target = inspect::link_target(&place.path);
    let target = target.map_or_else(|_| "somewhere".to_owned(), |to| to.display().to_string());
    let message = format!("{} is a symbolic link to {target}", place.what);
    Check::warning(Id::PermissionsSymlink, message)
        .hint("name the real path in the settings, so that nobody can redirect it")
        .path(&place.path)
}

fn kind(place: &Place, entry: &Entry) -> Option<Check> {
    let (expected, wanted) =
        if place.directory { (Kind::Directory, "directory") } else { (Kind::File, "file") };
    if entry.kind == expected {
        return None;
    }
    let message = format!("{} is no {wanted}: {}", place.what, place.path.display());
    Some(Check::failed(Id::PermissionsKind, message).hint("move it away, or name another path"))
}

fn owner(place: &Place, entry: &Entry, principal: &Principal) -> Option<Check> {
    if place.privacy == Privacy::Open {
        return None;
    }
    // Root, who was not named as the service's user, may be anybody's helper: what counts
    // then is that what is in a directory belongs to whom the directory does.
    let expected = if principal.uid == 0 {
        inspect::behind(&parent(&place.path)).ok().flatten().map_or(entry.uid, |dir| dir.uid)
    } else {
        principal.uid
    };
    let by_root = entry.uid == 0 && (place.directory || !place.writes);
    if entry.uid == expected || by_root || (principal.uid == 0 && place.directory) {
        return None;
    }
    let (is, should) = (user_name(entry.uid), user_name(expected));
    let message = format!("{} belongs to {is}, not to {should}", place.what);
    Some(
        Check::warning(Id::PermissionsOwner, message)
            .hint(format!("chown {should} {}", place.path.display()))
            .metric("owner", is),
    )
}

fn mode(place: &Place, entry: &Entry) -> Option<Check> {
    let others = entry.mode & 0o077;
    let writable = entry.mode & 0o022 != 0 && entry.mode & 0o1000 == 0;
    let status = match place.privacy {
        Privacy::Secret if !is_private(entry.uid, entry.mode) => Status::Failed,
        Privacy::Private if others & 0o022 != 0 => Status::Failed,
        Privacy::Private if others != 0 => Status::Warning,
        Privacy::Open if writable => Status::Warning,
        _ => Status::Passed,
    };
    let wanted = if place.directory { 0o700 } else { 0o600 };
    let message = match (status, place.privacy) {
        (Status::Passed, _) => format!("{} has mode {:04o}", place.what, entry.mode),
        (_, Privacy::Secret) => {
            format!("{} may be read by others (mode {:04o})", place.what, entry.mode)
        }
        (Status::Failed, _) => {
            format!("{} may be changed by others (mode {:04o})", place.what, entry.mode)
        }
        (_, Privacy::Open) => {
            format!("{} may be changed by others (mode {:04o})", place.what, entry.mode)
        }
        _ => format!("{} may be read by others (mode {:04o})", place.what, entry.mode),
    };
    let hint = match place.privacy {
        Privacy::Open => format!("chmod go-w {}", place.path.display()),
        _ => format!("chmod {wanted:o} {}", place.path.display()),
    };
    let check = Check::new(Id::PermissionsMode, status, message).hint(hint);
    Some(check.metric("mode", format!("{:04o}", entry.mode)))
}

fn wanted(place: &Place) -> Wanted {
    Wanted { read: true, write: place.writes, search: place.directory }
}

fn access(place: &Place, principal: &Principal) -> Option<Check> {
    let what = if place.writes { "read and write" } else { "read" };
    if !principal.is_process && inspect::has_acl(&place.path) {
        let test = if place.writes { "-w" } else { "-r" };
        return Some(
            Check::warning(
                Id::PermissionsAccess,
                format!("{} has an access control list, which this check ignores", place.what),
            )
            .hint(format!(
                "try it: sudo -u {} test {test} {}",
                principal.name,
                place.path.display()
            )),
        );
    }
    Some(match principal.refused(&place.path, wanted(place)) {
        None => Check::passed(
            Id::PermissionsAccess,
            format!("{} may {what} {}", principal.name, place.what),
        ),
        Some(why) => {
            let hint = if why.starts_with(KERNEL) {
                "see the mount (read-only?), access control lists and what the service manager \
                 forbids (ReadWritePaths=)"
                    .to_owned()
            } else {
                format!(
                    "chown -R {} {}, and see that every directory above may be entered (chmod +x)",
                    principal.name,
                    place.path.display()
                )
            };
            Check::failed(Id::PermissionsAccess, format!("cannot {what} {}: {why}", place.what))
                .hint(hint)
        }
    })
}

/// It is not there yet: whether it could be made.
fn missing(place: &Place, principal: &Principal) -> Check {
    if place.required {
        let message = format!("{} is missing: {}", place.what, place.path.display());
        return Check::failed(Id::PermissionsKind, message)
            .hint("put it there, or change the setting that names it");
    }
    let Some(above) = nearest(&place.path) else {
        let message = format!("{} is not there, nor any directory above it", place.what);
        return Check::failed(Id::PermissionsAccess, message).hint("make the directory");
    };
    let into = Wanted { read: false, write: true, search: true };
    let (what, at) = (&place.what, above.display());
    match principal.refused(&above, into) {
        None => Check::passed(
            Id::PermissionsAccess,
            format!("{what} is not there yet and can be made in {at}"),
        ),
        Some(why) => Check::failed(
            Id::PermissionsAccess,
            format!("{what} is not there and cannot be made in {at}: {why}"),
        )
        .hint(format!(
            "install -d -m 700 -o {} {}",
            principal.name,
            if place.directory { place.path.display() } else { at }
        )),
    }
}

/// Who may change a directory above can put another log in this one's place.
fn parents(log_dir: &Path, principal: &Principal) -> Vec<Check> {
    let from = if is_there(log_dir) { Some(log_dir.to_path_buf()) } else { nearest(log_dir) };
    let Some(Ok(resolved)) = from.as_deref().map(inspect::resolved) else { return Vec::new() };
    let skip = usize::from(is_there(log_dir));
    let mut checks = Vec::new();
    for above in resolved.ancestors().skip(skip) {
        let Ok(Some(entry)) = inspect::at(above) else { continue };
        let sticky = entry.mode & 0o1000 != 0;
        let by_group =
            entry.mode & 0o020 != 0 && entry.gid != 0 && !principal.gids.contains(&entry.gid);
        let by_all = entry.mode & 0o002 != 0;
        let stranger = entry.uid != 0 && entry.uid != principal.uid && principal.uid != 0;
        if ((by_group || by_all) && !sticky) || stranger {
            let message = format!(
                "others can change {}, above the log ({})",
                above.display(),
                described(&entry)
            );
            checks.push(
                Check::warning(Id::PermissionsParents, message)
                    .hint("let root or the service's user own it, with mode 0755 at most")
                    .path(above),
            );
        }
    }
    if checks.is_empty() {
        let message = "nobody else can change a directory above the log";
        checks.push(Check::passed(Id::PermissionsParents, message).path(&resolved));
    }
    checks
}

#[cfg(test)]
mod tests;
